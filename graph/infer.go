package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// InferRule is an operator's shape rule: from the types, shapes and known contents of n's inputs it sets those of n's
// outputs with n.SetOut. What it cannot tell it leaves unknown; an error means that the node can never run.
type InferRule func(n *Node) error

// Infer fills Type, Shape and Ints of all values of g, which is a main graph, node by node. rule gives the rule of a node,
// nil when there is none: the node's outputs then keep what the file declares about them. What a rule leaves unknown is also
// filled in from there.
//
// The inputs' own types and shapes are taken as they stand, so a caller may narrow them before: a symbolic batch to a number.
func Infer(g *Graph, rule func(n *Node) InferRule) error {
	g.walk(func(h *Graph) {
		h.rule = rule
		for _, v := range h.values {
			v.reset()
		}
	})
	if err := g.infer(); err != nil {
		return fmt.Errorf("%s: %w", g.Model.Name(), err)
	}
	return nil
}

// reset returns to what the file says.
func (v *Value) reset() {
	v.Ints = nil
	switch {
	case v.Init != nil:
		v.setConst(v.Init.GetDataType(), v.Init.Dims)
	case v.Sparse != nil:
		v.setConst(v.Sparse.GetValues().GetDataType(), v.Sparse.Dims)
	case v.IsInput && v.Graph.Outer == nil: // may have been narrowed
	default:
		v.Type, v.Shape = declared(v.Info.GetType())
	}
}

func (g *Graph) infer() error {
	for _, n := range g.Nodes {
		if n.is("Constant") {
			if t, ok := n.Out(0).Const(); ok {
				n.SetOut(0, t.Type, ShapeOf(t.Shape...))
			}
		}
		if rule := g.rule(n); rule != nil {
			if err := rule(n); err != nil {
				return fmt.Errorf("%v: %w", n, err)
			}
		} else {
			for _, sub := range n.subgraphs() {
				if err := sub.infer(); err != nil {
					return err
				}
			}
		}
		n.inferInts()
	}
	return nil
}

// InferSubgraph runs the rules of one of n's subgraphs; it is for the rules of If, Loop and Scan, which first set the types
// and shapes of the subgraph's inputs. It gives the subgraph, whose outputs are inferred then.
func (n *Node) InferSubgraph(attr string) (*Graph, error) {
	sub := n.Subgraphs[attr]
	if sub == nil {
		return nil, fmt.Errorf("has no subgraph %q", attr)
	}
	return sub, sub.infer()
}

// SetOut sets element type and shape of output i, if the node has that output. Unknown parts are filled in from what is
// already known about the value: what the file declares.
func (n *Node) SetOut(i int, t onnxio.DataType, s Shape) {
	v := n.Out(i)
	if v == nil {
		return
	}
	if t != onnxio.Undefined {
		v.Type = t
	}
	v.Shape = refine(s, v.Shape)
}

// refine fills the unknown dimensions of s from t.
func refine(s, t Shape) Shape {
	if s == nil {
		return t
	}
	s = s.Clone()
	if len(t) == len(s) {
		for i, d := range s {
			if d == Unknown {
				s[i] = t[i]
			}
		}
	}
	return s
}
