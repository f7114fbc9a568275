// Command obc makes ONNX models smaller and faster without retraining: Optimal Brain Compression, from the file that a
// training framework exported to a file that a runtime loads. See docs/CLI.md.
//
// Rules of what it prints: results go to stdout, everything else to stderr. Errors and warnings are one line each, lower
// case, and say what to do. With --json the result is one JSON value, with --log-format json so is each line of stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops" // operators register themselves
	"github.com/obc-onnx/obc/internal/score"
	"github.com/obc-onnx/obc/internal/suggest"
	"github.com/obc-onnx/obc/passes"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the work could not be done, or nothing was changed
	exitUsage  = 2 // the command line, a recipe or an input file is at fault
)

func main() {
	ignoreSizeLimit()
	boundGarbage()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.closeProgress()
	if err == nil {
		return exitOK
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: nothing more was written")
	}
	a.logError(err)
	if !a.started || isInput(err) {
		return exitUsage
	}
	return exitFailed
}

// inputError marks an error that the user can mend in the command line or in the files given.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// input marks err, if any, as one that the user can mend.
func input(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return inputError{err}
}

// badUsage is a formatted error that the user can mend.
func badUsage(format string, args ...any) error { return inputError{fmt.Errorf(format, args...)} }

func isInput(err error) bool {
	var marked inputError
	var unsupported *exec.UnsupportedError
	var opset *exec.OpsetError
	var model *exec.ModelError
	var field *passes.FieldError
	var budget *passes.BudgetError
	var data *calib.DataError
	var label score.LabelError
	return errors.As(err, &marked) || errors.As(err, &unsupported) || errors.As(err, &opset) || errors.As(err, &model) || errors.As(err, &field) || errors.As(err, &budget) || errors.As(err, &data) || errors.As(err, &label)
}

// root is the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "obc",
		Short: "Compress ONNX models without retraining",
		Long: strings.TrimSpace(`
obc prunes and quantizes an ONNX model with a few hundred calibration inputs and no retraining (Optimal Brain
Compression): unstructured, N:M and block sparsity, 2 to 8 bit weights and activations, all of it at once, and a
level for each layer under a budget. It writes a valid ONNX file and says what was done to which layer.`),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.start() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, sub := range c.Commands() {
				names = append(names, sub.Name())
			}
			return fmt.Errorf("unknown command %q: did you mean %s? obc help lists all", args[0], suggest.Nearest(args[0], names, 1)[0])
		},
	}
	root.Version = version()
	root.SetVersionTemplate("obc {{.Version}}\n")
	root.SetOut(a.out)
	root.SetErr(a.err)
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print the result as JSON")
	f.IntVar(&a.threads, "threads", 0, "threads to compute with (0 = one for each CPU); results do not depend on it")
	f.StringVar(&a.logFormat, "log-format", "text", "form of the lines on stderr: text or json")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print no progress")
	root.AddCommand(a.compressCommand(), a.inspectCommand(), a.runCommand(), a.evalCommand(), a.compareCommand(), a.benchCommand(), a.demoCommand(), a.versionCommand())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.ArbitraryArgs, completionFor
		}
	}
	return root
}

// completionFor is obc completion without one of the shells that have a command of their own.
func completionFor(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	slices.Sort(names)
	return badUsage("completion: shell %q is not supported: give one of %s", args[0], strings.Join(names, ", "))
}
