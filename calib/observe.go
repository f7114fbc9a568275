package calib

import (
	"context"
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Observe runs g over the data and shows fn the tensors of the named values, batch by batch: inputs of the graph and outputs of
// nodes, those in subgraphs as often as they are computed. keep says which rows are not padding: it divides t into equal rows, nil
// keeps all. The tensors are valid during the call only and must not be written to. Values are shown in the order in which they
// are computed. A name that no value has is an error.
func Observe(ctx context.Context, g *graph.Graph, names []string, ds Dataset, o CaptureOptions, fn func(name string, t *onnxio.Tensor, keep []bool) error) error {
	wanted, inputs, err := findValues(g, names)
	if err != nil {
		return err
	}
	r, err := newRunner(g, ds, o)
	if err != nil {
		return err
	}
	jobs := map[*graph.Node][]job{}
	for n := range wanted {
		jobs[n] = nil
	}
	stop := r.after(jobs)
	return r.each(ctx, 0, 1, func(feeds map[string]*onnxio.Tensor, keep func([]int) []bool) error {
		for _, name := range inputs {
			if err := fn(name, feeds[name], keep(feeds[name].Shape)); err != nil {
				return err
			}
		}
		if len(wanted) == 0 {
			return nil
		}
		s := r.exec.Start(feeds)
		defer s.Close()
		return s.RunUntil(ctx, stop, &exec.Hooks{After: func(n *graph.Node, _, out []*onnxio.Tensor) error {
			for _, i := range wanted[n] {
				if out[i] == nil {
					continue
				}
				if err := fn(n.Outputs[i].Name, out[i], keep(out[i].Shape)); err != nil {
					return err
				}
			}
			return nil
		}})
	})
}

// findValues finds the nodes, with the numbers of their outputs, and the graph inputs of the given names.
func findValues(g *graph.Graph, names []string) (outputs map[*graph.Node][]int, inputs []string, err error) {
	missing := map[string]bool{}
	for _, n := range names {
		missing[n] = true
	}
	for _, v := range feedable(g) {
		if missing[v.Name] {
			inputs = append(inputs, v.Name)
			delete(missing, v.Name)
		}
	}
	outputs = map[*graph.Node][]int{}
	g.Walk(func(n *graph.Node) {
		for i, v := range n.Outputs {
			if v != nil && slices.Contains(names, v.Name) {
				outputs[n] = append(outputs[n], i)
				delete(missing, v.Name)
			}
		}
	})
	for _, n := range names {
		if missing[n] {
			return nil, nil, fmt.Errorf("no value is called %q: it must be an input of the graph or the output of a node", n)
		}
	}
	return outputs, inputs, nil
}
