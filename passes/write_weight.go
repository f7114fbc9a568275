package passes

import (
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// dequantized stores the codes as NAME_quantized and makes a DequantizeLinear compute the weight under its old name.
func (w *writer) dequantized(l *LayerState, t *storedWeight) error {
	kind := l.Weight.Type
	codes, err := integers(t.kind, t.codes, t.shape)
	if err != nil {
		return err
	}
	if err := l.SetWeight(codes); err != nil {
		return err
	}
	if t.turned {
		for _, n := range l.Nodes {
			n.DelAttr("transB")
		}
	}
	zero, err := integers(t.kind, t.zero, t.scaleFor)
	if err != nil {
		return err
	}
	if !t.beside && allZero(t.zero) {
		zero = nil
	}
	return w.dequantize(l.Weight, kind, codes, onnxio.TensorOf(t.scale, t.scaleFor...), zero, t.axis, t.block)
}

// dequantize makes a DequantizeLinear of new initializers compute v, a constant so far, in element type kind. Of one scale for
// all, axis and block say nothing.
func (w *writer) dequantize(v *graph.Value, kind onnxio.DataType, codes, scale, zero *onnxio.Tensor, axis, block int) error {
	g, name, shape := v.Graph, v.Name, codes.Shape
	at := firstUser(v)
	if err := g.Undefine(v); err != nil {
		return err
	}
	q, s := g.AddInit(name+"_quantized", codes), g.AddInit(name+"_scale", scale)
	in := []*graph.Value{q, s}
	var z *graph.Value
	if zero != nil {
		z = g.AddInit(name+"_zero_point", zero)
		in = append(in, z)
	}
	quantizedBy(q, s, z)
	out := v
	if kind != onnxio.Float32 {
		out = g.NewValue(name + "_float32")
	}
	n, err := addNode(g, at, "DequantizeLinear", name+"_DequantizeLinear", out, in...)
	if err != nil {
		return err
	}
	if scale.Rank() > 0 {
		n.SetInt("axis", int64(axis))
		if block > 0 {
			n.SetInt("block_size", int64(block))
		}
	}
	if out != v {
		if n, err = addNode(g, at, "Cast", name+"_Cast", v, out); err != nil {
			return err
		}
		n.SetInt("to", int64(kind))
	}
	v.Type, v.Shape, v.Info = kind, graph.ShapeOf(shape...), nil
	return nil
}

// firstUser is the first node of v's own graph that reads v, itself or in a subgraph.
func firstUser(v *graph.Value) *graph.Node {
	first := len(v.Graph.Nodes)
	for _, u := range v.Uses {
		n := u.Node
		for n.Graph != v.Graph && n.Graph.Owner != nil {
			n = n.Graph.Owner
		}
		if i := slices.Index(v.Graph.Nodes, n); i >= 0 {
			first = min(first, i)
		}
	}
	if first == len(v.Graph.Nodes) {
		return nil
	}
	return v.Graph.Nodes[first]
}

// integers is a tensor of an integer type of at most 32 bits.
func integers[T int16 | int32](kind onnxio.DataType, x []T, shape []int) (*onnxio.Tensor, error) {
	wide := make([]int32, len(x))
	for i, v := range x {
		wide[i] = int32(v)
	}
	return onnxio.TensorOf(wide, shape...).ConvertTo(kind)
}

func allZero(x []int16) bool { return len(x) == 0 || x[0] == 0 && same(x) }

// mostBias bounds a bias in units of the product's step, half of what fits: the sum of products has to fit beside it.
const mostBias = 1 << 30

// widen makes the scales of rows larger whose biases would not fit into int32 in steps of input scale x weight scale. Their
// weights are so small against the bias, a factor of 2^30 and more, that they hardly matter.
func (w *writer) widen(l *LayerState, t *storedWeight) error {
	if t.block > 0 || len(t.scaleFor) != 1 || !allZero(t.zero) {
		return nil
	}
	least := make([]float32, len(t.scale))
	for _, n := range l.Nodes {
		b, step, ok := w.biasOf(l, n)
		for r := range b {
			if ok && r < len(least) {
				least[r] = max(least[r], float32(math.Abs(float64(b[r]))/mostBias/float64(step)))
			}
		}
	}
	changed := false
	scale := slices.Clone(t.scale)
	for r := range scale {
		if least[r] > scale[r] {
			scale[r], changed = math.Nextafter32(least[r], math.MaxFloat32), true
		}
	}
	if !changed {
		return nil
	}
	values := make([]float32, len(t.codes))
	for i, c := range t.codes {
		r := t.scaleIndex(i)
		t.codes[i] = int16(math.RoundToEven(float64(t.scale[r]) * float64(c) / float64(scale[r])))
		values[i] = scale[r] * float32(t.codes[i])
	}
	t.scale = scale
	l.Solution.W = graph.FromFileLayout(l.Layer, values)
	w.note("%v: scales of rows whose weights vanish beside their bias were widened, so that the bias fits into int32", l)
	return nil
}

// biasOf is the constant bias of a node that integer operators take as int32, and the scale of its input.
func (w *writer) biasOf(l *LayerState, n *graph.Node) (b []float32, step float32, ok bool) {
	grid, rounded := w.grids[n]
	if !rounded || biasValue(l, n) == nil || l.Weight.Type != onnxio.Float32 {
		return nil, 0, false
	}
	switch l.Kind {
	case graph.Conv, graph.MatMul:
	case graph.Gemm:
		if l.WeightIndex() != 1 || n.Float("alpha", 1) != 1 || n.Float("beta", 1) != 1 {
			return nil, 0, false
		}
	default:
		return nil, 0, false
	}
	b, err := l.BiasVector(n)
	return b, grid.Scale, err == nil
}

// biasValue is what a node adds to its products. For MatMul it is the operand of the Add behind it, where the product has two
// dimensions: runtimes make one Gemm of both then, an integer one if this bias is int32.
func biasValue(l *LayerState, n *graph.Node) *graph.Value {
	if l.Kind != graph.MatMul {
		return n.In(2)
	}
	if l.Bias == nil || len(l.Nodes) > 1 || len(l.Bias.Uses) > 1 || n.Out(0) == nil || len(n.Out(0).Shape) != 2 {
		return nil
	}
	return l.Bias
}

// bias stores the bias of a node as int32 in steps of input scale x weight scale, so that it adds to the sum of products.
func (w *writer) bias(l *LayerState, n *graph.Node, t *storedWeight) error {
	b, step, ok := w.biasOf(l, n)
	if !ok || t.block > 0 || l.Kind == graph.MatMul && (!biasValue(l, n).IsConst() || biasValue(l, n).IsOutput) {
		return nil
	}
	scale, codes := make([]float32, len(b)), make([]int32, len(b))
	for r := range b {
		scale[r] = step * t.scale[r%len(t.scale)]
		c := math.RoundToEven(float64(b[r]) / float64(scale[r]))
		if !(math.Abs(c) <= 2*mostBias-1) {
			w.note("%v: its bias %q stays float, it does not fit into int32 in steps of the product", l, biasValue(l, n).Name)
			return nil
		}
		codes[r] = int32(c)
	}
	shape := []int{len(b)}
	q := onnxio.TensorOf(codes, shape...)
	old := biasValue(l, n)
	if l.Kind != graph.MatMul && (len(old.Uses) > 1 || !old.IsConst() || old.IsOutput) {
		fresh := old.Graph.AddInit(n.Name()+"_bias", q)
		n.SetInput(2, fresh)
		old = fresh
	}
	s := onnxio.TensorOf(scale, shape...)
	if len(t.scaleFor) == 0 {
		s = onnxio.TensorOf(scale[:1])
	}
	if n == l.Nodes[0] {
		l.Bias = old
	}
	return w.dequantize(old, onnxio.Float32, q, s, onnxio.NewTensor(onnxio.Int32, s.Shape...), 0, 0)
}
