package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// placeWeights puts the solved weights into the graph, as plain numbers, so that what follows sees the compressed model.
type placeWeights struct{}

func (placeWeights) Name() string { return "place weights" }

func (placeWeights) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	for _, l := range s.active() {
		if l.Solution == nil {
			continue
		}
		if err := l.SetMatrix(l.Solution.W); err != nil {
			return r, err
		}
		r.Changes++
	}
	return r, nil
}

// correct matches the output of each layer of the compressed model, channel by channel, to what it was in the dense one: its mean
// and, with scale, its deviation too. Layers are taken in order, each on what those before it now give:
//
//	y' = a (y - mean(y)) + mean(dense y),  a = deviation(dense y) / deviation(y)
//
// a goes into the weights (for codes into their scales), the rest into the bias. This is the statistics correction of the method's
// authors, where BatchNormalization is folded into the layers.
type correct struct{ scale bool }

func (c correct) Name() string {
	if c.scale {
		return "statistics correction"
	}
	return "bias correction"
}

// affine is what is done to the channels of a layer's output.
type affine struct {
	layer        *LayerState
	node         *graph.Node
	scale, shift []float64
}

func (c correct) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	var work []*LayerState
	for _, l := range s.active() {
		why := c.cannot(l)
		if why != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("%s is not corrected: %s", l.Name, why))
			continue
		}
		work = append(work, l)
	}
	slices.SortStableFunc(work, func(a, b *LayerState) int { return nodePlace(a.Nodes[0]) - nodePlace(b.Nodes[0]) })
	all, err := c.measure(ctx, s, work)
	if err != nil {
		return r, err
	}
	for _, a := range all {
		if err := a.fold(); err != nil {
			return r, err
		}
	}
	r.Changes = len(all)
	return r, nil
}

// cannot tells why a layer's output cannot be corrected; empty when it can.
func (c correct) cannot(l *LayerState) string {
	switch {
	case l.Solution == nil || l.Moments == nil:
		return "it was not solved"
	case len(l.Nodes) > 1:
		return "several nodes share its weight"
	case l.Nodes[0].Graph.Owner != nil:
		return "it is in a subgraph"
	case l.Moments.N == 0 || len(l.Moments.Sum) != l.Groups*l.Rows:
		return "its output has no channels of its own"
	}
	if _, err := l.BiasVector(l.Nodes[0]); err != nil {
		return err.Error()
	}
	if l.Kind == graph.MatMul && (l.InputIndex() != 0 || l.ChannelAxis() < 0) {
		return "its output has no place for a bias"
	}
	return ""
}

// measure walks the compressed model and finds the correction of each layer, given those before it.
func (c correct) measure(ctx context.Context, s *State, work []*LayerState) ([]*affine, error) {
	w, err := calib.NewWalker(s.Graph, s.Data, s.capture(c.Name()))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	hooks := s.rounded()
	var all []*affine
	var last *affine
	for i, l := range work {
		s.progress(c.Name(), l.Name, i, len(work))
		n := l.Nodes[0]
		m := &calib.Moments{}
		err := w.To(ctx, calib.After(n), func(*calib.Visit) *exec.Hooks { return hooks }, last.apply, func(v *calib.Visit) error {
			y := v.Live[n.Out(0).Name]
			if y == nil {
				return nil
			}
			return m.Add(y, calib.OutputAxis(l.Layer, len(y.Shape)), v.Keep(y.Shape))
		})
		if err != nil {
			return nil, err
		}
		if !finite(m.Sum) && finite(l.Moments.Sum) {
			return nil, fmt.Errorf("%v: its output is no longer a finite number, as it was in the dense model: zeros and rounding in the layers before it lead to what a node between cannot take (the logarithm or root of a value below 0?): exclude those layers", l)
		}
		if last = c.find(l, m); last != nil {
			all = append(all, last)
		}
		if calib.After(n) == nil {
			break
		}
	}
	return all, nil
}

func finite(x []float64) bool {
	return !slices.ContainsFunc(x, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// find is the correction of a layer whose output now has the moments m.
func (c correct) find(l *LayerState, m *calib.Moments) *affine {
	if m.N == 0 {
		return nil
	}
	a := &affine{layer: l, node: l.Nodes[0]}
	want, wantVar, now, nowVar := l.Moments.Mean(), l.Moments.Var(), m.Mean(), m.Var()
	for k := range want {
		scale := 1.0
		if c.scale && l.scalable() && wantVar[k] > 0 && nowVar[k] > leastDeviation*wantVar[k] {
			scale = math.Sqrt(wantVar[k] / nowVar[k])
		}
		a.scale = append(a.scale, scale)
		a.shift = append(a.shift, want[k]-scale*now[k])
	}
	return a
}

// leastDeviation is the share of the dense variance below which a channel counts as constant, and is only shifted.
const leastDeviation = 1e-4

// scalable reports whether each output channel can be scaled by itself: not when one scale serves the whole weight.
func (l *LayerState) scalable() bool {
	return l.Solution.Grids == nil || l.Solution.Grids[0].Spec.Granularity != obs.PerTensor
}

// apply corrects the output where it waits.
func (a *affine) apply(v *calib.Visit) error {
	if a == nil {
		return nil
	}
	y := v.Live[a.node.Out(0).Name]
	if y == nil || y.Type != onnxio.Float32 {
		return nil
	}
	axis := calib.OutputAxis(a.layer.Layer, len(y.Shape))
	inner := 1
	for _, d := range y.Shape[axis+1:] {
		inner *= d
	}
	x := y.Float32s()
	for i, k := 0, 0; i < len(x); i, k = i+inner, (k+1)%len(a.scale) {
		scale, shift := float32(a.scale[k]), float32(a.shift[k])
		for j, v := range x[i : i+inner] {
			x[i+j] = scale*v + shift
		}
	}
	return nil
}

// fold puts the correction into weight and bias.
func (a *affine) fold() error {
	l := a.layer
	bias, err := l.BiasVector(a.node)
	if err != nil {
		return err
	}
	matmul := l.Kind == graph.MatMul
	for k := range bias {
		if matmul { // its bias comes after what was measured
			bias[k] += float32(a.shift[k])
			continue
		}
		bias[k] = float32(a.scale[k]*float64(bias[k]) + a.shift[k])
	}
	l.scaleRows(a.scale)
	if err := l.SetMatrix(l.Solution.W); err != nil {
		return err
	}
	return l.SetBias(a.node, bias)
}

// scaleRows multiplies each output channel of the solution, by its scales where it has codes.
func (l *LayerState) scaleRows(by []float64) {
	s := l.Solution
	for k, f := range by {
		row := s.W[k*l.Cols : (k+1)*l.Cols]
		if s.Grids == nil {
			for c := range row {
				row[c] = float32(f * float64(row[c]))
			}
			continue
		}
		g, r := s.Grids[k/l.Rows], k%l.Rows
		if g.Spec.Granularity == obs.PerTensor {
			continue
		}
		for i := r * g.Groups; i < (r+1)*g.Groups; i++ {
			g.Scale[i] = float32(f * float64(g.Scale[i]))
		}
		codes := s.Codes[k*l.Cols : (k+1)*l.Cols]
		for c := range row {
			row[c] = g.Value(r, c, codes[c])
		}
	}
}

// nodePlace is the position of a node, or of what holds its subgraph, in the main graph.
func nodePlace(n *graph.Node) int {
	n = calib.Outermost(n)
	return slices.Index(n.Graph.Nodes, n)
}
