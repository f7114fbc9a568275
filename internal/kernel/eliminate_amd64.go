//go:build !noasm

package kernel

import (
	"math"
)

//go:generate sh -c "cd _elim && go run . -out ../eliminate_amd64.s -stubs ../eliminate_stubs_amd64.go -pkg kernel"

func init() {
	if level >= AVX2 {
		Elim32, Elim64 = avx2Elim32, avx2Elim64
	}
}

var avx2Elim32 = Elim[float32]{
	Step: func(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep32AVX2(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u []float32, depth, t, tiles int) {
		_, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1]
		elimUpdate32AVX2(&dst[0], &src[0], &u[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float32) int {
		var score [8]float32
		var at [8]int32
		cheapestColumn32AVX2(&w[0], &diag[0], &pen[0], len(w), &score, &at)
		i, _ := leastLane(score[:], at[:], 1)
		return i
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float32) (int, int, float32) {
		var score, steps [8]float32
		var at, far [8]int32
		cheapestRounding32AVX2(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], len(w), &score, &at, &steps, &far)
		i, _ := leastLane(score[:], at[:], 1)
		j, s := leastLane(steps[:], far[:], -1)
		return i, j, s
	},
}

var avx2Elim64 = Elim[float64]{
	Step: func(u []float64, depth, t int, col, coef []float64, inv, c float64, diag, w []float64) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep64AVX2(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u []float64, depth, t, tiles int) {
		_, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1]
		elimUpdate64AVX2(&dst[0], &src[0], &u[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float64) int {
		var score [4]float64
		var at [4]int64
		cheapestColumn64AVX2(&w[0], &diag[0], &pen[0], len(w), &score, &at)
		i, _ := leastLane(score[:], at[:], 1)
		return i
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float64) (int, int, float64) {
		var score, steps [4]float64
		var at, far [4]int64
		cheapestRounding64AVX2(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], len(w), &score, &at, &steps, &far)
		i, _ := leastLane(score[:], at[:], 1)
		j, s := leastLane(steps[:], far[:], -1)
		return i, j, s
	},
}

// leastLane is the index of least sign*value, the lowest of equals, and its value; -1 and -sign*Inf if no lane has one.
func leastLane[T float32 | float64, I int32 | int64](value []T, at []I, sign T) (int, T) {
	best, found := T(math.Inf(1)), I(-1)
	for i, s := range value {
		if p := at[i]; p >= 0 && (sign*s < best || sign*s == best && p < found) {
			best, found = sign*s, p
		}
	}
	return int(found), sign * best
}
