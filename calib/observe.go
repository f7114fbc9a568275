package calib

import (
	"context"
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Observe runs g over the data and shows fn the tensors of the named values, batch by batch: inputs of the graph, outputs of
// nodes, and inputs of subgraphs, what lies in subgraphs as often as it is computed. keep says which rows are not padding: it divides
// t into equal rows, nil keeps all. The tensors are valid during the call only and must not be written to. Values are shown in the
// order in which they are computed. A name that no value has is an error.
func Observe(ctx context.Context, g *graph.Graph, names []string, ds Dataset, o CaptureOptions, fn func(name string, t *onnxio.Tensor, keep []bool) error) error {
	at, err := findValues(g, names)
	if err != nil {
		return err
	}
	r, err := newRunner(g, ds, o)
	if err != nil {
		return err
	}
	jobs := map[*graph.Node][]job{}
	for n := range at.outputs {
		jobs[n] = nil
	}
	for n := range at.reads {
		jobs[n] = nil
	}
	stop := r.after(jobs)
	return r.each(ctx, 0, 1, func(feeds map[string]*onnxio.Tensor, keep func([]int) []bool) error {
		for _, name := range at.inputs {
			if err := fn(name, feeds[name], keep(feeds[name].Shape)); err != nil {
				return err
			}
		}
		if len(jobs) == 0 {
			return nil
		}
		s := r.exec.Start(feeds)
		defer s.Close()
		show := func(v *graph.Value, t *onnxio.Tensor) error {
			if t == nil {
				return nil
			}
			return fn(v.Name, t, keep(t.Shape))
		}
		h := &exec.Hooks{After: func(n *graph.Node, _, out []*onnxio.Tensor) error {
			for _, i := range at.outputs[n] {
				if err := show(n.Outputs[i], out[i]); err != nil {
					return err
				}
			}
			return nil
		}}
		if len(at.reads) > 0 {
			h.Before = func(n *graph.Node, in []*onnxio.Tensor) error {
				for _, i := range at.reads[n] {
					if err := show(n.Inputs[i], in[i]); err != nil {
						return err
					}
				}
				return nil
			}
		}
		return s.RunUntil(ctx, stop, h)
	})
}

// places say where values are to be seen.
type places struct {
	inputs  []string              // of the main graph
	outputs map[*graph.Node][]int // by the node that computes them
	reads   map[*graph.Node][]int // inputs of subgraphs: by the first node that reads them
}

// findValues finds the values of the given names.
func findValues(g *graph.Graph, names []string) (*places, error) {
	missing := map[string]bool{}
	for _, n := range names {
		missing[n] = true
	}
	at := &places{outputs: map[*graph.Node][]int{}, reads: map[*graph.Node][]int{}}
	for _, v := range feedable(g) {
		if missing[v.Name] {
			at.inputs = append(at.inputs, v.Name)
			delete(missing, v.Name)
		}
	}
	seen := map[*graph.Value]bool{}
	g.Walk(func(n *graph.Node) {
		for i, v := range n.Inputs {
			if v != nil && v.IsInput && v.Graph.Outer != nil && !seen[v] && slices.Contains(names, v.Name) {
				seen[v] = true
				at.reads[n] = append(at.reads[n], i)
				delete(missing, v.Name)
			}
		}
		for i, v := range n.Outputs {
			if v != nil && slices.Contains(names, v.Name) {
				at.outputs[n] = append(at.outputs[n], i)
				delete(missing, v.Name)
			}
		}
	})
	for _, n := range names {
		if missing[n] {
			return nil, fmt.Errorf("no value is called %q: it must be an input of a graph or the output of a node", n)
		}
	}
	return at, nil
}
