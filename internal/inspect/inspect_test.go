package inspect

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"

	_ "github.com/obc-onnx/obc/internal/exec/ops"
)

// ramp is n values that are not zero, but for those that zero picks.
func ramp(n int, zero func(i int) bool) []float32 {
	w := make([]float32, n)
	for i := range w {
		if !zero(i) {
			w[i] = float32(i%7 + 1)
		}
	}
	return w
}

func TestModel(t *testing.T) {
	codes := make([]int8, 6*8)
	for i := range codes {
		codes[i] = int8(i%5 + 1)
	}
	m := testmodel.New(18).
		Input("x", onnxio.Float32, "N", 4, 6, 6).
		Floats("w", ramp(8*4*9, func(i int) bool { return i/9%4 >= 2 }), 8, 4, 3, 3).
		Init("q", onnxio.TensorOf(codes, 6, 8)).Floats("scale", []float32{0.5}).
		Node("Conv", "x w -> c", "pads", []int64{1, 1, 1, 1}).
		Node("GlobalAveragePool", "c -> p").Node("Flatten", "p -> f").
		Node("DequantizeLinear", "q scale -> dq").
		Node("Gemm", "f dq -> y", "transB", 1).
		Node("Mystery", "x -> z").
		Outputs("y", "z").Model()
	before, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Model(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Layers) != 2 {
		t.Fatalf("layers %+v, skipped %+v", s.Layers, s.Skipped)
	}
	conv, gemm := s.Layers[0], s.Layers[1]
	if conv.Pattern != "2:4" || conv.Sparsity != 0.5 || conv.Rows != 8 || conv.Cols != 36 || conv.Stored != "float32" || conv.MACs != "10368" {
		t.Errorf("conv %+v", conv)
	}
	if gemm.Stored != "int8" || gemm.Pattern != "" || gemm.Cols != 8 || gemm.Rows != 6 || gemm.MACs != "48" {
		t.Errorf("gemm %+v", gemm)
	}
	if s.Weights != 8*36+48 || s.MACs == nil || *s.MACs != 10416 {
		t.Errorf("weights %d, MACs %v", s.Weights, s.MACs)
	}
	if !slices.Equal(s.Unsupported, []string{"Mystery"}) || s.Nodes != 6 || s.Operators["Conv"] != 1 || s.Opsets["ai.onnx"] != 18 {
		t.Errorf("%+v", s)
	}
	if after, _ := m.Encode(); !slices.Equal(before, after) {
		t.Error("the model was changed")
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		name     string
		channels int
		zero     func(i int) bool
		want     string
	}{
		{"dense", 32, func(int) bool { return false }, ""},
		{"few", 32, func(i int) bool { return i == 5 }, ""},
		{"2:4", 32, func(i int) bool { return i%4 == i/32%4 || i%4 == (i/32+1)%4 }, "2:4"},
		{"1:4", 32, func(i int) bool { return i%4 != 1 }, "1:4"},
		{"4:8", 32, func(i int) bool { return i%8 < 4 }, "4:8"},
		{"block 4", 32, func(i int) bool { return i/4%3 == 0 }, "block 4"},
		{"block 16", 32, func(i int) bool { return i/16%3 == 0 }, "block 16"},
		{"unstructured", 32, func(i int) bool { return i%7 == 0 || i%5 == 0 }, "unstructured"},
		{"2:4 of ten channels, the last two dense", 10, func(i int) bool { c := i % 10; return c < 8 && c%4 == i/10%4 || c < 8 && c%4 == (i/10+1)%4 }, "2:4"},
		{"block 4 of ten channels, the last two dense", 10, func(i int) bool { return i%10 < 8 && (i/10*2+i%10/4)%3 == 0 }, "block 4"},
		{"2:4 of three channels", 3, func(i int) bool { return i%4 < 2 }, "unstructured"},
		{"half of it zero rows", 32, func(i int) bool { return i/32%2 == 0 }, "block 16"},
	} {
		if got := pattern(ramp(1024, c.zero), c.channels); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestQuantizedBits counts what models that are quantized already really multiply.
func TestQuantizedBits(t *testing.T) {
	codes := func(kind onnxio.DataType, shape ...int) *onnxio.Tensor {
		x := onnxio.NewTensor(onnxio.Int32, shape...)
		for i := range x.Data.([]int32) {
			x.Data.([]int32)[i] = int32(i%3 + 1)
		}
		out, err := x.ConvertTo(kind)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	start := func() *testmodel.Builder {
		return testmodel.New(21).Import("com.microsoft", 1).Input("x", onnxio.Float32, "N", 32).Input("b", onnxio.Uint8, "N", 4, 6, 6).
			Floats("s", []float32{0.5}).Init("scalar", onnxio.TensorOf([]float32{0.5})).
			Init("z", onnxio.NewTensor(onnxio.Uint8)).Init("top", onnxio.TensorOf([]uint8{15})).Init("z8", onnxio.NewTensor(onnxio.Int8)).
			Init("w8", codes(onnxio.Int8, 32, 16)).Init("w4", codes(onnxio.Int4, 32, 16)).Init("k8", codes(onnxio.Int8, 8, 4, 3, 3)).
			Floats("w", ramp(32*16, func(int) bool { return false }), 32, 16)
	}
	const product, conv = 32 * 16, 8 * 4 * 9 * 16 // multiplications
	for _, c := range []struct {
		name        string
		build       func(b *testmodel.Builder) *testmodel.Builder
		macs, bits  int64
		weight, act int
	}{
		{"float", func(b *testmodel.Builder) *testmodel.Builder { return b.Node("MatMul", "x w -> y") }, product, 32, 0, 0},
		{"weights only", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("DequantizeLinear", "w8 scalar -> d").Node("MatMul", "x d -> y")
		}, product, 32, 8, 0},
		{"QDQ", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("QuantizeLinear", "x scalar z -> q").Node("DequantizeLinear", "q scalar z -> xd").
				Node("DequantizeLinear", "w4 scalar -> d").Node("MatMul", "xd d -> y")
		}, product, 8, 4, 8},
		{"QDQ, codes held in 4 bits", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("QuantizeLinear", "x scalar z -> q").Node("Clip", "q z top -> c").Node("DequantizeLinear", "c scalar z -> xd").
				Node("DequantizeLinear", "w4 scalar -> d").Node("MatMul", "xd d -> y")
		}, product, 4, 4, 4},
		{"QLinearMatMul", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("QuantizeLinear", "x scalar z -> q").Node("QLinearMatMul", "q scalar z w8 scalar z8 scalar z -> y")
		}, product, 8, 8, 8},
		{"MatMulInteger", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("DynamicQuantizeLinear", "x -> q qs qz").Node("MatMulInteger", "q w8 qz -> y")
		}, product, 8, 8, 8},
		{"QLinearConv", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Node("QLinearConv", "b scalar z k8 scalar z8 scalar z -> y")
		}, conv, 8, 8, 8},
		{"MatMulNBits", func(b *testmodel.Builder) *testmodel.Builder {
			return b.Init("p", codes(onnxio.Uint8, 16, 1, 16)).Floats("ps", ramp(16, func(int) bool { return false }), 16).
				Node("com.microsoft::MatMulNBits", "x p ps -> y", "K", 32, "N", 16, "bits", 4, "block_size", 32)
		}, product, 32, 4, 0},
	} {
		s, err := Model(c.build(start()).Outputs("y").Model())
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if s.MACs == nil || *s.MACs != c.macs || *s.BOPs != c.macs*c.bits {
			t.Errorf("%s: MACs %v, BOPs %v, want %d and %d", c.name, s.MACs, s.BOPs, c.macs, c.macs*c.bits)
			continue
		}
		weight, act := 0, 0
		for _, l := range s.Layers {
			weight, act = l.Bits, l.InputBits
		}
		for _, k := range s.Skipped {
			weight, act = k.Bits, k.InputBits
		}
		if weight != c.weight || act != c.act {
			t.Errorf("%s: %d bits of weights, %d of inputs, want %d and %d", c.name, weight, act, c.weight, c.act)
		}
	}
}

// TestNothingToCompress: what there is none of is an empty list in JSON, not null.
func TestNothingToCompress(t *testing.T) {
	s, err := Model(testmodel.New(18).Input("x", onnxio.Float32, "N").Node("Relu", "x -> y").Outputs("y").Model())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"layers", "skipped", "unsupported"} {
		if !strings.Contains(string(b), `"`+key+`":[]`) {
			t.Errorf("%s is no empty list in %s", key, b)
		}
	}
}
