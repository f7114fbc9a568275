package convert

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// build makes a model of the given nodes, float32 input "x" of the given shape and output "y".
func build(opset int, shape []int64, nodes ...*onnxpb.NodeProto) *onnxio.Model {
	g := &onnxpb.GraphProto{Name: proto.String("g"), Node: nodes, Input: []*onnxpb.ValueInfoProto{info("x", onnxio.Float32, shape)},
		Output: []*onnxpb.ValueInfoProto{{Name: proto.String("y")}}}
	return onnxio.New("test.onnx", &onnxpb.ModelProto{IrVersion: proto.Int64(7), Graph: g,
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(int64(opset))}}})
}

func info(name string, t onnxio.DataType, shape []int64) *onnxpb.ValueInfoProto {
	typ := &onnxpb.TypeProto_Tensor{ElemType: t.Proto()}
	if shape != nil {
		typ.Shape = &onnxpb.TensorShapeProto{}
		for _, d := range shape {
			typ.Shape.Dim = append(typ.Shape.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
		}
	}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: typ}}}
}

// node makes a node named after its operator: x -> y unless told otherwise.
func node(op string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	n := newNode(op, []string{"x"}, "y")
	n.Name, n.Attribute = proto.String("the "+op), attrs
	return n
}

func with(n *onnxpb.NodeProto, in, out string) *onnxpb.NodeProto {
	n.Input, n.Output = strings.Split(in, ","), strings.Split(out, ",")
	return n
}

func ints(name string, v ...int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: v}
}

func integer(name string, v int64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(v)}
}

func float(name string, v float32) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_FLOAT.Enum(), F: proto.Float32(v)}
}

func text(name, v string) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte(v)}
}

// TestRules converts one node each; want lists the inputs after the first one, as constants ("-" where left out), and the
// attributes.
func TestRules(t *testing.T) {
	i64 := func(v ...int64) *onnxio.Tensor { return onnxio.TensorOf(v, len(v)) }
	scalar := func(v float32) *onnxio.Tensor { return onnxio.TensorOf([]float32{v}) }
	for _, c := range []struct {
		opset, target int
		n             *onnxpb.NodeProto
		consts        []*onnxio.Tensor // inputs from the second one on; nil is left out
		attrs         string
	}{
		{7, 21, node("Clip", float("min", -1), float("max", 2)), []*onnxio.Tensor{scalar(-1), scalar(2)}, ""},
		{7, 21, node("Clip", float("max", 2)), []*onnxio.Tensor{nil, scalar(2)}, ""},
		{7, 21, node("Clip"), nil, ""},
		{11, 21, node("ReduceMean", ints("axes", 1, 2), integer("keepdims", 0)), []*onnxio.Tensor{i64(1, 2)}, "keepdims"},
		{11, 13, node("ReduceMean", ints("axes", 1, 2)), nil, "axes"},
		{11, 13, node("ReduceSum", ints("axes", 1)), []*onnxio.Tensor{i64(1)}, ""},
		{11, 18, node("ReduceSum"), nil, ""},
		{9, 13, node("Slice", ints("starts", 1), ints("ends", 3)), []*onnxio.Tensor{i64(1), i64(3)}, ""},
		{9, 13, node("Slice", ints("axes", 0), ints("starts", 1), ints("ends", 3)), []*onnxio.Tensor{i64(1), i64(3), i64(0)}, ""},
		{9, 13, node("TopK", integer("k", 5), integer("axis", 0)), []*onnxio.Tensor{i64(5)}, "axis"},
		{9, 21, node("Pad", ints("pads", 0, 1, 0, 1), float("value", 3)), []*onnxio.Tensor{i64(0, 1, 0, 1), scalar(3)}, ""},
		{9, 21, node("Pad", ints("pads", 0, 1, 0, 1), text("mode", "edge")), []*onnxio.Tensor{i64(0, 1, 0, 1)}, "mode"},
		{9, 13, node("Dropout", float("ratio", 0.25)), []*onnxio.Tensor{scalar(0.25)}, ""},
		{12, 13, node("Softmax", integer("axis", 2)), nil, "axis"},
		{12, 21, node("Squeeze", ints("axes", 1)), []*onnxio.Tensor{i64(1)}, ""},
		{12, 18, node("Split"), nil, "num_outputs"},
		{12, 18, node("Split", ints("split", 1, 2)), []*onnxio.Tensor{i64(1, 2)}, ""},
		{17, 20, node("DFT", integer("inverse", 1)), []*onnxio.Tensor{nil, onnxio.TensorOf([]int64{1})}, "inverse"},
		{16, 21, node("GridSample", text("mode", "bicubic")), nil, "mode"},
		{10, 16, node("RoiAlign"), nil, "coordinate_transformation_mode"},
		{7, 13, node("Upsample", &onnxpb.AttributeProto{Name: proto.String("scales"), Floats: []float32{1, 2}}),
			[]*onnxio.Tensor{nil, onnxio.TensorOf([]float32{1, 2}, 2)}, "coordinate_transformation_mode nearest_mode"},
		{8, 15, node("BatchNormalization", integer("spatial", 1), float("epsilon", 1)), nil, "epsilon"},
		{17, 25, node("Relu"), nil, ""},
	} {
		m := build(c.opset, []int64{2, 3, 4}, c.n)
		was := c.n.String()
		if _, err := Opset(m, c.target); err != nil {
			t.Errorf("%s: %v", was, err)
			continue
		}
		if m.Opset("") != c.target {
			t.Errorf("%s: opset %d", was, m.Opset(""))
		}
		var got []*onnxio.Tensor
		for i := 1; i < len(c.n.Input); i++ {
			got = append(got, newBody(&converter{model: m}, m.Proto.Graph, nil, c.opset).value(c.n.Input[i]))
		}
		var names []string
		for _, a := range c.n.Attribute {
			names = append(names, a.GetName())
		}
		if !reflect.DeepEqual(got, c.consts) || strings.Join(names, " ") != c.attrs {
			t.Errorf("%s:\ngot  %v with attributes %v\nwant %v with %s", was, got, names, c.consts, c.attrs)
		}
		if err := m.Check(); err != nil && !strings.Contains(c.n.GetOpType(), "Batch") {
			t.Error(err)
		}
	}
}

// TestForeign: an operator that ONNX Runtime puts into the default domain has one version.
func TestForeign(t *testing.T) {
	m := build(11, []int64{2, 3}, node("SimplifiedLayerNormalization"))
	if _, err := Opset(m, 21); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	scales := &onnxpb.TensorProto{Name: proto.String("scales"), DataType: proto.Int32(1), Dims: []int64{2}, FloatData: []float32{0.5, 2}}
	byRef := node("Softmax", &onnxpb.AttributeProto{Name: proto.String("axis"), RefAttrName: proto.String("a")})
	for _, c := range []struct {
		opset, target int
		n             *onnxpb.NodeProto
		want          string
	}{
		{6, 21, node("Relu"), "older than 7"},
		{12, 26, node("Relu"), "cannot convert to opset 26"},
		{9, 12, node("Relu"), "cannot convert to opset 12"},
		{12, 21, node("Frobnicate"), `node "the Frobnicate" (Frobnicate): is no standard operator`},
		{8, 13, node("BatchNormalization", integer("spatial", 0)), "spatial = 0"},
		{9, 14, with(node("BatchNormalization"), "x,a,b,c,d", "y,m,v"), "export the model for inference"},
		{9, 13, with(node("Dropout"), "x", "y,mask"), "the mask"},
		{8, 13, node("Scan"), "Scan of opset 8"},
		{10, 13, with(node("Resize"), "x,x", "y"), "scales are not constant"},
		{10, 13, with(node("Resize"), "x,scales", "y"), "grows along one axis and shrinks along another"},
		{11, 13, with(node("Resize", text("coordinate_transformation_mode", "tf_half_pixel_for_nn")), "x,,scales", "y"), "tf_half_pixel_for_nn"},
		{11, 13, with(node("Resize"), "x,,scales,x", "y"), "both scales and sizes"},
		{18, 21, with(node("GroupNormalization"), "x,x,x", "y"), "scale is not constant"},
		{18, 21, with(node("GroupNormalization"), "z,scales,scales", "y"), "run shape inference first"},
		{12, 13, byRef, "comes from the function's caller"},
		{16, 20, node("GridSample", &onnxpb.AttributeProto{Name: proto.String("mode"), RefAttrName: proto.String("a")}), "comes from the function's caller"},
	} {
		m := build(c.opset, []int64{2, 3, 4}, c.n)
		m.Proto.Graph.Initializer = append(m.Proto.Graph.Initializer, scales)
		if _, err := Opset(m, c.target); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "test.onnx: ") {
			t.Errorf("%v: got %v, want it to say %q", c.n, err, c.want)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	for _, target := range []int{13, 20, 21} {
		m := build(21, nil, node("Relu"))
		want := m.Clone()
		if changes, err := Opset(m, target); err != nil || changes != nil || !proto.Equal(m.Proto, want.Proto) {
			t.Errorf("opset 21 to %d: %v, %v", target, changes, err)
		}
	}
}

// The limits of a Clip have the type of its input, however far back that is declared; if nothing tells it, other floats in
// the model forbid a guess.
func TestClipType(t *testing.T) {
	relu := with(node("Relu"), "x", "r")
	clip := with(node("Clip", float("max", 6)), "r", "y")
	m := build(9, []int64{2}, relu, clip)
	m.Proto.Graph.Input[0] = info("x", onnxio.Float16, nil)
	if _, err := Opset(m, 13); err != nil {
		t.Fatal(err)
	}
	x, err := m.Tensor(m.Proto.Graph.Initializer[0])
	if err != nil || x.Type != onnxio.Float16 || onnxio.DecodeFloat(x.Type, onnxio.Slice[uint16](x)[0]) != 6 {
		t.Errorf("limit %v (%v)", x, err)
	}
	m = build(9, nil, with(node("Erf"), "x", "r"), with(node("Clip", float("max", 6)), "r", "y"))
	m.Proto.Graph.Initializer = append(m.Proto.Graph.Initializer, onnxio.NewTensor(onnxio.Float16, 1).Proto("h"))
	if _, err := Opset(m, 13); err == nil || !strings.Contains(err.Error(), `the element type of its input "r"`) {
		t.Errorf("got %v", err)
	}
}

// Softmax over several axes is flattened; the new names do not collide.
func TestSoftmaxFlattened(t *testing.T) {
	m := build(11, []int64{2, 3, 4}, with(node("Softmax", integer("axis", 1)), "x", "s"), with(node("Relu"), "s", "the Softmax_flat"), with(node("Neg"), "the Softmax_flat", "y"))
	changes, err := Opset(m, 13)
	if err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, n := range m.Proto.Graph.Node {
		ops = append(ops, n.GetOpType())
	}
	if want := []string{"Shape", "Flatten", "Softmax", "Reshape", "Relu", "Neg"}; !reflect.DeepEqual(ops, want) {
		t.Errorf("nodes %v, want %v", ops, want)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	if len(changes) != 2 || !strings.Contains(changes[0].String(), `node "the Softmax" (Softmax)`) || changes[1].String() != "opset 11 to 13" {
		t.Errorf("changes %v", changes)
	}
}

// Models of IR version 3 list initializers as inputs; the raised version would let callers replace them, so they go.
func TestInitializersAreNoInputs(t *testing.T) {
	m := build(8, []int64{2}, with(node("Add"), "x,w", "y"))
	m.Proto.IrVersion = proto.Int64(3)
	m.Proto.Graph.Initializer = append(m.Proto.Graph.Initializer, onnxio.TensorOf([]float32{1, 2}, 2).Proto("w"))
	m.Proto.Graph.Input = append(m.Proto.Graph.Input, info("w", onnxio.Float32, []int64{2}))
	if _, err := Opset(m, 21); err != nil {
		t.Fatal(err)
	}
	if g := m.Proto.Graph; len(g.Input) != 1 || g.Input[0].GetName() != "x" || m.Proto.GetIrVersion() != 10 {
		t.Errorf("inputs %v, ir_version %d", g.Input, m.Proto.GetIrVersion())
	}
}

func TestSubgraphsAndFunctions(t *testing.T) {
	branch := func(name string) *onnxpb.AttributeProto {
		return &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: &onnxpb.GraphProto{Name: proto.String(name),
			Node: []*onnxpb.NodeProto{with(node("Clip", float("min", 0)), "x", name+"_y")}, Output: []*onnxpb.ValueInfoProto{{Name: proto.String(name + "_y")}}}}
	}
	call := with(node("Mean"), "i", "y")
	call.Domain = proto.String("local")
	m := build(10, []int64{1}, with(node("Cast", integer("to", 9)), "x", "c"), with(node("If", branch("then_branch"), branch("else_branch")), "c", "i"), call)
	m.Proto.OpsetImport = append(m.Proto.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("local"), Version: proto.Int64(1)})
	m.Proto.Functions = []*onnxpb.FunctionProto{{Name: proto.String("Mean"), Domain: proto.String("local"), Input: []string{"a"}, Output: []string{"b"},
		Node:        []*onnxpb.NodeProto{with(node("ReduceMean", ints("axes", 0)), "a", "b")},
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(17)}}}}
	if _, err := Opset(m, 21); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, a := range m.Proto.Graph.Node[1].Attribute {
		if n := a.G.Node[0]; len(n.Input) != 2 || len(a.G.Initializer) != 1 || a.G.Initializer[0].GetName() != n.Input[1] {
			t.Errorf("%s: %v, initializers %v", a.GetName(), n, a.G.Initializer)
		}
	}
	f := m.Proto.Functions[0]
	if len(f.Node) != 2 || f.Node[0].GetOpType() != "Constant" || f.Node[1].Input[1] != f.Node[0].Output[0] || f.OpsetImport[0].GetVersion() != 21 {
		t.Errorf("function %v", f)
	}
}

func TestGroupNormalization(t *testing.T) {
	m := build(18, []int64{1, 4, 2}, with(node("GroupNormalization", integer("num_groups", 2)), "x,s,b", "y"))
	m.Proto.Graph.Initializer = []*onnxpb.TensorProto{onnxio.TensorOf([]float32{1, 2}, 2).Proto("s"), onnxio.TensorOf([]float32{3, 4}, 2).Proto("b")}
	if _, err := Opset(m, 21); err != nil {
		t.Fatal(err)
	}
	got, err := m.Tensor(m.Proto.Graph.Initializer[2])
	if err != nil || !reflect.DeepEqual(got.Data, []float32{1, 1, 2, 2}) || m.Proto.Graph.Node[0].Input[1] != "the GroupNormalization_scale" {
		t.Errorf("scale %v (%v), node %v", got, err, m.Proto.Graph.Node[0])
	}
}

// Every rule is for a known operator and a version that a conversion passes.
func TestRuleTable(t *testing.T) {
	for k := range rules {
		if !known[k.op] || k.version <= Oldest || k.version > Newest {
			t.Errorf("rule for %s at %d", k.op, k.version)
		}
	}
	if len(known) != 198 {
		t.Errorf("%d operators are known", len(known))
	}
}
