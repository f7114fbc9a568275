package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/internal/score"
)

func (a *app) compareCommand() *cobra.Command {
	var d dataFlags
	var spec string
	c := &cobra.Command{
		Use:     "compare DENSE.onnx OTHER.onnx --data DATA",
		Short:   "Compare two models layer by layer",
		Long:    "Run both models on the data and print, for each layer of the first and for each output, how far the second is from it.\nA layer's difference holds what all layers before it did: where the SNR falls, accuracy is lost.",
		Example: "  obc compare model.onnx small.onnx --data test.npz",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("compare needs two model files, %d arguments were given: %s", len(args), c.UseLine())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if spec == "" {
				return badUsage("--data is missing: give the data to compare on (.npz, .npy, .csv, a folder)")
			}
			graphs := make([]*graph.Graph, 2)
			for i, path := range args {
				_, g, err := loadModel(path)
				if err != nil {
					return err
				}
				graphs[i] = g
			}
			data, err := d.open(a, "data", spec, graphs[0])
			if err != nil {
				return err
			}
			defer data.Close()
			r, err := score.Compare(c.Context(), graphs[0], graphs[1], data, data.BatchSize(), exec.Options{Threads: a.threads})
			if errors.Is(err, score.ErrNothingShared) {
				err = input(err)
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", args[0], args[1], err)
			}
			return a.print(r, func(w io.Writer, width int) error { return compared(r).write(w, width) })
		},
	}
	c.Flags().StringVar(&spec, "data", "", "the data to compare on")
	d.add(c.Flags())
	d.addMask(c.Flags())
	return c
}

// text is tables with lines below.
type text struct {
	tables []report.Table
	lines  []string
}

func (t text) write(w io.Writer, width int) error {
	for _, table := range t.tables {
		if err := table.Text(w, width); err != nil {
			return err
		}
	}
	for _, l := range t.lines {
		if _, err := fmt.Fprintln(w, l); err != nil {
			return err
		}
	}
	return nil
}

func compared(c *score.Compared) text {
	rows := func(title string, list []score.Named) report.Table {
		t := report.Table{Title: title, Left: 2, Header: []string{"name", "op", "SNR", "cosine", "largest difference", "same top-1"}}
		for _, n := range list {
			t.Rows = append(t.Rows, []string{n.Name, n.Op, report.Quantity(n.SNR, "dB"), fmt.Sprintf("%.6f", n.Cosine),
				fmt.Sprintf("%.4g", n.MaxAbs), report.Quantity(n.Agreement, "%")})
		}
		return t
	}
	t := text{tables: []report.Table{rows("Layers", c.Layers), rows("Outputs", c.Outputs)}, lines: []string{fmt.Sprintf("%d samples", c.Samples)}}
	var scaled []string
	for _, l := range c.Layers {
		if l.Scaled {
			scaled = append(scaled, l.Name)
		}
	}
	if len(scaled) > 0 {
		t.lines = append(t.lines, "in the second model, equalization has scaled the output channels of these layers, and what reads them takes it back: their figures are no losses: "+strings.Join(scaled, ", "))
	}
	if len(c.Alone) > 0 {
		t.lines = append(t.lines, "not in the second model under the same name: "+strings.Join(c.Alone, ", "))
	}
	return t
}
