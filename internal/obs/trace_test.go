package obs

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestKth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		x := make([]float64, 1+r.IntN(40))
		for i := range x {
			x[i] = math.Round(4*r.NormFloat64()) * math.Exp2(float64(r.IntN(3)))
		}
		sorted := slices.Sorted(slices.Values(x))
		for k, want := range sorted {
			got, below := kth(x, k)
			if less, _ := slices.BinarySearch(sorted, want); got != want || below != less {
				t.Fatalf("element %d of %v is %v with %d below, want %v with %d", k, sorted, got, below, want, less)
			}
		}
	}
}
