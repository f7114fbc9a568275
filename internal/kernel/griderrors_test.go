package kernel

import (
	"math"
	"testing"
)

func TestGridErrors(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range []int{Tile, 2 * Tile, 3 * Tile, 288, GridErrorsMost} {
			for _, codes := range []float32{1, 7, 127} {
				x := random(r, n)
				x[n-1], x[n/2] = 0, 1e-9
				for i, v := range x {
					x[i] = min(max(v, -3.9), 3.9)
				}
				const grids = 5
				var scale, inv, lo, hi, out [grids]float32
				for g := range grids {
					scale[g] = (1 - 0.17*float32(g)) * 3 / codes
					inv[g], lo[g], hi[g] = 1/scale[g], -codes-float32(g%2), codes
				}
				GridErrors(out[:], x, scale[:], inv[:], lo[:], hi[:])
				for g, s := range scale {
					want := 0.0
					for _, v := range x {
						c := min(max(math.RoundToEven(float64(v)/float64(s)), float64(lo[g])), float64(hi[g]))
						want += math.Pow(math.Abs(float64(v)-c*float64(s)), 2.4)
					}
					near(t, "error", g, float64(out[g]), want, GridErrorsWithin/2*want)
				}
			}
		}
		x, out, one := make([]float32, Tile), []float32{1}, []float32{1}
		if GridErrors(out, x, one, one, []float32{-1}, one); out[0] != 0 {
			t.Fatalf("weights on the grid have an error of %g", out[0])
		}
	})
}
