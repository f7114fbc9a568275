package obs

import (
	"math/rand/v2"
	"testing"
)

// What the search begins with changes nothing, whatever ties there are.
func TestFitGuess(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 2, 63, 64, 65, 300} {
		for _, spec := range []GridSpec{{Bits: 2, Search: Shrink}, {Bits: 4, Search: Shrink}, {Bits: 8, Search: Shrink, Symmetric: true, Signed: true}} {
			x := make([]float32, n)
			for i := range x {
				if x[i] = float32(r.NormFloat64()); n > 100 {
					x[i] = float32(int(2 * x[i])) // many equal ones: steps of equal error
				}
			}
			scale, zero, step := spec.fit(x, 0)
			for guess := range int((1 - shrinkLeast) * shrinkSteps) {
				if s, z, k := spec.fit(x, guess); s != scale || z != zero || k != step {
					t.Fatalf("%d weights, %+v: step %d, scale %v, zero %d; beginning with step %d: %d, %v, %d", n, spec, step, scale, zero, guess, k, s, z)
				}
			}
		}
	}
}
