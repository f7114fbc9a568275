package kernel

import "math"

// The kernels of this file are the inner steps of the elimination in internal/obs. Vectors over columns are cut into tiles of
// Tile elements, padded to whole tiles. The symmetric matrix A is stored as its tile columns: element (i, j) with
// i >= j - j%Tile is a[(j/Tile)*ld*Tile + i*Tile + j%Tile], ld rows each. The panel U holds up to depth eliminated columns:
// element i of column t is u[(i/Tile)*depth*Tile + t*Tile + i%Tile].
//
// Each element of A and U goes through the same chain of operations, x -= u_s[i]*u_s[j] for s = 0, 1, 2, ..., wherever a
// panel ends, so that results do not depend on the depth of the panels.

// Tile is the edge of the tiles in which the elimination kernels store vectors and matrices.
const Tile = 16

// ElimStep appends column t to the panel u and applies it: for all i < len(col), a multiple of Tile,
//
//	v = (col[i] - sum_{s<t} u[s][i]*coef[s]) * inv;  u[t][i] = v;  diag[i] -= v*v;  w[i] -= c*v
func ElimStep(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
	n := len(col)
	if n == 0 {
		return
	}
	_, _, _, _ = u[(n/Tile-1)*depth*Tile+t*Tile+Tile-1], coef[:t], diag[n-1], w[n-1]
	elimStep(u, depth, t, col, coef, inv, c, diag, w)
}

// ElimUpdate subtracts U U^T from tiles of one tile column of A: dst = src - U_i U_j^T for tile rows i = q..q+tiles-1 and
// tile column j = q. dst and src start at the tile (q, q), u at tile q; t columns of the panel are used. dst may be src.
func ElimUpdate(dst, src, u []float32, depth, t, tiles int) {
	if tiles == 0 {
		return
	}
	_, _, _ = dst[tiles*Tile*Tile-1], src[tiles*Tile*Tile-1], u[(tiles-1)*depth*Tile+t*Tile-1]
	elimUpdate(dst, src, u, depth, t, tiles)
}

// CheapestColumn is the first index of the least w[i]^2/diag[i] + pen[i]; -1 if none is finite. len(w) is a multiple of Tile.
func CheapestColumn(w, diag, pen []float32) int {
	n := len(w)
	if n == 0 {
		return -1
	}
	_, _ = diag[n-1], pen[n-1]
	return cheapestColumn(w, diag, pen)
}

// CheapestRounding rates the rounding of each weight to its grid: code = round(w*inv), halves to even, inv = 1/scale, within lo and
// hi, and value scale*code. With e the rounding error it returns the first index of the least e^2/diag + pen, the first index of the largest
// |e|*inv - pen, and that value. Both are -1 if nothing is finite. len(w) is a multiple of Tile.
func CheapestRounding(w, diag, pen, scale, inv, lo, hi []float32) (cheapest, farthest int, steps float32) {
	n := len(w)
	if n == 0 {
		return -1, -1, 0
	}
	_, _, _, _, _, _ = diag[n-1], pen[n-1], scale[n-1], inv[n-1], lo[n-1], hi[n-1]
	return cheapestRounding(w, diag, pen, scale, inv, lo, hi)
}

var (
	elimStep         = elimStepGeneric
	elimUpdate       = elimUpdateGeneric
	cheapestColumn   = cheapestColumnGeneric
	cheapestRounding = cheapestRoundingGeneric
)

func elimStepGeneric(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
	for i := 0; i < len(col); i += Tile {
		x, p := col[i:i+Tile], u[i*depth:]
		for s, f := range coef[:t] {
			for k, v := range p[s*Tile : (s+1)*Tile] {
				x[k] -= float32(f * v)
			}
		}
		dg, wt, out := diag[i:i+Tile], w[i:i+Tile], p[t*Tile:(t+1)*Tile]
		for k, v := range x {
			v *= inv
			out[k] = v
			dg[k] -= float32(v * v)
			wt[k] -= float32(c * v)
		}
	}
}

func elimUpdateGeneric(dst, src, u []float32, depth, t, tiles int) {
	for i := range tiles * Tile {
		row := [Tile]float32(src[i*Tile:])
		ui := u[i/Tile*depth*Tile+i%Tile:]
		for s := range t {
			f := ui[s*Tile]
			for k, v := range u[s*Tile : (s+1)*Tile] {
				row[k] -= float32(f * v)
			}
		}
		copy(dst[i*Tile:], row[:])
	}
}

func cheapestColumnGeneric(w, diag, pen []float32) int {
	best, at := float32(math.Inf(1)), -1
	for i, v := range w {
		if s := float32(v*v)/diag[i] + pen[i]; s < best {
			best, at = s, i
		}
	}
	return at
}

func cheapestRoundingGeneric(w, diag, pen, scale, inv, lo, hi []float32) (cheapest, farthest int, steps float32) {
	best, at := float32(math.Inf(1)), -1
	far, out := float32(math.Inf(-1)), -1
	for i, v := range w {
		s := scale[i]
		q := min(max(float32(math.RoundToEven(float64(v*inv[i]))), lo[i]), hi[i])
		e := v - float32(q*s)
		if c := float32(e*e)/diag[i] + pen[i]; c < best {
			best, at = c, i
		}
		if r := float32(math.Abs(float64(e)))*inv[i] - pen[i]; r > far {
			far, out = r, i
		}
	}
	return at, out, far
}
