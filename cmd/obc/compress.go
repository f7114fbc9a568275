package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/passes"
)

// compressJob is what one obc compress is told to do.
type compressJob struct {
	recipeFlags recipeFlags
	dataFlags   dataFlags
	check       check
	in, out     string
	calib       string
	reports     []string
	memory      string
	external    bool

	recipe      *passes.Recipe
	memoryLimit int64
}

func (a *app) compressCommand() *cobra.Command {
	j := &compressJob{}
	c := &cobra.Command{
		Use:   "compress MODEL.onnx --calib DATA -o OUT.onnx",
		Short: "Prune and quantize a model",
		Long: strings.TrimSpace(`
Prune and quantize the layers of a model, as flags or a recipe file say, and write the result with a report. Each layer
that is left as it is stands in the report with its reason. When nothing would change, nothing is written and the exit
code is 1. docs/RECIPE.md explains the settings.

With --eval the dense and the compressed model are scored before the result is written. With --max-drop too, nothing is
written when the score falls by more than that, and the exit code is 1: choose a milder setting then, or keep the
layers with the largest relative loss dense. The score is top-1 accuracy where the classes are known, else the share of
samples on which both models agree (dense: 100%); --metric chooses another.`),
		Example: `  obc compress model.onnx --calib calib.npz --nm 2:4 -o out.onnx
  obc compress model.onnx --calib calib.npz --weights int8 --activations int8 -o out.onnx --report out.html
  obc compress model.onnx --calib images/ --preprocess pre.yaml --recipe recipe.yaml --target flops=3x --eval test.npz --max-drop 1% -o out.onnx`,
		Args: oneModel,
		RunE: func(c *cobra.Command, args []string) error {
			j.in = args[0]
			if err := j.prepare(c.Flags()); err != nil {
				return err
			}
			r, err := a.compress(c.Context(), j)
			if err != nil {
				return err
			}
			return a.print(r, r.Text)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&j.calib, "calib", "", "calibration data: .npz, .npy, .csv, a folder of pictures or of test_data_set_*, or \"random\" to try things out")
	f.StringVarP(&j.out, "output", "o", "", "the file to write")
	j.recipeFlags.add(f)
	j.dataFlags.add(f)
	j.dataFlags.addMask(f)
	j.check.add(f)
	f.StringSliceVar(&j.reports, "report", nil, "write the report to these files: .html or .json")
	f.BoolVar(&j.external, "external-data", false, "store the weights in a file beside the model (done by itself above 2 GiB)")
	f.StringVar(&j.memory, "memory-limit", "", "bytes of Hessians and of elimination traces in memory at a time, such as 512MiB (default 1GiB each)")
	return c
}

// prepare checks all that can be checked before a file is read.
func (j *compressJob) prepare(f *pflag.FlagSet) (err error) {
	if j.calib == "" {
		return badUsage("--calib is missing: give calibration data (.npz, .npy, .csv, a folder); a few hundred samples of what the model will see")
	}
	if j.memory != "" {
		if j.memoryLimit, err = parseSize("memory-limit", j.memory); err != nil {
			return err
		}
	}
	if err := j.check.validate(f); err != nil {
		return err
	}
	if j.recipe, err = j.recipeFlags.recipe(f); err != nil {
		return err
	}
	if asksNothing(j.recipe) && j.recipe.Block > 1 {
		return badUsage("--block %d needs a share: give --sparsity too, such as --sparsity 0.5", j.recipe.Block)
	}
	if asksNothing(j.recipe) {
		return badUsage("nothing to do: give --nm, --sparsity, --weights, --activations or --target, or a recipe with one of them")
	}
	return j.checkOutputs()
}

// asksNothing reports whether no layer of any model would change.
func asksNothing(r *passes.Recipe) bool {
	return r.NM == "" && r.Sparsity == 0 && r.Weights.Bits == 0 && r.Activations.Bits == 0 && r.Target == "" && len(r.Rules) == 0
}

// checkOutputs finds out whether all files can be written and differ.
func (j *compressJob) checkOutputs() error {
	if j.in == "" {
		return badUsage("the name of the model is empty: give an .onnx file")
	}
	if _, err := os.Stat(j.in); err != nil {
		return badUsage("%s cannot be read: %w", j.in, err)
	}
	read := []string{j.in, j.calib, j.check.data, j.check.labels, j.recipeFlags.file, j.dataFlags.preprocess}
	if err := checkOutput("output", j.out, read...); err != nil {
		return err
	}
	for i, file := range j.reports {
		if ext := filepath.Ext(file); ext != ".html" && ext != ".json" {
			return badUsage("--report is %q, expected a file that ends in .html or .json", file)
		}
		if filepath.Clean(file) == filepath.Clean(j.out) || slices.Contains(j.reports[:i], file) {
			return badUsage("--report: %s is named twice", file)
		}
		if err := checkOutput("report", file, read...); err != nil {
			return err
		}
	}
	return nil
}

// compress does the job: everything is computed and scored first, then written.
func (a *app) compress(ctx context.Context, j *compressJob) (*report.Run, error) {
	solving.Store(true)
	m, g, err := loadModel(j.in)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if m.ReadsData(j.out) {
		return nil, badUsage("--output: %s holds the weights of %s: choose another name, inputs are never overwritten", j.out, j.in)
	}
	data, err := j.dataFlags.open(a, "calib", j.calib, g)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	test, err := a.openCheck(&j.check, &j.dataFlags, g)
	if err != nil {
		return nil, err
	}
	if test != nil {
		defer test.data.Close()
	}
	mask := data.Mask
	if mask == "" {
		mask = "none"
	}
	done, err := passes.Compress(ctx, m, data, j.recipe, passes.Options{Threads: a.threads, Batch: data.BatchSize(),
		MemoryLimit: j.memoryLimit, Mask: mask, Version: version(), Progress: a.follow()})
	if err != nil {
		a.closeProgress()
		if name := j.in + ": "; !strings.HasPrefix(err.Error(), name) {
			err = fmt.Errorf("%s%w", name, err)
		}
		return nil, err
	}
	a.finishProgress()
	defer done.Model.Close()
	if done.Report.Compressed.Bytes, err = done.Model.SavedSize(j.out, j.save()); err != nil {
		return nil, err
	}
	r, err := newRun(j, data, done.Report)
	if err != nil {
		return nil, err
	}
	if test != nil {
		if r.Scores, err = a.scored(ctx, &j.check, test, g, done.Model); err != nil {
			return nil, err
		}
	}
	return r, j.write(ctx, done.Model, r)
}

// newRun joins the passes' report and what they cannot know. What random data or a mask did to the result is repeated.
func newRun(j *compressJob, data *calib.Set, done *passes.Report) (*report.Run, error) {
	text, err := yaml.Marshal(j.recipe)
	if err != nil {
		return nil, err
	}
	for _, w := range data.Warnings {
		if !slices.Contains(done.Warnings, w) {
			done.Warnings = append(done.Warnings, w)
		}
	}
	if len(data.Notes) > 0 {
		done.Passes = slices.Insert(done.Passes, 0, passes.PassReport{Name: "read data", Notes: data.Notes})
	}
	return &report.Run{Input: j.in, Output: j.out, Calibration: j.calib, Recipe: string(text), Report: done}, nil
}

// save says how the model is written.
func (j *compressJob) save() (o onnxio.SaveOptions) {
	if j.external {
		o.External = onnxio.ExternalAlways
	}
	return o
}

// write writes the model, then the reports.
func (j *compressJob) write(ctx context.Context, m *onnxio.Model, r *report.Run) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.Save(j.out, j.save()); err != nil {
		return err
	}
	for _, file := range j.reports {
		write := r.HTML
		if filepath.Ext(file) == ".json" {
			write = func(w io.Writer) error { return report.JSON(w, r) }
		}
		if err := writeFile(file, write); err != nil {
			return fmt.Errorf("%w (%s is written)", err, j.out)
		}
	}
	return nil
}

// openCheck opens the data to score on, nil without any.
func (a *app) openCheck(c *check, d *dataFlags, g *graph.Graph) (*evaluation, error) {
	if c.data == "" {
		return nil, nil
	}
	own := dataFlags{batch: d.batch, mask: d.mask, preprocess: d.preprocess} // all samples, whatever calibration uses
	return a.openEvaluation(&own, "eval", c.data, c.labels, g)
}
