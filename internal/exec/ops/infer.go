package ops

import (
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// typeOf and shapeOf are what is known of input i.
func typeOf(n *graph.Node, i int) onnxio.DataType {
	if v := n.In(i); v != nil {
		return v.Type
	}
	return onnxio.Undefined
}

func shapeOf(n *graph.Node, i int) graph.Shape {
	if v := n.In(i); v != nil {
		return v.Shape
	}
	return nil
}

// sameAs: the outputs are like input i.
func sameAs(i int) graph.InferRule {
	return func(n *graph.Node) error {
		for k := range n.Outputs {
			n.SetOut(k, typeOf(n, i), shapeOf(n, i).Clone())
		}
		return nil
	}
}

// unlike: as sameAs(i), with another element type.
func unlike(i int, t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		n.SetOut(0, t, shapeOf(n, i).Clone())
		return nil
	}
}

// broadcastDims is broadcast for shapes with unknown sizes; nil if a rank is unknown.
func broadcastDims(shapes ...graph.Shape) graph.Shape {
	rank := 0
	for _, s := range shapes {
		if s == nil {
			return nil
		}
		rank = max(rank, len(s))
	}
	out := slices.Repeat(graph.Shape{graph.D(1)}, rank)
	for _, s := range shapes {
		for i, d := range s {
			k := rank - len(s) + i
			switch {
			case out[k].N == 1 || d.Known() && d.N > 1:
				if !(out[k].Known() && out[k].N > 1) {
					out[k] = d
				}
			case d.N == 1 || d.Same(out[k]) || out[k].Known():
			default:
				out[k] = graph.Unknown
			}
		}
	}
	return out
}

// inferBroadcast: output 0 has the common shape of all inputs and the type of input from, or t if that is set.
func inferBroadcast(from int, t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		var shapes []graph.Shape
		for i := range n.Inputs {
			shapes = append(shapes, shapeOf(n, i))
		}
		out := t
		if out == onnxio.Undefined {
			out = typeOf(n, from)
		}
		s := broadcastDims(shapes...)
		if len(shapes) == 2 && n.Opset() < 7 && n.Int("broadcast", 0) != 0 && n.HasAttr("axis") { // the second operand is aligned at an axis of the first
			switch a, b := shapes[0], shapes[1]; {
			case a == nil || b == nil || len(b) > len(a):
				s = nil
			case len(b) < len(a):
				s = a
			}
		}
		n.SetOut(0, out, s)
		return nil
	}
}

// lengthOf is the number of elements of input i, a vector such as a wanted shape, when that is known and small.
func lengthOf(n *graph.Node, i int) (int, bool) {
	s := shapeOf(n, i)
	if len(s) != 1 || !s[0].Known() || s[0].N > 1<<10 {
		return 0, false
	}
	return int(s[0].N), true
}

// constInts is the contents of an integer input when it is known for certain.
func constInts(n *graph.Node, i int) ([]int, bool) {
	v := n.In(i)
	if v == nil {
		return nil, false
	}
	if l, ok := v.ConstInts(); ok {
		return asInts(l), true
	}
	l, ok := v.Contents()
	if !ok {
		return nil, false
	}
	return graph.Shape(l).Ints()
}
