package calib

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// CaptureOptions say how a model is run over its calibration data.
type CaptureOptions struct {
	Threads     int    // 0: as many as there are CPUs
	Batch       int    // samples a run; 0: what the dataset asks for, else 32
	MemoryLimit int64  // bytes of Hessians in flight; more layers mean more passes over the data; 0: 1 GiB
	Mask        string // the input that marks padding with 0; "" takes what a *Set found; "none" for no mask
	Outputs     bool   // also gather Stats.Output
	TempDir     string // for what Walk spills; "": the system's
	// Progress is told after each batch how many of how many are done, over all passes.
	Progress func(done, total int)
}

const (
	defaultHessianBytes = 1 << 30
	defaultBatch        = 32
)

// Stats is what calibration knows of one layer.
type Stats struct {
	// Hessians holds H = 2/N sum x x^T for each group: Cols x Cols, symmetric, columns ordered as by graph.Layer.Matrix. Layers
	// that read the same values share them: treat as read-only.
	Hessians [][]float64
	// N is the number of columns x that were summed for a group, over all nodes that share the weight.
	N int64
	// Masked is the number of columns that were left out as padding.
	Masked int64
	// Min and Max are the least and the greatest value of the input, padding left out; 0, 0 when there was none.
	Min, Max float32
	// Output has the moments of the output channels, bias included; nil unless asked for.
	Output *Moments
}

// Capture runs g over the data and gives the statistics of each layer. Only sums are kept, never activations. When the Hessians of
// all layers pass MemoryLimit, see CaptureEach, which does not have to hold them all.
func Capture(ctx context.Context, g *graph.Graph, layers []*graph.Layer, ds Dataset, o CaptureOptions) (map[*graph.Layer]*Stats, error) {
	all := make(map[*graph.Layer]*Stats, len(layers))
	err := CaptureEach(ctx, g, layers, ds, o, func(l *graph.Layer, s *Stats) error {
		all[l] = s
		return nil
	})
	return all, err
}

// CaptureEach is Capture that hands each layer over as soon as it is complete, in the order of layers, and then forgets it. Layers
// are gathered together as far as MemoryLimit reaches; for the rest the data is run again, no further than needed.
func CaptureEach(ctx context.Context, g *graph.Graph, layers []*graph.Layer, ds Dataset, o CaptureOptions, fn func(*graph.Layer, *Stats) error) error {
	run, err := newRunner(g, ds, o)
	if err != nil {
		return err
	}
	passes := o.plan(layers)
	for i, part := range passes {
		if i > 0 {
			runtime.GC() // the Hessians of the pass before are not to meet those of this one
		}
		sources, err := run.capture(ctx, part, i, len(passes))
		if err != nil {
			return err
		}
		for _, l := range part {
			err := fn(l, sources[l].stats(l))
			if delete(sources, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan cuts the layers into groups whose Hessians fit the limit, one layer at least.
func (o CaptureOptions) plan(layers []*graph.Layer) [][]*graph.Layer {
	limit := o.MemoryLimit
	if limit <= 0 {
		limit = defaultHessianBytes
	}
	var passes [][]*graph.Layer
	used, seen := int64(0), map[string]bool{}
	start := 0
	for i, l := range layers {
		size, key := hessianBytes(l), sourceKey(l)
		if seen[key] {
			size = 0
		}
		if i > start && used+size > limit {
			passes = append(passes, layers[start:i])
			start, used, seen = i, 0, map[string]bool{}
			size = hessianBytes(l)
		}
		used += size
		seen[key] = true
	}
	if start < len(layers) {
		passes = append(passes, layers[start:])
	}
	return passes
}

// hessianBytes is what the sums of a layer take while they are gathered: one Hessian a group and node.
func hessianBytes(l *graph.Layer) int64 {
	return int64(len(l.Nodes)) * int64(l.Groups) * int64(l.Cols) * int64(l.Cols) * 8
}

// sourceKey is the same for layers that see the same rows x: a transformer's query, key and value projections.
func sourceKey(l *graph.Layer) string {
	if len(l.Nodes) > 1 || l.Kind == graph.Gemm {
		return "only " + l.Name
	}
	n := l.Nodes[0]
	in := n.In(l.InputIndex())
	if l.Kind == graph.MatMul {
		return fmt.Sprintf("%p %p %d %d", n.Graph, in, l.InputIndex(), l.Cols)
	}
	w, err := l.Window(n)
	return fmt.Sprintf("%p %p %v %d %d %+v %v", n.Graph, in, l.Kind, l.Groups, l.ChannelsIn, w, err)
}

// source gathers the rows of one layer, or of several that see the same.
type source struct {
	grams    []*gram // one a node, so that sums do not depend on how the batches of several take turns
	masked   int64
	min, max float32
	seen     bool
	done     [][]float64
	outputs  map[*graph.Layer]*Moments
}

func (s *source) stats(l *graph.Layer) *Stats {
	if s.done == nil {
		s.done = finish(s.grams)
	}
	return &Stats{Hessians: s.done, N: s.n(), Masked: s.masked, Min: s.min, Max: s.max, Output: s.outputs[l]}
}

// n is how many rows were summed.
func (s *source) n() int64 {
	sum := int64(0)
	for _, g := range s.grams {
		sum += g.n
	}
	return sum
}

// take adds what one node reads.
func (s *source) take(r *rowsOf, x *onnxio.Tensor, keep []bool) error {
	x, err := x.ToFloat32()
	if err != nil {
		return fmt.Errorf("%v: input: %w", r.node, err)
	}
	skipped, err := r.take(x, keep)
	if err != nil {
		return err
	}
	s.masked += skipped
	EachKept(x.Float32s(), keep, func(part []float32) {
		lo, hi := limits(part)
		if !s.seen {
			s.min, s.max, s.seen = lo, hi, true
		}
		s.min, s.max = min(s.min, lo), max(s.max, hi)
	})
	return nil
}

func limits(x []float32) (lo, hi float32) {
	lo, hi = x[0], x[0]
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

// job is what to do when a node has run.
type job struct {
	layer  *graph.Layer
	source *source
	rows   *rowsOf  // nil when another layer's job feeds the source
	out    *Moments // nil when not asked for
}

// capture runs all data once for the layers of one pass.
func (r *runner) capture(ctx context.Context, layers []*graph.Layer, pass, passes int) (map[*graph.Layer]*source, error) {
	sources := map[*graph.Layer]*source{}
	byKey := map[string]*source{}
	jobs := map[*graph.Node][]job{}
	for _, l := range layers {
		key := sourceKey(l)
		s, known := byKey[key], true
		if s == nil {
			s, known = &source{outputs: map[*graph.Layer]*Moments{}}, false
			byKey[key] = s
		}
		sources[l] = s
		if r.o.Outputs {
			s.outputs[l] = &Moments{}
		}
		for _, n := range l.Nodes {
			j := job{layer: l, source: s, out: s.outputs[l]}
			if !known {
				j.rows = &rowsOf{layer: l, node: n, gram: newGram(l.Groups, l.Cols, r.exec.Threads())}
				s.grams = append(s.grams, j.rows.gram)
			}
			jobs[n] = append(jobs[n], j)
		}
	}
	stop := r.after(jobs)
	hooks := func(keep func([]int) []bool) *exec.Hooks {
		return &exec.Hooks{After: func(n *graph.Node, in, out []*onnxio.Tensor) error {
			for _, j := range jobs[n] {
				if err := j.run(in, out, keep); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	err := r.each(ctx, pass, passes, func(feeds map[string]*onnxio.Tensor, keep func([]int) []bool) error {
		s := r.exec.Start(feeds)
		defer s.Close()
		return s.RunUntil(ctx, stop, hooks(keep))
	})
	if err != nil {
		return nil, err
	}
	var dry []string
	for _, l := range layers {
		if sources[l].n() == 0 {
			dry = append(dry, l.Nodes[0].String())
		}
	}
	if n := len(dry); n > 3 {
		dry = append(dry[:3], fmt.Sprintf("and %d more layers", n-3))
	}
	if len(dry) > 0 {
		return nil, fmt.Errorf("%s: no calibration sample reached it (an If branch never taken, or everything masked): give data that does, or exclude the layer", strings.Join(dry, ", "))
	}
	return sources, nil
}

func (j job) run(in, out []*onnxio.Tensor, keep func([]int) []bool) error {
	if x := in[j.layer.InputIndex()]; j.rows != nil {
		if err := j.source.take(j.rows, x, keep(x.Shape)); err != nil {
			return err
		}
	}
	if j.out != nil {
		y := out[0]
		return j.out.Add(y, OutputAxis(j.layer, len(y.Shape)), keep(y.Shape))
	}
	return nil
}

// after is the first node of the main graph that comes after all nodes of jobs; nil for the end.
func (r *runner) after(jobs map[*graph.Node][]job) *graph.Node {
	last := -1
	for n := range jobs {
		last = max(last, slices.Index(r.graph.Nodes, Outermost(n)))
	}
	if last < 0 || last+1 >= len(r.graph.Nodes) {
		return nil
	}
	return r.graph.Nodes[last+1]
}
