package calib

import (
	"context"
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops" // the operators register themselves
	"github.com/obc-onnx/obc/onnxio"
)

// runner runs a model over a dataset, batch by batch.
type runner struct {
	graph *graph.Graph
	exec  *exec.Executor
	ds    Dataset
	o     CaptureOptions
	batch int
	mask  string
}

func newRunner(g *graph.Graph, ds Dataset, o CaptureOptions) (*runner, error) {
	e, err := exec.New(g, exec.Options{Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	r := &runner{graph: g, exec: e, ds: ds, o: o, batch: o.Batch, mask: o.Mask}
	set, isSet := ds.(interface{ BatchSize() int })
	if r.batch <= 0 {
		r.batch = defaultBatch
		if isSet {
			r.batch = set.BatchSize()
		}
	}
	if isSet {
		if fixed, ok := ds.(*Set); ok && fixed.fixed {
			r.batch = 1
		}
	}
	switch {
	case r.mask == "none":
		r.mask = ""
	case r.mask == "":
		if s, ok := ds.(*Set); ok {
			r.mask = s.Mask
		}
	case !slices.Contains(ds.Inputs(), r.mask):
		return nil, fmt.Errorf("mask %q is no input that the data feeds; they are %q", r.mask, ds.Inputs())
	}
	return r, nil
}

// batches is the number of runs that one pass over the data takes. A single sample that is left over joins the batch before it: products
// with one row are summed in another order than those with more, and results are to be the same for any size of batches above 1.
func (r *runner) batches() int {
	n := (r.ds.Len() + r.batch - 1) / r.batch
	if n > 1 && r.batch > 1 && r.ds.Len()%r.batch == 1 {
		n--
	}
	return n
}

// samples is where batch b begins and ends.
func (r *runner) samples(b int) (lo, hi int) {
	if b == r.batches()-1 {
		return b * r.batch, r.ds.Len()
	}
	return b * r.batch, (b + 1) * r.batch
}

// read gives batch b and what tells its real rows from padding.
func (r *runner) read(ctx context.Context, b int) (feeds map[string]*onnxio.Tensor, keep func(shape []int) []bool, err error) {
	lo, hi := r.samples(b)
	feeds, err = r.ds.Batch(ctx, lo, hi)
	if err != nil {
		return nil, nil, err
	}
	mask := feeds[r.mask]
	return feeds, func(shape []int) []bool { return keepRows(mask, shape) }, nil
}

// each calls fn for every batch in order, as pass number pass of passes.
func (r *runner) each(ctx context.Context, pass, passes int, fn func(feeds map[string]*onnxio.Tensor, keep func([]int) []bool) error) error {
	if r.ds.Len() == 0 {
		return fmt.Errorf("the calibration data has no samples")
	}
	n := r.batches()
	for b := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		feeds, keep, err := r.read(ctx, b)
		if err != nil {
			return err
		}
		if err := fn(feeds, keep); err != nil {
			lo, hi := r.samples(b)
			return Blame(ctx, r.exec, r.ds, lo, hi, err)
		}
		if r.o.Progress != nil {
			r.o.Progress(pass*n+b+1, passes*n)
		}
	}
	return nil
}
