package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestUnaryLoops compares the float32 loops with the float64 functions, over sizes around a block and with the numbers that are no
// numbers.
func TestUnaryLoops(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 3000} {
		x, wide := onnxio.NewTensor(onnxio.Float32, n), onnxio.NewTensor(onnxio.Float64, n)
		for i := range n {
			v := float32(i-n/2) * 0.037
			switch i {
			case 3:
				v = float32(math.Inf(1))
			case 4:
				v = float32(math.NaN())
			case 5:
				v = float32(math.Copysign(0, -1))
			}
			x.Float32s()[i], wide.Float64s()[i] = v, float64(v)
		}
		for op, attrs := range map[string][]any{"Sqrt": nil, "Reciprocal": nil, "Ceil": nil, "Floor": nil, "Round": nil, "Softsign": nil, "Mish": nil, "Abs": nil,
			"Neg": nil, "LeakyRelu": {"alpha", float32(0.3)}, "HardSigmoid": {"alpha", float32(0.3)}, "HardSwish": nil, "Swish": {"alpha", float32(1.7)}} {
			got, err := eval(op, 24, 1, []*onnxio.Tensor{x}, attrs...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := eval(op, 24, 1, []*onnxio.Tensor{wide}, attrs...)
			if err != nil {
				t.Fatal(err)
			}
			w, err := want[0].ConvertTo(onnxio.Float32)
			if err != nil {
				t.Fatal(err)
			}
			if err := same(got[0], w, 2e-6, 1e-6); err != nil {
				t.Errorf("%s of %d: %v", op, n, err)
			}
		}
		for _, alpha := range []float32{0, 1.5, -2} {
			got, err := eval("LeakyRelu", 16, 1, []*onnxio.Tensor{f32(dims(3), float32(math.Inf(1)), 2, -2)}, "alpha", alpha)
			if err != nil {
				t.Fatal(err)
			}
			if err := same(got[0], f32(dims(3), float32(math.Inf(1)), 2, -2*alpha), 0, 0); err != nil {
				t.Errorf("LeakyRelu with alpha %v: %v", alpha, err)
			}
		}
	}
}
