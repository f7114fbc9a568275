package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// maxDepth bounds how deep subgraphs nest; exporters stay below ten.
const maxDepth = 64

// build fills the view from g.Proto: first all names that the graph defines, then what its nodes read, then the order.
func (g *Graph) build() error {
	g.values = make(map[string]*Value, len(g.Proto.Node)+len(g.Proto.Initializer))
	if g.depth() > maxDepth {
		return fmt.Errorf("subgraphs nest deeper than %d", maxDepth)
	}
	for _, step := range []func() error{g.addInits, g.addInputs, g.addNodes, g.addOutputs, g.connect, g.sort} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, info := range g.Proto.ValueInfo {
		if v := g.values[info.GetName()]; v != nil && v.Info == nil && info.Type != nil {
			if v.Init != nil || v.Sparse != nil {
				v.Info = info // the tensor itself knows better
				continue
			}
			v.setDeclared(info)
		}
	}
	return nil
}

func (g *Graph) depth() int {
	d := 0
	for ; g != nil; g = g.Outer {
		d++
	}
	return d
}

// define makes a value; by says what defines it, for the message about a name that is taken.
func (g *Graph) define(name, by string) (*Value, error) {
	if name == "" {
		return nil, fmt.Errorf("%s has no name", by)
	}
	if old := g.values[name]; old != nil {
		return nil, fmt.Errorf("tensor name %q is defined twice: by %s and by %s", name, old.origin(), by)
	}
	v := &Value{Name: name, Graph: g}
	g.values[name] = v
	g.names[name] = true
	return v, nil
}

// origin says what defines a value.
func (v *Value) origin() string {
	switch {
	case v.Producer != nil:
		return v.Producer.String()
	case v.Init != nil, v.Sparse != nil:
		return "an initializer"
	case v.IsInput:
		return "a graph input"
	}
	return "nothing"
}

func (g *Graph) addInits() error {
	for _, p := range g.Proto.Initializer {
		v, err := g.define(p.GetName(), "an initializer")
		if err != nil {
			return err
		}
		v.Init = p
		v.setConst(p.GetDataType(), p.Dims)
		g.Inits = append(g.Inits, v)
	}
	for _, p := range g.Proto.SparseInitializer {
		v, err := g.define(p.GetValues().GetName(), "a sparse initializer")
		if err != nil {
			return err
		}
		v.Sparse = p
		v.setConst(p.GetValues().GetDataType(), p.Dims)
		g.Inits = append(g.Inits, v)
	}
	return nil
}

func (g *Graph) addInputs() error {
	for _, info := range g.Proto.Input {
		v := g.values[info.GetName()]
		if v == nil || v.IsInput { // an initializer may be an input as well: its default
			var err error
			if v, err = g.define(info.GetName(), "a graph input"); err != nil {
				return err
			}
			v.setDeclared(info)
		}
		v.Info, v.IsInput = info, true
		g.Inputs = append(g.Inputs, v)
	}
	return nil
}

// addNodes makes the nodes and their outputs.
func (g *Graph) addNodes() error {
	g.Nodes = make([]*Node, 0, len(g.Proto.Node))
	for i, p := range g.Proto.Node {
		n := &Node{Proto: p, Graph: g, index: i}
		if p.GetOpType() == "" {
			return fmt.Errorf("node %q has no operator", n.Name())
		}
		if p.GetName() != "" {
			g.names[p.GetName()] = true
		}
		for _, name := range p.Output {
			var v *Value
			if name != "" {
				var err error
				if v, err = g.define(name, n.String()); err != nil {
					return err
				}
				v.Producer = n
			}
			n.Outputs = append(n.Outputs, v)
		}
		g.Nodes = append(g.Nodes, n)
	}
	return nil
}

func (g *Graph) addOutputs() error {
	for _, info := range g.Proto.Output {
		v := g.Lookup(info.GetName())
		if v == nil {
			return fmt.Errorf("output %q of %v is produced by no node", info.GetName(), g)
		}
		v.IsOutput = true
		if v.Graph == g && v.Info == nil {
			if v.Init == nil && v.Sparse == nil {
				v.setDeclared(info)
			}
			v.Info = info
		}
		g.Outputs = append(g.Outputs, v)
	}
	return nil
}

// connect resolves what the nodes read and builds their subgraphs. An inner definition hides an outer one.
func (g *Graph) connect() error {
	for _, n := range g.Nodes {
		if err := n.connect(); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) connect() error {
	for i, name := range n.Proto.Input {
		var v *Value
		if name != "" {
			if v = n.Graph.Lookup(name); v == nil {
				return fmt.Errorf("%v: input %d, tensor %q, is defined by no node, initializer or graph input", n, i, name)
			}
			v.Uses = append(v.Uses, Use{n, i})
		}
		n.Inputs = append(n.Inputs, v)
	}
	for _, a := range n.Proto.Attribute {
		if a.GetRefAttrName() != "" {
			return fmt.Errorf("%v: attribute %q refers to attribute %q of a function, but the node is in none",
				n, a.GetName(), a.GetRefAttrName())
		}
		if a.G != nil {
			if err := n.addSubgraph(a.GetName(), a.G); err != nil {
				return err
			}
		}
		for i, p := range a.Graphs {
			if err := n.addSubgraph(listKey(a.GetName(), i), p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) addSubgraph(key string, p *onnxpb.GraphProto) error {
	sub := &Graph{Model: n.Graph.Model, Proto: p, Outer: n.Graph, Owner: n, names: n.Graph.names}
	if err := sub.build(); err != nil {
		return fmt.Errorf("%v: %s: %w", n, key, err)
	}
	if n.Subgraphs == nil {
		n.Subgraphs = map[string]*Graph{}
	}
	n.Subgraphs[key] = sub
	return nil
}
