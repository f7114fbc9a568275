package onnxio

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

func TestCheckAcceptsTiny(t *testing.T) {
	if err := New("tiny", tiny()).Check(); err != nil {
		t.Error(err)
	}
}

// TestCheck breaks the tiny model in one place each; the message must name what is broken.
func TestCheck(t *testing.T) {
	w := func(p *onnxpb.ModelProto) *onnxpb.TensorProto { return p.Graph.Initializer[0] }
	for _, c := range []struct {
		edit func(p *onnxpb.ModelProto)
		want string
	}{
		{func(p *onnxpb.ModelProto) { p.Graph = nil }, "no graph"},
		{func(p *onnxpb.ModelProto) { p.OpsetImport = p.OpsetImport[1:] }, `domain "" is not in opset_import`},
		{func(p *onnxpb.ModelProto) { p.OpsetImport = append(p.OpsetImport, p.OpsetImport[0]) }, "twice"},
		{func(p *onnxpb.ModelProto) { p.OpsetImport[0].Version = proto.Int64(-1) }, "version -1"},
		{func(p *onnxpb.ModelProto) { w(p).Dims = []int64{-2, -3} }, `tensor "w": shape [-2 -3]`},
		{func(p *onnxpb.ModelProto) { w(p).Dims = []int64{1 << 62, 1 << 62, 1 << 62} }, `tensor "w": shape`},
		{func(p *onnxpb.ModelProto) { w(p).Dims = []int64{1 << 40} }, `tensor "w": 24 bytes in raw_data`},
		{func(p *onnxpb.ModelProto) { w(p).Dims = []int64{2, 2} }, "float32[2 2] needs 16"},
		{func(p *onnxpb.ModelProto) { w(p).RawData = nil }, `tensor "w": 0 values in float_data, but float32[2 3] needs 6`},
		{func(p *onnxpb.ModelProto) { w(p).DataType = proto.Int32(77) }, "data_type 77"},
		{func(p *onnxpb.ModelProto) { w(p).DataType = String.Proto() }, "strings outside"},
		{func(p *onnxpb.ModelProto) { w(p).Segment = &onnxpb.TensorProto_Segment{} }, "segment"},
		{func(p *onnxpb.ModelProto) { w(p).Name = nil }, "no name"},
		{func(p *onnxpb.ModelProto) { p.Graph.Initializer[1].Name = proto.String("w") }, `two initializers have the name "w"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Input[0].Name = nil }, "input 0 has no name"},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[1].Output[0] = "y" }, `name "y" is used twice, for an output of node "mm" (MatMul) and for an output of node "call" (local.Double)`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[1].Output[0] = "w" }, `"w" is used twice, for an initializer`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[0].Input[0] = "nowhere" }, `node "mm" (MatMul): its input "nowhere"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[0].OpType = nil }, `no op_type`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[1].Domain = proto.String("other") }, `domain "other"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Output[0].Name = proto.String("lost") }, `output 0, "lost"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[0].Input[0] = "z" }, `node "call" (local.Double) -> node "mm" (MatMul) -> node "call"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[0].Input[0] = "o" }, `node "if" (If)`}, // by way of what the subgraphs capture
		{func(p *onnxpb.ModelProto) { p.Graph.Node[2].Attribute[0].G.Node[0].Input[0] = "gone" }, `node "if" (If): attribute "then_branch": node 0 (Relu): its input "gone"`},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[2].Attribute[0].G = nil }, "is a GRAPH, but holds none"},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[2].Attribute[0].Name = proto.String("else_branch") }, "comes twice"},
		{func(p *onnxpb.ModelProto) { p.Graph.Node[3].Attribute[0].RefAttrName = proto.String("a") }, "of a function"},
		{func(p *onnxpb.ModelProto) { p.Graph.SparseInitializer[0].Indices = nil }, `sparse initializer "sparse"`},
		{func(p *onnxpb.ModelProto) { p.Graph.SparseInitializer[0].Indices.Dims = []int64{1, 1, 1} }, "do not fit together"},
		{func(p *onnxpb.ModelProto) {
			p.Functions[0].Node[0].OpType = proto.String("Double")
			p.Functions[0].Node[0].Domain = proto.String("local")
			p.Functions[0].OpsetImport[0].Domain = proto.String("local")
		}, `function "Double" calls itself`},
		{func(p *onnxpb.ModelProto) { p.Functions[0].Output[0] = "c" }, `function "Double": its output "c"`},
		{func(p *onnxpb.ModelProto) { p.Functions = append(p.Functions, p.Functions[0]) }, "comes twice"},
		{func(p *onnxpb.ModelProto) { p.TrainingInfo[0].Algorithm.Output[0].Name = proto.String("q") }, "training_info 0"},
		{func(p *onnxpb.ModelProto) { w(p).RawData = nil; w(p).DataLocation = onnxpb.TensorProto_EXTERNAL.Enum() }, ""},
	} {
		p := tiny()
		c.edit(p)
		err := New("tiny.onnx", p).Check()
		if c.want == "" {
			if err != nil {
				t.Errorf("got %v, want no error", err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tiny.onnx: ") {
			t.Errorf("got %v, want it to say %q", err, c.want)
		}
	}
}

func TestTensorElementsChecked(t *testing.T) {
	i32 := func(dt DataType, dims []int64, v ...int32) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: proto.String("t"), DataType: dt.Proto(), Dims: dims, Int32Data: v}
	}
	for _, c := range []struct {
		p    *onnxpb.TensorProto
		want string
	}{
		{i32(Int8, []int64{1}, 128), "int32_data[0] = 128 does not fit in int8"},
		{i32(Uint8, []int64{2}, 0, -1), "int32_data[1] = -1"},
		{i32(Bool, []int64{1}, 2), "does not fit in bool"},
		{i32(Float6E2M3, []int64{1}, 64), "does not fit"},
		{i32(Uint4, []int64{1}, 256), "does not fit"},
		{&onnxpb.TensorProto{DataType: Uint32.Proto(), Dims: []int64{1}, Uint64Data: []uint64{1 << 32}}, "does not fit in uint32"},
		{&onnxpb.TensorProto{DataType: Bool.Proto(), Dims: []int64{2}, RawData: []byte{1, 7}}, "byte 0x07 at element 1 is no bool"},
		{nil, "data_type 0"},
	} {
		if x, err := New("m", nil).Tensor(c.p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want it to say %q", x, err, c.want)
		}
	}
}

// TestTypedFields reads the elements of each type from its typed field.
func TestTypedFields(t *testing.T) {
	for dt := Float32; dt <= Float6E3M2; dt++ {
		for _, n := range []int{0, 1, 2, 3, 4, 5, 9} {
			want := pattern(dt, n)
			p := &onnxpb.TensorProto{DataType: dt.Proto(), Dims: []int64{int64(n)}}
			bits := dt.Bits()
			raw := append([]byte{}, want.Proto("").RawData...)
			switch d := want.Data.(type) {
			case []float32:
				p.FloatData = d
			case []float64:
				p.DoubleData = d
			case []int32:
				p.Int32Data = d
			case []int64:
				p.Int64Data = d
			case []uint64:
				p.Uint64Data = d
			case []uint32:
				for _, v := range d {
					p.Uint64Data = append(p.Uint64Data, uint64(v))
				}
			case []complex64:
				for _, v := range d {
					p.FloatData = append(p.FloatData, real(v), imag(v))
				}
			case []complex128:
				for _, v := range d {
					p.DoubleData = append(p.DoubleData, real(v), imag(v))
				}
			case []string:
				p = want.Proto("")
			case []int16:
				for _, v := range d {
					p.Int32Data = append(p.Int32Data, int32(v))
				}
			case []uint16:
				for i, v := range d {
					p.Int32Data = append(p.Int32Data, int32(v))
					if dt.IsFloat() && i == 1 {
						p.Int32Data[1] = int32(int16(v)) // sign-extended, as some writers have it
					}
				}
			case []int8:
				for i := range raw {
					p.Int32Data = append(p.Int32Data, int32(int8(raw[i])))
				}
			default: // bytes: one to a value, packed where the type is
				if bits == 6 {
					raw = Slice[uint8](want)
				}
				for _, b := range raw {
					p.Int32Data = append(p.Int32Data, int32(b))
				}
			}
			got, err := New("m", nil).Tensor(p)
			if err != nil || got.Len() != n || fmt.Sprint(got.Data) != fmt.Sprint(want.Data) {
				t.Errorf("%v of %d: got %v (%v), want %v", dt, n, got, err, want.Data)
			}
		}
	}
}

// TestBadFiles loads what is no model, as users do by mistake.
func TestBadFiles(t *testing.T) {
	good, _ := marshal(tiny())
	wrongType := protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 5)
	deep := []byte{}
	for range 300 { // graph.node.attribute.g.node...
		for _, field := range []protowire.Number{6, 5, 1} {
			deep = protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), deep)
		}
	}
	deep = protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), deep)
	dir := t.TempDir()
	for name, c := range map[string]struct{ data, want string }{
		"empty":     {"", "is empty"},
		"lfs":       {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"},
		"html":      {"\n<!DOCTYPE html><html><body>Not found</body>", "web page"},
		"text":      {"hello, I am a model\n", "text file"},
		"json":      {`{"error": "Repository not found"}`, "text file"},
		"zip":       {"PK\x03\x04\x14\x00\x00\x00", "zip archive"},
		"hdf5":      {"\x89HDF\r\n\x1a\n\x00\x00", "HDF5"},
		"tflite":    {"\x1c\x00\x00\x00TFL3\x14\x00\x20", "TensorFlow Lite"},
		"ort":       {"\x1c\x00\x00\x00ORTM\x14\x00\x20", ".ort"},
		"gzip":      {"\x1f\x8b\x08\x00", "gzip"},
		"truncated": {string(good[:len(good)/2]), "model: graph has"},
		"tail":      {string(good[:len(good)-1]), "cut short"},
		"wire type": {string(wrongType), "field graph has wire type 0"},
		"deep":      {string(deep), "messages within each other"},
		"no graph":  {"\x08\x0a", "no graph"},
		"zeros":     {strings.Repeat("\x00", 100), "no field begins at byte 0"},
	} {
		path := filepath.Join(dir, name+".onnx")
		if err := os.WriteFile(path, []byte(c.data), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("folder: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.onnx")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}

// A small file cannot make Decode and Check take much memory, whatever it says.
func TestHostileMemory(t *testing.T) {
	nodes := make([]byte, 0, 4<<20)
	for len(nodes) < 4<<20-2 {
		nodes = append(nodes, 1<<3|2, 0)
	}
	nodes = protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), nodes)
	p := tiny()
	p.Graph.Initializer[0].Dims = []int64{1 << 50}
	huge, _ := marshal(p)
	var before, after runtime.MemStats
	for name, data := range map[string][]byte{"empty nodes": nodes, "huge dims": huge} {
		runtime.ReadMemStats(&before)
		m, err := Decode(name, data)
		if err == nil {
			err = m.Check()
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(data)*4+1<<20); got > most {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(data))
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, _ := marshal(tiny())
	f.Add(good)
	f.Add(reversed(tiny()))
	f.Add(good[:len(good)/3])
	f.Add([]byte("\x3a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode("fuzz", data)
		if err != nil {
			return
		}
		bad := m.Check()
		for _, x := range m.Proto.Graph.Initializer {
			v, err := m.Tensor(x)
			if err == nil && v.Len() > 8*len(data) {
				t.Fatalf("%d elements out of %d bytes", v.Len(), len(data))
			}
			if err == nil {
				_ = v.Proto("again")
			}
		}
		out, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode("again", out)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		a, _ := marshal(m.Proto)
		b, _ := marshal(back.Proto)
		if string(a) != string(b) { // bytes, since NaN attributes make messages unequal to themselves
			t.Fatal("differs after a round trip")
		}
		if again := back.Check(); (bad == nil) != (again == nil) {
			t.Fatalf("check says %v, then %v", bad, again)
		}
	})
}
