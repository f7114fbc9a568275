//go:build !noasm

package kernel

import "math"

//go:generate sh -c "cd _elim && go run . -out ../eliminate_amd64.s -stubs ../eliminate_stubs_amd64.go -pkg kernel"

func elim32() Elim[float32] {
	return [...]Elim[float32]{genericElim[float32](), avx2Elim32, avx512Elim32}[level]
}

func elim64() Elim[float64] {
	return [...]Elim[float64]{genericElim[float64](), avx2Elim64, avx512Elim64}[level]
}

func gridErrors() func(out, x, scale, inv, lo, hi []float32) {
	with := func(f func(out, x, scale, inv, lo, hi *float32, n, grids int)) func(out, x, scale, inv, lo, hi []float32) {
		return func(out, x, scale, inv, lo, hi []float32) {
			if g := len(out); g > 0 {
				_, _, _, _ = scale[g-1], inv[g-1], lo[g-1], hi[g-1]
				f(&out[0], &x[0], &scale[0], &inv[0], &lo[0], &hi[0], len(x), g)
			}
		}
	}
	return [...]func(out, x, scale, inv, lo, hi []float32){gridErrorsGeneric, with(gridErrors32AVX2), with(gridErrors32AVX512)}[level]
}

var avx2Elim32 = Elim[float32]{
	Step: func(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep32AVX2(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	StepFour: func(u []float32, depth, t int, col, coef []float32, diag, w []float32) {
		n := len(col) / 4
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+(t+4)*Tile-1], coef[8+4*(t+2)+3], diag[n-1], w[n-1]
		elimStepFour32AVX2(&u[0], depth, t, &col[0], n, &coef[0], &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u, uq []float32, depth, t, tiles int) {
		_, _, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1], uq[t*Tile-1]
		elimUpdate32AVX2(&dst[0], &src[0], &u[0], &uq[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float32) int {
		var score [8]float32
		var at [8]int32
		n := len(w)
		_, _ = diag[n-1], pen[n-1]
		cheapestColumn32AVX2(&w[0], &diag[0], &pen[0], n, &score, &at)
		return int(at[0])
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float32) (int, int, float32) {
		var score, steps [8]float32
		var at, far [8]int32
		n := len(w)
		_, _, _, _, _, _ = diag[n-1], pen[n-1], scale[n-1], inv[n-1], lo[n-1], hi[n-1]
		cheapestRounding32AVX2(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], n, &score, &at, &steps, &far)
		return int(at[0]), int(far[0]), steps[0]
	},
	Split: split32,
	BlockStep: func(d, u []float32, c int) {
		groups := len(u) / (c * Tile)
		_ = d[groups*c*(c+1)/2*Tile-1]
		blockStep32AVX2(&d[0], &u[0], c, groups)
	},
	BlockFour: func(d, u []float32, depth, t, groups int) {
		_, _ = d[groups*10*Tile-1], u[(4*groups-1)*depth*Tile+(t+4)*Tile-1]
		blockFour32AVX2(&d[0], &u[0], depth, t, groups)
	},
	GetFour: getFourWith(getFour32AVX2),
	PutFour: putFourWith(putFour32AVX2),
	BlockScore: func(score, w, d, work []float32, c int) {
		groups, size := len(w)/(c*Tile), c*(c+1)/2
		_, _, _ = score[groups*Tile-1], d[groups*size*Tile-1], work[(size+c)*Tile-1]
		blockScore32AVX2(&score[0], &w[0], &d[0], &work[0], c, groups)
	},
}

var avx2Elim64 = Elim[float64]{
	Step: func(u []float64, depth, t int, col, coef []float64, inv, c float64, diag, w []float64) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep64AVX2(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	StepFour: func(u []float64, depth, t int, col, coef []float64, diag, w []float64) {
		n := len(col) / 4
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+(t+4)*Tile-1], coef[8+4*(t+2)+3], diag[n-1], w[n-1]
		elimStepFour64AVX2(&u[0], depth, t, &col[0], n, &coef[0], &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u, uq []float64, depth, t, tiles int) {
		_, _, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1], uq[t*Tile-1]
		elimUpdate64AVX2(&dst[0], &src[0], &u[0], &uq[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float64) int {
		var score [4]float64
		var at [4]int64
		n := len(w)
		_, _ = diag[n-1], pen[n-1]
		cheapestColumn64AVX2(&w[0], &diag[0], &pen[0], n, &score, &at)
		i, _ := leastLane(score[:], at[:], 1)
		return i
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float64) (int, int, float64) {
		var score, steps [4]float64
		var at, far [4]int64
		n := len(w)
		_, _, _, _, _, _ = diag[n-1], pen[n-1], scale[n-1], inv[n-1], lo[n-1], hi[n-1]
		cheapestRounding64AVX2(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], n, &score, &at, &steps, &far)
		i, _ := leastLane(score[:], at[:], 1)
		j, s := leastLane(steps[:], far[:], -1)
		return i, j, s
	},
	Split: splitGeneric[float64],
	BlockStep: func(d, u []float64, c int) {
		groups := len(u) / (c * Tile)
		_ = d[groups*c*(c+1)/2*Tile-1]
		blockStep64AVX2(&d[0], &u[0], c, groups)
	},
	BlockScore: func(score, w, d, work []float64, c int) {
		groups, size := len(w)/(c*Tile), c*(c+1)/2
		_, _, _ = score[groups*Tile-1], d[groups*size*Tile-1], work[(size+c)*Tile-1]
		blockScore64AVX2(&score[0], &w[0], &d[0], &work[0], c, groups)
	},
}

var avx512Elim32 = Elim[float32]{
	Step: func(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep32AVX512(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	StepFour: func(u []float32, depth, t int, col, coef []float32, diag, w []float32) {
		n := len(col) / 4
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+(t+4)*Tile-1], coef[8+4*(t+2)+3], diag[n-1], w[n-1]
		elimStepFour32AVX512(&u[0], depth, t, &col[0], n, &coef[0], &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u, uq []float32, depth, t, tiles int) {
		_, _, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1], uq[t*Tile-1]
		elimUpdate32AVX512(&dst[0], &src[0], &u[0], &uq[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float32) int {
		var score [16]float32
		var at [16]int32
		n := len(w)
		_, _ = diag[n-1], pen[n-1]
		cheapestColumn32AVX512(&w[0], &diag[0], &pen[0], n, &score, &at)
		return int(at[0])
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float32) (int, int, float32) {
		var score, steps [16]float32
		var at, far [16]int32
		n := len(w)
		_, _, _, _, _, _ = diag[n-1], pen[n-1], scale[n-1], inv[n-1], lo[n-1], hi[n-1]
		cheapestRounding32AVX512(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], n, &score, &at, &steps, &far)
		return int(at[0]), int(far[0]), steps[0]
	},
	Split: split32,
	BlockStep: func(d, u []float32, c int) {
		groups := len(u) / (c * Tile)
		_ = d[groups*c*(c+1)/2*Tile-1]
		blockStep32AVX512(&d[0], &u[0], c, groups)
	},
	BlockFour: func(d, u []float32, depth, t, groups int) {
		_, _ = d[groups*10*Tile-1], u[(4*groups-1)*depth*Tile+(t+4)*Tile-1]
		blockFour32AVX512(&d[0], &u[0], depth, t, groups)
	},
	CheapestFour: func(w, d, pen []float32) int {
		var score [16]float32
		var at [16]int32
		groups := len(pen) / Tile
		_, _ = w[groups*4*Tile-1], d[groups*10*Tile-1]
		cheapestFour32AVX512(&w[0], &d[0], &pen[0], groups, &score, &at)
		return int(at[0])
	},
	GetFour: getFourWith(getFour32AVX512),
	PutFour: putFourWith(putFour32AVX512),
	BlockScore: func(score, w, d, work []float32, c int) {
		groups, size := len(w)/(c*Tile), c*(c+1)/2
		_, _, _ = score[groups*Tile-1], d[groups*size*Tile-1], work[(size+c)*Tile-1]
		blockScore32AVX512(&score[0], &w[0], &d[0], &work[0], c, groups)
	},
}

var avx512Elim64 = Elim[float64]{
	Step: func(u []float64, depth, t int, col, coef []float64, inv, c float64, diag, w []float64) {
		n := len(col)
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[t], diag[n-1], w[n-1]
		elimStep64AVX512(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], n/Tile)
	},
	StepFour: func(u []float64, depth, t int, col, coef []float64, diag, w []float64) {
		n := len(col) / 4
		_, _, _, _ = u[(n/Tile-1)*depth*Tile+(t+4)*Tile-1], coef[8+4*(t+2)+3], diag[n-1], w[n-1]
		elimStepFour64AVX512(&u[0], depth, t, &col[0], n, &coef[0], &diag[0], &w[0], n/Tile)
	},
	Update: func(dst, src, u, uq []float64, depth, t, tiles int) {
		_, _, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1], uq[t*Tile-1]
		elimUpdate64AVX512(&dst[0], &src[0], &u[0], &uq[0], depth, t, tiles)
	},
	Cheapest: func(w, diag, pen []float64) int {
		var score [8]float64
		var at [8]int64
		n := len(w)
		_, _ = diag[n-1], pen[n-1]
		cheapestColumn64AVX512(&w[0], &diag[0], &pen[0], n, &score, &at)
		i, _ := leastLane(score[:], at[:], 1)
		return i
	},
	CheapestRounding: func(w, diag, pen, scale, inv, lo, hi []float64) (int, int, float64) {
		var score, steps [8]float64
		var at, far [8]int64
		n := len(w)
		_, _, _, _, _, _ = diag[n-1], pen[n-1], scale[n-1], inv[n-1], lo[n-1], hi[n-1]
		cheapestRounding64AVX512(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], n, &score, &at, &steps, &far)
		i, _ := leastLane(score[:], at[:], 1)
		j, s := leastLane(steps[:], far[:], -1)
		return i, j, s
	},
	Split: splitGeneric[float64],
	BlockStep: func(d, u []float64, c int) {
		groups := len(u) / (c * Tile)
		_ = d[groups*c*(c+1)/2*Tile-1]
		blockStep64AVX512(&d[0], &u[0], c, groups)
	},
	BlockScore: func(score, w, d, work []float64, c int) {
		groups, size := len(w)/(c*Tile), c*(c+1)/2
		_, _, _ = score[groups*Tile-1], d[groups*size*Tile-1], work[(size+c)*Tile-1]
		blockScore64AVX512(&score[0], &w[0], &d[0], &work[0], c, groups)
	},
}

// fourFunc moves four columns between a triangle of tiles and memory where they lie ld apart: as rows of some tile columns, step numbers from one to
// the next, then as lanes of one.
type fourFunc func(columns *float32, ld int, row *float32, step, above int, lane *float32, below int)

func getFourWith(f fourFunc) func(dst []float32, ldd int, a []float32, ld, p, n int) {
	return func(dst []float32, ldd int, a []float32, ld, p, n int) {
		above := min(n/Tile, p/Tile+1)
		_, _ = dst[3*ldd+n-1], a[TriangleSize(ld)-1]
		lane := &a[0]
		if above < n/Tile {
			lane = &a[TriangleOrigin(ld, p/Tile)+above*Tile*Tile+p%Tile]
		}
		f(&dst[0], ldd, &a[p*Tile], Tile*(ld-Tile), above, lane, n/Tile-above)
	}
}

func putFourWith(f fourFunc) func(a []float32, ld, p, n int, src []float32, ldd, from, to int) {
	return func(a []float32, ld, p, n int, src []float32, ldd, from, to int) {
		_, _ = src[3*ldd+n-1], a[TriangleSize(ld)-1]
		q := p / Tile
		lane := &a[TriangleOrigin(ld, q)+q*Tile*Tile+p%Tile]
		if rows := min(to, q+1) - from; rows > 0 {
			f(&src[from*Tile], ldd, &a[TriangleOrigin(ld, from)+p*Tile], Tile*(ld-Tile*(from+1)), rows, lane, 0)
		}
		if from <= q && q < to {
			f(&src[q*Tile], ldd, &a[p*Tile], 0, 0, lane, n/Tile-q)
		}
	}
}

// split32 is splitGeneric, fast for whole quads of columns.
func split32(dst, src []float32, c int) {
	groups := len(dst) / (c * Tile)
	if c%4 != 0 || groups == 0 {
		splitGeneric(dst, src, c)
		return
	}
	_ = src[len(dst)-1]
	split32AVX2(&dst[0], &src[0], c, groups)
}

// leastLane is the index of least sign*value, the lowest of equals, and its value; -1 and -sign*Inf if no lane has one.
func leastLane(value []float64, at []int64, sign float64) (int, float64) {
	best, found := math.Inf(1), int64(-1)
	for i, s := range value {
		if p := at[i]; p >= 0 && (sign*s < best || sign*s == best && p < found) {
			best, found = sign*s, p
		}
	}
	return int(found), sign * best
}
