package graph

import (
	"math"

	"github.com/obc-onnx/obc/onnxio"
)

// foldBatchNorm folds a BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul (with its Add) before it: with
// f = scale / sqrt(var + epsilon) a channel's weights become f w and its bias f (b - mean) + B (Ioffe and Szegedy 2015,
// arXiv 1502.03167, the inference form). It needs constant parameters and nobody else reading what the layer computes.
func (s *simplifier) foldBatchNorm(n *Node) bool {
	if s.KeepBatchNorm || !n.is("BatchNormalization") || !inferenceMode(n) {
		return false
	}
	l := layerBefore(n, 0)
	if l == nil {
		return false
	}
	node := l.Nodes[0]
	factor, shift, ok := batchNormParams(n, l.Groups*l.Rows)
	if !ok {
		return false
	}
	bias, err := l.BiasVector(node)
	if err != nil {
		return false // a bias of another form stays, and the node with it
	}
	w, err := l.Matrix()
	if err != nil {
		return false
	}
	for i := range w {
		w[i] = float32(float64(w[i]) * factor[i/l.Cols])
	}
	for i := range bias {
		bias[i] = float32(float64(bias[i])*factor[i] + shift[i])
	}
	if s.err = l.SetMatrix(w); s.err != nil {
		return false
	}
	if s.err = l.SetBias(node, bias); s.err != nil {
		return false
	}
	return s.absorbed(n, n.In(0), node)
}

// absorbed removes n, whose work node does now; x is the input of n that its readers read from now on.
func (s *simplifier) absorbed(n *Node, x *Value, node *Node) bool {
	if s.err = n.Graph.ReplaceUses(n.Out(0), x); s.err != nil {
		return false
	}
	n.Graph.RemoveNode(n)
	for _, v := range n.Inputs {
		if v != x {
			v.sweep()
		}
	}
	return s.did(n, "folded into %s", node.Name())
}

// foldBiasAdd makes the Add of one constant per channel, behind a convolution that nothing else reads, the convolution's bias.
func (s *simplifier) foldBiasAdd(n *Node) bool {
	if !n.is("Add") {
		return false
	}
	for i := range 2 {
		x, c := n.In(i), n.In(1-i)
		if x == nil || x.Producer == nil || !x.Producer.is("Conv") && !x.Producer.is("ConvTranspose") || !c.IsConst() {
			continue
		}
		l := layerBefore(n, i)
		if l == nil {
			continue
		}
		added, ok := channelConstant(c, l)
		bias, err := l.BiasVector(x.Producer)
		if !ok || err != nil {
			continue
		}
		for k := range bias {
			bias[k] += added[k%len(added)]
		}
		if s.err = l.SetBias(x.Producer, bias); s.err != nil {
			return false
		}
		return s.absorbed(n, x, x.Producer)
	}
	return false
}

// channelConstant is a constant that, added to a convolution's output, adds one number to each channel, or one to all.
func channelConstant(c *Value, l *Layer) ([]float32, bool) {
	t, ok := c.Const()
	rank := 2 + len(l.Kernel)
	if !ok || t.Rank() > rank {
		return nil, false
	}
	for i, d := range t.Shape {
		if channel := i == t.Rank()-rank+1; d != 1 && (!channel || d != l.Groups*l.Rows) {
			return nil, false
		}
	}
	f, err := t.ToFloat32()
	if err != nil {
		return nil, false
	}
	return f.Float32s(), true
}

// inferenceMode reports whether a BatchNormalization only applies its parameters, and has no further output in use.
func inferenceMode(n *Node) bool {
	for i := 1; i < len(n.Outputs); i++ {
		if v := n.Out(i); v != nil && (len(v.Uses) > 0 || v.IsOutput) {
			return false
		}
	}
	if n.Opset() < 7 {
		return n.Int("is_test", 0) != 0
	}
	return n.Int("training_mode", 0) == 0
}

// layerBefore is the layer whose output, perhaps through a bias Add, only input i of n reads, if its channels are axis 1.
func layerBefore(n *Node, i int) *Layer {
	x := n.In(i)
	if x == nil || x.Producer == nil || x.IsOutput || len(x.Uses) != 1 || x.Graph != n.Graph {
		return nil
	}
	p := x.Producer
	if p.is("Add") {
		for i := range 2 {
			v := p.In(i)
			if v == nil || v.Producer == nil || !v.Producer.is("MatMul") {
				continue
			}
			if add, _ := addAfter(v.Producer); add == p {
				p = v.Producer
				break
			}
		}
	}
	kind, ok := kindOf(p)
	if !ok {
		return nil
	}
	l, err := newLayer(p, kind)
	if err != nil || l.Weight.Type == onnxio.Float64 {
		return nil // Matrix would round float64
	}
	if p != x.Producer && biasOf(l, p) == nil {
		return nil // adds something else than a bias
	}
	if kind == MatMul {
		in := l.Input(p).Shape
		if in == nil || len(in) != 2 || !l.channelsLast() {
			return nil // channels are axis 1 for a matrix only
		}
	}
	if l.OutAxis(2) != 1 {
		return nil
	}
	l.Others = l.strangers()
	return l
}

// batchNormParams gives the factor and shift of each of the channels, if they are constant and finite.
func batchNormParams(n *Node, channels int) (factor, shift []float64, ok bool) {
	var p [4][]float32 // scale, B, mean, var
	for i := range p {
		t, ok := n.In(i + 1).Const()
		if !ok || t.Len() != channels {
			return nil, nil, false
		}
		f, err := t.ToFloat32()
		if err != nil {
			return nil, nil, false
		}
		p[i] = f.Float32s()
	}
	eps := float64(n.Float("epsilon", 1e-5))
	factor, shift = make([]float64, channels), make([]float64, channels)
	for c := range channels {
		factor[c] = float64(p[0][c]) / math.Sqrt(float64(p[3][c])+eps)
		shift[c] = float64(p[1][c]) - factor[c]*float64(p[2][c])
		if bad := factor[c] + shift[c]; math.IsNaN(bad) || math.IsInf(bad, 0) {
			return nil, nil, false
		}
	}
	return factor, shift, true
}
