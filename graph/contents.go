package graph

import "github.com/obc-onnx/obc/onnxio"

// maxInts bounds how many elements of an integer tensor Infer follows: shapes, axes, pads and the like are far smaller.
const maxInts = 64

// Contents is what is known about the elements of a small integer tensor, flattened: those of a constant, or what Infer
// found for a computed shape. Elements that are not known are Unknown or symbolic; a negative known element cannot be told
// from Unknown here, see ConstInts for those. ok is false when nothing is known.
func (v *Value) Contents() (elems []Dim, ok bool) {
	if v == nil {
		return nil, false
	}
	if v.Ints != nil {
		return v.Ints, true
	}
	ints, ok := v.ConstInts()
	if !ok {
		return nil, false
	}
	elems = make([]Dim, len(ints))
	for i, n := range ints {
		elems[i] = D(n)
	}
	return elems, true
}

// ConstInts is the contents of a constant int64 or int32 tensor of at most 64 elements, such as axes, pads or a shape.
func (v *Value) ConstInts() ([]int64, bool) {
	if !v.IsConst() || v.Type != onnxio.Int64 && v.Type != onnxio.Int32 && v.Type != onnxio.Undefined {
		return nil, false
	}
	if n := v.Shape.Elements(); n.Known() && n.N > maxInts {
		return nil, false
	}
	t, ok := v.Const()
	if !ok || t.Len() > maxInts {
		return nil, false
	}
	switch data := t.Data.(type) {
	case []int64:
		return data, true
	case []int32:
		out := make([]int64, len(data))
		for i, x := range data {
			out[i] = int64(x)
		}
		return out, true
	}
	return nil, false
}

// inferInts finds the contents of n's outputs where n is one of the operators that computed shapes are made of.
func (n *Node) inferInts() {
	if n.Domain() != "" {
		return
	}
	switch n.Op() {
	case "Shape":
		n.shapeInts()
	case "Size":
		if v := n.In(0); v != nil && v.Shape != nil {
			n.setInts(0, []Dim{v.Shape.Elements()})
		}
	case "Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten":
		if c, ok := n.In(0).Contents(); ok {
			n.setInts(0, c)
		}
	case "Add", "Sub", "Mul", "Div":
		n.arithmeticInts()
	case "Gather":
		n.gatherInts()
	case "Concat":
		n.concatInts()
	case "Slice":
		n.sliceInts()
	case "Split":
		n.splitInts()
	case "ConstantOfShape":
		n.constantOfShapeInts()
	case "ReduceProd":
		c, ok := n.In(0).Contents()
		if ok && len(n.In(0).Shape) == 1 {
			p := D(1)
			for _, d := range c {
				p = p.Mul(d)
			}
			n.setInts(0, []Dim{p})
		}
	}
}

// setInts records contents, if the output is an integer tensor and there are not too many elements.
func (n *Node) setInts(i int, c []Dim) {
	v := n.Out(i)
	if v == nil || len(c) > maxInts || v.Type != onnxio.Int64 && v.Type != onnxio.Int32 {
		return
	}
	v.Ints = append(make([]Dim, 0, len(c)), c...)
}

func (n *Node) shapeInts() {
	v := n.In(0)
	if v == nil || v.Shape == nil {
		return
	}
	r := int64(len(v.Shape))
	lo, hi := clampIndex(n.Int("start", 0), r), clampIndex(n.Int("end", r), r)
	n.setInts(0, v.Shape[lo:max(lo, hi)])
}

// clampIndex resolves a slice bound: negative values count from the end, and the result lies in 0..size.
func clampIndex(i, size int64) int64 {
	if i < 0 {
		i += size
	}
	return min(max(i, 0), size)
}

// vector is the contents of a tensor of rank 1; elements are Unknown when only their number is known.
func vector(v *Value) ([]Dim, bool) {
	if v == nil || len(v.Shape) != 1 {
		return nil, false
	}
	if c, ok := v.Contents(); ok {
		return c, true
	}
	if d := v.Shape[0]; d.Known() && d.N <= maxInts {
		return UnknownShape(int(d.N)), true
	}
	return nil, false
}

func (n *Node) gatherInts() {
	data, ok1 := vector(n.In(0))
	idx, ok2 := n.In(1).ConstInts()
	if !ok1 || !ok2 {
		return
	}
	out := make([]Dim, len(idx))
	for i, k := range idx {
		if k < 0 {
			k += int64(len(data))
		}
		if k < 0 || k >= int64(len(data)) {
			return
		}
		out[i] = data[k]
	}
	n.setInts(0, out)
}

func (n *Node) concatInts() {
	out := []Dim{}
	for _, v := range n.Inputs {
		c, ok := vector(v)
		if !ok || len(out)+len(c) > maxInts {
			return
		}
		out = append(out, c...)
	}
	n.setInts(0, out)
}

func (n *Node) sliceInts() {
	data, ok := vector(n.In(0))
	if !ok {
		return
	}
	starts, ends, step := n.Ints("starts"), n.Ints("ends"), int64(1)
	if n.Opset() >= 10 {
		starts, _ = n.In(1).ConstInts()
		ends, _ = n.In(2).ConstInts()
		if s := n.In(4); s != nil {
			steps, ok := s.ConstInts()
			if !ok || len(steps) != 1 {
				return
			}
			step = steps[0]
		}
	}
	if len(starts) != 1 || len(ends) != 1 || step <= 0 {
		return
	}
	size := int64(len(data))
	out := []Dim{}
	for i := clampIndex(starts[0], size); i < clampIndex(ends[0], size); i += min(step, size+1) {
		out = append(out, data[i])
	}
	n.setInts(0, out)
}

func (n *Node) splitInts() {
	data, ok := vector(n.In(0))
	if !ok {
		return
	}
	var at int64
	for i, v := range n.Outputs {
		if v == nil || len(v.Shape) != 1 || !v.Shape[0].Known() || at+v.Shape[0].N > int64(len(data)) {
			return
		}
		n.setInts(i, data[at:at+v.Shape[0].N])
		at += v.Shape[0].N
	}
}

func (n *Node) constantOfShapeInts() {
	count, ok := n.In(0).Contents()
	if !ok || !n.HasAttr("value") {
		return
	}
	t, err := n.Tensor("value")
	total := Shape(count).Elements()
	if err != nil || t.Len() != 1 || t.Int64s() == nil || !total.Known() || total.N > maxInts {
		return
	}
	out := make([]Dim, total.N)
	for i := range out {
		out[i] = D(t.Int64s()[0])
	}
	n.setInts(0, out)
}

// arithmeticInts computes element by element, a single element standing for all.
func (n *Node) arithmeticInts() {
	a, ok1 := n.In(0).Contents()
	b, ok2 := n.In(1).Contents()
	if !ok1 || !ok2 || len(a) != len(b) && len(a) != 1 && len(b) != 1 || len(n.In(0).Shape) > 1 || len(n.In(1).Shape) > 1 {
		return
	}
	if len(a) == 0 || len(b) == 0 {
		return
	}
	out := make([]Dim, max(len(a), len(b)))
	for i := range out {
		x, y := a[i%len(a)], b[i%len(b)]
		switch n.Op() {
		case "Add":
			out[i] = x.Add(y)
		case "Mul":
			out[i] = x.Mul(y)
		case "Div": // integer division rounds; of unknown sizes only exact ones are certain
			out[i] = x.Div(y)
			if x.Known() && y.N > 0 {
				out[i] = D(x.N / y.N)
			}
		case "Sub":
			out[i] = Unknown
			if x.Known() && y.Known() && x.N >= y.N {
				out[i] = D(x.N - y.N)
			} else if y == D(0) {
				out[i] = x
			}
		}
	}
	n.setInts(0, out)
}
