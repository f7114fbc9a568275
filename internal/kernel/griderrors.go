package kernel

import "math"

// GridErrors sets out[g] to about sum |x - scale_g c|^2.4 with c = round(x*inv_g), within lo_g and hi_g, inv_g = 1/scale_g: how far the
// weights x lie from each of several grids. The relative error is below GridErrorsWithin for up to GridErrorsMost weights, each of a
// magnitude below 4. Zero must be on every grid. len(x) is a multiple of Tile and above 0; fill up with zeros.
func GridErrors(out, x, scale, inv, lo, hi []float32) { gridErrors()(out, x, scale, inv, lo, hi) }

const (
	// GridErrorsMost is how many weights are summed in float32.
	GridErrorsMost = 1024
	// GridErrorsWithin is ten times what was seen.
	GridErrorsWithin = 1e-4
)

// The power is taken by a rough fifth root: with y = x^(-1/5) (1+d), |d| < 0.04, from arithmetic on the bits of x (they are about 2^23 times
// its logarithm), and t = 1 - x y^5,
//
//	x^2.4 = (x y)^3 (1-t)^(-3/5)
//
// and the last factor is a polynomial in t, the best one for |t| < 0.156: 1.6e-7 off.
const rootGuess, rootShare = 1277904143, -0.2

func gridErrorsGeneric(out, x, scale, inv, lo, hi []float32) {
	for g := range out {
		var sum [Tile]float32
		s, r, least, most := scale[g], inv[g], lo[g], hi[g]
		for i, v := range x {
			e := float32(math.Abs(float64(float32(s*min(max(float32(math.RoundToEven(float64(v*r))), least), most)) - v)))
			y := math.Float32frombits(uint32(int32(float32(float32(math.Float32bits(e))*rootShare) + rootGuess)))
			e *= y
			y *= y
			y *= y
			t := 1 - float32(e*y)
			p := 1 + t*(0.6+t*(0.47988787+t*(0.41583487+t*(0.3865128+t*0.35781264))))
			sum[i%Tile] += float32(e*e) * e * p
		}
		total := float32(0)
		for _, v := range sum {
			total += v
		}
		out[g] = total
	}
}
