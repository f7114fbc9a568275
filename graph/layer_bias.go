package graph

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// biasOf is the constant that n adds per output channel: input 2 of Conv, ConvTranspose and Gemm; of MatMul the other operand
// of an Add that alone reads the product. nil when there is none of that form.
func biasOf(l *Layer, n *Node) *Value {
	if l.Kind != MatMul {
		if b := n.In(2); constant(b) {
			return b
		}
		return nil
	}
	if add, i := addAfter(n); add != nil && l.channelsLast() {
		b := add.In(1 - i)
		if header, err := constHeader(b); err == nil && len(header.Shape) == 1 && header.Shape[0] == l.Rows {
			return b
		}
	}
	return nil
}

// channelsLast reports whether a MatMul has its constant matrix on the right, so that channels are the output's last axis.
func (l *Layer) channelsLast() bool { return !l.left && l.ChannelAxis() >= 0 }

// addAfter is the Add of a constant that alone reads n's output, and which of its inputs that is.
func addAfter(n *Node) (add *Node, index int) {
	y := n.Out(0)
	if y == nil || y.IsOutput || len(y.Uses) != 1 || !y.Uses[0].Node.is("Add") || y.Uses[0].Node.Graph != n.Graph {
		return nil, 0
	}
	u := y.Uses[0]
	if !constant(u.Node.In(1 - u.Index)) {
		return nil, 0
	}
	return u.Node, u.Index
}

// BiasVector is what node n of the layer adds to each of the Groups x Rows output channels (for Gemm with beta applied), zeros
// when it adds nothing. It fails when the bias is computed, or is no vector of the output channels.
func (l *Layer) BiasVector(n *Node) ([]float32, error) {
	out := make([]float32, l.Groups*l.Rows)
	b := n.In(2)
	if l.Kind == MatMul {
		if b = biasOf(l, n); b == nil {
			return out, nil
		}
	}
	if b == nil {
		return out, nil
	}
	if !constant(b) {
		return nil, fmt.Errorf("%v: its bias %q is not constant", n, b.Name)
	}
	t, err := constTensor(b)
	if err != nil {
		return nil, err
	}
	f, err := t.ToFloat32()
	if err != nil {
		return nil, err
	}
	if f.Len() != 1 && !l.isChannelVector(f.Shape) {
		return nil, fmt.Errorf("%v: its bias %q has shape %v, expected one number for each of %d channels", n, b.Name, f.Shape, len(out))
	}
	beta := float32(1)
	if l.Kind == Gemm {
		beta = n.Float("beta", 1)
	}
	for i := range out {
		out[i] = beta * f.Float32s()[i%f.Len()]
	}
	return out, nil
}

// isChannelVector reports whether a bias of that shape, broadcast to the output, differs between output channels only.
func (l *Layer) isChannelVector(s []int) bool {
	n := l.Groups * l.Rows
	if l.Kind == Gemm && l.left { // channels are the rows of the output
		return len(s) == 2 && s[0] == n && s[1] == 1
	}
	for i, d := range s {
		if last := i == len(s)-1; last && d != n || !last && d != 1 {
			return false
		}
	}
	return len(s) > 0
}

// SetBias makes node n of the layer add b, one number for each of the Groups x Rows output channels, in place of the bias it
// had. It changes the initializer when only n reads it, else n gets its own; a node without bias gets one: as an input, or
// for MatMul in an Add behind it.
func (l *Layer) SetBias(n *Node, b []float32) error {
	old, err := l.BiasVector(n)
	if err != nil {
		return err
	}
	if len(b) != len(old) {
		return fmt.Errorf("%v: %d numbers for the bias of %d channels", n, len(b), len(old))
	}
	b = slices.Clone(b)
	shape := []int{len(b)}
	if l.Kind == Gemm {
		beta := n.Float("beta", 1)
		if beta == 0 {
			n.DelAttr("beta")
			beta = 1
		}
		for i := range b {
			b[i] /= beta
		}
		if l.left {
			shape = []int{len(b), 1}
		}
	}
	header, err := constHeader(l.Weight)
	if err != nil {
		return err
	}
	t, err := onnxio.TensorOf(b, shape...).ConvertTo(header.Type)
	if err != nil {
		return err
	}
	return l.storeBias(n, t)
}

func (l *Layer) storeBias(n *Node, t *onnxio.Tensor) error {
	use, have := Use{n, 2}, n.In(2)
	if l.Kind == MatMul {
		if have = biasOf(l, n); have != nil {
			add, i := addAfter(n)
			use = Use{add, 1 - i}
		}
	}
	var v *Value
	switch {
	case have != nil && have.IsConst() && len(have.Uses) == 1 && !have.IsOutput && sameShape(have, t):
		return have.Graph.SetInit(have, t)
	case have != nil:
		v = have.Graph.replaceConst([]*Value{have}, []Use{use}, t)
	case l.Kind == MatMul:
		var err error
		if v, err = l.addBias(n, t); err != nil {
			return err
		}
	default:
		v = n.Graph.AddInit(n.Name()+"_bias", t)
		n.SetInput(2, v)
	}
	if n == l.Nodes[0] {
		l.Bias = v
	}
	return nil
}

func sameShape(v *Value, t *onnxio.Tensor) bool {
	return v.Type == t.Type && v.Shape.Same(ShapeOf(t.Shape...))
}

// addBias puts an Add behind a MatMul.
func (l *Layer) addBias(n *Node, t *onnxio.Tensor) (*Value, error) {
	if !l.channelsLast() {
		return nil, fmt.Errorf("%v: a bias can only be added to a product with the constant matrix on the right", n)
	}
	g, y := n.Graph, n.Out(0)
	bias := g.AddInit(n.Name()+"_bias", t)
	product := g.NewValue(n.Name() + "_product")
	product.Type, product.Shape = y.Type, y.Shape
	if err := n.SetOutput(0, product); err != nil {
		return nil, err
	}
	var after *Node
	if n.index+1 < len(g.Nodes) {
		after = g.Nodes[n.index+1]
	}
	_, err := g.AddNode(&onnxpb.NodeProto{
		OpType: proto.String("Add"), Name: proto.String(g.FreshName(n.Name() + "_add_bias")),
		Input: []string{product.Name, bias.Name}, Output: []string{y.Name},
	}, after)
	return bias, err
}
