package graph

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Prune removes the nodes whose outputs nothing reads, then the initializers that nothing reads, in subgraphs too. It tells
// how many of each it removed. Graph inputs stay, and so do initializers that are inputs as well.
func (g *Graph) Prune() (nodes, inits int) {
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if n.dead() {
			g.RemoveNode(n)
			nodes++
			continue
		}
		for _, sub := range n.subgraphs() {
			a, b := sub.Prune()
			nodes, inits = nodes+a, inits+b
		}
	}
	before := len(g.Inits)
	g.Inits = slices.DeleteFunc(g.Inits, func(v *Value) bool {
		unused := len(v.Uses) == 0 && !v.IsInput && !v.IsOutput
		if unused {
			delete(g.values, v.Name)
		}
		return unused
	})
	return nodes, inits + before - len(g.Inits)
}

// dead reports whether nothing reads any output of n.
func (n *Node) dead() bool {
	for _, v := range n.Outputs {
		if v != nil && (len(v.Uses) > 0 || v.IsOutput) {
			return false
		}
	}
	return true
}

// Sync writes the view back into the model's messages: the lists of nodes, initializers and value descriptions of each
// graph. Nodes and tensors that were not edited are the very messages they were. It fails, leaving the lists as they were,
// when the view is no valid graph: a value that is read but defined nowhere, or a cycle.
func (g *Graph) Sync() error {
	var graphs []*Graph
	g.Main().walk(func(h *Graph) { graphs = append(graphs, h) })
	for _, h := range graphs {
		if err := h.check(); err != nil {
			return fmt.Errorf("%s: %w", g.Model.Name(), err)
		}
	}
	for _, h := range graphs {
		h.write()
	}
	return nil
}

// check finds the errors of a view that edits left incomplete, and puts the nodes in order.
func (g *Graph) check() error {
	for _, n := range g.Nodes {
		for i, v := range n.Inputs {
			if v != nil && !v.defined() {
				return fmt.Errorf("%v: input %d, %v, is defined by nothing", n, i, v)
			}
		}
	}
	for _, v := range g.Outputs {
		if !v.defined() {
			return fmt.Errorf("output %q of %v is defined by nothing", v.Name, g)
		}
	}
	return g.sort()
}

func (v *Value) defined() bool {
	return v.Producer != nil || v.Init != nil || v.Sparse != nil || v.IsInput
}

func (g *Graph) write() {
	p := g.Proto
	nodes := make([]*onnxpb.NodeProto, len(g.Nodes))
	for i, n := range g.Nodes {
		nodes[i] = n.Proto
	}
	p.Node = keep(p.Node, nodes)
	var inits []*onnxpb.TensorProto
	var sparse []*onnxpb.SparseTensorProto
	for _, v := range g.Inits {
		if v.Sparse != nil {
			sparse = append(sparse, v.Sparse)
		} else {
			inits = append(inits, v.Init)
		}
	}
	p.Initializer, p.SparseInitializer = keep(p.Initializer, inits), keep(p.SparseInitializer, sparse)
	inputs := make([]*onnxpb.ValueInfoProto, len(g.Inputs))
	for i, v := range g.Inputs {
		inputs[i] = v.Info
	}
	p.Input = keep(p.Input, append(inputs, g.unlisted()...))
	p.ValueInfo = g.valueInfo()
	p.QuantizationAnnotation = slices.DeleteFunc(p.QuantizationAnnotation, func(a *onnxpb.TensorAnnotation) bool {
		v := g.values[a.GetTensorName()]
		return v == nil || !v.defined()
	})
}

// unlisted are the inputs that initializers of the main graph must be too before ir_version 4, as far as they are not.
func (g *Graph) unlisted() (list []*onnxpb.ValueInfoProto) {
	if ir := g.Model.Proto.GetIrVersion(); g.Outer != nil || ir == 0 || ir >= 4 {
		return nil
	}
	for _, v := range g.Inits {
		if !v.IsInput {
			list = append(list, &onnxpb.ValueInfoProto{Name: proto.String(v.Name), Type: typeProto(v.Type, v.Shape)})
		}
	}
	return list
}

// valueInfo lists the descriptions that still fit: those of values that exist, with the element type they still have.
func (g *Graph) valueInfo() []*onnxpb.ValueInfoProto {
	return slices.DeleteFunc(slices.Clone(g.Proto.ValueInfo), func(info *onnxpb.ValueInfoProto) bool {
		v := g.values[info.GetName()]
		if v == nil || !v.defined() {
			return true
		}
		t, s := declared(info.GetType())
		return t != v.Type && v.Type != 0 || s != nil && v.Shape != nil && contradicts(s, v.Shape)
	})
}

// contradicts reports whether two shapes cannot be of one tensor.
func contradicts(a, b Shape) bool {
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i].Known() && b[i].Known() && a[i].N != b[i].N {
			return true
		}
	}
	return false
}

// keep returns old when it holds the same entries as list, so that an untouched (even empty) list stays as it is.
func keep[T comparable](old, list []T) []T {
	if slices.Equal(old, list) {
		return old
	}
	return list
}
