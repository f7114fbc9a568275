package graph

import (
	"math/bits"

	"github.com/obc-onnx/obc/onnxio"
)

// WeightBits is how many bits the file spends on one weight of the layer: those of the codes behind a DequantizeLinear, else those of
// the float type.
func (l *Layer) WeightBits() int {
	src, _ := source(l.Weight)
	t := src.Type
	if t == onnxio.Undefined { // what a Constant node holds, before shapes are inferred
		if c, ok := src.Const(); ok {
			t = c.Type
		}
	}
	return t.Bits()
}

// InputBits is how many bits the values have that the layer's nodes multiply by: those of the codes that a DequantizeLinear decodes, the
// widest of them where nodes differ; 0 when any reads floats.
func (l *Layer) InputBits() int {
	widest := 0
	for _, n := range l.Nodes {
		b := CodeBits(l.Input(n))
		if b == 0 {
			return 0
		}
		widest = max(widest, b)
	}
	return widest
}

// CodeBits is the width of the codes that v was decoded from by a DequantizeLinear, right before or ahead of operators that only move
// elements; 0 for other values. Codes that a Clip holds in a range are as wide as the range.
func CodeBits(v *Value) int {
	for v != nil && v.Producer != nil && v.Producer.Domain() == "" {
		n := v.Producer
		switch n.Op() {
		case "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool":
			v = n.In(0)
			continue
		case "DequantizeLinear":
			return widthOf(n)
		}
		break
	}
	return 0
}

// widthOf is the width of the codes that a DequantizeLinear reads.
func widthOf(n *Node) int {
	codes, wide := n.In(0), onnxio.Undefined
	if codes != nil {
		wide = codes.Type
	}
	if z := n.In(2); wide == onnxio.Undefined && z != nil {
		wide = z.Type
	}
	if wide == onnxio.Undefined {
		wide = onnxio.Uint8 // what QuantizeLinear gives without a zero point
	}
	if codes != nil && codes.Producer.is("Clip") {
		if lo, ok := scalar(codes.Producer.In(1)); ok {
			if hi, ok := scalar(codes.Producer.In(2)); ok && hi > lo {
				return min(wide.Bits(), bits.Len64(uint64(hi-lo)))
			}
		}
	}
	return wide.Bits()
}

// OperationBits is how wide the multiplication of a weight by an input is, as the method's authors count: as the wider of the two, so that
// 8-bit weights with 8-bit inputs take a quarter of float32, and weights alone save nothing. 0 stands for floats, which count as 32 bits
// of whatever type, and so does what has more than 8 bits.
func OperationBits(weights, inputs int) int {
	if widest := max(weights, inputs); weights != 0 && inputs != 0 && widest <= 8 {
		return widest
	}
	return 32
}

// scalar is a constant integer.
func scalar(v *Value) (int64, bool) {
	t, ok := v.Const()
	if !ok || t.Len() != 1 || !t.Type.IsInteger() {
		return 0, false
	}
	w, err := t.ConvertTo(onnxio.Int64)
	if err != nil {
		return 0, false
	}
	return w.Int64s()[0], true
}

// IntegerOp is an operator that multiplies by constant codes: quantized already, so it is no layer, but its work counts.
type IntegerOp struct {
	Node       *Node
	Weights    int64
	WeightBits int
	InputBits  int // 0: float
	work       Dim
}

// MACs is the number of multiply-accumulates for one sample; see Layer.MACs.
func (o IntegerOp) MACs() int64 { return atLeast(o.work, o.Weights) }

// SymbolicMACs is MACs with unknown sizes by name; see Layer.SymbolicMACs.
func (o IntegerOp) SymbolicMACs() Dim { return o.work }

// integerOps are the operators of IntegerOp, with the places of their two factors among the inputs.
var integerOps = map[string]struct{ input, weight int }{
	"QLinearConv": {0, 3}, "ConvInteger": {0, 1}, "QLinearMatMul": {0, 3}, "MatMulInteger": {0, 1}, "QGemm": {0, 3},
	"MatMulIntegerToFloat": {0, 1}, "DynamicQuantizeMatMul": {0, 1}, "MatMulNBits": {0, 1},
}

// IntegerOps finds the operators of g, a main graph, and of its subgraphs that multiply by constant codes.
func IntegerOps(g *Graph) []IntegerOp {
	var list []IntegerOp
	g.Walk(func(n *Node) {
		at, ok := integerOps[n.Op()]
		if w := n.In(at.weight); ok && constant(w) {
			list = append(list, integerOp(n, n.In(at.input), w))
		}
	})
	return list
}

func integerOp(n *Node, x, w *Value) IntegerOp {
	o := IntegerOp{Node: n, work: Unknown}
	header, err := constHeader(w)
	if err != nil {
		return o
	}
	s := header.Shape
	o.Weights, o.WeightBits = int64(header.Len()), header.Type.Bits()
	if x != nil && x.Type.IsInteger() {
		o.InputBits = x.Type.Bits()
	}
	each := int64(1) // multiplications for an element of the output
	switch n.Op() {
	case "QLinearConv", "ConvInteger":
		for _, d := range s[min(1, len(s)):] {
			each *= int64(d)
		}
	case "QGemm":
		if len(s) != 2 {
			return o
		}
		each = int64(s[b2i(n.Int("transB", 0) != 0)])
	case "MatMulNBits":
		each = n.Int("K", 0)
		o.Weights, o.WeightBits, o.InputBits = each*n.Int("N", 0), int(n.Int("bits", 4)), CodeBits(x)
	default:
		if len(s) == 0 {
			return o
		}
		each = int64(s[max(0, len(s)-2)])
		if n.Op() == "DynamicQuantizeMatMul" {
			o.InputBits = 8
		}
	}
	if y := n.Out(0); y != nil && y.Shape != nil {
		o.work = perSample(n, y.Shape.Elements().Mul(D(each)))
	}
	return o
}
