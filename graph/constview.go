package graph

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/obc-onnx/obc/onnxio"
)

// A weight may reach its node through views: operators that only rearrange or dequantize one constant. They are evaluated
// here, so that layers are found, and solved, before any constant folding.

// viewOf reports whether n is such an operator, with all inputs but the first constant.
func viewOf(n *Node) bool {
	if n == nil || n.Domain() != "" || n.In(0) == nil {
		return false
	}
	switch n.Op() {
	case "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "DequantizeLinear":
	default:
		return false
	}
	for _, v := range n.Inputs[1:] {
		if v != nil && !v.IsConst() {
			return false
		}
	}
	return true
}

// constant reports whether v is constant or a chain of views of a constant.
func constant(v *Value) bool {
	for v != nil && !v.IsConst() {
		if !viewOf(v.Producer) {
			return false
		}
		v = v.Producer.In(0)
	}
	return v != nil
}

// source is the constant at the end of a chain of views, and the chain, nearest to the source first.
func source(v *Value) (src *Value, chain []*Node) {
	for !v.IsConst() {
		chain = append([]*Node{v.Producer}, chain...)
		v = v.Producer.In(0)
	}
	return v, chain
}

// constTensor is the tensor of a value for which constant holds.
func constTensor(v *Value) (*onnxio.Tensor, error) {
	src, chain := source(v)
	t, err := src.Tensor()
	if err != nil {
		return nil, err
	}
	for _, n := range chain {
		if t, err = applyView(n, t); err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
	}
	return t, nil
}

// constHeader is the type and shape of a value for which constant holds; Data may be nil.
func constHeader(v *Value) (*onnxio.Tensor, error) {
	if v.Init != nil {
		if s, ok := ShapeOf(v.Init.Dims...).Ints(); ok {
			return &onnxio.Tensor{Type: v.Type, Shape: s}, nil
		}
	}
	return constTensor(v)
}

// viewKey tells two chains of views apart: equal keys give equal tensors.
func viewKey(v *Value) string {
	src, chain := source(v)
	var b strings.Builder
	fmt.Fprintf(&b, "%p", src)
	for _, n := range chain {
		fmt.Fprintf(&b, " %s", n.Op())
		for _, in := range n.Inputs[1:] {
			fmt.Fprintf(&b, " %p", in)
		}
		for _, a := range n.Proto.Attribute {
			b.WriteString(prototext.MarshalOptions{}.Format(a))
		}
	}
	return b.String()
}

func applyView(n *Node, t *onnxio.Tensor) (*onnxio.Tensor, error) {
	switch n.Op() {
	case "Identity":
		return t, nil
	case "Cast":
		return t.ConvertTo(onnxio.DataType(n.Int("to", int64(t.Type))))
	case "Transpose":
		return transpose(t, n.Ints("perm"))
	case "DequantizeLinear":
		return dequantize(n, t)
	}
	shape, err := viewShape(n, t.Shape)
	if err != nil {
		return nil, err
	}
	sizes, ok := shape.Ints()
	r := &onnxio.Tensor{Type: t.Type, Shape: sizes, Data: t.Data}
	if !ok || r.Len() != t.Len() {
		return nil, fmt.Errorf("%v cannot be given the shape %v", t, shape)
	}
	return r, nil
}

// viewShape is the output shape of the views that keep the elements in their order.
func viewShape(n *Node, in []int) (Shape, error) {
	s := ShapeOf(in...)
	axes := n.Ints("axes")
	if v := n.In(1); v != nil {
		var ok bool
		if axes, ok = v.ConstInts(); !ok {
			return nil, fmt.Errorf("%v is no list of integers", v)
		}
	}
	switch n.Op() {
	case "Flatten":
		axis, err := Axis(n.Int("axis", 1), len(in)+1)
		if err != nil {
			return nil, err
		}
		return Shape{s[:axis].Elements(), s[axis:].Elements()}, nil
	case "Squeeze":
		drop, err := Axes(axes, len(in))
		if err != nil {
			return nil, err
		}
		out := Shape{}
		for i, d := range s {
			if !contains(drop, i) && (len(axes) > 0 || d.N != 1) {
				out = append(out, d)
			}
		}
		return out, nil
	case "Unsqueeze":
		add, err := Axes(axes, len(in)+len(axes))
		if err != nil {
			return nil, err
		}
		out := make(Shape, len(in)+len(axes))
		for i := range out {
			if contains(add, i) {
				out[i] = D(1)
			} else {
				out[i], s = s[0], s[1:]
			}
		}
		return out, nil
	}
	if n.In(1) == nil {
		axes = n.Ints("shape") // Reshape before opset 5
	}
	return ReshapeShape(s, ShapeOf(axes...), n.Int("allowzero", 0) != 0)
}

func contains(list []int, x int) bool {
	for _, v := range list {
		if v == x {
			return true
		}
	}
	return false
}

// transpose permutes a tensor's axes; a nil perm reverses them.
func transpose(t *onnxio.Tensor, perm []int64) (*onnxio.Tensor, error) {
	rank := t.Rank()
	if perm == nil {
		for i := rank - 1; i >= 0; i-- {
			perm = append(perm, int64(i))
		}
	}
	p, err := Axes(perm, rank)
	if err != nil || len(p) != rank {
		return nil, fmt.Errorf("perm %v does not fit %v", perm, t)
	}
	out := &onnxio.Tensor{Type: t.Type, Shape: make([]int, rank)}
	for i, k := range p {
		out.Shape[i] = t.Shape[k]
	}
	switch d := t.Data.(type) {
	case []float32:
		out.Data = permute(d, t.Shape, p)
	case []float64:
		out.Data = permute(d, t.Shape, p)
	case []uint16:
		out.Data = permute(d, t.Shape, p)
	case []uint8:
		out.Data = permute(d, t.Shape, p)
	case []int8:
		out.Data = permute(d, t.Shape, p)
	case []int32:
		out.Data = permute(d, t.Shape, p)
	case []int64:
		out.Data = permute(d, t.Shape, p)
	default:
		return nil, fmt.Errorf("elements of type %v are not supported here", t.Type)
	}
	return out, nil
}

// dequantize is DequantizeLinear of a constant: (x - zero point) * scale, with one scale for all, per index of an axis, or
// per block of an axis. The result has the scale's type.
func dequantize(n *Node, t *onnxio.Tensor) (*onnxio.Tensor, error) {
	scale, err := n.In(1).Tensor()
	if err != nil {
		return nil, err
	}
	zero := onnxio.NewTensor(onnxio.Float32, scale.Shape...)
	if z := n.In(2); z != nil {
		stored, err := z.Tensor()
		if err != nil {
			return nil, err
		}
		if zero, err = stored.ToFloat32(); err != nil {
			return nil, err
		}
	}
	s, err := scale.ToFloat32()
	if err != nil {
		return nil, err
	}
	x, err := t.ToFloat32()
	if err != nil {
		return nil, err
	}
	index, err := scaleIndex(n, t.Shape, s.Shape)
	if err != nil {
		return nil, err
	}
	if zero.Len() != s.Len() {
		return nil, fmt.Errorf("zero point has shape %v, the scale %v", zero.Shape, s.Shape)
	}
	out := onnxio.NewTensor(onnxio.Float32, t.Shape...)
	for i, c := range x.Float32s() {
		k := index(i)
		out.Float32s()[i] = (c - zero.Float32s()[k]) * s.Float32s()[k]
	}
	return out.ConvertTo(scale.Type)
}

// scaleIndex gives the function from an element's index to that of its scale.
func scaleIndex(n *Node, shape, scale []int) (func(i int) int, error) {
	if len(scale) == 0 || len(scale) == 1 && scale[0] == 1 {
		return func(int) int { return 0 }, nil
	}
	axis, err := Axis(n.Int("axis", 1), len(shape))
	if err != nil {
		return nil, err
	}
	inner := 1
	for _, d := range shape[axis+1:] {
		inner *= d
	}
	size := shape[axis]
	block := int(n.Int("block_size", 0))
	if len(scale) == 1 && block == 0 {
		if scale[0] != size {
			return nil, fmt.Errorf("%d scales for axis %d of shape %v", scale[0], axis, shape)
		}
		return func(i int) int { return i / inner % size }, nil
	}
	ok := len(scale) == len(shape) && block > 0 && scale[axis] == (size+block-1)/block
	for k := range scale {
		ok = ok && (k == axis || scale[k] == shape[k])
	}
	if !ok {
		return nil, fmt.Errorf("scales of shape %v do not fit shape %v with axis %d and block_size %d", scale, shape, axis, block)
	}
	return func(i int) int { return (i/inner/size*scale[axis]+i/inner%size/block)*inner + i%inner }, nil
}
