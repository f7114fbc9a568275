package onnxio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Check tests whether the model is well formed: it has a graph and operator sets; names are there, unique and made by
// something; nodes form no cycle; functions do not call themselves; each tensor has a known type, a possible shape and as
// much data as the shape needs, in the file or in an external one. It looks at no tensor element and no operator's rules.
// The error tells the first problem. Load runs Check; a model from Decode or one that was edited may want it.
func (m *Model) Check() error {
	c := &checker{m: m}
	if err := c.model(); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
}

type checker struct {
	m       *Model
	domains map[string]bool // of the operator sets in force
	refs    bool            // attributes may refer to those of a function
}

// scope holds the names that a graph defines, with what defines each, within the names of the graph around it.
type scope struct {
	made  map[string]string
	outer *scope
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if _, ok := s.made[name]; ok {
			return true
		}
	}
	return false
}

// define adds a name; what is a description of its maker, for messages.
func (s *scope) define(name, what string) error {
	if by, ok := s.made[name]; ok {
		return fmt.Errorf("name %q is used twice, for %s and for %s: names must be unique", name, by, what)
	}
	s.made[name] = what
	return nil
}

func (c *checker) model() error {
	p := c.m.Proto
	if p.GetGraph() == nil {
		return errors.New("no graph in it: this is no ONNX model, or an empty one")
	}
	if err := c.useOpsets(p.OpsetImport, p.GetIrVersion() < 3); err != nil {
		return err
	}
	if _, err := c.graph(p.Graph, nil); err != nil {
		return err
	}
	for i, info := range p.TrainingInfo {
		for _, g := range []*onnxpb.GraphProto{info.Initialization, info.Algorithm} {
			if g == nil {
				continue
			}
			around := &scope{made: map[string]string{}}
			c.collect(p.Graph, around)
			if _, err := c.graph(g, around); err != nil {
				return fmt.Errorf("training_info %d: %w", i, err)
			}
		}
	}
	return c.functions()
}

// collect adds the names of g to s without any checks.
func (c *checker) collect(g *onnxpb.GraphProto, s *scope) {
	for _, v := range g.Input {
		s.made[v.GetName()] = "an input"
	}
	for _, t := range g.Initializer {
		s.made[t.GetName()] = "an initializer"
	}
	for _, n := range g.Node {
		for _, o := range n.Output {
			s.made[o] = "a node"
		}
	}
}

func (c *checker) useOpsets(imports []*onnxpb.OperatorSetIdProto, old bool) error {
	c.domains = map[string]bool{}
	if old { // before IR version 3 operator sets were not told
		c.domains[""] = true
	}
	for _, o := range imports {
		d := normalDomain(o.GetDomain())
		switch {
		case c.domains[d] && !old:
			return fmt.Errorf("opset_import names the domain %q twice", d)
		case o.GetVersion() < 1:
			return fmt.Errorf("opset_import has version %d of the domain %q: versions begin at 1", o.GetVersion(), d)
		}
		c.domains[d] = true
	}
	return nil
}

// graph checks g within the names around it, and returns the names that it takes from there.
func (c *checker) graph(g *onnxpb.GraphProto, outer *scope) ([]string, error) {
	s := &scope{made: make(map[string]string, len(g.Node)+len(g.Initializer)), outer: outer}
	for i, v := range g.Input {
		if v.GetName() == "" {
			return nil, fmt.Errorf("graph %q: input %d has no name", g.GetName(), i)
		}
		if err := s.define(v.GetName(), "an input"); err != nil {
			return nil, fmt.Errorf("graph %q: %w", g.GetName(), err)
		}
	}
	if err := c.initializers(g, s); err != nil {
		return nil, fmt.Errorf("graph %q: %w", g.GetName(), err)
	}
	free, err := c.nodes(g.Node, s)
	if err != nil {
		return nil, err
	}
	for i, v := range g.Output {
		if !s.has(v.GetName()) {
			return nil, fmt.Errorf("graph %q: output %d, %q, is made by no node, input or initializer", g.GetName(), i, v.GetName())
		}
		if _, ok := s.made[v.GetName()]; !ok {
			free = append(free, v.GetName())
		}
	}
	return free, nil
}

// initializers checks them and adds their names. An initializer may bear the name of an input: it is the default then.
func (c *checker) initializers(g *onnxpb.GraphProto, s *scope) error {
	seen := make(map[string]bool, len(g.Initializer))
	add := func(name string) error {
		switch {
		case name == "":
			return errors.New("an initializer has no name")
		case seen[name]:
			return fmt.Errorf("two initializers have the name %q: names must be unique", name)
		}
		seen[name] = true
		s.made[name] = "an initializer"
		return nil
	}
	for _, t := range g.Initializer {
		if err := add(t.GetName()); err != nil {
			return err
		}
		if err := c.tensor(t); err != nil {
			return err
		}
	}
	for _, t := range g.SparseInitializer {
		if err := add(t.GetValues().GetName()); err != nil {
			return err
		}
		if err := c.sparse(t); err != nil {
			return fmt.Errorf("sparse initializer %q: %w", t.GetValues().GetName(), err)
		}
	}
	return nil
}

func (c *checker) tensor(t *onnxpb.TensorProto) error {
	if _, _, err := c.m.layout(t); err != nil {
		return fmt.Errorf("tensor %q: %w", t.GetName(), err)
	}
	return nil
}

// sparse checks the counts: values of one dimension, and as many indices, each a number or a row of rank numbers.
func (c *checker) sparse(t *onnxpb.SparseTensorProto) error {
	if t.GetValues() == nil || t.GetIndices() == nil {
		return errors.New("has no values or no indices")
	}
	if err := errors.Join(c.tensor(t.Values), c.tensor(t.Indices)); err != nil {
		return err
	}
	v, i, rank := t.Values.Dims, t.Indices.Dims, int64(len(t.Dims))
	linear := len(i) == 1 && len(v) == 1 && i[0] == v[0]
	rows := len(i) == 2 && len(v) == 1 && i[0] == v[0] && i[1] == rank
	if product(t.Dims) < 0 || DataType(t.Indices.GetDataType()) != Int64 || !linear && !rows {
		return fmt.Errorf("shape %v, values %v and indices %v (%v) do not fit together: indices must be int64 of shape [n] or [n, %d] for n values",
			t.Dims, v, i, DataType(t.Indices.GetDataType()), rank)
	}
	return nil
}

// nodes checks the nodes of a graph or function whose other names are in s, adds theirs, and returns the names that they take
// from the scopes around s.
func (c *checker) nodes(nodes []*onnxpb.NodeProto, s *scope) ([]string, error) {
	maker := make(map[string]int, len(nodes))
	for i, n := range nodes {
		what := nodeName(n, i)
		if n.GetOpType() == "" {
			return nil, fmt.Errorf("%s has no op_type", what)
		}
		if d := normalDomain(n.GetDomain()); !c.domains[d] {
			return nil, fmt.Errorf("%s: its domain %q is not in opset_import", what, d)
		}
		for _, o := range n.Output {
			if o == "" {
				continue
			}
			if err := s.define(o, "an output of "+what); err != nil {
				return nil, err
			}
			maker[o] = i
		}
	}
	free := map[string]bool{}
	needs := make([][]int, len(nodes)) // the nodes that each node waits for
	for i, n := range nodes {
		captured, err := c.attributes(n, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nodeName(n, i), err)
		}
		for _, name := range append(slices.Clip(captured), n.Input...) {
			if from, ok := maker[name]; ok {
				needs[i] = append(needs[i], from)
			} else if _, ok := s.made[name]; !ok && name != "" {
				if !s.has(name) {
					return nil, fmt.Errorf("%s: its input %q is made by no node, input or initializer", nodeName(n, i), name)
				}
				free[name] = true
			}
		}
	}
	if loop := findCycle(needs); loop != nil {
		return nil, fmt.Errorf("nodes wait for each other: %s", cycleText(nodes, loop))
	}
	return slices.Sorted(maps.Keys(free)), nil
}

// attributes checks those of a node, and returns the names that its subgraphs take from s or around it.
func (c *checker) attributes(n *onnxpb.NodeProto, s *scope) ([]string, error) {
	var captured []string
	seen := make(map[string]bool, len(n.Attribute))
	for _, a := range n.Attribute {
		name := a.GetName()
		if name == "" || seen[name] {
			return nil, fmt.Errorf("attribute %q comes twice or has no name", name)
		}
		seen[name] = true
		if err := c.attribute(a); err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		graphs := a.Graphs
		if a.G != nil {
			graphs = append([]*onnxpb.GraphProto{a.G}, graphs...)
		}
		for _, g := range graphs {
			free, err := c.graph(g, s)
			if err != nil {
				return nil, fmt.Errorf("attribute %q: %w", name, err)
			}
			captured = append(captured, free...)
		}
	}
	return captured, nil
}

func (c *checker) attribute(a *onnxpb.AttributeProto) error {
	if a.GetRefAttrName() != "" {
		if !c.refs {
			return fmt.Errorf("refers to the attribute %q of a function, but is in none", a.GetRefAttrName())
		}
		return nil
	}
	missing := map[onnxpb.AttributeProto_AttributeType]bool{
		onnxpb.AttributeProto_TENSOR:        a.T == nil,
		onnxpb.AttributeProto_GRAPH:         a.G == nil,
		onnxpb.AttributeProto_SPARSE_TENSOR: a.SparseTensor == nil,
		onnxpb.AttributeProto_TYPE_PROTO:    a.Tp == nil,
	}
	if missing[a.GetType()] {
		return fmt.Errorf("is a %v, but holds none", a.GetType())
	}
	if a.T != nil {
		if err := c.tensor(a.T); err != nil {
			return err
		}
	}
	for _, t := range a.Tensors {
		if err := c.tensor(t); err != nil {
			return err
		}
	}
	if a.SparseTensor != nil {
		if err := c.sparse(a.SparseTensor); err != nil {
			return err
		}
	}
	for _, t := range a.SparseTensors {
		if err := c.sparse(t); err != nil {
			return err
		}
	}
	return nil
}

// nodeName is how messages call a node: `node "conv1" (Conv)`, or by its place when it has no name.
func nodeName(n *onnxpb.NodeProto, i int) string {
	op := n.GetOpType()
	if d := normalDomain(n.GetDomain()); d != "" {
		op = d + "." + op
	}
	if n.GetName() == "" {
		return fmt.Sprintf("node %d (%s)", i, op)
	}
	return fmt.Sprintf("node %q (%s)", n.GetName(), op)
}

func cycleText(nodes []*onnxpb.NodeProto, loop []int) string {
	const most = 8
	var names []string
	for _, i := range loop[:min(most, len(loop))] {
		names = append(names, nodeName(nodes[i], i))
	}
	if len(loop) > most {
		names = append(names, fmt.Sprintf("%d more", len(loop)-most))
	}
	return strings.Join(append(names, names[0]), " -> ")
}
