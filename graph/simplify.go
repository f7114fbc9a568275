package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/onnxio"
)

// Evaluator computes the outputs of one node from its inputs; nil stands for an omitted one. The executor supplies it.
type Evaluator func(n *Node, in []*onnxio.Tensor) ([]*onnxio.Tensor, error)

// SimplifyOptions says what Simplify may do. The zero value removes Identity and Dropout, folds views of constants
// (Transpose, Reshape and the like), and folds BatchNormalization and the Add of a bias into the convolution before.
type SimplifyOptions struct {
	FoldConstants    Evaluator // computes what depends on constants only; nil folds just the views
	KeepBatchNorm    bool      // leave BatchNormalization nodes as they are
	KeepIdentity     bool      // leave Identity and Dropout nodes as they are
	ConstantsToInits bool      // turn Constant nodes into initializers
	MaxGrowth        int64     // bytes by which one folded node may make the file larger; 0 stands for 64 KiB
}

// Change is one thing that Simplify did.
type Change struct {
	Node, Op string // the node that went
	What     string // what became of it, such as "folded into conv1"
}

// Changes lists what Simplify did, in the order it was done.
type Changes []Change

// String counts the changes by operator: "20 BatchNormalization, 3 Identity".
func (c Changes) String() string {
	count := map[string]int{}
	var ops []string
	for _, x := range c {
		if count[x.Op]++; count[x.Op] == 1 {
			ops = append(ops, x.Op)
		}
	}
	slices.Sort(ops)
	for i, op := range ops {
		ops[i] = fmt.Sprint(count[op], " ", op)
	}
	return strings.Join(ops, ", ")
}

// defaultMaxGrowth is far below any weight worth compressing, and above the small tables that shape computations fold to.
const defaultMaxGrowth = 64 << 10

// Simplify removes from g and its subgraphs what only stands in the way of finding and solving layers; see SimplifyOptions.
// Inputs, outputs and node names stay; so does the initializer's name where one initializer is folded into another tensor.
// The model computes what it did before, but for rounding where BatchNormalization is folded.
//
// DequantizeLinear of constants stays, for folding it would undo a quantization; layers are found behind it anyway. QuantizeLinear of
// a constant that is decoded again becomes its codes. Nothing random is folded, nor what grows the file by more than MaxGrowth.
func Simplify(g *Graph, o SimplifyOptions) (Changes, error) {
	if o.MaxGrowth == 0 {
		o.MaxGrowth = defaultMaxGrowth
	}
	s := &simplifier{SimplifyOptions: o, charged: map[*Value]int64{}, sizes: map[*Node]int64{}}
	g.walk(func(h *Graph) {
		for _, n := range slices.Clone(h.Nodes) {
			if s.err == nil && h.has(n) {
				s.node(n)
			}
		}
	})
	if s.err != nil {
		return s.changes, fmt.Errorf("%s: %w", g.Model.Name(), s.err)
	}
	return s.changes, nil
}

// has reports whether n is still a node of g.
func (g *Graph) has(n *Node) bool { return n.index < len(g.Nodes) && g.Nodes[n.index] == n }

type simplifier struct {
	SimplifyOptions
	changes Changes
	sizes   map[*Node]int64  // of the results of what reads large constants
	charged map[*Value]int64 // by how many bytes results of large constants that stay made the file grow
	err     error
}

func (s *simplifier) node(n *Node) {
	switch {
	case s.bypass(n), s.fold(n), s.foldBatchNorm(n), s.foldBiasAdd(n):
	}
}

func (s *simplifier) did(n *Node, format string, args ...any) bool {
	s.changes = append(s.changes, Change{n.Name(), n.Op(), fmt.Sprintf(format, args...)})
	return true
}

// bypass removes a node whose first output is its first input: Identity, and Dropout where it drops nothing.
func (s *simplifier) bypass(n *Node) bool {
	if s.KeepIdentity || !n.is("Identity") && !inactiveDropout(n) {
		return false
	}
	from, to := n.In(0), n.Out(0)
	if from == nil || to == nil {
		return false
	}
	if to.IsOutput && (from.Graph != to.Graph || from.Producer == nil || from.IsOutput) {
		return false // the output's name needs this node
	}
	if s.err = n.Graph.ReplaceUses(to, from); s.err != nil {
		return false
	}
	s.did(n, "removed")
	n.Graph.RemoveNode(n)
	for _, v := range n.Inputs[1:] {
		v.sweep()
	}
	return true
}

// inactiveDropout reports whether n is a Dropout that passes its input on, and whose mask nothing reads.
func inactiveDropout(n *Node) bool {
	if !n.is("Dropout") {
		return false
	}
	if m := n.Out(1); m != nil && (len(m.Uses) > 0 || m.IsOutput) {
		return false
	}
	if n.Opset() < 7 {
		return n.Int("is_test", 0) != 0
	}
	mode := n.In(2)
	if mode == nil {
		return true
	}
	t, ok := mode.Const()
	if !ok || t.Len() != 1 {
		return false
	}
	train := onnxio.Slice[bool](t)
	return train != nil && !train[0]
}
