package ops_test

import (
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestQLinearGlobalAveragePool: means that lie half way between two codes go to the even one, whatever the scale, as ONNX Runtime's
// sums of integers do.
func TestQLinearGlobalAveragePool(t *testing.T) {
	const zero, channels = 120, 30
	var codes, want []uint8
	for k := range channels {
		for i := range 16 {
			codes = append(codes, uint8(zero+k+i/8)) // the mean is k + 1/2 above the zero point
		}
		want = append(want, uint8(zero+k+k%2))
	}
	scale, z := onnxio.TensorOf([]float32{0.02}), onnxio.TensorOf([]uint8{zero})
	runNodeCases(t, []nodeCase{{op: "com.microsoft::QLinearGlobalAveragePool", opset: 1,
		in:   []*onnxio.Tensor{onnxio.TensorOf(codes, 1, channels, 4, 4), scale, z, scale, z},
		want: []*onnxio.Tensor{onnxio.TensorOf(want, 1, channels, 1, 1)}}})
}
