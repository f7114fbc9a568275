package main

import (
	"fmt"
	"io"
	"path/filepath"
	"sort"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/internal/score"
	"github.com/obc-onnx/obc/onnxio"
)

func (a *app) runCommand() *cobra.Command {
	var d dataFlags
	var in, out string
	var profiled bool
	var limit string
	c := &cobra.Command{
		Use:     "run MODEL.onnx --input DATA [-o OUT.npz]",
		Short:   "Run a model on data",
		Long:    "Run a model on all samples of the data and write its outputs, joined along the first axis, as an .npz file.",
		Example: "  obc run model.onnx --input x.npz -o y.npz",
		Args:    oneModel,
		RunE: func(c *cobra.Command, args []string) error {
			if in == "" {
				return badUsage("--input is missing: give the data to run on (.npz, .npy, .csv, a folder)")
			}
			if out != "" {
				if filepath.Ext(out) != ".npz" {
					return badUsage("--output is %q, expected a file that ends in .npz", out)
				}
				if err := checkOutput("output", out, args[0], in, d.preprocess); err != nil {
					return err
				}
			}
			p, o := newProfile(), exec.Options{Threads: a.threads}
			if limit != "" {
				var err error
				if o.MemoryLimit, err = parseSize("memory-limit", limit); err != nil {
					return err
				}
			}
			if profiled {
				o.Trace = p.add
			}
			e, g, err := a.executorWith(args[0], o)
			if err != nil {
				return err
			}
			data, err := d.open(a, "input", in, g)
			if err != nil {
				return err
			}
			defer data.Close()
			outs, err := score.Predict(c.Context(), e, data, data.BatchSize())
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if out != "" {
				if err := writeFile(out, func(w io.Writer) error { return calib.WriteNPZ(w, outs) }); err != nil {
					return err
				}
			}
			if profiled {
				return a.printProfile(p, e.Peak())
			}
			return a.printOutputs(outs)
		},
	}
	f := c.Flags()
	f.StringVarP(&in, "input", "i", "", "the data: .npz, .npy, .csv, a folder of pictures or of test_data_set_*, or \"random\"")
	f.StringVarP(&out, "output", "o", "", "the .npz file to write the outputs to")
	f.BoolVar(&profiled, "profile", false, "print the time per operator and per node and the peak of activation memory in place of the outputs' ranges")
	f.StringVar(&limit, "memory-limit", "", "what activations may take at a time, such as 512MiB (default 8GiB)")
	d.add(f)
	d.noMask(f)
	return c
}

// printOutputs tells what came out: type, shape and range of each output.
func (a *app) printOutputs(outs map[string]*onnxio.Tensor) error {
	type row struct {
		Name  string  `json:"name"`
		Type  string  `json:"type"`
		Shape []int   `json:"shape"`
		Min   float64 `json:"min"`
		Mean  float64 `json:"mean"`
		Max   float64 `json:"max"`
		Bad   int     `json:"not_finite"`
	}
	var rows []row
	table := report.Table{Left: 3, Header: []string{"output", "type", "shape", "min", "mean", "max", "not finite"}}
	for name, t := range outs {
		r := row{Name: name, Type: t.Type.String(), Shape: t.Shape}
		r.Min, r.Mean, r.Max, r.Bad = score.Range(t)
		rows = append(rows, r)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Name < rows[j].Name })
	for _, r := range rows {
		number := func(x float64) string { return fmt.Sprintf("%.6g", x) }
		table.Rows = append(table.Rows, []string{r.Name, r.Type, fmt.Sprint(r.Shape), number(r.Min), number(r.Mean), number(r.Max), fmt.Sprint(r.Bad)})
	}
	return a.print(rows, table.Text)
}
