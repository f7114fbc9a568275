package calib

import (
	"context"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Ran runs g over the data and tells which of the given nodes, of g or its subgraphs, were computed at least once: those of branches
// that no sample takes are not.
func Ran(ctx context.Context, g *graph.Graph, nodes []*graph.Node, ds Dataset, o CaptureOptions) (map[*graph.Node]bool, error) {
	r, err := newRunner(g, ds, o)
	if err != nil {
		return nil, err
	}
	jobs, ran := map[*graph.Node][]job{}, map[*graph.Node]bool{}
	for _, n := range nodes {
		jobs[n] = nil
	}
	hooks := &exec.Hooks{Before: func(n *graph.Node, _ []*onnxio.Tensor) error {
		if _, asked := jobs[n]; asked {
			ran[n] = true
		}
		return nil
	}}
	err = r.each(ctx, 0, 1, func(feeds map[string]*onnxio.Tensor, _ func([]int) []bool) error {
		s := r.exec.Start(feeds)
		defer s.Close()
		return s.RunUntil(ctx, r.after(jobs), hooks)
	})
	return ran, err
}
