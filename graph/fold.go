package graph

import (
	"slices"

	"github.com/obc-onnx/obc/onnxio"
)

// maxFolded bounds the elements of a result that is computed at all, before its size in the file is looked at.
const maxFolded = 1 << 28

// leastShared is the size of a constant from which a view of it is left in place while others read the constant too.
const leastShared = 1 << 10

// fold computes a node that reads constants only, and makes its outputs initializers.
func (s *simplifier) fold(n *Node) bool {
	if n.is("Constant") {
		return s.ConstantsToInits && s.foldConstant(n)
	}
	if !computable(n) {
		return false
	}
	if bound := outputBound(n); !bound.Known() || bound.N > maxFolded {
		return false
	}
	out, ok := s.evaluate(n)
	if !ok || !s.affordable(n, out) {
		return false
	}
	s.did(n, "computed")
	s.replace(n, out)
	return true
}

// computable reports whether n is to be computed once and for all: it reads constants only, and is neither random nor a weight's decoding.
func computable(n *Node) bool {
	if random[n.Op()] || n.Op() == "DequantizeLinear" || n.Op() == "QuantizeLinear" && !decoded(n) || len(n.Subgraphs) > 0 || len(n.Inputs) == 0 {
		return false
	}
	return !slices.ContainsFunc(n.Inputs, func(v *Value) bool { return v != nil && !v.IsConst() })
}

// decoded reports whether all that reads n is DequantizeLinear: the codes of a weight, as fake quantization is exported.
func decoded(n *Node) bool {
	v := n.Out(0)
	return v != nil && !v.IsOutput && len(v.Uses) > 0 && !slices.ContainsFunc(v.Uses, func(u Use) bool { return u.Node.Op() != "DequantizeLinear" || u.Index != 0 })
}

// foldConstant turns a Constant node into an initializer.
func (s *simplifier) foldConstant(n *Node) bool {
	t, ok := n.Out(0).Const()
	if !ok {
		return false
	}
	s.did(n, "made an initializer")
	s.replace(n, []*onnxio.Tensor{t})
	return true
}

// evaluate computes a node; ok is false when nobody can.
func (s *simplifier) evaluate(n *Node) (out []*onnxio.Tensor, ok bool) {
	in := make([]*onnxio.Tensor, len(n.Inputs))
	for i, v := range n.Inputs {
		if v == nil {
			continue
		}
		if in[i], ok = v.Const(); !ok {
			return nil, false
		}
	}
	if viewOf(n) {
		if t, err := applyView(n, in[0]); err == nil {
			return []*onnxio.Tensor{t}, true
		}
	}
	if s.FoldConstants == nil {
		return nil, false
	}
	out, err := s.FoldConstants(n, in)
	if err != nil || len(out) < len(n.Outputs) {
		return nil, false // left for the executor to complain about, should it ever run
	}
	for i, v := range n.Outputs {
		if v != nil && (out[i] == nil || !out[i].Type.Valid()) { // sequences and optionals cannot be initializers
			return nil, false
		}
	}
	return out, true
}

// affordable reports whether the file does not grow too much by the results of n, less its inputs that go with it. What is read from
// inputs that stay, such as the same part of a weight in several branches, is charged to them together.
func (s *simplifier) affordable(n *Node, out []*onnxio.Tensor) bool {
	growth := written(n, out)
	var stays []*Value
	for i, v := range n.Inputs {
		if v == nil || slices.Contains(n.Inputs[:i], v) {
			continue
		}
		if t, ok := v.Const(); ok && s.goes(v, t) {
			growth -= bytes(t)
		} else if ok && i == 0 && viewOf(n) && bytes(t) >= leastShared {
			return false // layers are found behind it, and stay one with what else reads the constant
		} else if ok && bytes(t) > s.MaxGrowth {
			stays = append(stays, v)
		}
	}
	limit := s.MaxGrowth
	for _, v := range stays {
		limit = min(limit, s.MaxGrowth/16-s.charged[v])
	}
	if growth > limit {
		return false
	}
	for _, v := range stays {
		s.charged[v] += growth
	}
	return true
}

// goes reports whether the constant v of value t is gone once all that can be computed of it is, and whether that is worth it: it is
// not when the results are larger.
func (s *simplifier) goes(v *Value, t *onnxio.Tensor) bool {
	if v.IsOutput || v.IsInput {
		return false
	}
	first := v.Uses[0].Node
	if !slices.ContainsFunc(v.Uses, func(u Use) bool { return u.Node != first }) {
		return true
	}
	if bytes(t) <= s.MaxGrowth {
		return false
	}
	var results int64
	seen := map[*Node]bool{}
	for _, u := range v.Uses {
		if seen[u.Node] {
			continue
		}
		seen[u.Node] = true
		size, ok := s.size(u.Node)
		if results += size; !ok || results > bytes(t)+s.MaxGrowth {
			return false
		}
	}
	return true
}

// size is how many bytes the results of n have; false when they are not computed.
func (s *simplifier) size(n *Node) (int64, bool) {
	if size, ok := s.sizes[n]; ok {
		return size, true
	}
	if bound := outputBound(n); !computable(n) || !bound.Known() || bound.N > maxFolded {
		return 0, false
	}
	out, ok := s.evaluate(n)
	if !ok {
		return 0, false
	}
	s.sizes[n] = written(n, out)
	return s.sizes[n], true
}

// written is how many bytes of a file the results of n take.
func written(n *Node, out []*onnxio.Tensor) (total int64) {
	for i, v := range n.Outputs {
		if v != nil {
			total += bytes(out[i])
		}
	}
	return total
}

func bytes(t *onnxio.Tensor) int64 {
	if t.Type == onnxio.String {
		n := 0
		for _, s := range onnxio.Slice[string](t) {
			n += len(s)
		}
		return int64(n)
	}
	return int64(t.Len()) * int64(t.Type.Bits()) / 8
}

// replace removes n and makes its outputs initializers under their own names; when an initializer goes with the node, the
// first output takes over its name.
func (s *simplifier) replace(n *Node, out []*onnxio.Tensor) {
	g := n.Graph
	g.RemoveNode(n)
	for i, v := range n.Outputs {
		if v == nil {
			continue
		}
		v.Init = out[i].Proto(v.Name)
		v.setConst(v.Init.GetDataType(), v.Init.Dims)
		g.Inits = append(g.Inits, v)
	}
	for _, in := range n.Inputs {
		if in == nil {
			continue
		}
		wasInit := in.Init != nil && in.Graph == g
		in.sweep()
		first := n.Out(0)
		if wasInit && g.values[in.Name] == nil && first != nil && first.Init != nil && !first.IsOutput && first.Type.IsFloat() && first.Name == n.Proto.Output[0] {
			g.rename(first, in.Name)
		}
	}
}

// outputBound is an upper bound for the elements of each output of a node with constant inputs; Unknown if there is none
// that is cheap to see.
func outputBound(n *Node) Dim {
	sum, product := D(0), D(1)
	shapes := []Shape{}
	for _, v := range n.Inputs {
		if v == nil {
			continue
		}
		e := v.constShape().Elements()
		sum, product = sum.Add(e), product.Mul(e)
		shapes = append(shapes, v.constShape())
	}
	contents := func(i int) Dim {
		c, ok := n.In(i).ConstInts()
		if !ok {
			return Unknown
		}
		return ShapeOf(c...).Elements()
	}
	switch n.Op() {
	case "ConstantOfShape":
		return contents(0)
	case "Expand", "Tile": // a target or factors, times at most what is there
		return contents(1).Mul(shapes[0].Elements())
	case "Range", "EyeLike", "OneHot", "Pad", "Resize", "Upsample", "Loop", "Scan", "CenterCropPad", "RandomNormal":
		if y := n.Out(0); y != nil {
			return y.Shape.Elements()
		}
		return Unknown
	case "MatMul", "Gemm", "Gather", "GatherND", "Einsum":
		return product
	case "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Concat", "Slice", "Split", "Shape", "Size":
		return sum
	}
	if s, err := Broadcast(shapes...); err == nil && s != nil { // element by element, or reducing
		return s.Elements()
	}
	return product
}

// constShape is the shape of a constant, also of a Constant node's output before inference.
func (v *Value) constShape() Shape {
	if v.Init == nil && v.Sparse == nil {
		if t, ok := v.Const(); ok {
			return ShapeOf(t.Shape...)
		}
	}
	return v.Shape
}
