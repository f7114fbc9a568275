package graph

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Graph is the view of one GraphProto: the model's main graph or a subgraph of an If, Loop or Scan node.
type Graph struct {
	Model   *onnxio.Model
	Proto   *onnxpb.GraphProto // as of New or the last Sync
	Outer   *Graph             // the graph around a subgraph, nil for the main graph
	Owner   *Node              // the node that holds a subgraph, nil for the main graph
	Nodes   []*Node            // in topological order; the file's own order where that is one
	Inputs  []*Value
	Outputs []*Value // a subgraph's output may be a value of an outer graph
	Inits   []*Value // initializers, dense ones first, in the file's order

	values map[string]*Value
	names  map[string]bool         // all names of values and nodes in the model, shared by all its graphs
	rule   func(n *Node) InferRule // while Infer runs
}

// New builds the view of the model's main graph and of all its subgraphs. The graph owns the model from then on: edits
// change the model's messages in place, and Sync completes them, so clone a model that must stay as it is.
//
// It fails, naming the node and the tensor, when a name that a node reads is defined nowhere, when a name is defined twice,
// and when nodes form a cycle. Nodes in a wrong order are put right. Calls of model-local functions stay what they are:
// convert.Inline puts their bodies in their place before.
func New(m *onnxio.Model) (*Graph, error) {
	if m.Proto.GetGraph() == nil {
		return nil, fmt.Errorf("%s: has no graph; is it an ONNX model?", m.Name())
	}
	g := &Graph{Model: m, Proto: m.Proto.Graph, names: map[string]bool{}}
	if err := g.build(); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	return g, nil
}

// Value finds a value that this graph itself defines, nil if there is none of that name.
func (g *Graph) Value(name string) *Value { return g.values[name] }

// Lookup finds the value that a node of this graph means by name: the graph's own or that of the nearest outer graph.
func (g *Graph) Lookup(name string) *Value {
	for ; g != nil; g = g.Outer {
		if v := g.values[name]; v != nil {
			return v
		}
	}
	return nil
}

// Node finds a node of this graph by its name (see Node.Name), nil if there is none.
func (g *Graph) Node(name string) *Node {
	for _, n := range g.Nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// Main is the model's main graph.
func (g *Graph) Main() *Graph {
	for g.Outer != nil {
		g = g.Outer
	}
	return g
}

// Walk calls fn for each node of g and, right after a node, for those of its subgraphs.
func (g *Graph) Walk(fn func(*Node)) {
	for _, n := range g.Nodes {
		fn(n)
		for _, sub := range n.subgraphs() {
			sub.Walk(fn)
		}
	}
}

// walk calls fn for g and then for all graphs inside it. fn may remove nodes, also of graphs further out.
func (g *Graph) walk(fn func(*Graph)) {
	fn(g)
	for _, n := range slices.Clone(g.Nodes) {
		if !g.has(n) {
			continue
		}
		for _, sub := range n.subgraphs() {
			sub.walk(fn)
		}
	}
}

// encloses reports whether inner is g or lies inside it.
func (g *Graph) encloses(inner *Graph) bool {
	for ; inner != nil; inner = inner.Outer {
		if inner == g {
			return true
		}
	}
	return false
}

// String is what messages call it.
func (g *Graph) String() string {
	if g.Owner == nil {
		return "the main graph"
	}
	return fmt.Sprintf("the subgraph %q of %v", g.Proto.GetName(), g.Owner)
}
