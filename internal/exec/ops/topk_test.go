package ops_test

import (
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestTopK compares with a stable sort, for counts around the point where a heap takes over.
func TestTopK(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 7, 40, 41, 500} {
		for _, k := range []int{0, 1, 2, 9, 10, 11, 100, 125, n} {
			for _, largest := range []int{0, 1} {
				if k > n {
					continue
				}
				x := onnxio.NewTensor(onnxio.Float32, 2, n)
				for i := range x.Float32s() {
					x.Float32s()[i] = float32(rng.IntN(20)) // many equal ones
				}
				got, err := eval("TopK", 11, 2, []*onnxio.Tensor{x, i64(dims(1), int64(k))}, "largest", largest)
				if err != nil {
					t.Fatal(err)
				}
				values, where := []float32{}, []int64{}
				for r := range 2 {
					row := x.Float32s()[r*n : (r+1)*n]
					at := make([]int, n)
					for i := range at {
						at[i] = i
					}
					sort.SliceStable(at, func(a, b int) bool {
						if largest == 1 {
							return row[at[a]] > row[at[b]]
						}
						return row[at[a]] < row[at[b]]
					})
					for _, i := range at[:k] {
						values, where = append(values, row[i]), append(where, int64(i))
					}
				}
				if err := same(got[0], f32(dims(2, k), values...), 0, 0); err != nil {
					t.Errorf("%d of %d, largest %d: values: %v", k, n, largest, err)
				}
				if err := same(got[1], i64(dims(2, k), where...), 0, 0); err != nil {
					t.Errorf("%d of %d, largest %d: indices: %v", k, n, largest, err)
				}
			}
		}
	}
}
