package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// LayerKind is the operator of a layer.
type LayerKind uint8

// The operators that multiply by a weight matrix which the compression methods know.
const (
	Conv LayerKind = iota
	ConvTranspose
	Gemm
	MatMul
)

// String is the operator's name.
func (k LayerKind) String() string { return [...]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}[k] }

// Layer is a constant weight together with the nodes that multiply by it. As a matrix problem it consists of Groups
// independent products of a Rows x Cols weight with the columns that Unfold makes of the node's input; see Matrix.
type Layer struct {
	Name  string  // that of the first node, made unique
	Nodes []*Node // in topological order; several where they share the weight
	Kind  LayerKind

	Weight *Value  // input WeightIndex() of the nodes; an initializer, a Constant's output, or computed from one by views (see Matrix)
	Bias   *Value  // what the first node adds to each output channel, where it is constant; for MatMul in an Add after it. Else nil
	Others []*Node // further readers of Weight that are not of this layer, such as an embedding's Gather: SetMatrix leaves them theirs

	Groups, Rows, Cols int   // Rows and Cols are those of one group
	ChannelsIn         int   // input channels of one group: Cols = ChannelsIn x kernel positions
	Kernel             []int // the kernel's size, empty for Gemm and MatMul

	left bool // the weight is the left operand, input 0, and the activation the right one
	view layout
}

// Skipped is a node that multiplies by weights, or may do so, but is no layer.
type Skipped struct {
	Node   *Node
	Reason string // what stands against it, and what would help
}

// Layers finds the layers of g, a main graph, and of all its subgraphs, in the order of their first nodes, and tells why
// each other Conv, ConvTranspose, Gemm, MatMul or other operator with weights is none.
func Layers(g *Graph) (layers []*Layer, skipped []Skipped) {
	byWeight := map[string]*Layer{}
	names := map[string]bool{}
	g.Walk(func(n *Node) {
		if reason, ok := unsupported(n); ok {
			skipped = append(skipped, Skipped{n, reason})
			return
		}
		kind, ok := kindOf(n)
		if !ok {
			return
		}
		l, err := newLayer(n, kind)
		if err == nil && (l.Groups*l.Rows < 1 || l.Cols < 2) {
			err = fmt.Errorf("too small: %d rows of %d weights leave nothing to compensate with", l.Groups*l.Rows, l.Cols)
		}
		if err != nil {
			skipped = append(skipped, Skipped{n, err.Error()})
			return
		}
		key := l.key()
		if first := byWeight[key]; first != nil {
			first.Nodes = append(first.Nodes, n)
			return
		}
		byWeight[key] = l
		for l.Name = n.Name(); names[l.Name]; {
			l.Name += "'"
		}
		names[l.Name] = true
		layers = append(layers, l)
	})
	for _, l := range layers {
		l.Others = l.strangers()
	}
	return layers, skipped
}

func kindOf(n *Node) (LayerKind, bool) {
	for k := Conv; k <= MatMul; k++ {
		if n.is(k.String()) {
			return k, true
		}
	}
	return 0, false
}

// unsupported gives the reason for operators that hold weights but are never layers.
func unsupported(n *Node) (reason string, ok bool) {
	switch n.Op() {
	case "Einsum", "DeformConv", "FusedConv", "FusedMatMul", "FusedGemm", "Attention", "MultiHeadAttention", "EmbedLayerNormalization":
		for _, v := range n.Inputs {
			if v.IsConst() && len(v.Shape) >= 2 {
				return fmt.Sprintf("operator %s is not supported: its constant %q stays as it is", n.Op(), v.Name), true
			}
		}
	case "LSTM", "GRU", "RNN":
		return "recurrent operators are not supported: their weights stay as they are", true
	case "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm", "MatMulNBits", "QAttention",
		"DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearConvTranspose":
		return "integer type: the operator is quantized already", true
	}
	return "", false
}

// newLayer makes the layer of a node, or tells why the node is none.
func newLayer(n *Node, kind LayerKind) (*Layer, error) {
	l := &Layer{Nodes: []*Node{n}, Kind: kind}
	a, b := constant(n.In(0)), constant(n.In(1))
	switch {
	case a && b:
		return nil, fmt.Errorf("both operands are constant: fold constants first")
	case a && kind >= Gemm:
		l.left = true
	case !b:
		return nil, notConstant(n.In(1))
	}
	l.Weight = n.In(l.WeightIndex())
	header, err := constHeader(l.Weight)
	if err != nil {
		return nil, err
	}
	switch header.Type {
	case onnxio.Float32, onnxio.Float64, onnxio.Float16, onnxio.BFloat16:
	default:
		kind := "type"
		if header.Type.IsInteger() {
			kind = "integer type"
		}
		return nil, fmt.Errorf("%s: the weight %q is %v, expected a float type of 16 bits or more", kind, l.Weight.Name, header.Type)
	}
	if err := l.shape(n, header.Shape); err != nil {
		return nil, err
	}
	l.Bias = biasOf(l, n)
	return l, nil
}

// notConstant says where a weight comes from instead.
func notConstant(v *Value) error {
	switch {
	case v == nil:
		return fmt.Errorf("weight is not constant: it is omitted")
	case v.Producer == nil:
		return fmt.Errorf("weight is not constant: %q is an input of the graph", v.Name)
	case computedFromConstants(v, map[*Value]bool{}):
		return fmt.Errorf("weight %q is computed from constants by %v: fold constants first", v.Name, v.Producer)
	}
	return fmt.Errorf("weight is not constant: %q is computed by %v", v.Name, v.Producer)
}

// computedFromConstants reports whether v depends on nothing but constants.
func computedFromConstants(v *Value, seen map[*Value]bool) bool {
	if v == nil || v.IsConst() || seen[v] {
		return true
	}
	if v.Producer == nil || len(v.Producer.Subgraphs) > 0 || random[v.Producer.Op()] {
		return false
	}
	seen[v] = true
	for _, in := range v.Producer.Inputs {
		if !computedFromConstants(in, seen) {
			return false
		}
	}
	return true
}

// shape sets the sizes of the matrix problem from the weight's shape, and how the weight is laid out in the file.
func (l *Layer) shape(n *Node, s []int) error {
	switch l.Kind {
	case Conv, ConvTranspose:
		return l.convShape(n, s)
	case Gemm:
		if len(s) != 2 {
			return fmt.Errorf("weight %q has shape %v, expected two dimensions", l.Weight.Name, s)
		}
		trans := n.Int("transB", 0) != 0
		if l.left {
			trans = n.Int("transA", 0) == 0
		}
		l.dense(s[0], s[1], trans)
		return nil
	}
	lead := 1
	for _, d := range s[:max(0, len(s)-2)] {
		lead *= d
	}
	switch {
	case len(s) == 0:
		return fmt.Errorf("weight %q is a scalar", l.Weight.Name)
	case lead != 1:
		return fmt.Errorf("weight %q has batch dimensions, shape %v: only one matrix for the whole batch is supported", l.Weight.Name, s)
	case len(s) == 1:
		l.dense(1, s[0], true)
	default:
		l.dense(s[len(s)-2], s[len(s)-1], l.left)
	}
	return nil
}

// dense lays out a plain matrix: stored as rows x cols, or, when rowsFirst is false, as cols x rows.
func (l *Layer) dense(d0, d1 int, rowsFirst bool) {
	l.Groups, l.Rows, l.Cols = 1, d0, d1
	l.view = layout{dims: []int{d0, d1}, perm: []int{0, 1}, chan0: 1}
	if !rowsFirst {
		l.Rows, l.Cols = d1, d0
		l.view = layout{dims: []int{d0, d1}, perm: []int{1, 0}, chan0: 0}
	}
	l.ChannelsIn = l.Cols
}

func (l *Layer) convShape(n *Node, s []int) error {
	group := int(n.Int("group", 1))
	if len(s) < 3 {
		return fmt.Errorf("weight %q has shape %v, expected (channels, channels, kernel...)", l.Weight.Name, s)
	}
	if group < 1 || s[0]%group != 0 {
		return fmt.Errorf("weight %q of shape %v cannot be split into %d groups", l.Weight.Name, s, group)
	}
	if _, err := ReadWindow(n, s[2:]); err != nil {
		return err
	}
	positions := 1
	for _, k := range s[2:] {
		positions *= k
	}
	l.Kernel, l.Groups = s[2:], group
	if l.Kind == Conv { // (group, out, in, position) -> (group, out, position, in)
		l.Rows, l.ChannelsIn = s[0]/group, s[1]
		l.view = layout{dims: []int{group, l.Rows, l.ChannelsIn, positions}, perm: []int{0, 1, 3, 2}, chan0: 2}
	} else { // (group, in, out, position) -> (group, out, position, in)
		l.Rows, l.ChannelsIn = s[1], s[0]/group
		l.view = layout{dims: []int{group, l.ChannelsIn, l.Rows, positions}, perm: []int{0, 2, 3, 1}, chan0: 1}
	}
	l.Cols = l.ChannelsIn * positions
	return nil
}

// Window is how one of the layer's convolutions moves; nodes that share a weight may differ in it.
func (l *Layer) Window(n *Node) (Window, error) {
	w, err := ReadWindow(n, l.Kernel)
	if err != nil {
		err = fmt.Errorf("%v: %w", n, err)
	}
	return w, err
}

// WeightIndex is the place of the weight among a node's inputs.
func (l *Layer) WeightIndex() int { return b2i(!l.left) }

// InputIndex is the place of the activation among a node's inputs.
func (l *Layer) InputIndex() int { return b2i(l.left) }

// strangers lists the readers of the weight that are not among the layer's nodes.
func (l *Layer) strangers() []*Node {
	own, seen := map[Use]bool{}, map[*Value]bool{}
	for _, n := range l.Nodes {
		own[Use{n, l.WeightIndex()}] = true
	}
	var list []*Node
	for _, n := range l.Nodes {
		v := n.In(l.WeightIndex())
		for _, u := range v.Uses {
			if !own[u] && !seen[v] {
				list = append(list, u.Node)
			}
		}
		seen[v] = true
	}
	return list
}

// ChannelAxis is the axis of the stored weight that runs over the output channels, -1 when it has none (MatMul with a
// vector). For a grouped ConvTranspose it runs over those of one group only.
func (l *Layer) ChannelAxis() int { return l.axis(false) }

// InputAxis is the axis of the stored weight that runs over the input channels: the one to cut into blocks of shared scales.
// For a grouped Conv it runs over those of one group only.
func (l *Layer) InputAxis() int { return l.axis(true) }

func (l *Layer) axis(input bool) int {
	switch l.Kind {
	case Conv:
		return b2i(input)
	case ConvTranspose:
		return b2i(!input)
	}
	rank := len(l.Weight.Shape)
	if header, err := constHeader(l.Weight); err == nil {
		rank = len(header.Shape)
	}
	if rank == 1 {
		return b2i(input) - 1
	}
	return rank - 2 + b2i(input == (l.view.chan0 == 1))
}

// OutAxis is the axis of the nodes' output, of the given rank, that runs over the output channels; -1 if there is none.
func (l *Layer) OutAxis(rank int) int {
	switch {
	case l.Kind == Conv || l.Kind == ConvTranspose:
		return 1
	case l.ChannelAxis() < 0:
		return -1
	case l.Kind == Gemm:
		return l.WeightIndex()
	case l.left: // constant on the left
		if l.Nodes[0].In(1) != nil && len(l.Nodes[0].In(1).Shape) == 1 {
			return rank - 1
		}
		return rank - 2
	}
	return rank - 1
}

// MACs is the number of multiply-accumulates for one sample, summed over the layer's nodes; it needs inferred shapes. What is
// not known, such as the length of a sequence, counts as 1; see SymbolicMACs.
func (l *Layer) MACs() int64 {
	return atLeast(l.SymbolicMACs(), int64(l.Groups)*int64(l.Rows)*int64(l.Cols)*int64(len(l.Nodes)))
}

// atLeast is the number in a product with unknown sizes, which count as 1; fallback where nothing is known of it.
func atLeast(d Dim, fallback int64) int64 {
	n, names, ok := d.factors()
	if !ok || len(names) == 0 && n == 0 {
		return fallback
	}
	return n
}

// SymbolicMACs is MACs with the unknown sizes in it, such as 147456*sequence; Unknown before shapes are known. One sample is
// the whole batch divided by the first dimension of the model's first input.
func (l *Layer) SymbolicMACs() Dim {
	total := D(0)
	for _, n := range l.Nodes {
		total = total.Add(l.macs(n))
	}
	return total
}

func (l *Layer) macs(n *Node) Dim {
	x, y := n.In(l.InputIndex()), n.Out(0)
	if x == nil || y == nil || x.Shape == nil || y.Shape == nil {
		return Unknown
	}
	total := D(int64(l.Rows) * int64(l.Cols) * int64(l.Groups))
	switch l.Kind {
	case Conv:
		total = total.Mul(y.Shape[0]).Mul(y.Shape[2:].Elements())
	case ConvTranspose:
		total = total.Mul(x.Shape[0]).Mul(x.Shape[2:].Elements())
	default: // elements of the output, each a sum over the columns
		total = y.Shape.Elements().Mul(D(int64(l.Cols)))
	}
	return perSample(n, total)
}

// perSample divides what n does for a whole batch by the first dimension of the model's first input.
func perSample(n *Node, total Dim) Dim {
	if main := n.Graph.Main(); len(main.Inputs) > 0 && len(main.Inputs[0].Shape) > 0 {
		return total.Div(main.Inputs[0].Shape[0])
	}
	return total
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Input is the activation that node n of the layer reads.
func (l *Layer) Input(n *Node) *Value { return n.In(l.InputIndex()) }

// WeightShape is the shape of the weight as its nodes read it.
func (l *Layer) WeightShape() []int {
	header, err := constHeader(l.Weight)
	if err != nil {
		return nil
	}
	return header.Shape
}

// String is what messages call it.
func (l *Layer) String() string { return fmt.Sprintf("layer %q (%v)", l.Name, l.Kind) }
