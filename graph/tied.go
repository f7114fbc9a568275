package graph

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// reading is how a Gemm or MatMul multiplies by a constant matrix on the right: by base, or by its transpose.
type reading struct {
	node   *Node
	base   *Value // the weight without the Transpose nodes before it
	turned bool   // rows and columns are exchanged between base and what the node multiplies by
}

// readingOf is how n reads its weight; false for nodes of another form.
func readingOf(n *Node) (r reading, ok bool) {
	if !n.is("Gemm") && !n.is("MatMul") || !constant(n.In(1)) || constant(n.In(0)) {
		return r, false
	}
	r = reading{node: n, base: n.In(1), turned: n.is("Gemm") && n.Int("transB", 0) != 0}
	for !r.base.IsConst() {
		p := r.base.Producer
		if !p.is("Identity") && !exchanges(p) {
			break
		}
		r.turned = r.turned != p.is("Transpose")
		r.base = p.In(0)
	}
	header, err := constHeader(r.base)
	return r, err == nil && len(header.Shape) == 2
}

// exchanges reports whether n is the Transpose of a matrix.
func exchanges(n *Node) bool {
	if !n.is("Transpose") {
		return false
	}
	perm := n.Ints("perm")
	return perm == nil || slices.Equal(perm, []int64{1, 0})
}

// Tie brings the Gemm and MatMul nodes that sum over the same axis of one constant, but read it in different ways (as it is, behind a Transpose,
// by transB), into one way: that of the first MatMul among them, else of the first. Layers then finds one layer where it found
// several, each with a weight of its own. It returns the nodes that it changed. A Gemm becomes a MatMul, and an Add of its bias, where
// another node is one. The graph is in order again after Sync.
func Tie(g *Graph) ([]*Node, error) {
	type key struct {
		base   string
		turned bool
	}
	groups := map[key][]reading{}
	var order []key
	g.Walk(func(n *Node) {
		r, ok := readingOf(n)
		if !ok {
			return
		}
		k := key{viewKey(r.base), r.turned}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	})
	var changed []*Node
	for _, k := range order {
		list := groups[k]
		as := list[0].node
		if i := slices.IndexFunc(list, func(r reading) bool { return r.node.is("MatMul") }); i >= 0 {
			as = list[i].node
		}
		for _, r := range list {
			did, err := r.readAs(as)
			if err != nil {
				return changed, err
			}
			if did {
				changed = append(changed, r.node)
			}
		}
	}
	return changed, nil
}

// readAs makes the node read its weight as the node as does, unless it does so already or cannot.
func (r reading) readAs(as *Node) (bool, error) {
	n, w := r.node, as.In(1)
	if n == as || n.Op() == as.Op() && viewKey(n.In(1)) == viewKey(w) && n.Int("transB", 0) == as.Int("transB", 0) || !w.Graph.encloses(n.Graph) {
		return false, nil
	}
	if n.is("Gemm") && as.is("MatMul") && !PlainGemm(n) {
		return false, nil
	}
	old := n.In(1)
	n.SetInput(1, w)
	old.sweep()
	switch {
	case n.Op() != as.Op():
		return true, SplitGemm(n, "Add")
	case as.Int("transB", 0) != 0:
		n.SetInt("transB", 1)
	case n.is("Gemm"):
		n.DelAttr("transB")
	}
	return true, nil
}

// PlainGemm reports whether n is a Gemm that multiplies by its second factor, maybe transposed, and adds the third.
func PlainGemm(n *Node) bool {
	return n.is("Gemm") && n.Int("transA", 0) == 0 && n.Float("alpha", 1) == 1 && (n.In(2) == nil || n.Float("beta", 1) == 1)
}

// SplitGemm makes a MatMul of a plain Gemm whose weight is not transposed, and an addition of its bias, if any: Add or Sum.
func SplitGemm(n *Node, addition string) error {
	bias, y := n.In(2), n.Out(0)
	if len(n.Inputs) > 2 {
		n.SetInput(2, nil)
		n.Inputs, n.Proto.Input = n.Inputs[:2], n.Proto.Input[:2]
	}
	n.Proto.OpType = proto.String("MatMul")
	for _, a := range []string{"transA", "transB", "alpha", "beta"} {
		n.DelAttr(a)
	}
	if bias == nil {
		return nil
	}
	g := n.Graph
	product := g.NewValue(n.Name() + "_product")
	product.Type, product.Shape = y.Type, y.Shape
	if err := n.SetOutput(0, product); err != nil {
		return err
	}
	var after *Node
	if n.index+1 < len(g.Nodes) {
		after = g.Nodes[n.index+1]
	}
	_, err := g.AddNode(&onnxpb.NodeProto{
		OpType: &addition, Name: proto.String(g.FreshName(n.Name() + "_add_bias")),
		Input: []string{product.Name, bias.Name}, Output: []string{y.Name},
	}, after)
	return err
}

// Source is the constant that the layer's weight is a view of; it is the weight itself where there are no views.
func (l *Layer) Source() *Value {
	src, _ := source(l.Weight)
	return src
}

// Sharers names what else uses the constant that the layer's weight is a view of: nodes that are not of this layer, such as an embedding's
// Gather, also behind views of their own, and outputs of the graph.
func (l *Layer) Sharers() []string {
	own := map[Use]bool{}
	for _, n := range l.Nodes {
		own[Use{n, l.WeightIndex()}] = true
	}
	return Readers(l.Source(), func(u Use) bool { return own[u] })
}

// Readers names the nodes that read a constant, directly or behind views, but for the places that except holds for, and the outputs of
// the graph that it is, in the order in which they are found.
func Readers(v *Value, except func(Use) bool) []string {
	var list []string
	add := func(name string) {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	var follow func(v *Value)
	follow = func(v *Value) {
		if v.IsOutput {
			add(fmt.Sprintf("output %q", v.Name))
		}
		for _, u := range v.Uses {
			switch {
			case except(u):
			case u.Index == 0 && viewOf(u.Node) && u.Node.Out(0) != nil:
				follow(u.Node.Out(0))
			default:
				add(u.Node.String())
			}
		}
	}
	follow(v)
	return list
}
