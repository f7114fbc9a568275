package graph

import "fmt"

// Skipped is a node that could have been a layer, or is like one, and why it is none.
type Skipped struct {
	Node   *Node
	Reason string
}

// Layers finds the layers of g and of its subgraphs in topological order, and tells of every node that multiplies with weights
// but is no layer why not. Constants behind other constants (Transpose, Reshape, DequantizeLinear) count once Simplify has
// folded them.
func Layers(g *Graph) (layers []*Layer, skipped []Skipped) {
	byWeight := map[*Value]*Layer{}
	names := map[string]bool{}
	g.Walk(func(n *Node) {
		l, reason := newLayer(n)
		if l != nil {
			reason = l.refusal()
		}
		if reason != "" {
			skipped = append(skipped, Skipped{n, reason})
			return
		}
		if l == nil {
			return
		}
		if first := byWeight[l.Weight]; first != nil {
			first.Nodes = append(first.Nodes, n)
			return
		}
		byWeight[l.Weight] = l
		l.Name = n.Name()
		if names[l.Name] && len(n.Proto.Output) > 0 {
			l.Name += ":" + n.Proto.Output[0]
		}
		names[l.Name] = true
		layers = append(layers, l)
	})
	return layers, skipped
}

// notSolved lists operators with weights that are no layers, with the reason.
var notSolved = map[string]string{
	"LSTM": recurrentReason, "GRU": recurrentReason, "RNN": recurrentReason,
	"Einsum":                "Einsum has no layout of rows and columns that is known here; export it as MatMul",
	"DeformConv":            "the inputs of a deformable convolution depend on learned offsets",
	"QLinearConv":           integerReason,
	"ConvInteger":           integerReason,
	"QLinearMatMul":         integerReason,
	"MatMulInteger":         integerReason,
	"QGemm":                 integerReason,
	"MatMulNBits":           integerReason,
	"DynamicQuantizeMatMul": integerReason,
	"FusedConv":             fusedReason,
	"FusedMatMul":           fusedReason,
	"FusedGemm":             fusedReason,
	"Attention":             fusedReason,
	"QAttention":            integerReason,
}

const (
	recurrentReason = "the weights of recurrent operators are not compressed"
	integerReason   = "it computes on integers already; start from the float model"
	fusedReason     = "it is a fused operator of one runtime; start from the model before it was optimized for that runtime"
)

// newLayer describes n as a layer. Without one it tells why not; the reason is empty for operators without weights.
func newLayer(n *Node) (*Layer, string) {
	if n.Domain() != "" && n.Domain() != "com.microsoft" {
		return nil, ""
	}
	if reason, ok := notSolved[n.Op()]; ok {
		if (n.Op() == "Einsum" || n.Op() == "Attention") && !anyConst(n) {
			return nil, ""
		}
		return nil, reason
	}
	if n.Domain() != "" {
		return nil, ""
	}
	switch n.Op() {
	case "Conv", "ConvTranspose":
		return newConvLayer(n)
	case "Gemm":
		return newGemmLayer(n)
	case "MatMul":
		return newMatMulLayer(n)
	}
	return nil, ""
}

func anyConst(n *Node) bool {
	for _, v := range n.Inputs {
		if v.IsConst() {
			return true
		}
	}
	return false
}

func newConvLayer(n *Node) (*Layer, string) {
	w := n.In(1)
	shape, reason := weightShape(w)
	if reason != "" {
		return nil, reason
	}
	groups := int(n.Int("group", 1))
	if len(shape) < 3 || groups < 1 {
		return nil, fmt.Sprintf("weight %v with group %d is no convolution's: expected [M C/group kernel...]", w, groups)
	}
	l := &Layer{Nodes: []*Node{n}, Kind: Conv, Weight: w, Bias: n.In(2), Groups: groups, Kernel: shape[2:]}
	outer, inner := shape[0], shape[1]
	if outer%groups != 0 {
		return nil, fmt.Sprintf("weight %v cannot be split into %d groups", w, groups)
	}
	l.Rows, l.ChannelsIn = outer/groups, inner
	if n.Op() == "ConvTranspose" {
		l.Kind, l.Rows, l.ChannelsIn = ConvTranspose, inner, outer/groups
	}
	l.Cols = l.ChannelsIn
	for _, k := range l.Kernel {
		l.Cols *= k
	}
	if _, err := l.Window(n); err != nil {
		return nil, err.Error()
	}
	return l, ""
}

func newGemmLayer(n *Node) (*Layer, string) {
	i, reason := constSide(n)
	if reason != "" {
		return nil, reason
	}
	shape, reason := weightShape(n.In(i))
	if reason != "" {
		return nil, reason
	}
	if len(shape) != 2 {
		return nil, fmt.Sprintf("weight %v is no matrix", n.In(i))
	}
	l := &Layer{Nodes: []*Node{n}, Kind: Gemm, Weight: n.In(i), Bias: n.In(2), Groups: 1, left: i == 0}
	l.colsOut = i == 0 && n.Int("transA", 0) != 0 || i == 1 && n.Int("transB", 0) == 0
	l.setMatrix(shape)
	return l, ""
}

func newMatMulLayer(n *Node) (*Layer, string) {
	i, reason := constSide(n)
	if reason != "" {
		return nil, reason
	}
	shape, reason := weightShape(n.In(i))
	if reason != "" {
		return nil, reason
	}
	l := &Layer{Nodes: []*Node{n}, Kind: MatMul, Weight: n.In(i), Groups: 1, left: i == 0, colsOut: i == 1}
	if len(shape) == 0 {
		return nil, fmt.Sprintf("weight %v is a scalar", n.In(i))
	}
	if len(shape) == 1 {
		l.colsOut = false
		l.setMatrix([]int{1, shape[0]})
		return l, ""
	}
	for _, d := range shape[:len(shape)-2] {
		if d != 1 {
			return nil, fmt.Sprintf("weight %v is a batch of matrices, each for other samples", n.In(i))
		}
	}
	l.setMatrix(shape[len(shape)-2:])
	return l, ""
}

// setMatrix sets the sizes from a stored matrix.
func (l *Layer) setMatrix(shape []int) {
	l.Rows, l.Cols = shape[0], shape[1]
	if l.colsOut {
		l.Rows, l.Cols = shape[1], shape[0]
	}
	l.ChannelsIn = l.Cols
}

// constSide is the input of a product that is its weight: the constant one.
func constSide(n *Node) (int, string) {
	a, b := n.In(0), n.In(1)
	switch {
	case a == nil || b == nil:
		return 0, "an input is missing"
	case a.IsConst() && b.IsConst():
		return 0, "both operands are constant: fold it"
	case b.IsConst():
		return 1, ""
	case a.IsConst():
		return 0, ""
	}
	return 0, "its weight is not constant: both operands are computed"
}

// weightShape checks that v can be a layer's weight and returns its shape.
func weightShape(v *Value) ([]int, string) {
	if v == nil {
		return nil, "its weight is missing"
	}
	if !v.IsConst() {
		return nil, fmt.Sprintf("its weight %q is not constant", v.Name)
	}
	t, err := v.Tensor()
	if err != nil {
		return nil, err.Error()
	}
	if !t.Type.IsFloat() {
		return nil, fmt.Sprintf("its weight %q is of integer type %v", v.Name, t.Type)
	}
	if t.Len() == 0 {
		return nil, fmt.Sprintf("its weight %q is empty", v.Name)
	}
	v.Type, v.Shape = t.Type, ShapeOf(t.Shape...)
	return t.Shape, ""
}

// refusal tells why the layer cannot be changed without changing something else, empty if it can.
func (l *Layer) refusal() string {
	if l.Weight.IsOutput {
		return fmt.Sprintf("its weight %q is an output of the model", l.Weight.Name)
	}
	for _, u := range l.Weight.Uses {
		if u.Node == l.Nodes[0] && u.Index != 1-l.InputIndex() {
			return fmt.Sprintf("its weight %q is also its input %d", l.Weight.Name, u.Index)
		}
		if u.Node == l.Nodes[0] {
			continue
		}
		m, _ := newLayer(u.Node)
		if m == nil || m.Weight != l.Weight || !l.sameLayout(m) {
			return fmt.Sprintf("its weight %q is also read by %v, which would change too", l.Weight.Name, u.Node)
		}
	}
	return ""
}

// sameLayout reports whether two layers read one weight as the same rows and columns.
func (l *Layer) sameLayout(m *Layer) bool {
	return l.Kind == m.Kind && l.Groups == m.Groups && l.Rows == m.Rows && l.Cols == m.Cols && l.colsOut == m.colsOut && l.left == m.left
}
