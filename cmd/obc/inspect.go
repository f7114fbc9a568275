package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/internal/inspect"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/onnxio"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect MODEL.onnx",
		Short:   "Describe a model: layers, shapes, work, sparsity, bits, and what cannot be compressed",
		Example: "  obc inspect model.onnx\n  obc inspect --json out.onnx",
		Args:    oneModel,
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := onnxio.Load(args[0])
			if err != nil {
				return input(err)
			}
			defer m.Close()
			s, err := inspect.Model(m)
			if err != nil {
				return input(err)
			}
			return a.print(s, func(w io.Writer, width int) error { return described(s).write(w, width) })
		},
	}
}

// operandBits shows the bits of weights and, after a slash, of inputs that are not float: "8/8", "4", "32".
func operandBits(weights, inputs int) string {
	if weights == 0 {
		weights = 32
	}
	text := strconv.Itoa(weights)
	if inputs > 0 {
		text += "/" + strconv.Itoa(inputs)
	}
	return text
}

// described is a model's summary for people.
func described(s *inspect.Summary) text {
	values := func(list []inspect.Value) string {
		var parts []string
		for _, v := range list {
			parts = append(parts, fmt.Sprintf("%s %s%s", v.Name, v.Type, v.Shape))
		}
		return strings.Join(parts, ", ")
	}
	var opsets, operators []string
	for _, d := range slices.Sorted(maps.Keys(s.Opsets)) {
		opsets = append(opsets, fmt.Sprintf("%s %d", d, s.Opsets[d]))
	}
	for _, op := range slices.Sorted(maps.Keys(s.Operators)) {
		operators = append(operators, fmt.Sprintf("%d %s", s.Operators[op], op))
	}
	count := func(n *int64) string {
		if n == nil {
			return "unknown"
		}
		return report.Count(float64(*n))
	}
	about := report.Table{Left: 2, Header: []string{"model", s.File}, Rows: [][]string{
		{"producer", s.Producer}, {"opsets", fmt.Sprintf("%s (IR %d)", strings.Join(opsets, ", "), s.IR)},
		{"inputs", values(s.Inputs)}, {"outputs", values(s.Outputs)},
		{"nodes", fmt.Sprintf("%d: %s", s.Nodes, strings.Join(operators, ", "))},
		{"weights in layers", fmt.Sprintf("%s, %s zero", report.Count(float64(s.Weights)), report.Quantity(s.Sparsity, "%"))},
		{"MACs per sample", count(s.MACs)}, {"BOPs per sample", count(s.BOPs)},
	}}
	for _, key := range slices.Sorted(maps.Keys(s.Annotations)) {
		about.Rows = append(about.Rows, []string{"obc: " + key, s.Annotations[key]})
	}
	layers := report.Table{Title: "Layers", Left: 4, Header: []string{"layer", "op", "pattern", "stored as", "rows x columns", "zeros", "bits", "MACs", "relative loss"}}
	for _, l := range s.Layers {
		shape := fmt.Sprintf("%d x %d", l.Rows, l.Cols)
		if l.Groups > 1 {
			shape = fmt.Sprintf("%d x %s", l.Groups, shape)
		}
		stored := l.Stored
		if bits := l.Annotations["bits"]; bits != "" && !strings.HasSuffix(stored, bits) {
			stored += " (" + bits + " bits)"
		}
		layers.Rows = append(layers.Rows, []string{l.Name, l.Op, l.Pattern, stored, shape, report.Quantity(l.Sparsity, "%"), operandBits(l.Bits, l.InputBits), l.MACs, l.Annotations["relative_loss"]})
	}
	t := text{tables: []report.Table{about}}
	if len(layers.Rows) > 0 {
		t.tables = append(t.tables, layers)
	}
	if len(s.Skipped) > 0 {
		skipped := report.Table{Title: "Not compressible", Left: 3, Header: []string{"node", "op", "reason", "bits", "MACs"}}
		for _, k := range s.Skipped {
			bits := ""
			if k.Bits > 0 {
				bits = operandBits(k.Bits, k.InputBits)
			}
			skipped.Rows = append(skipped.Rows, []string{k.Name, k.Op, k.Reason, bits, k.MACs})
		}
		t.tables = append(t.tables, skipped)
	}
	if len(s.Unsupported) > 0 {
		t.lines = append(t.lines, "obc cannot run these operators, so it cannot calibrate the model: "+strings.Join(s.Unsupported, ", "))
	}
	return t
}
