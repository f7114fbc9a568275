package passes

import (
	"context"
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// solveInSequence solves the layers one after the other, each on its input y behind the layers that are compressed already (rounded, where
// activations are quantized), so that errors of earlier layers are made good for. With x the input in the dense model, the weight that
// comes nearest to the dense output is the least squares solution
//
//	W* = W X Y^T (Y Y^T)^-1 = W + W (C - H) H^-1,  H = 2/N sum y y^T,  C = 2/N sum x y^T
//
// and W* is compressed on H. Few samples fit more than there is to make good for, so that H is damped in W* as is best where one half of the
// samples is fitted and the other tried (see target). Reported losses are those of W*. Layers whose weight several nodes share, and those in subgraphs, are
// solved on the dense model's inputs, before all others.
type solveInSequence struct{}

func (solveInSequence) Name() string { return "solve in sequence" }

func (p solveInSequence) Apply(ctx context.Context, s *State) (PassReport, error) {
	var alone, row []*LayerState
	for _, l := range s.active() {
		if len(l.Nodes) > 1 || l.Nodes[0].Graph.Owner != nil {
			alone = append(alone, l)
		} else {
			row = append(row, l)
		}
	}
	slices.SortStableFunc(row, func(a, b *LayerState) int { return nodePlace(a.Nodes[0]) - nodePlace(b.Nodes[0]) })
	dense, err := s.cloneGraph()
	if err != nil {
		return PassReport{}, err
	}
	r, err := s.solveIndependently(ctx, alone)
	if err != nil {
		return r, err
	}
	for _, l := range alone {
		r.Notes = append(r.Notes, fmt.Sprintf("%s is solved on the dense model's inputs: its weight is shared, or in a subgraph", l.Name))
		if err := l.SetMatrix(l.Solution.W); err != nil {
			return r, err
		}
	}
	for _, l := range row { // weights behind views become initializers that can change while the model runs
		w, err := l.Matrix()
		if err != nil {
			return r, err
		}
		if err := l.SetMatrix(w); err != nil {
			return r, err
		}
	}
	seq, err := s.newSequence(dense, row)
	if err != nil {
		return r, err
	}
	defer seq.close()
	for i, l := range row {
		s.progress("solve", l.Name, i, len(row))
		notes, err := seq.solve(ctx, l)
		if err != nil {
			return r, err
		}
		r.Notes = append(r.Notes, notes...)
		r.Changes++
	}
	if seq.unmoved > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d of %d layers are solved for their dense weight: what made good for earlier layers on one half of the samples did not on the other", seq.unmoved, len(row)))
	}
	return r, seq.finish(ctx)
}

// cloneGraph opens a copy of the model as it is now.
func (s *State) cloneGraph() (*graph.Graph, error) {
	if err := s.Graph.Sync(); err != nil {
		return nil, err
	}
	return graph.New(s.Model.Clone())
}

// sequence is the dense and the half compressed model side by side.
type sequence struct {
	s           *State
	dense, now  *calib.Walker
	counterpart map[*graph.Node]*graph.Node    // the dense model's node
	outputs     map[*graph.Node]*calib.Moments // of the dense model's nodes
	hooks       *exec.Hooks
	unmoved     int // layers whose dense weight is the target
}

func (s *State) newSequence(dense *graph.Graph, row []*LayerState) (*sequence, error) {
	q := &sequence{s: s, hooks: s.rounded(), counterpart: map[*graph.Node]*graph.Node{}, outputs: map[*graph.Node]*calib.Moments{}}
	for _, l := range row {
		n := l.Nodes[0]
		d := dense.Value(n.Out(0).Name).Producer
		q.counterpart[n] = d
		l.Moments = &calib.Moments{}
		q.outputs[d] = l.Moments
	}
	var err error
	o := s.capture("solve in sequence")
	if q.dense, err = calib.NewWalker(dense, s.Data, o); err != nil {
		return nil, err
	}
	q.now, err = calib.NewWalker(s.Graph, s.Data, o)
	return q, err
}

func (q *sequence) close() {
	q.dense.Close()
	if q.now != nil {
		q.now.Close()
	}
}

// observe adds up the outputs of the dense model's layers.
func (q *sequence) observe(v *calib.Visit) *exec.Hooks {
	return &exec.Hooks{After: func(n *graph.Node, _, out []*onnxio.Tensor) error {
		m := q.outputs[n]
		if m == nil {
			return nil
		}
		l := q.layerOf(n)
		return m.Add(out[0], calib.OutputAxis(l.Layer, len(out[0].Shape)), v.Keep(out[0].Shape))
	}}
}

func (q *sequence) layerOf(dense *graph.Node) *LayerState {
	for _, l := range q.s.Layers {
		if q.counterpart[l.Nodes[0]] == dense {
			return l
		}
	}
	return nil
}

// solve takes both models to the layer, solves it and puts its weight in place.
func (q *sequence) solve(ctx context.Context, l *LayerState) ([]string, error) {
	n := l.Nodes[0]
	twin := calib.NewTwin(l.Layer, n, threadsOf(q.s.Threads))
	in, half := l.Layer.Input(n), q.s.Data.Len()/2
	err := calib.Together(ctx, q.dense, q.now, q.counterpart[n], n, q.observe, func(*calib.Visit) *exec.Hooks { return q.hooks },
		func(a, b *calib.Visit) error {
			x, y := a.Live[in.Name], b.Live[in.Name]
			if x == nil || y == nil {
				return fmt.Errorf("%v: its input %q is not there", n, in.Name)
			}
			if l.Input != nil {
				y = l.Input.round(y, q.s.Threads)
			}
			return twin.Add(x, y, a.Keep(x.Shape), a.Hi-a.Lo, half-a.Lo)
		})
	if err != nil {
		return nil, err
	}
	halves := twin.Finish()
	if halves[0].N+halves[1].N == 0 {
		return nil, fmt.Errorf("%v: no calibration sample reached it: give data that does, or exclude the layer", n)
	}
	w, err := l.Matrix()
	if err != nil {
		return nil, err
	}
	target, h, moved, err := l.target(w, halves, q.s.Threads)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", l.Layer, err)
	}
	if !moved {
		q.unmoved++
	}
	notes, err := q.s.solveLayer(ctx, l, target, h)
	if err != nil {
		return nil, err
	}
	if err := l.SetMatrix(l.Solution.W); err != nil {
		return nil, err
	}
	return notes, q.now.Refresh(n)
}

// finish runs the dense model to its end, for the moments of the last layers.
func (q *sequence) finish(ctx context.Context) error {
	return q.dense.To(ctx, nil, q.observe, nil, nil)
}
