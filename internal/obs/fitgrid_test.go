package obs

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/internal/kernel"
)

// exactFit tries every step digit for digit.
func exactFit(s GridSpec, x []float32) (scale float32, zero int16) {
	lo, hi := float32(0), float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	if max(hi, -lo) < leastRange {
		lo, hi = -1, 1
	}
	best := math.Inf(1)
	for i := range shrinkTried {
		sc, z := s.span(lo, hi, 1-float32(i)/shrinkSteps)
		if e := s.shrinkError(x, sc, z, math.Inf(1)); e < best {
			best, scale, zero = e, sc, z
		}
	}
	return scale, zero
}

// The estimates of the search change nothing, whatever ties there are.
func TestFitIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 2, 15, 16, 17, 64, 300, kernel.GridErrorsMost, kernel.GridErrorsMost + 1, 5000} {
		for _, spec := range []GridSpec{{Bits: 2, Search: Shrink}, {Bits: 3, Search: Shrink}, {Bits: 4, Search: Shrink}, {Bits: 4, Search: Shrink, Symmetric: true}, {Bits: 8, Search: Shrink, Symmetric: true, Signed: true, Narrow: true}} {
			search := spec.newShrinkSearch()
			for _, size := range []float64{1e-32, 2e-30, 1e-3, 1, 1e30} {
				for _, steps := range []float64{0, 2} {
					x := make([]float32, n)
					for i := range x {
						v := r.NormFloat64()
						if steps > 0 {
							v = math.Round(v*steps) / steps // many equal ones: steps of equal error
						}
						x[i] = float32(v * size)
					}
					scale, zero := search.fit(x)
					if s, z := exactFit(spec, x); s != scale || z != zero {
						t.Fatalf("%d weights of size %g, %+v: scale %v, zero %d, want %v, %d", n, size, spec, scale, zero, s, z)
					}
				}
			}
		}
	}
}
