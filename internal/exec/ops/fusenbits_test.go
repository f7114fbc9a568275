package ops_test

import (
	"context"
	"slices"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// TestFusionOfWeightCodes: weights in codes behind a DequantizeLinear equal MatMulNBits at accuracy level 4 bit by bit, for scales by block
// and by column, with one row (as in decoding) and with several; watched by hooks, the weights are what the nodes say.
func TestFusionOfWeightCodes(t *testing.T) {
	const k, n, block = 80, 37, 16
	for _, blocked := range []bool{false, true} {
		for _, rows := range []int{1, 9} {
			size, bits := 32, 8
			if blocked {
				size, bits = block, 4
			}
			blocks := (k + size - 1) / size
			raw := make([]uint8, n*blocks*size*bits/8)
			codes, scale, packed := onnxio.NewTensor(onnxio.Int8, k, n), noise(5, n), make([]float32, n*blocks)
			four := onnxio.NewTensor(onnxio.Int4, k, n)
			if blocked {
				scale = noise(5, blocks, n)
			}
			for i, v := range noise(8, k*n).Float32s() {
				row, col := i/n, i%n
				at := col*blocks*size + row
				if blocked {
					c := int8(max(-8, min(7, 4*v)))
					four.Data.([]int8)[i] = c
					raw[at/2] |= uint8(c+8) << (at % 2 * 4)
					packed[col*blocks+row/size] = scale.Float32s()[row/size*n+col]
				} else {
					c := int8(max(-127, min(127, 40*v)))
					codes.Data.([]int8)[i], raw[at] = c, uint8(c)+128
					packed[col*blocks+row/size] = scale.Float32s()[col]
				}
			}
			run := func(op string, h *exec.Hooks, attrs ...any) []float64 {
				b := testmodel.New(21).Import("com.microsoft", 1).Input("x", onnxio.Float32, rows, k).Init("b", noise(6, n)).Init("s", scale).
					Init("raw", onnxio.TensorOf(raw, n, blocks, size*bits/8)).Floats("packed", packed, n*blocks)
				switch {
				case op != "":
					b.Node(op, "x raw packed -> m", attrs...)
				case blocked:
					b.Init("q", four).Node("DequantizeLinear", "q s -> w", "axis", 0, "block_size", block).Node("MatMul", "x w -> m")
				default:
					b.Init("q", codes).Node("DequantizeLinear", "q s -> w", "axis", 1).Node("MatMul", "x w -> m")
				}
				g, err := graph.New(b.Node("Add", "m b -> y").Outputs("y").Model())
				if err != nil {
					t.Fatal(err)
				}
				e, err := exec.New(g, exec.Options{Threads: 2})
				if err != nil {
					t.Fatal(err)
				}
				out, err := e.Run(context.Background(), map[string]*onnxio.Tensor{"x": noise(7, rows, k)}, h)
				if err != nil {
					t.Fatal(err)
				}
				return values(t, out["y"])
			}
			got := run("", nil)
			if want := run("com.microsoft::MatMulNBits", nil, "N", n, "K", k, "bits", bits, "block_size", size, "accuracy_level", 4); !slices.Equal(got, want) {
				t.Errorf("blocked %v, %d rows: not the result of MatMulNBits", blocked, rows)
			}
			watch := testrun.NodeByNode
			apart := run("", watch)
			exact := run("com.microsoft::MatMulNBits", nil, "N", n, "K", k, "bits", bits, "block_size", size)
			near := 0.03 * max(slices.Max(apart), -slices.Min(apart)) // rows of 8 bits
			for i, v := range apart {
				if d := v - exact[i]; d > 1e-3 || d < -1e-3 {
					t.Fatalf("blocked %v: node by node element %d is %v, MatMulNBits in float %v", blocked, i, v, exact[i])
				}
				if d := v - got[i]; d > near || d < -near {
					t.Fatalf("blocked %v: node by node element %d is %v, together %v", blocked, i, v, got[i])
				}
			}
		}
	}
}

// TestWeightCodesThatStayFloat: what ONNX Runtime 1.32 does not make MatMulNBits of gives the numbers of the nodes one by one.
func TestWeightCodesThatStayFloat(t *testing.T) {
	const k, n, rows = 32, 8, 5
	codes := onnxio.NewTensor(onnxio.Int8, k, n)
	for i, v := range noise(8, k*n).Float32s() {
		codes.Data.([]int8)[i] = int8(max(-127, min(127, 40*v)))
	}
	for name, c := range map[string]struct {
		build func(b *testmodel.Builder)
		exact bool
	}{
		"limits that one node reads": {func(b *testmodel.Builder) {
			b.Node("MatMul", "x w -> m").Node("Relu", "m -> a").Node("Sigmoid", "a -> y")
		}, true},
		"limits behind the bias of a matrix": {func(b *testmodel.Builder) {
			b.Node("MatMul", "x w -> m").Node("Add", "m b -> t").Node("Relu", "t -> a").Node("Sigmoid", "a -> y")
		}, true},
		"limits that are the output": {func(b *testmodel.Builder) { b.Node("MatMul", "x w -> m").Node("Relu", "m -> y") }, false},
		"limits that two nodes read": {func(b *testmodel.Builder) {
			b.Node("MatMul", "x w -> m").Node("Relu", "m -> a").Node("Add", "a a -> y")
		}, false},
		"addend of a matrix's own size": {func(b *testmodel.Builder) { b.Node("MatMul", "x w -> m").Node("Add", "m add -> y") }, true},
	} {
		b := testmodel.New(21).Input("x", onnxio.Float32, rows, k).Input("add", onnxio.Float32, rows, n).Init("q", codes).Init("s", noise(5, n)).Init("b", noise(6, n)).
			Node("DequantizeLinear", "q s -> w", "axis", 1)
		c.build(b)
		g, err := graph.New(b.Outputs("y").Model())
		if err != nil {
			t.Fatal(err)
		}
		feeds := map[string]*onnxio.Tensor{"x": noise(7, rows, k), "add": noise(9, rows, n)}
		got, err := runWith(g, feeds, exec.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		want, err := runWith(g, feeds, exec.Options{Threads: 1, Float64: true})
		if err != nil {
			t.Fatal(err)
		}
		if exact := roughly(want["y"], got["y"], 1e-5) == nil; exact != c.exact {
			t.Errorf("%s: as the nodes one by one: %v", name, exact)
		}
	}
}
