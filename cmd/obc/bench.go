package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// benchCommand groups the timings; each prints lines that benchstat reads.
func (a *app) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time models, kernels and the solver on this machine",
		Long:  "Time models, kernels and the solver on this machine. The lines are those of go test -bench, so that benchstat compares them; with --json they are a list.",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.benchModelCommand(), a.benchKernelCommand(), a.benchSolverCommand(), a.benchHessianCommand())
	return c
}

func (a *app) benchModelCommand() *cobra.Command {
	var d dataFlags
	var in string
	var count int
	var step bool
	c := &cobra.Command{
		Use:   "model MODEL.onnx",
		Short: "Time runs of a model",
		Long: `Time runs of a model on the first --batch samples of the data, --count times after one run that is not timed.
With --step it waits for a line on standard input before each run, so that a script can take turns with another program.`,
		Example: "  obc bench model model.onnx --input x.npz --batch 32 --count 10 > new.txt",
		Args:    oneModel,
		RunE: func(c *cobra.Command, args []string) error {
			if count < 1 {
				return badUsage("--count is %d, expected 1 or more", count)
			}
			e, g, err := a.executor(args[0])
			if err != nil {
				return err
			}
			data, err := d.open(a, "input", in, g)
			if err != nil {
				return err
			}
			feeds, err := data.Batch(c.Context(), 0, min(data.BatchSize(), data.Len()))
			data.Close()
			if err != nil {
				return err
			}
			b := modelBench{e: e, feeds: feeds, name: modelName(args[0]), samples: min(data.BatchSize(), data.Len())}
			if step {
				b.turns = bufio.NewScanner(os.Stdin)
			}
			return a.timeModel(c, b, count)
		},
	}
	f := c.Flags()
	f.StringVarP(&in, "input", "i", "random", "the data, as for obc run")
	f.IntVar(&count, "count", 10, "number of timed runs")
	f.BoolVar(&step, "step", false, "wait for a line on standard input before each run; end of input ends the command")
	d.add(f)
	d.noMask(f)
	return c
}

// modelName is the file's name, or its folder's when all models there are called model.onnx.
func modelName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".onnx")
	if dir := filepath.Base(filepath.Dir(path)); name == "model" && dir != "." {
		return dir
	}
	return name
}

// modelBench is a model with the batch to run it on.
type modelBench struct {
	e       *exec.Executor
	feeds   map[string]*onnxio.Tensor
	name    string
	samples int
	turns   *bufio.Scanner // nil: do not wait
}

func (a *app) timeModel(c *cobra.Command, b modelBench, count int) error {
	type run struct {
		Model       string `json:"model"`
		Batch       int    `json:"batch"`
		Threads     int    `json:"threads"`
		Nanoseconds int64  `json:"ns"`
		CPU         int64  `json:"cpu_ns"` // of all threads; 0: not known
	}
	var runs []run
	for i := -1; i < count; i++ { // -1: not timed
		if i >= 0 && b.turns != nil && !b.turns.Scan() {
			break
		}
		start, cpu := time.Now(), cpuTime()
		if _, err := b.e.Run(c.Context(), b.feeds, nil); err != nil {
			return err
		}
		if i < 0 {
			continue
		}
		r := run{b.name, b.samples, a.threads, time.Since(start).Nanoseconds(), (cpuTime() - cpu).Nanoseconds()}
		runs = append(runs, r)
		if !a.json {
			fmt.Fprintf(a.out, "BenchmarkModel/%s/batch=%d/threads=%d\t1\t%d ns/op\t%d cpu-ns/op\t%d peak-B\n", r.Model, r.Batch, r.Threads, r.Nanoseconds, r.CPU, b.e.Peak())
		}
	}
	if a.json {
		return a.print(runs, func(io.Writer, int) error { return nil })
	}
	return nil
}
