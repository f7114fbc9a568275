package ops_test

import (
	"context"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestMatMulNBits multiplies by a weight whose codes, scales and zero points are written out by hand.
func TestMatMulNBits(t *testing.T) {
	const k, n = 20, 2 // two blocks of 16, the second one padded
	codes := make([]uint8, n*2*8)
	want := make([]float32, n)
	scale := []float32{0.5, 2, 1, -1}
	for r := range n {
		for c := range k {
			code := (r*7 + c*3) % 16
			codes[r*16+c/2] |= uint8(code << (4 * (c % 2)))
			zero := []int{1, 9, 3, 15}[r*2+c/16]
			want[r] += float32(code-zero) * scale[r*2+c/16] * float32(c)
		}
	}
	b := testmodel.New(18).Import("com.microsoft", 1).Input("x", onnxio.Float32, 1, k).Outputs("y").
		Init("w", onnxio.TensorOf(codes, n, 2, 8)).Floats("s", scale, n*2).Init("z", onnxio.TensorOf([]uint8{0x91, 0xf3}, n, 1)).
		Node("com.microsoft::MatMulNBits", "x w s z -> y", "K", k, "N", n, "bits", 4, "block_size", 16)
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	e, err := exec.New(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := onnxio.NewTensor(onnxio.Float32, 1, k)
	for i := range x.Float32s() {
		x.Float32s()[i] = float32(i)
	}
	out, err := e.Run(context.Background(), map[string]*onnxio.Tensor{"x": x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range out["y"].Float32s() {
		if d := v - want[i]; d > 1e-3 || d < -1e-3 {
			t.Errorf("output %d is %v, expected %v", i, v, want[i])
		}
	}
}
