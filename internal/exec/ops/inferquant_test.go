package ops_test

import (
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestInferredCodes: shapes behind the integer operators of ONNX Runtime, with sizes that are not known.
func TestInferredCodes(t *testing.T) {
	scalars := func(b *testmodel.Builder) *testmodel.Builder {
		return b.Import("com.microsoft", 1).Init("s", onnxio.TensorOf([]float32{0.1})).Init("z", onnxio.TensorOf([]uint8{0}))
	}
	for name, c := range map[string]struct {
		b    *testmodel.Builder
		want string
	}{
		"convolution, channels last": {scalars(testmodel.New(17)).Input("x", onnxio.Uint8, "n", "h", "w", 3).Init("k", onnxio.NewTensor(onnxio.Uint8, 16, 3, 5, 5)).
			Node("com.microsoft::QLinearConv", "x s z k s z s z -> y", "channels_last", 1, "pads", []int64{2, 2, 2, 2}), "uint8[n ? ? 16]"},
		"pool, channels last": {scalars(testmodel.New(17)).Input("x", onnxio.Uint8, "n", 8, "w", 3).
			Node("com.microsoft::NhwcMaxPool", "x -> y", "kernel_shape", []int64{2, 2}, "strides", []int64{2, 2}), "uint8[n 4 ? 3]"},
		"concatenation": {scalars(testmodel.New(17)).Input("a", onnxio.Uint8, "n", 2).Input("b", onnxio.Uint8, "n", 3).
			Node("com.microsoft::QLinearConcat", "s z a s z b s z -> y", "axis", 1), "uint8[n 5]"},
	} {
		g, err := graph.New(c.b.Outputs("y").Model())
		if err != nil {
			t.Fatal(err)
		}
		if err := exec.InferShapes(g); err != nil {
			t.Fatal(err)
		}
		if y := g.Outputs[0]; y.Type.String()+y.Shape.String() != c.want {
			t.Errorf("%s: %v%v, want %s", name, y.Type, y.Shape, c.want)
		}
	}
}
