package onnxio

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// tiny is a model with one of everything that a writer could lose: a subgraph, a function, training information, metadata, a
// sparse initializer, a quantization annotation, unknown fields at three levels.
func tiny() *onnxpb.ModelProto {
	s := proto.String
	weight := TensorOf([]float32{1, 2, 3, 4, 5, 6}, 2, 3).Proto("w")
	meta := []*onnxpb.StringStringEntryProto{{Key: s("k"), Value: s("v")}}
	branch := func(name string) *onnxpb.GraphProto {
		return &onnxpb.GraphProto{Name: s(name), Node: []*onnxpb.NodeProto{{OpType: s("Relu"), Input: []string{"y"}, Output: []string{name + "_out"}}},
			Output: []*onnxpb.ValueInfoProto{value(name+"_out", Float32, 4, 3)}}
	}
	g := &onnxpb.GraphProto{Name: s("g"), DocString: s("doc"),
		Node: []*onnxpb.NodeProto{
			{Name: s("mm"), OpType: s("MatMul"), Input: []string{"x", "w"}, Output: []string{"y"}, MetadataProps: meta},
			{Name: s("call"), OpType: s("Double"), Domain: s("local"), Input: []string{"y"}, Output: []string{"z"}},
			{Name: s("if"), OpType: s("If"), Input: []string{"c"}, Output: []string{"o"}, Attribute: []*onnxpb.AttributeProto{
				{Name: s("then_branch"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: branch("t")},
				{Name: s("else_branch"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: branch("e")}}},
			{OpType: s("Add"), Input: []string{"z", "sparse"}, Output: []string{"u"}, Attribute: []*onnxpb.AttributeProto{
				{Name: s("ints"), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: []int64{1, 300, -1}}}},
		},
		Initializer: []*onnxpb.TensorProto{weight, TensorOf([]bool{true}).Proto("c")},
		SparseInitializer: []*onnxpb.SparseTensorProto{{Dims: []int64{3}, Values: TensorOf([]float32{7}, 1).Proto("sparse"),
			Indices: TensorOf([]int64{2}, 1).Proto("")}},
		Input: []*onnxpb.ValueInfoProto{value("x", Float32, 4, 2)}, Output: []*onnxpb.ValueInfoProto{value("o", Float32, 4, 3), value("u", Float32, 4, 3)},
		ValueInfo:              []*onnxpb.ValueInfoProto{value("y", Float32, 4, 3)},
		QuantizationAnnotation: []*onnxpb.TensorAnnotation{{TensorName: s("w"), QuantParameterTensorNames: meta}},
		MetadataProps:          meta,
	}
	m := &onnxpb.ModelProto{IrVersion: proto.Int64(10), ProducerName: s("test"), Graph: g, MetadataProps: meta,
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(21)}, {Domain: s("local"), Version: proto.Int64(1)}},
		Functions: []*onnxpb.FunctionProto{{Name: s("Double"), Domain: s("local"), Input: []string{"a"}, Output: []string{"b"},
			Node:        []*onnxpb.NodeProto{{OpType: s("Add"), Input: []string{"a", "a"}, Output: []string{"b"}}},
			OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(21)}}}},
		TrainingInfo: []*onnxpb.TrainingInfoProto{{Algorithm: branch("step")}},
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 42)
	for _, p := range []proto.Message{m, g.Node[0], weight} {
		p.ProtoReflect().SetUnknown(unknown)
	}
	return m
}

func value(name string, t DataType, shape ...int64) *onnxpb.ValueInfoProto {
	sh := &onnxpb.TensorShapeProto{}
	for _, d := range shape {
		sh.Dim = append(sh.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: t.Proto(), Shape: sh}}}}
}

func TestRoundTripTiny(t *testing.T) {
	want, err := marshal(tiny())
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode("tiny", want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Encode(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("encoded %d bytes (%v), want the %d that went in", len(got), err, len(want))
	}
	if !proto.Equal(m.Proto, tiny()) {
		t.Error("the message differs from the one that was built")
	}
	path := filepath.Join(t.TempDir(), "tiny.onnx")
	if err := m.Save(path, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("saved %d bytes (%v), want %d", len(got), err, len(want))
	}
}

// reversed writes m with the fields in falling order and numbers packed: legal, but not what libraries write.
func reversed(m proto.Message) []byte {
	b, _ := marshal(m)
	var out []byte
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		out = append(bytes.Clone(b[:n]), out...)
		b = b[n:]
	}
	return out
}

// A node whose bytes protobuf would write in another way keeps them until it is changed, also beside changed ones, within
// changed ones, and in a clone.
func TestUntouchedNodesKeepTheirBytes(t *testing.T) {
	p := tiny()
	inner := p.Graph.Node[2].Attribute[0].G.Node[0]
	want := map[string][]byte{"mm": reversed(p.Graph.Node[0]), "inner": reversed(inner)}
	// mm itself and the node inside the If come with their fields reversed
	wire, _ := marshal(p)
	for old, n := range map[*onnxpb.NodeProto]string{p.Graph.Node[0]: "mm", inner: "inner"} {
		canon, _ := marshal(old)
		if bytes.Equal(canon, want[n]) {
			t.Fatal("the test builds nothing unusual")
		}
		wire = bytes.Replace(wire, canon, want[n], 1)
	}
	m, err := Decode("x", wire)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := m.Encode(); !bytes.Equal(got, wire) {
		t.Error("untouched model changed")
	}
	c := m.Clone()
	c.Proto.Graph.Node[1].Name = proto.String("other")
	c.Proto.Graph.Node[2].Name = proto.String("other if")
	got, err := c.Encode()
	if err != nil || !bytes.Contains(got, want["mm"]) || !bytes.Contains(got, want["inner"]) {
		t.Errorf("untouched nodes beside and within a changed one lost their bytes (%v)", err)
	}
	c.Proto.Graph.Node[0].Name = proto.String("changed")
	if got, _ = c.Encode(); bytes.Contains(got, want["mm"]) || !bytes.Contains(got, []byte("changed")) {
		t.Error("a changed node kept its old bytes")
	}
	if back, err := Decode("back", got); err != nil || !proto.Equal(back.Proto, c.Proto) {
		t.Errorf("not equal after a round trip (%v)", err)
	}
}

// Every real model decodes, passes the checks and encodes to the very bytes of its file; all its tensors can be read.
func TestRealModels(t *testing.T) {
	for _, root := range []string{testkit.Vectors(t), filepath.Join(testkit.Shared(t), "zoo")} {
		n := 0
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".onnx" {
				return err
			}
			n++
			m, err := Load(path)
			if err != nil {
				t.Error(err)
				return nil
			}
			want, _ := os.ReadFile(path)
			if got, err := m.Encode(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: encodes to other bytes (%v)", path, err)
			}
			if !proto.Equal(m.Clone().Proto, m.Proto) {
				t.Errorf("%s: the clone differs", path)
			}
			return nil
		})
		if err != nil || n < 10 {
			t.Fatalf("%d models in %s: %v", n, root, err)
		}
	}
}

func TestRealTensors(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(testkit.Vectors(t), "*", "*", "test_data_set_*", "*.pb"))
	types := map[DataType]int{}
	for _, path := range files {
		if x, _, err := LoadTensorPB(path); err == nil {
			types[x.Type]++
		} else if !strings.Contains(path, "seq") && !strings.Contains(path, "opt") { // those hold no tensor
			t.Error(err)
		}
	}
	if len(types) < 20 {
		t.Errorf("only %v", types)
	}
}

func TestTensorProtoRoundTrip(t *testing.T) {
	for dt := Float32; dt <= Float6E3M2; dt++ {
		for _, shape := range [][]int{{}, {0}, {1}, {3}, {2, 5}, {8}, {1001}} {
			x := pattern(dt, shape...)
			y, err := New("mem", nil).Tensor(x.Proto("x"))
			if err != nil || !reflect.DeepEqual(x, y) {
				t.Errorf("%v: got %v, %v", x, y, err)
			}
			if c := x.Clone(); !reflect.DeepEqual(c, x) {
				t.Errorf("%v: the clone differs", x)
			}
		}
	}
}

// pattern fills a tensor with various elements.
func pattern(dt DataType, shape ...int) *Tensor {
	x := NewTensor(dt, shape...)
	for i := range x.Len() {
		switch d := x.Data.(type) {
		case []uint8:
			d[i] = uint8(i*7+1) & uint8(1<<dt.Bits()-1)
		case []int8:
			d[i] = int8(uint8(i*5+1)<<(8-dt.Bits())) >> (8 - dt.Bits())
		case []float32:
			d[i] = float32(i) - 0.5
		case []uint16:
			d[i] = uint16(i * 257)
		case []int64:
			d[i] = -int64(i) << 40
		case []complex64:
			d[i] = complex(float32(i), -1)
		case []string:
			d[i] = strings.Repeat("é", i%3)
		case []bool:
			d[i] = i%3 == 0
		}
	}
	return x
}
