package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Value is a named tensor of a graph: an input, an initializer or a node's output.
type Value struct {
	Name     string
	Graph    *Graph // the graph that defines it
	Producer *Node  // nil for inputs and initializers
	Uses     []Use  // the nodes that read it, also those in subgraphs

	Init   *onnxpb.TensorProto       // the initializer of this name, nil if none
	Sparse *onnxpb.SparseTensorProto // the sparse initializer of this name, nil if none
	Info   *onnxpb.ValueInfoProto    // what the file declares about it (input, output or value_info), nil if nothing

	Type  onnxio.DataType // element type; Undefined when unknown, or when it is no tensor (a sequence, a map)
	Shape Shape
	Ints  []Dim // contents of a small integer tensor, flattened, as far as Infer could tell; nil when not known

	IsInput  bool // an input of its graph
	IsOutput bool // an output of its graph, or of one of its subgraphs: its name stays
}

// Use is one place where a value is read: input Index of Node.
type Use struct {
	Node  *Node
	Index int
}

// String is what messages call it: value "x" (float32[batch 3 224 224]).
func (v *Value) String() string {
	if v == nil {
		return "no value"
	}
	return fmt.Sprintf("value %q (%v%v)", v.Name, v.Type, v.Shape)
}

// IsConst reports whether the value is the same at each run: an initializer or the output of a Constant node. An
// initializer that is also a graph input counts, for that is how files before IR version 4 listed all their weights.
func (v *Value) IsConst() bool {
	return v != nil && (v.Init != nil || v.Sparse != nil || v.Producer != nil && v.Producer.is("Constant"))
}

// Const is the tensor of a constant value (see IsConst), as a view that must not be written to. ok is false for other values,
// and for a constant that cannot be read; Tensor tells why.
func (v *Value) Const() (t *onnxio.Tensor, ok bool) {
	if !v.IsConst() {
		return nil, false
	}
	t, err := v.Tensor()
	return t, err == nil
}

// Tensor is the tensor of a constant value, as a view that must not be written to.
func (v *Value) Tensor() (*onnxio.Tensor, error) {
	switch {
	case v == nil:
		return nil, fmt.Errorf("an omitted input has no tensor")
	case v.Init != nil:
		return v.Graph.Model.Tensor(v.Init)
	case v.Sparse != nil:
		return dense(v.Graph.Model, v.Sparse)
	case v.IsConst():
		return v.Producer.constant()
	}
	return nil, fmt.Errorf("%v is not constant", v)
}

// constant is the tensor that a Constant node holds in whichever of its attributes.
func (n *Node) constant() (*onnxio.Tensor, error) {
	for _, a := range n.Proto.Attribute {
		switch a.GetName() {
		case "value":
			return n.Tensor("value")
		case "sparse_value":
			return dense(n.Graph.Model, a.SparseTensor)
		case "value_float":
			return onnxio.TensorOf([]float32{a.GetF()}), nil
		case "value_floats":
			return onnxio.TensorOf(a.Floats, len(a.Floats)), nil
		case "value_int":
			return onnxio.TensorOf([]int64{a.GetI()}), nil
		case "value_ints":
			return onnxio.TensorOf(a.Ints, len(a.Ints)), nil
		case "value_string":
			return onnxio.TensorOf([]string{string(a.S)}), nil
		case "value_strings":
			s := make([]string, len(a.Strings))
			for i, b := range a.Strings {
				s[i] = string(b)
			}
			return onnxio.TensorOf(s, len(s)), nil
		}
	}
	return nil, fmt.Errorf("%v: has none of the attributes that hold a constant", n)
}

// setDeclared takes over element type and shape from the file's declaration.
func (v *Value) setDeclared(info *onnxpb.ValueInfoProto) {
	v.Info = info
	v.Type, v.Shape = declared(info.GetType())
}

func declared(p *onnxpb.TypeProto) (onnxio.DataType, Shape) {
	t := p.GetTensorType()
	if t == nil {
		return onnxio.Undefined, nil
	}
	if t.Shape == nil {
		return onnxio.DataType(t.GetElemType()), nil
	}
	shape := make(Shape, len(t.Shape.Dim))
	for i, d := range t.Shape.Dim {
		switch x := d.Value.(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			shape[i] = D(x.DimValue)
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			shape[i] = Sym(x.DimParam)
		default:
			shape[i] = Unknown
		}
	}
	return onnxio.DataType(t.GetElemType()), shape
}

// setConst takes over element type and shape from a tensor's header.
func (v *Value) setConst(dtype int32, dims []int64) {
	v.Type, v.Shape = onnxio.DataType(dtype), ShapeOf(dims...)
}
