package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/internal/testkit"
)

var update = flag.Bool("update", false, "write docs/CLI.md anew")

const pageHead = `# Command line

Written from the commands themselves by ` + "`go test ./cmd/obc -run CLIPage -update`" + `; a test fails when this page is stale.

Results go to stdout, everything else to stderr: errors, warnings and notes are one line each, with ` + "`--log-format json`" + ` one JSON
object each. With ` + "`--json`" + ` the result is one JSON value. A file that is written is whole or not there, also when the disk is full or
the work is interrupted. The exit code is

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | the work failed, nothing was changed, or the result is worse than ` + "`--max-drop`" + ` allows |
| 2 | the command line, a recipe or an input file is at fault; the message says what to do |

`

// TestCLIPage holds docs/CLI.md against the commands.
func TestCLIPage(t *testing.T) {
	a := &app{out: io.Discard, err: io.Discard}
	root := a.root()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpFlag()
	var b bytes.Buffer
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "Flags of every command:\n\n```\n%s```\n", root.PersistentFlags().FlagUsagesWrapped(120))
	for _, c := range root.Commands() {
		describe(&b, c)
	}
	file := filepath.Join(testkit.Root(), "docs", "CLI.md")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, b.Bytes()) {
		t.Error("docs/CLI.md is stale: run go test ./cmd/obc -run CLIPage -update")
	}
}

func describe(w io.Writer, c *cobra.Command) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	if c.Name() == "completion" {
		fmt.Fprintf(w, "%s. `obc completion bash --help` says how to load it; likewise zsh, fish, powershell.\n", c.Short)
		return
	}
	fmt.Fprintf(w, "%s\n\n```\n%s\n```\n", text, c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n\n```\n%s\n```\n", unindent(c.Example))
	}
	if c.HasAvailableLocalFlags() {
		f := c.LocalNonPersistentFlags()
		f.SortFlags = false
		fmt.Fprintf(w, "\nFlags:\n\n```\n%s```\n", f.FlagUsagesWrapped(120))
	}
	for _, sub := range c.Commands() {
		describe(w, sub)
	}
}

func unindent(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll(s, "\n  ", "\n"), "  ")
}
