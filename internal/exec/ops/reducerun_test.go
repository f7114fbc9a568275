package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestReduceRuns compares folds over the last axis, which lies in one piece, with the same over the first axis of the transposed data.
func TestReduceRuns(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 33} {
		x, turned := onnxio.NewTensor(onnxio.Float32, 3, n), onnxio.NewTensor(onnxio.Float32, n, 3)
		for i := range x.Float32s() {
			v := float32((i*7)%11) - 5
			if n == 9 && i == 4 {
				v = float32(math.NaN())
			}
			x.Float32s()[i], turned.Float32s()[i%n*3+i/n] = v, v
		}
		for _, op := range []string{"ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL2", "ReduceMax", "ReduceMin"} {
			got, err := eval(op, 18, 1, []*onnxio.Tensor{x, i64(dims(1), 1)}, "keepdims", 0)
			if err != nil {
				t.Fatal(err)
			}
			want, err := eval(op, 18, 1, []*onnxio.Tensor{turned, i64(dims(1), 0)}, "keepdims", 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := same(got[0], want[0], 1e-6, 0); err != nil {
				t.Errorf("%s over %d: %v", op, n, err)
			}
		}
	}
}
