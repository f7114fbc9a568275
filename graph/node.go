package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Node is one operator call. Change its inputs and attributes through the methods, which keep the NodeProto in step.
type Node struct {
	Proto     *onnxpb.NodeProto
	Graph     *Graph
	Inputs    []*Value          // nil for an omitted input
	Outputs   []*Value          // nil for an omitted output
	Subgraphs map[string]*Graph // by attribute: then_branch, else_branch, body; a list of graphs has keys name[0], name[1], ...

	index   int // position in Graph.Nodes
	attrErr error
}

// Op is the operator's name.
func (n *Node) Op() string { return n.Proto.GetOpType() }

// Domain is the operator's domain, "" for the default one (ai.onnx).
func (n *Node) Domain() string { return normalDomain(n.Proto.GetDomain()) }

// Name is the node's name, never empty: a node without one is called by its first output.
func (n *Node) Name() string {
	if s := n.Proto.GetName(); s != "" {
		return s
	}
	for _, o := range n.Proto.Output {
		if o != "" {
			return o
		}
	}
	return fmt.Sprintf("%s_%d", n.Op(), n.index)
}

// String is what messages call it: node "conv1" (Conv).
func (n *Node) String() string { return fmt.Sprintf("node %q (%s)", n.Name(), n.Op()) }

// Opset is the version of the operator set that defines the node's operator, 0 when the model imports none for its domain.
func (n *Node) Opset() int {
	return n.Graph.Model.Opset(n.Domain())
}

// In is input i, nil when it is omitted or i is beyond the list.
func (n *Node) In(i int) *Value {
	if i < 0 || i >= len(n.Inputs) {
		return nil
	}
	return n.Inputs[i]
}

// Out is output i, nil when it is omitted or i is beyond the list.
func (n *Node) Out(i int) *Value {
	if i < 0 || i >= len(n.Outputs) {
		return nil
	}
	return n.Outputs[i]
}

// Captures lists the values from outside that the node's subgraphs read, in the order of their first use. Values of n.Graph
// and of graphs further out are both listed. It is nil for a node without subgraphs.
func (n *Node) Captures() []*Value {
	if len(n.Subgraphs) == 0 {
		return nil
	}
	var list []*Value
	seen := map[*Value]bool{}
	add := func(v *Value) {
		if v != nil && !seen[v] && v.Graph.encloses(n.Graph) {
			seen[v] = true
			list = append(list, v)
		}
	}
	for _, sub := range n.subgraphs() {
		sub.walk(func(g *Graph) {
			for _, m := range g.Nodes {
				for _, v := range m.Inputs {
					add(v)
				}
			}
			for _, v := range g.Outputs {
				add(v)
			}
		})
	}
	return list
}

// subgraphs lists the node's own subgraphs in the order of its attributes.
func (n *Node) subgraphs() []*Graph {
	var list []*Graph
	for _, a := range n.Proto.Attribute {
		if g, ok := n.Subgraphs[a.GetName()]; ok {
			list = append(list, g)
		}
		for i := range a.Graphs {
			if g, ok := n.Subgraphs[listKey(a.GetName(), i)]; ok {
				list = append(list, g)
			}
		}
	}
	return list
}

func listKey(attr string, i int) string { return fmt.Sprintf("%s[%d]", attr, i) }

// is reports whether the node calls the default domain's operator op.
func (n *Node) is(op string) bool { return n.Proto.GetOpType() == op && n.Domain() == "" }

func normalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}
