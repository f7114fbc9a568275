package ops_test

import (
	"context"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestBadInput gives operators what they cannot take, or what would fill any memory: the error names node and operator. Inputs are
// x float32[2 3 4], i int64 scalar and s string[1].
func TestBadInput(t *testing.T) {
	const huge = 1 << 40
	type b = *testmodel.Builder
	for _, c := range []struct {
		op, wires string
		more      func(b) b
		attrs     []any
		want      string
	}{
		{op: "Add", wires: "x w", more: func(m b) b { return m.Floats("w", make([]float32, 5), 5) }, want: "[2 3 4]"},
		{op: "Add", wires: "x i", want: "int64"},
		{op: "MatMul", wires: "x x", want: "cannot multiply"},
		{op: "Relu", wires: "s", want: "string"},
		{op: "Relu", wires: "", want: "missing"},
		{op: "Softmax", wires: "x", attrs: []any{"axis", 3}, want: "axis"},
		{op: "Softmax", wires: "x", attrs: []any{"axis", -4}, want: "axis"},
		{op: "Concat", wires: "x x", attrs: []any{"axis", huge}, want: "axis"},
		{op: "Transpose", wires: "x", attrs: []any{"perm", []int64{0, 0, 1}}, want: "perm"},
		{op: "Conv", wires: "x w", more: func(m b) b { return m.Floats("w", make([]float32, 8), 1, 2, 4) }, want: "channels"},
		{op: "Conv", wires: "x w", more: func(m b) b { return m.Floats("w", make([]float32, 12), 1, 3, 4) }, attrs: []any{"strides", []int64{0}}, want: "strides"},
		{op: "MaxPool", wires: "x", attrs: []any{"kernel_shape", []int64{huge}}, want: "kernel"},
		{op: "MaxPool", wires: "x", attrs: []any{"kernel_shape", []int64{2}, "pads", []int64{huge, huge}}, want: "shape"},
		{op: "Gather", wires: "x at", more: func(m b) b { return m.Int64s("at", 9) }, want: "out of range"},
		{op: "Reshape", wires: "x at", more: func(m b) b { return m.Int64s("at", -1, -1) }, want: "-1"},
		{op: "Reshape", wires: "x at", more: func(m b) b { return m.Int64s("at", huge, huge) }, want: "shape"},
		{op: "Expand", wires: "x at", more: func(m b) b { return m.Int64s("at", huge, 2, 3, 4) }, want: "shape"},
		{op: "Expand", wires: "x at", more: func(m b) b { return m.Int64s("at", huge, huge, 1, 1, 1) }, want: "impossible"},
		{op: "ConstantOfShape", wires: "at", more: func(m b) b { return m.Int64s("at", 1<<31, 1<<31) }, want: "shape"},
		{op: "ConstantOfShape", wires: "at", more: func(m b) b { return m.Int64s("at", -2) }, want: "-2"},
		{op: "Tile", wires: "x at", more: func(m b) b { return m.Int64s("at", huge, 1, 1) }, want: "shape"},
		{op: "Pad", wires: "x at", more: func(m b) b { return m.Int64s("at", 0, 0, 0, 0, 0, huge) }, want: "shape"},
		{op: "Range", wires: "zero many one", want: "too long"},
		{op: "Resize", wires: "x _ _ at", more: func(m b) b { return m.Int64s("at", 2, 3, 1<<30) }, want: "memory limit"},
		{op: "OneHot", wires: "i many x", want: ""},
		{op: "EyeLike", wires: "x", want: ""},
		{op: "TopK", wires: "x at", more: func(m b) b { return m.Int64s("at", 99) }, want: "99"},
		{op: "com.microsoft::MatMulNBits", wires: "x c w", more: func(m b) b { return m.Init("c", onnxio.NewTensor(onnxio.Uint8, 1)).Floats("w", []float32{1}, 1) },
			attrs: []any{"N", 1 << 30, "K", 1 << 30, "block_size", 32}, want: "codes"},
		{op: "com.microsoft::Attention", wires: "x w", more: func(m b) b { return m.Floats("w", make([]float32, 20), 4, 5) }, attrs: []any{"num_heads", 2}, want: "5 columns"},
		{op: "com.microsoft::QLinearAdd", wires: "x x x x x x x x", want: "codes"},
	} {
		name := c.op[strings.LastIndex(c.op, ":")+1:]
		m := testmodel.New(18).Import("com.microsoft", 1).Input("x", onnxio.Float32, 2, 3, 4).Input("i", onnxio.Int64).Input("s", onnxio.String, 1).
			Init("zero", onnxio.TensorOf([]int64{0})).Init("one", onnxio.TensorOf([]int64{1})).Init("many", onnxio.TensorOf([]int64{huge}))
		if c.more != nil {
			m = c.more(m)
		}
		g, err := graph.New(m.Node(c.op, c.wires+" -> y", c.attrs...).Outputs("y").Model())
		if err != nil {
			t.Fatal(err)
		}
		e, err := exec.New(g, exec.Options{MemoryLimit: 1 << 20})
		if err == nil {
			_, err = e.Run(context.Background(), map[string]*onnxio.Tensor{"x": onnxio.NewTensor(onnxio.Float32, 2, 3, 4),
				"i": onnxio.NewTensor(onnxio.Int64), "s": onnxio.NewTensor(onnxio.String, 1)}, nil)
		}
		if err == nil || !strings.Contains(err.Error(), `node "n_y" (`+name+")") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "internal") {
			t.Errorf("%s %s %v: error is %v, want one with %q", c.op, c.wires, c.attrs, err, c.want)
		}
	}
}

// TestQuantizeNothing quantizes tensors without elements, with one scale, with a scale an entry and with a scale a block.
func TestQuantizeNothing(t *testing.T) {
	for _, shape := range [][]int{{0}, {3, 0}, {0, 3}} {
		for _, scales := range []int{0, 1, 3} {
			empty := onnxio.NewTensor(onnxio.Float32, shape...)
			m := testmodel.New(21).Init("x", empty).Init("s", onnxio.NewTensor(onnxio.Float32, scales)).
				Node("QuantizeLinear", "x s -> q", "axis", len(shape)-1).Node("DequantizeLinear", "q s -> y", "axis", len(shape)-1)
			g, err := graph.New(m.Outputs("y").Model())
			if err != nil {
				t.Fatal(err)
			}
			e, err := exec.New(g, exec.Options{})
			if err != nil {
				t.Fatal(err)
			}
			out, err := e.Run(context.Background(), nil, nil)
			if fits := scales == 1 || scales == shape[len(shape)-1]; err == nil && fits && out["y"].Len() == 0 || err != nil && !fits && !strings.Contains(err.Error(), "internal") {
				continue
			}
			t.Errorf("%v with %d scales: %v, %v", shape, scales, out, err)
		}
	}
}
