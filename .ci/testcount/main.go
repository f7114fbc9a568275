// Testcount reads the events of go test -json, prints failing tests with all their output and skipped tests with their
// reason, and ends with one line: the number of passed and of failed tests.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
	FailedBuild                               string
}

func main() {
	passed, failed := 0, 0
	output := map[string]*strings.Builder{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text())
			continue
		}
		key := e.ImportPath + e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, key)
		case "skip":
			if e.Test != "" {
				fmt.Printf("skip  %s %s: %s\n", e.Package, e.Test, reason(output[key]))
			}
			delete(output, key)
		case "fail", "build-fail":
			if e.Test != "" || e.FailedBuild != "" {
				failed++
			}
			if b := output[key]; b != nil {
				fmt.Printf("--- %s\n%s", key, b)
			}
			delete(output, key)
		}
	}
	fmt.Println(passed, failed)
}

// reason is the last line that a skipped test wrote before its verdict.
func reason(b *strings.Builder) string {
	text := ""
	if b != nil {
		for _, line := range strings.Split(b.String(), "\n") {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
				text = line
			}
		}
	}
	return text
}
