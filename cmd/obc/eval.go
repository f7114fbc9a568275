package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/internal/score"
)

// metrics are the names of what eval prints, in its order.
var metrics = []string{"top1", "top5", "agreement", "top5_holds", "snr", "cosine", "mse", "max_abs"}

func (a *app) evalCommand() *cobra.Command {
	var d dataFlags
	var spec, labels, reference, output string
	var wanted []string
	c := &cobra.Command{
		Use:   "eval MODEL.onnx --data DATA",
		Short: "Score a model: accuracy, or closeness to a reference model",
		Long: strings.TrimSpace(`
Score a model on data: top-1 and top-5 accuracy where the classes of the samples are known, and how close its output is
to that of a reference model (agreement of the largest entry, whether the reference's largest entry is among the five
largest, signal-to-noise ratio, cosine, mean squared and largest difference).`),
		Example: `  obc eval model.onnx --data test.npz
  obc eval small.onnx --data test.npz --reference model.onnx --metric top1,snr`,
		Args: oneModel,
		RunE: func(c *cobra.Command, args []string) error {
			for _, m := range wanted {
				if err := oneOf("metric", m, metrics); err != nil {
					return err
				}
			}
			if spec == "" {
				return badUsage("--data is missing: give the data to score on (.npz, .npy, .csv, a folder)")
			}
			e, g, err := a.executor(args[0])
			if err != nil {
				return err
			}
			name, err := outputNamed(g, output)
			if err != nil {
				return err
			}
			test, err := a.openEvaluation(&d, "data", spec, labels, g)
			if err != nil {
				return err
			}
			defer test.data.Close()
			if test.labels == nil && reference == "" {
				return badUsage("nothing to score against: give the classes with --labels (or as the array \"label\" of the data), or a model with --reference")
			}
			var ref *score.Model
			if reference != "" {
				re, rg, err := a.executor(reference)
				if err != nil {
					return err
				}
				rname, err := outputNamed(rg, output)
				if err != nil {
					return err
				}
				ref = &score.Model{Executor: re, Output: rname}
			}
			r, err := score.Evaluate(c.Context(), &score.Model{Executor: e, Output: name}, ref, test.data, test.data.BatchSize(), test.labels)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.printResult(r, wanted)
		},
	}
	f := c.Flags()
	f.StringVar(&spec, "data", "", "the data to score on")
	f.StringVar(&labels, "labels", "", "classes of the samples (.npy, .npz or .csv); default: the array \"label\" in the data")
	f.StringVar(&reference, "reference", "", "the model to compare the output with, usually the dense one")
	f.StringVar(&output, "output", "", "the output to score (default: the first)")
	f.StringSliceVar(&wanted, "metric", nil, "print only these: "+strings.Join(metrics, ", "))
	d.add(f)
	d.addMask(f)
	return c
}

// printResult prints the wanted figures, all when none is named. A wanted figure that could not be computed is an error.
func (a *app) printResult(r *score.Result, wanted []string) error {
	type figure struct {
		value, reference *float64
		unit             string
	}
	all := map[string]figure{"top1": {r.Top1, r.ReferenceTop1, "%"}, "top5": {r.Top5, r.ReferenceTop5, "%"}}
	if d := r.Difference; d != nil {
		all["agreement"], all["top5_holds"] = figure{&d.Agreement, nil, "%"}, figure{&d.TopFive, nil, "%"}
		all["snr"], all["cosine"] = figure{&d.SNR, nil, "dB"}, figure{&d.Cosine, nil, ""}
		all["mse"], all["max_abs"] = figure{&d.MSE, nil, ""}, figure{&d.MaxAbs, nil, ""}
		if d.NotFinite > 0 {
			a.warn("%d elements of the outputs are infinite or not a number: they are left out of the sums", d.NotFinite)
		}
	}
	table := report.Table{Left: 1, Header: []string{"metric", "model", "reference"}}
	for _, name := range metrics {
		f := all[name]
		if slices.Contains(wanted, name) && f.value == nil {
			if strings.HasPrefix(name, "top") && name != "top5_holds" {
				return badUsage("--metric %s needs the classes of the samples: give them with --labels", name)
			}
			return badUsage("--metric %s needs --reference: the model to compare with", name)
		}
		if f.value == nil || len(wanted) > 0 && !slices.Contains(wanted, name) {
			continue
		}
		row := []string{name, report.Quantity(*f.value, f.unit), ""}
		if f.reference != nil {
			row[2] = report.Quantity(*f.reference, f.unit)
		}
		table.Rows = append(table.Rows, row)
	}
	return a.print(r, func(w io.Writer, width int) error {
		if err := table.Text(w, width); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "%d samples, %.2f s\n", r.Samples, r.Seconds)
		return err
	})
}
