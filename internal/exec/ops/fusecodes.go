package ops

import (
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// What stands between DequantizeLinear and QuantizeLinear is computed on the codes, by the kernels of QLinearConv and QLinearAdd, as
// ONNX Runtime does with such files: sums are exact, and each result is rounded once. Node by node in float the same file
// gives codes that are one apart where a sum lies near the middle of two.

// codesIn is an input that a DequantizeLinear with one grid for the whole tensor, or one for each entry of the first axis, makes of
// codes of 8 bits, or 32 for a bias.
type codesIn struct {
	node               *graph.Node
	codes, scale, zero *graph.Value
	scales, zeros      *tensor // zeros: those that are meant where the node has none
	fixed              *tensor // the codes, if they are constant
	own                bool    // nothing else reads the DequantizeLinear: it need not run
}

// codesOf looks at input i of n; nil when it does not come from such a DequantizeLinear with a constant grid.
func codesOf(p *exec.Prep, n *graph.Node, i int) *codesIn { return codesAlong(p, n, i, 0) }

// codesAlong is codesOf with the grids along another axis.
func codesAlong(p *exec.Prep, n *graph.Node, i, axis int) *codesIn {
	v := n.In(i)
	if v == nil || v.Producer == nil || v.Producer.Op() != "DequantizeLinear" || v.Producer.Domain() != "" || v.Producer.Graph != n.Graph {
		return nil
	}
	d := v.Producer
	q := p.Of(d)
	k := &codesIn{node: d, codes: d.In(0), scale: d.In(1), zero: d.In(2), scales: q.Const(1), zeros: q.Const(2), fixed: q.Const(0)}
	if k.scales != nil && k.zero == nil && (is8(k.codes.Type) || k.codes.Type == onnxio.Int32) {
		k.zeros = onnxio.NewTensor(k.codes.Type, k.scales.Shape...)
	}
	if k.scales == nil || k.scales.Type != onnxio.Float32 || k.zeros == nil || k.zeros.Len() != k.scales.Len() || len(k.scales.Shape) > 1 ||
		d.Int("block_size", 0) != 0 || d.Int("output_dtype", 0) != 0 && onnxio.DataType(d.Int("output_dtype", 0)) != onnxio.Float32 {
		return nil
	}
	if k.scales.Len() != 1 && (k.fixed == nil || len(k.fixed.Shape) <= axis || k.scales.Len() != k.fixed.Shape[axis] ||
		d.Int("axis", 1) != int64(axis) && d.Int("axis", 1) != int64(axis-len(k.fixed.Shape))) {
		return nil
	}
	for _, s := range k.scales.Float32s() {
		if !(s > 0) || math.IsInf(float64(s), 1) {
			return nil
		}
	}
	k.own = !v.IsOutput && len(v.Uses) == 1
	return k
}

// whole reports whether one grid of 8-bit codes serves the whole tensor.
func (k *codesIn) whole() bool { return k != nil && k.scales.Len() == 1 && is8(k.zeros.Type) }

// mine are the given DequantizeLinear nodes that nothing else reads.
func mine(list ...*codesIn) []*graph.Node {
	var nodes []*graph.Node
	for _, k := range list {
		if k != nil && k.own {
			nodes = append(nodes, k.node)
		}
	}
	return nodes
}

// quantizer is the QuantizeLinear to one constant grid of 8-bit codes that ends the chain; limits in between are taken along when they
// change no code. Nil: there is none.
func (k *chain) quantizer(p *exec.Prep) *graph.Node {
	k.takeLimits(p)
	q, i := p.Follower(k.last())
	if q == nil || i != 0 || q.Op() != "QuantizeLinear" || q.Domain() != "" || q.Int("block_size", 0) != 0 || len(q.Outputs) != 1 {
		return nil
	}
	s, z := p.Of(q).Const(1), p.Of(q).Const(2)
	if s == nil || s.Type != onnxio.Float32 || s.Len() != 1 || len(s.Shape) > 1 || z == nil || !is8(z.Type) || z.Len() != 1 {
		return nil
	}
	scale, zero := s.Float32s()[0], 0.0
	if zero, _ = scalar(z); !(scale > 0) || math.IsInf(float64(scale), 1) {
		return nil
	}
	lo, hi, _ := codeRange(z.Type)
	if math.RoundToEven(float64(k.lo/scale))+zero > lo || math.RoundToEven(float64(k.hi/scale))+zero < hi {
		return nil
	}
	k.nodes = append(k.nodes, q)
	return q
}

// biasOfSums reports whether b is a constant int32 vector of n numbers in steps of the input's scale times the weight's.
func biasOfSums(b, x, w *codesIn, n int) bool {
	if b == nil || b.fixed == nil || !b.own || b.fixed.Type != onnxio.Int32 || len(b.fixed.Shape) != 1 || b.fixed.Len() != n {
		return false
	}
	zeros, err := floats(b.zeros)
	if err != nil {
		return false
	}
	sw, err := floats(w.scales)
	if err != nil {
		return false
	}
	sb, err := floats(b.scales)
	if err != nil {
		return false
	}
	for i := range n {
		step := float64(x.scales.Float32s()[0]) * pick(sw, i)
		if pick(zeros, i) != 0 || math.Abs(pick(sb, i)-step) > 1e-6*step {
			return false
		}
	}
	return true
}

// fuseConvOfCodes: DequantizeLinear, Conv with a weight and a bias of constant codes, limits, QuantizeLinear, as a QLinearConv.
func fuseConvOfCodes(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	x, w, b := codesOf(p, n, 0), codesOf(p, n, 1), codesOf(p, n, 2)
	if !x.whole() || w == nil || w.fixed == nil || !w.own || !is8(w.fixed.Type) || len(w.fixed.Shape) < 3 || w.fixed.Len() == 0 ||
		n.In(2) != nil && !biasOfSums(b, x, w, w.fixed.Shape[0]) {
		return nil, nil
	}
	k := newChain(n)
	q := k.quantizer(p)
	if q == nil {
		return nil, nil
	}
	a, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	in := []*graph.Value{x.codes, x.scale, x.zero, w.codes, w.scale, w.zero, q.In(1), q.In(2), nil}
	if b != nil {
		in[8] = b.codes
	}
	attrs := convAttrs{a, int(n.Int("group", 1))}
	kernel := qlinearConv(attrs, constIntConv(p.Of(w.node), attrs, 0, 2))
	return &exec.Fusion{Nodes: append(mine(x, w, b), k.nodes...), Inputs: in, Kernel: func(c *exec.Call) error {
		for i, q := range map[int]*codesIn{2: x, 5: w} {
			if c.Input(i) == nil { // the operator needs zero points, a DequantizeLinear does not
				c.KeepInputs()
				c.In[i] = q.zeros
			}
		}
		return kernel(c)
	}}, nil
}

// fuseAddOfCodes: two DequantizeLinear, Add, limits, QuantizeLinear, as a QLinearAdd.
func fuseAddOfCodes(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	a, b := codesOf(p, n, 0), codesOf(p, n, 1)
	if !a.whole() || !b.whole() || n.Opset() < 7 {
		return nil, nil
	}
	k := newChain(n)
	q := k.quantizer(p)
	if q == nil || a.zeros.Type != b.zeros.Type || a.zeros.Type != p.Of(q).Const(2).Type {
		return nil, nil
	}
	in := []*graph.Value{a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, q.In(1), q.In(2)}
	return &exec.Fusion{Nodes: append(mine(a, b), k.nodes...), Inputs: in, Kernel: qlinearAdd}, nil
}

func init() {
	exec.RegisterFusion("Conv", fuseConvOfCodes) // before those in float
	exec.RegisterFusion("Conv", fuseConv)
	exec.RegisterFusion("Add", fuseAddOfCodes)
}
