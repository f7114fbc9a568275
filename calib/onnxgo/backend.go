// Package onnxgo runs models that github.com/owulveryck/onnx-go decodes on this module's executor:
//
//	opset, err := onnxgo.OpsetOf(b)       // onnx-go does not tell its backends
//	backend := onnxgo.New(opset)
//	model := onnx.NewModel(backend)
//	err = model.UnmarshalBinary(b)
//	err = model.SetInput(0, x)            // a tensor of gorgonia.org/tensor
//	err = backend.Run()
//	outputs, err := model.GetOutputTensors()
//
// What onnx-go does not decode (subgraphs, float16, external data) does not reach this package. Programs without ties to onnx-go
// load models with package onnxio, which reads all of ONNX.
package onnxgo

import (
	"fmt"
	"sort"

	onnx "github.com/owulveryck/onnx-go"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/iterator"
	"google.golang.org/protobuf/proto"
	"gorgonia.org/tensor"

	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops" // the operators register themselves
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// DefaultOpset is the operator set that New takes for 0: that of onnx-go's own tests and time.
const DefaultOpset = 9

// Backend is the computation graph that onnx-go builds, one node a value, with an edge from each result to what it is computed from.
// It implements onnx-go's backend.ComputationBackend. It is used by one goroutine at a time.
type Backend struct {
	// Threads is the number of threads that Run uses, 0 for all CPUs.
	Threads int
	// MemoryLimit bounds the bytes of activations alive at a time, 0 for the executor's default.
	MemoryLimit int64

	opset int
	next  int64
	nodes map[int64]*Node
	edges map[int64][]edge // by the result's node
	ops   []operation
	run   *program
}

// Node is a value: an input, a weight or a result.
type Node struct {
	id          int64
	name        string
	description string
	value       tensor.Tensor
	late        bool // the value was set after the operations were known: by the user, not by the file
	backend     *Backend
}

type edge struct {
	from, to *Node
	weight   float64
}

// operation is an ONNX node.
type operation struct {
	domain  string
	op      onnx.Operation
	in, out []*Node
}

// New makes an empty backend for a model of the given version of the default operator set; 0 means DefaultOpset.
func New(opset int) *Backend {
	if opset == 0 {
		opset = DefaultOpset
	}
	return &Backend{opset: opset, nodes: map[int64]*Node{}, edges: map[int64][]edge{}}
}

// OpsetOf reads the version of the default operator set from a model file's bytes.
func OpsetOf(model []byte) (int, error) {
	m := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(model, m); err != nil {
		return 0, fmt.Errorf("not an ONNX model: %w", err)
	}
	for _, o := range m.OpsetImport {
		if d := o.GetDomain(); d == "" || d == "ai.onnx" {
			return int(o.GetVersion()), nil
		}
	}
	return 0, fmt.Errorf("the model imports no default operator set")
}

// domains are where operators are looked for, as onnx-go does not tell a node's domain.
var domains = []string{"", "com.microsoft", "ai.onnx.ml"}

// ApplyOperation adds the ONNX node that computes the given results. An operator that the executor lacks is an
// *onnx.ErrNotImplemented.
func (b *Backend) ApplyOperation(op onnx.Operation, results ...graph.Node) error {
	o := operation{op: op}
	found := false
	for _, d := range domains {
		version := b.opset
		if d != "" {
			version = 1 << 20
		}
		if _, found = exec.Lookup(d, op.Name, version); found {
			o.domain = d
			break
		}
	}
	if !found && op.Name != "Constant" {
		return &onnx.ErrNotImplemented{Operator: op.Name, Message: fmt.Sprintf("no such operator in opset %d", b.opset)}
	}
	for _, r := range results {
		n, ok := r.(*Node)
		if !ok || b.nodes[n.id] != n {
			return fmt.Errorf("operator %s: result %v is no node of this backend", op.Name, r)
		}
		o.out = append(o.out, n)
	}
	if len(o.out) == 0 {
		return fmt.Errorf("operator %s has no results", op.Name)
	}
	for _, e := range b.edges[o.out[0].id] {
		o.in = append(o.in, e.to)
	}
	if takesNothing[op.Name] {
		o.in = nil // onnx-go makes up an input
	}
	b.ops = append(b.ops, o)
	b.run = nil
	return nil
}

var takesNothing = map[string]bool{"Constant": true, "RandomNormal": true, "RandomUniform": true}

// NewNode makes a node that is not part of the graph yet.
func (b *Backend) NewNode() graph.Node {
	n := &Node{id: b.next, backend: b}
	b.next++
	return n
}

// AddNode adds what NewNode made. It panics on other nodes, and on a node that is there already.
func (b *Backend) AddNode(n graph.Node) {
	v, ok := n.(*Node)
	if !ok || b.nodes[n.ID()] != nil {
		panic(fmt.Sprintf("onnxgo: cannot add node %v", n))
	}
	b.nodes[v.id] = v
}

// NewWeightedEdge says that result from is computed from to, its input number weight.
func (b *Backend) NewWeightedEdge(from, to graph.Node, weight float64) graph.WeightedEdge {
	return edge{from.(*Node), to.(*Node), weight}
}

// SetWeightedEdge adds an edge. Several may join the same nodes: an operator may take a value twice.
func (b *Backend) SetWeightedEdge(e graph.WeightedEdge) {
	list := append(b.edges[e.From().ID()], edge{e.From().(*Node), e.To().(*Node), e.Weight()})
	sort.SliceStable(list, func(i, j int) bool { return list[i].weight < list[j].weight })
	b.edges[e.From().ID()] = list
}

// Node is the node of that ID, nil if there is none.
func (b *Backend) Node(id int64) graph.Node {
	if n := b.nodes[id]; n != nil {
		return n
	}
	return nil
}

// Nodes are all nodes by ID.
func (b *Backend) Nodes() graph.Nodes {
	list := make([]graph.Node, 0, len(b.nodes))
	for _, n := range b.nodes {
		list = append(list, n)
	}
	return ordered(list)
}

// From are the inputs of a result.
func (b *Backend) From(id int64) graph.Nodes {
	seen, list := map[int64]bool{}, []graph.Node{}
	for _, e := range b.edges[id] {
		if !seen[e.to.id] {
			seen[e.to.id] = true
			list = append(list, e.to)
		}
	}
	return ordered(list)
}

// To are the results that are computed from a value.
func (b *Backend) To(id int64) graph.Nodes {
	var list []graph.Node
	for from := range b.edges {
		if b.HasEdgeFromTo(from, id) {
			list = append(list, b.nodes[from])
		}
	}
	return ordered(list)
}

func ordered(list []graph.Node) graph.Nodes {
	if len(list) == 0 {
		return graph.Empty
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID() < list[j].ID() })
	return iterator.NewOrderedNodes(list)
}

// HasEdgeFromTo reports whether result u is computed from v.
func (b *Backend) HasEdgeFromTo(u, v int64) bool { return b.Edge(u, v) != nil }

// HasEdgeBetween reports whether one of the values is computed from the other.
func (b *Backend) HasEdgeBetween(x, y int64) bool {
	return b.HasEdgeFromTo(x, y) || b.HasEdgeFromTo(y, x)
}

// Edge is the first edge from u to v, nil if there is none.
func (b *Backend) Edge(u, v int64) graph.Edge {
	if e := b.WeightedEdge(u, v); e != nil {
		return e
	}
	return nil
}

// WeightedEdge is the first edge from u to v, nil if there is none.
func (b *Backend) WeightedEdge(u, v int64) graph.WeightedEdge {
	for _, e := range b.edges[u] {
		if e.to.id == v {
			return e
		}
	}
	return nil
}

func (e edge) From() graph.Node         { return e.from }
func (e edge) To() graph.Node           { return e.to }
func (e edge) ReversedEdge() graph.Edge { return edge{e.to, e.from, e.weight} }
func (e edge) Weight() float64          { return e.weight }

// ID is the node's number; onnx-go counts on inputs having the first ones.
func (n *Node) ID() int64 { return n.id }

// SetName stores the ONNX name of the value.
func (n *Node) SetName(name string) { n.name = name }

// GetName is the ONNX name of the value.
func (n *Node) GetName() string { return n.name }

// SetDescription stores a text.
func (n *Node) SetDescription(d string) { n.description = d }

// GetDescription is the text that SetDescription stored.
func (n *Node) GetDescription() string { return n.description }

// SetTensor sets the value of an input or weight.
func (n *Node) SetTensor(t tensor.Tensor) error {
	n.value = t
	if late := len(n.backend.ops) > 0; late != n.late {
		n.late = late
		n.backend.run = nil
	}
	return nil
}

// GetTensor is the value, nil before it is known.
func (n *Node) GetTensor() tensor.Tensor { return n.value }

// String is the name in quotes.
func (n *Node) String() string { return fmt.Sprintf("%q", n.name) }
