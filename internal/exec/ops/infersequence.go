package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// elemOf is what is known of the elements of a sequence, or of the value in an optional: their type and what their shapes agree on.
// A tensor stands for itself. It follows the nodes that made the value, a few steps back.
func elemOf(v *graph.Value, steps int) (onnxio.DataType, graph.Shape) {
	if v == nil || steps == 0 {
		return onnxio.Undefined, nil
	}
	if t, s := declaredElem(v); t != onnxio.Undefined {
		return t, s
	}
	n := v.Producer
	if n == nil || n.Domain() != "" {
		return v.Type, v.Shape
	}
	switch n.Op() {
	case "SequenceConstruct":
		t, s := typeOf(n, 0), shapeOf(n, 0)
		for i := range n.Inputs {
			s = common(s, shapeOf(n, i))
		}
		return t, s
	case "SequenceEmpty":
		return onnxio.DataType(n.Int("dtype", int64(onnxio.Float32))), nil
	case "SequenceInsert":
		t, s := elemOf(n.In(0), steps-1)
		if t == onnxio.Undefined {
			t = typeOf(n, 1)
		}
		return t, common(s, shapeOf(n, 1))
	case "SequenceErase", "Identity", "Optional", "OptionalGetElement":
		return elemOf(n.In(0), steps-1)
	case "SplitToSequence":
		return typeOf(n, 0), splitElem(n)
	case "SequenceMap":
		if body := n.Subgraphs["body"]; body != nil {
			for i, o := range n.Outputs {
				if o == v && i < len(body.Outputs) {
					return body.Outputs[i].Type, body.Outputs[i].Shape
				}
			}
		}
	}
	return v.Type, v.Shape
}

// declaredElem reads a declaration such as seq(tensor(float)[2,3]).
func declaredElem(v *graph.Value) (onnxio.DataType, graph.Shape) {
	t := v.Info.GetType()
	if o := t.GetOptionalType(); o != nil {
		t = o.ElemType
	}
	if s := t.GetSequenceType(); s != nil {
		t = s.ElemType
	}
	x := t.GetTensorType()
	if x == nil || v.Info.GetType().GetTensorType() != nil {
		return onnxio.Undefined, nil
	}
	if x.Shape == nil {
		return onnxio.DataType(x.GetElemType()), nil
	}
	s := graph.Shape{}
	for _, d := range x.Shape.Dim {
		switch {
		case d.GetDimParam() != "":
			s = append(s, graph.Sym(d.GetDimParam()))
		case d.Value != nil:
			s = append(s, graph.D(d.GetDimValue()))
		default:
			s = append(s, graph.Unknown)
		}
	}
	return onnxio.DataType(x.GetElemType()), s
}

// splitElem is the common shape of the pieces of SplitToSequence.
func splitElem(n *graph.Node) graph.Shape {
	s := shapeOf(n, 0).Clone()
	axis, err := axisIn(int(n.Int("axis", 0)), len(s))
	if err != nil {
		return nil
	}
	total := s[axis]
	s[axis] = graph.Unknown
	if n.In(1) == nil {
		if n.Int("keepdims", 1) == 0 {
			return append(s[:axis:axis], s[axis+1:]...)
		}
		s[axis] = graph.D(1)
		return s
	}
	sizes, ok := constInts(n, 1)
	if !ok || len(sizes) == 0 {
		return s
	}
	if r := shapeOf(n, 1); r != nil && len(r) == 0 {
		if total.Known() && sizes[0] > 0 && total.N%int64(sizes[0]) == 0 {
			s[axis] = graph.D(int64(sizes[0]))
		}
		return s
	}
	for _, d := range sizes {
		if d != sizes[0] {
			return s
		}
	}
	s[axis] = graph.D(int64(sizes[0]))
	return s
}

const sequenceSteps = 64 // how far elemOf looks back

// inferElement: output 0 is an element of input 0.
func inferElement(n *graph.Node) error {
	t, s := elemOf(n.In(0), sequenceSteps)
	n.SetOut(0, t, s)
	return nil
}

func inferScalar(t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		n.SetOut(0, t, graph.Shape{})
		return nil
	}
}

func inferConcatFromSequence(n *graph.Node) error {
	t, s := elemOf(n.In(0), sequenceSteps)
	n.SetOut(0, t, nil)
	if s == nil {
		return nil
	}
	fresh := n.Int("new_axis", 0) != 0
	rank := len(s)
	if fresh {
		rank++
	}
	axis, err := axisIn(int(n.Int("axis", 0)), rank)
	if err != nil {
		return err
	}
	out := append(graph.Shape{}, s[:axis]...)
	out = append(out, graph.Unknown)
	if fresh {
		out = append(out, s[axis:]...)
	} else {
		out = append(out, s[axis+1:]...)
	}
	n.SetOut(0, t, out)
	return nil
}

// inferSequenceMap: the body sees elements where the node sees sequences.
func inferSequenceMap(n *graph.Node) error {
	body := n.Subgraphs["body"]
	if body == nil || len(body.Inputs) != len(n.Inputs) {
		return fmt.Errorf("has %d inputs, which its body does not take", len(n.Inputs))
	}
	for i, v := range body.Inputs {
		t, s := elemOf(n.In(i), sequenceSteps)
		if v.Type == onnxio.Undefined {
			v.Type = t
		}
		if v.Shape == nil {
			v.Shape = s
		}
	}
	_, err := n.InferSubgraph("body")
	return err
}
