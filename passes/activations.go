package passes

import (
	"context"
	"fmt"
	"math"
	"runtime"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// countActivations counts the values of the layers' inputs, and of the values between layers that runtimes need rounded
// (LinkValues), for the choice of their quantizers. Layers that read the same value share its counts; so do values that nodes of one
// layer read.
type countActivations struct{}

func (countActivations) Name() string { return "count activations" }

func (countActivations) Apply(ctx context.Context, s *State) (PassReport, error) {
	layers := s.active()
	var err error
	s.counts, err = s.histograms(ctx, layers, LinkValues(layers))
	return PassReport{Changes: len(s.counts)}, err
}

// quantizeActivations chooses the quantizers from the counts: one a tensor, and width.
type quantizeActivations struct{}

func (quantizeActivations) Name() string { return "quantize activations" }

func (quantizeActivations) Apply(ctx context.Context, s *State) (PassReport, error) {
	type key struct {
		counts *histogram
		bits   int
	}
	grids := map[key]*ActGrid{}
	find := func(h *histogram, bits int, top float64) (*ActGrid, error) {
		k := key{h, bits}
		if grids[k] == nil {
			g, err := h.grid(bits, s.Recipe.Activations.Range, top)
			if err != nil {
				return nil, err
			}
			grids[k] = &g
		}
		return grids[k], nil
	}
	var layers []*LayerState
	var err error
	for _, l := range s.active() {
		if l.ActBits == 0 {
			continue
		}
		layers = append(layers, l)
		if l.Input, err = find(s.inputCounts(l), l.ActBits, ceilingOf(l)); err != nil {
			return PassReport{}, fmt.Errorf("%v: its input: %w", l.Layer, err)
		}
		l.Report.ActBits = l.ActBits
	}
	s.Links = map[*graph.Value]*ActGrid{}
	for _, v := range LinkValues(layers) {
		if s.Links[v], err = find(s.counts[v], linkBits, Ceiling(v)); err != nil {
			return PassReport{}, fmt.Errorf("value %q: %w", v.Name, err)
		}
	}
	return PassReport{Changes: len(grids), Notes: []string{fmt.Sprintf("inputs of %d layers, %d values between layers", len(layers), len(s.Links))}}, nil
}

// inputCounts are the counted values of a layer's inputs.
func (s *State) inputCounts(l *LayerState) *histogram { return s.counts[l.Layer.Input(l.Nodes[0])] }

// ceilingOf is the upper limit that all inputs of the layer share, NaN when there is none.
func ceilingOf(l *LayerState) float64 {
	top := Ceiling(l.Layer.Input(l.Nodes[0]))
	for _, n := range l.Nodes[1:] {
		if Ceiling(l.Layer.Input(n)) != top {
			return math.NaN()
		}
	}
	return top
}

// histograms counts the values of the layers' inputs and of the links over the calibration data.
func (s *State) histograms(ctx context.Context, layers []*LayerState, links []*graph.Value) (map[*graph.Value]*histogram, error) {
	h := map[*graph.Value]*histogram{}
	var names []string
	byName := map[string]*histogram{}
	put := func(v *graph.Value, count *histogram) {
		if h[v] == nil {
			names = append(names, v.Name)
		}
		h[v], byName[v.Name] = count, count
	}
	for _, l := range layers {
		var count *histogram
		for _, n := range l.Nodes { // the quantizer of any of its inputs serves all
			if c := h[l.Layer.Input(n)]; c != nil && count == nil {
				count = c
			}
		}
		if count == nil {
			count = newHistogram()
		}
		for _, n := range l.Nodes {
			v := l.Layer.Input(n)
			if old := h[v]; old != nil && old != count {
				for u, c := range h {
					if c == old {
						put(u, count)
					}
				}
				continue
			}
			put(v, count)
		}
	}
	for _, v := range links {
		if h[v] == nil {
			put(v, newHistogram())
		}
	}
	for i, take := range []func(c *histogram, x []float32, keep []bool){(*histogram).see, (*histogram).count} {
		o := s.capture("count activations")
		o.Progress = func(done, total int) { s.progress("count activations", "batches", i*total+done, 2*total) }
		err := calib.Observe(ctx, s.Graph, names, s.Data, o, func(name string, t *onnxio.Tensor, keep []bool) error {
			x, err := t.ToFloat32()
			if err != nil {
				return fmt.Errorf("value %q: %w", name, err)
			}
			take(byName[name], x.Float32s(), keep)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// rounded gives the hooks that make a run of the graph round activations as the written model will; nil when they stay float.
func (s *State) rounded() *exec.Hooks {
	inputs := map[*graph.Node]*LayerState{}
	for _, l := range s.Layers {
		if l.Input != nil {
			for _, n := range l.Nodes {
				inputs[n] = l
			}
		}
	}
	if len(inputs) == 0 {
		return nil
	}
	return &exec.Hooks{
		Before: func(n *graph.Node, in []*onnxio.Tensor) error {
			l := inputs[n]
			if l == nil {
				return nil
			}
			k := l.InputIndex()
			if link := s.Links[n.In(k)]; link != nil && *link == *l.Input && n.In(k).Producer != nil {
				return nil // rounded where it was made
			}
			in[k] = l.Input.round(in[k], s.Threads)
			return nil
		},
		After: func(n *graph.Node, _, out []*onnxio.Tensor) error {
			for i, v := range n.Outputs {
				if g := s.Links[v]; g != nil && out[i] != nil {
					out[i] = g.round(out[i], s.Threads)
				}
			}
			return nil
		},
	}
}

// round is a copy of x on the grid; x itself when it is not float32.
func (g *ActGrid) round(x *onnxio.Tensor, threads int) *onnxio.Tensor {
	src := x.Float32s()
	if src == nil {
		return x
	}
	y := onnxio.NewTensor(onnxio.Float32, x.Shape...)
	dst := y.Float32s()
	lo, hi := float32(-g.Zero), float32(g.levels())-float32(g.Zero)
	kernel.Parallel(threadsOf(threads), (len(src)+roundChunk-1)/roundChunk, func(from, to int) {
		for i := from * roundChunk; i < min(to*roundChunk, len(src)); i++ {
			c := src[i] / g.Scale
			if c < lo {
				c = lo
			} else if c > hi {
				c = hi
			}
			dst[i] = ((c + roundMagic) - roundMagic) * g.Scale
		}
	})
	return y
}

const (
	roundChunk = 1 << 14
	// roundMagic is 1.5 x 2^23: adding it to a number below 2^22 leaves no place for a fraction, so the sum is rounded to even.
	roundMagic = 12582912
)

// threadsOf is a number of threads, 0 standing for all CPUs.
func threadsOf(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
