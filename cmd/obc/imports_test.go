package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testkit"
)

const module = "github.com/obc-onnx/obc/"

// mayImport is the table of docs/ARCHITECTURE.md: what a package of this module may import of this module. A package
// covers those below it. Imports of tests are free.
var mayImport = map[string][]string{
	"onnxio":           {"internal/atomicfile"},
	"graph":            {"onnxio"},
	"internal/kernel":  {},
	"internal/obs":     {"internal/kernel"},
	"internal/exec":    {"graph", "onnxio", "internal/kernel"},
	"calib":            {"graph", "onnxio", "internal/exec", "internal/kernel"},
	"calib/onnxgo":     {"graph", "onnxio", "internal/exec"},
	"passes":           {"internal/suggest", "calib", "graph", "onnxio", "internal/obs", "internal/exec", "internal/kernel"},
	"internal/score":   {"calib", "graph", "onnxio", "internal/exec"},
	"internal/inspect": {"graph", "onnxio", "internal/exec"},
	"internal/report":  {"passes", "internal/score"},
	"internal/suggest": {},

	"internal/atomicfile": {},
}

// free are the packages that stand outside of the table: programs, and helpers of tests, which only tests import.
var free = []string{"cmd/", "bench", "examples/", "internal/test"}

// TestImports keeps the arrows of the architecture: a package imports only what its row allows, packages below it, and
// foreign modules. cmd/obc may import everything; nothing may import cmd/obc.
func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = testkit.Root()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		if slices.ContainsFunc(free, func(prefix string) bool { return strings.HasPrefix(from, prefix) }) {
			continue
		}
		home := owner(from)
		if home == "" {
			t.Errorf("%s has no row in mayImport: add it here and to the table of docs/ARCHITECTURE.md", from)
			continue
		}
		for _, path := range p.Imports {
			to, ours := strings.CutPrefix(path, module)
			if ours && owner(to) != home && !slices.Contains(mayImport[home], owner(to)) {
				t.Errorf("%s imports %s, which its row in docs/ARCHITECTURE.md does not allow", from, to)
			}
		}
	}
	if seen == 0 {
		t.Error("go list found no package")
	}
}

// owner is the longest row of mayImport that covers the package, "" if none does.
func owner(pkg string) string {
	best := ""
	for name := range mayImport {
		if (pkg == name || strings.HasPrefix(pkg, name+"/")) && len(name) > len(best) {
			best = name
		}
	}
	return best
}
