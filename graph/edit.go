package graph

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// AddNode puts a new node before the node at, or at the end when at is nil. What p reads must exist already; what it writes
// must be new names, or values that lost their producer (RemoveNode) or never had one (NewValue).
func (g *Graph) AddNode(p *onnxpb.NodeProto, at *Node) (*Node, error) {
	pos := len(g.Nodes)
	if at != nil {
		if at.Graph != g {
			return nil, fmt.Errorf("%v is not in %v", at, g)
		}
		pos = at.index
	}
	n := &Node{Proto: p, Graph: g, index: pos}
	for _, name := range p.Output {
		var v *Value
		if name != "" {
			v = g.values[name]
			if v == nil {
				v, _ = g.define(name, n.String())
			} else if v.Producer != nil || v.Init != nil || v.Sparse != nil || v.IsInput || slices.Contains(n.Outputs, v) {
				return nil, fmt.Errorf("%v: output %q is already defined by %s", n, name, v.origin())
			}
		}
		n.Outputs = append(n.Outputs, v)
	}
	if err := n.connect(); err != nil {
		n.disconnect()
		return nil, err
	}
	for _, v := range n.Outputs {
		if v != nil {
			v.Producer = n
		}
	}
	if p.GetName() != "" {
		g.names[p.GetName()] = true
	}
	g.Nodes = slices.Insert(g.Nodes, pos, n)
	g.reindex()
	return n, nil
}

// RemoveNode takes a node out. Its outputs stay as values without producer: give their uses another value (ReplaceUses)
// before, or another producer (AddNode) after.
func (g *Graph) RemoveNode(n *Node) {
	if n.index >= len(g.Nodes) || g.Nodes[n.index] != n {
		return // removed before
	}
	n.disconnect()
	for _, v := range n.Outputs {
		if v != nil && v.Producer == n {
			v.Producer = nil
		}
	}
	g.Nodes = slices.Delete(g.Nodes, n.index, n.index+1)
	g.reindex()
}

// disconnect forgets all that n and the nodes of its subgraphs read.
func (n *Node) disconnect() {
	for i, v := range n.Inputs {
		v.dropUse(Use{n, i})
	}
	for _, sub := range n.Subgraphs {
		sub.Walk(func(m *Node) {
			for i, v := range m.Inputs {
				v.dropUse(Use{m, i})
			}
		})
	}
}

func (v *Value) dropUse(u Use) {
	if v == nil {
		return
	}
	if i := slices.Index(v.Uses, u); i >= 0 {
		v.Uses = slices.Delete(v.Uses, i, i+1)
	}
}

// SetInput makes v the node's input i; nil omits it. Inputs between the last one and i are omitted.
func (n *Node) SetInput(i int, v *Value) {
	for len(n.Inputs) <= i {
		n.Inputs = append(n.Inputs, nil)
		n.Proto.Input = append(n.Proto.Input, "")
	}
	n.Inputs[i].dropUse(Use{n, i})
	n.Inputs[i], n.Proto.Input[i] = v, ""
	if v != nil {
		v.Uses = append(v.Uses, Use{n, i})
		n.Proto.Input[i] = v.Name
	}
}

// SetOutput makes v, which must have no producer, the node's output i. The old output stays as a value without producer, as
// after RemoveNode: this is how a node is put between a node and all that reads it, graph outputs included.
func (n *Node) SetOutput(i int, v *Value) error {
	if i >= len(n.Outputs) {
		return fmt.Errorf("%v: has no output %d", n, i)
	}
	if v.Graph != n.Graph || v.Producer != nil || v.Init != nil || v.Sparse != nil || v.IsInput {
		return fmt.Errorf("%v: %v cannot become output %d: it is already defined by %s", n, v, i, v.origin())
	}
	if old := n.Outputs[i]; old != nil {
		old.Producer = nil
	}
	n.Outputs[i], n.Proto.Output[i], v.Producer = v, v.Name, n
	return nil
}

// NewValue makes a value without producer, to be written by a node that is added next. Its name is made from hint.
func (g *Graph) NewValue(hint string) *Value {
	v := &Value{Name: g.FreshName(hint), Graph: g}
	g.values[v.Name] = v
	return v
}

// FreshName gives a name that no value and no node of the whole model has, and reserves it: hint itself when it is free,
// else hint_1, hint_2, ...
func (g *Graph) FreshName(hint string) string {
	name := hint
	for i := 1; name == "" || g.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", hint, i)
	}
	g.names[name] = true
	return name
}

// ReplaceUses makes all that reads old read by instead, in subgraphs too. Graph outputs keep their names: where old is one,
// by takes over its name, or, when by has a name that must stay itself, an Identity node keeps the output alive.
// old is then without uses; its producer may be removed.
func (g *Graph) ReplaceUses(old, by *Value) error {
	if old == by {
		return nil
	}
	if !by.Graph.encloses(old.Graph) {
		return fmt.Errorf("%v cannot be replaced by %v of an inner graph", old, by)
	}
	for _, u := range slices.Clone(old.Uses) {
		u.Node.SetInput(u.Index, by)
	}
	if !old.IsOutput {
		return nil
	}
	if by.Graph == old.Graph && by.Producer != nil && !by.IsOutput && !old.IsInput && old.Init == nil && old.Sparse == nil {
		g.swapNames(old, by)
		old.IsOutput, by.IsOutput = false, true
		old.Info, by.Info = by.Info, old.Info
		g.Main().walk(func(h *Graph) {
			for i, v := range h.Outputs {
				if v == old {
					h.Outputs[i] = by
				}
			}
		})
		return nil
	}
	if p := old.Producer; p != nil {
		spare := old.Graph.NewValue(old.Name + "_replaced")
		if err := p.SetOutput(slices.Index(p.Outputs, old), spare); err != nil {
			return err
		}
	}
	_, err := old.Graph.AddNode(&onnxpb.NodeProto{
		OpType: proto.String("Identity"), Name: proto.String(g.FreshName(old.Name + "_identity")),
		Input: []string{by.Name}, Output: []string{old.Name},
	}, nil)
	return err
}

// swapNames exchanges the names of two values of one graph.
func (g *Graph) swapNames(a, b *Value) {
	a.Name, b.Name = b.Name, a.Name
	for _, v := range []*Value{a, b} {
		v.Graph.values[v.Name] = v
		for _, u := range v.Uses {
			u.Node.Proto.Input[u.Index] = v.Name
		}
		if v.Producer != nil {
			v.Producer.Proto.Output[slices.Index(v.Producer.Outputs, v)] = v.Name
		}
	}
}

// AddInit adds an initializer; its name is made from hint.
func (g *Graph) AddInit(hint string, t *onnxio.Tensor) *Value {
	v := g.NewValue(hint)
	v.Init = t.Proto(v.Name)
	v.setConst(v.Init.GetDataType(), v.Init.Dims)
	g.Inits = append(g.Inits, v)
	return v
}

// SetInit gives a constant value (see IsConst) a new tensor, stored where the old one was: in the initializer or in the
// Constant node. Documentation and metadata of an initializer stay. Its type and shape may change.
func (g *Graph) SetInit(v *Value, t *onnxio.Tensor) error {
	switch {
	case !v.IsConst():
		return fmt.Errorf("%v is not constant, it is defined by %s", v, v.origin())
	case v.Init != nil || v.Sparse != nil:
		p := t.Proto(v.Name)
		if v.Init != nil {
			p.DocString, p.MetadataProps = v.Init.DocString, v.Init.MetadataProps
		}
		v.Init, v.Sparse = p, nil
	default:
		for _, a := range slices.Clone(v.Producer.Proto.Attribute) {
			v.Producer.DelAttr(a.GetName())
		}
		v.Producer.SetTensor("value", t)
	}
	v.Type, v.Shape, v.Ints = t.Type, ShapeOf(t.Shape...), nil
	if v.Info != nil {
		v.Info = cloneProto(v.Info)
		v.Info.Type = typeProto(v.Type, v.Shape)
	}
	return nil
}

// Undefine takes the constant away from a constant value (see IsConst), so that a node can be added that computes it. An
// initializer that is listed among the graph's inputs, as old files do with all of them, is no input any more.
func (g *Graph) Undefine(v *Value) error {
	if !v.IsConst() || v.Graph != g {
		return fmt.Errorf("%v is no constant of %v", v, g)
	}
	if v.Producer != nil {
		g.RemoveNode(v.Producer)
		return nil
	}
	v.Init, v.Sparse, v.IsInput, v.Ints = nil, nil, false, nil
	g.Inits = slices.DeleteFunc(g.Inits, func(x *Value) bool { return x == v })
	g.Inputs = slices.DeleteFunc(g.Inputs, func(x *Value) bool { return x == v })
	return nil
}

// typeProto is the declaration of a tensor type.
func typeProto(t onnxio.DataType, s Shape) *onnxpb.TypeProto {
	tensor := &onnxpb.TypeProto_Tensor{ElemType: t.Proto()}
	if s != nil {
		tensor.Shape = &onnxpb.TensorShapeProto{}
		for _, d := range s {
			p := &onnxpb.TensorShapeProto_Dimension{}
			if d.Known() {
				p.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.N}
			} else if d.Sym != "" {
				p.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Sym}
			}
			tensor.Shape.Dim = append(tensor.Shape.Dim, p)
		}
	}
	return &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: tensor}}
}
