package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"obc": main})
}

// TestScripts runs the sessions in testdata/script: each is a text file to read as documentation. Beside testscript's own
// commands they have
//
//	fixture NAME FILE...     writes the named model or data (fixtures_test.go) to each FILE
//	fails CODE ARGS...       runs obc, which must exit with CODE, print one "obc: error:" line without a trace of Go, and
//	                         leave no temporary file
//	onejson FILE             FILE, or stdout, is one value of JSON
//	weighs REPORT FILE...    the size of the result in a report is that of the files together
//	within SIZE ARGS...      runs a program, whose report in JSON must tell a peak of memory of at most SIZE
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fixture": writeFixture,
			"fails":   fails,
			"within":  within,
			"onejson": oneJSON,
			"weighs":  weighs,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOMAXPROCS", "2")
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "privileged" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + name)
		},
	})
}

func oneJSON(ts *testscript.TestScript, neg bool, args []string) {
	if text := ts.ReadFile(args[0]); neg || !json.Valid([]byte(text)) {
		ts.Fatalf("not one value of JSON: %s", text)
	}
}

func weighs(ts *testscript.TestScript, neg bool, args []string) {
	var out struct {
		Compressed struct{ Bytes int64 }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &out))
	sum := int64(0)
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		sum += info.Size()
	}
	if told := out.Compressed.Bytes; neg || told != sum {
		ts.Fatalf("the report tells %d bytes, the files have %d", told, sum)
	}
}

func within(ts *testscript.TestScript, neg bool, args []string) {
	most, err := parseSize("within", args[0])
	ts.Check(err)
	ts.Check(ts.Exec(args[1], args[2:]...))
	var out struct {
		PeakRSS int64 `json:"peak_rss"`
		Report  struct {
			PeakRSS int64 `json:"peak_rss"`
		} `json:"report"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &out))
	peak := max(out.PeakRSS, out.Report.PeakRSS)
	if ts.Logf("peak %d MiB", peak>>20); peak == 0 || peak > most {
		ts.Fatalf("peak of memory %d bytes, expected at most %d", peak, most)
	}
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: fails CODE ARGS...")
	}
	err = ts.Exec("obc", args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("obc %s: %v, want exit code %d", strings.Join(args[1:], " "), err, want)
	}
	stderr := ts.ReadFile("stderr")
	if n := strings.Count(stderr, "obc: error: "); n != 1 {
		ts.Fatalf("%d error lines", n)
	}
	for _, trace := range []string{"goroutine ", "panic", "runtime error", ".go:"} {
		if strings.Contains(stderr, trace) {
			ts.Fatalf("the message shows the program's insides: %q", trace)
		}
	}
	left, _ := filepath.Glob(ts.MkAbs(".*"))
	for _, f := range left {
		if !strings.HasSuffix(f, ".tmp") {
			ts.Fatalf("left behind: %s", f)
		}
	}
}
