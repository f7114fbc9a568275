// Package testmodel builds small ONNX models for tests:
//
//	m := testmodel.New(18).
//		Input("x", onnxio.Float32, "N", 3, 8, 8).
//		Init("w", onnxio.NewTensor(onnxio.Float32, 4, 3, 3, 3)).
//		Node("Conv", "x w -> c", "pads", []int64{1, 1, 1, 1}, "group", 1).
//		Node("Relu", "c -> y").
//		Output("y", onnxio.Float32, "N", 4, 8, 8).
//		Model()
//
// It panics on misuse, for it is only ever called with literals.
package testmodel

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Builder collects a model. Each method returns the builder itself.
type Builder struct {
	proto *onnxpb.ModelProto
	graph *onnxpb.GraphProto
}

// New starts a model of the given version of the default operator set.
func New(opset int) *Builder {
	g := &onnxpb.GraphProto{Name: proto.String("test")}
	return &Builder{graph: g, proto: &onnxpb.ModelProto{
		IrVersion: proto.Int64(10), ProducerName: proto.String("testmodel"), Graph: g,
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(int64(opset))}},
	}}
}

// Import adds another operator set.
func (b *Builder) Import(domain string, version int) *Builder {
	b.proto.OpsetImport = append(b.proto.OpsetImport,
		&onnxpb.OperatorSetIdProto{Domain: &domain, Version: proto.Int64(int64(version))})
	return b
}

// Input adds a graph input. A dimension is an int, or a string for a symbolic one.
func (b *Builder) Input(name string, t onnxio.DataType, shape ...any) *Builder {
	b.graph.Input = append(b.graph.Input, info(name, t, shape))
	return b
}

// Output adds a graph output.
func (b *Builder) Output(name string, t onnxio.DataType, shape ...any) *Builder {
	b.graph.Output = append(b.graph.Output, info(name, t, shape))
	return b
}

// Outputs adds float32 graph outputs of unknown shape.
func (b *Builder) Outputs(names ...string) *Builder {
	for _, name := range names {
		v := info(name, onnxio.Float32, nil)
		v.Type.GetTensorType().Shape = nil
		b.graph.Output = append(b.graph.Output, v)
	}
	return b
}

// Init adds an initializer.
func (b *Builder) Init(name string, t *onnxio.Tensor) *Builder {
	b.graph.Initializer = append(b.graph.Initializer, t.Proto(name))
	return b
}

// Floats adds a float32 initializer.
func (b *Builder) Floats(name string, data []float32, shape ...int) *Builder {
	return b.Init(name, onnxio.TensorOf(data, shape...))
}

// Int64s adds a one-dimensional int64 initializer.
func (b *Builder) Int64s(name string, data ...int64) *Builder {
	return b.Init(name, onnxio.TensorOf(data, len(data)))
}

// Node adds a node. op may carry a domain: "com.microsoft::Gelu". wires is "input input -> output", with _ for an omitted
// one. The node is called like its first output with "n_" before it. attrs are pairs of name and value: int, int64, float64,
// float32, string, []int64, []float32, []string, *onnxio.Tensor, or *Builder for a subgraph.
func (b *Builder) Node(op, wires string, attrs ...any) *Builder {
	domain, name, found := strings.Cut(op, "::")
	if !found {
		domain, name = "", op
	}
	in, out, ok := strings.Cut(wires, "->")
	if !ok {
		panic("testmodel: wires without ->: " + wires)
	}
	n := &onnxpb.NodeProto{OpType: &name, Input: names(in), Output: names(out)}
	if domain != "" {
		n.Domain = &domain
	}
	if len(n.Output) > 0 {
		n.Name = proto.String("n_" + n.Output[0])
	}
	for i := 0; i < len(attrs); i += 2 {
		n.Attribute = append(n.Attribute, Attr(attrs[i].(string), attrs[i+1]))
	}
	b.graph.Node = append(b.graph.Node, n)
	return b
}

// Function adds a model-local function; wires name its inputs and outputs, attrs its attributes (without defaults), body
// its nodes and operator sets.
func (b *Builder) Function(domain, name, wires string, attrs []string, body *Builder) *Builder {
	in, out, _ := strings.Cut(wires, "->")
	b.proto.Functions = append(b.proto.Functions, &onnxpb.FunctionProto{
		Domain: &domain, Name: &name, Input: names(in), Output: names(out), Attribute: attrs,
		Node: body.graph.Node, OpsetImport: body.proto.OpsetImport,
	})
	return b
}

// Proto is the message, for what the builder has no method for.
func (b *Builder) Proto() *onnxpb.ModelProto { return b.proto }

// Model finishes the model.
func (b *Builder) Model() *onnxio.Model { return onnxio.New("test.onnx", b.proto) }

// Attr makes an attribute from a Go value (see Builder.Node).
func Attr(name string, value any) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: &name}
	set := func(t onnxpb.AttributeProto_AttributeType) { a.Type = t.Enum() }
	switch v := value.(type) {
	case int:
		a.I = proto.Int64(int64(v))
		set(onnxpb.AttributeProto_INT)
	case int64:
		a.I = &v
		set(onnxpb.AttributeProto_INT)
	case float32:
		a.F = &v
		set(onnxpb.AttributeProto_FLOAT)
	case float64:
		a.F = proto.Float32(float32(v))
		set(onnxpb.AttributeProto_FLOAT)
	case string:
		a.S = []byte(v)
		set(onnxpb.AttributeProto_STRING)
	case []int64:
		a.Ints = v
		set(onnxpb.AttributeProto_INTS)
	case []float32:
		a.Floats = v
		set(onnxpb.AttributeProto_FLOATS)
	case []string:
		for _, s := range v {
			a.Strings = append(a.Strings, []byte(s))
		}
		set(onnxpb.AttributeProto_STRINGS)
	case *onnxio.Tensor:
		a.T = v.Proto("")
		set(onnxpb.AttributeProto_TENSOR)
	case *Builder:
		a.G = v.graph
		set(onnxpb.AttributeProto_GRAPH)
	default:
		panic(fmt.Sprintf("testmodel: attribute %s of type %T", name, value))
	}
	return a
}

func names(s string) []string {
	list := strings.Fields(s)
	for i := range list {
		if list[i] == "_" {
			list[i] = ""
		}
	}
	return list
}

func info(name string, t onnxio.DataType, dims []any) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		p := &onnxpb.TensorShapeProto_Dimension{}
		switch d := d.(type) {
		case int:
			p.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}
		case string:
			p.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d}
		default:
			panic(fmt.Sprintf("testmodel: dimension of type %T", d))
		}
		shape.Dim = append(shape.Dim, p)
	}
	return &onnxpb.ValueInfoProto{Name: &name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: t.Proto(), Shape: shape}}}}
}
