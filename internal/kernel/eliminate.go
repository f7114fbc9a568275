package kernel

import "math"

// Elim is the inner steps of the elimination in internal/obs, for float32 or float64. Vectors over columns are cut into
// tiles of Tile elements, padded to whole tiles. The symmetric matrix A is stored as its tile columns: element (i, j) with
// i >= j - j%Tile is a[(j/Tile)*ld*Tile + i*Tile + j%Tile], ld rows each. The panel U holds up to depth eliminated columns:
// element i of column t is u[(i/Tile)*depth*Tile + t*Tile + i%Tile].
//
// Each element of A and of the diagonal goes through the same chain of operations, x -= u_s[i]*u_s[j] for s = 0, 1, 2, ...,
// wherever a panel ends, so that results do not depend on the depth of the panels.
//
// Lengths of vectors are multiples of Tile and above 0.
type Elim[T float32 | float64] struct {
	// Step appends column t to the panel u and applies it: for all i < len(col)
	//
	//	v = (col[i] - sum_{s<t} u[s][i]*coef[s]) * inv;  u[t][i] = v;  diag[i] -= v*v;  w[i] -= c*v
	Step func(u []T, depth, t int, col, coef []T, inv, c T, diag, w []T)

	// Update subtracts U U^T from one tile column of A: dst = src - U_i U_q^T for tile rows i = q .. q+tiles-1. dst and src
	// start at the tile (q, q), u at tile q; t > 0 columns of the panel are used. dst may be src.
	Update func(dst, src, u []T, depth, t, tiles int)

	// Cheapest is the first index of the least w[i]^2/diag[i] + pen[i]; -1 if none is finite.
	Cheapest func(w, diag, pen []T) int

	// CheapestRounding rates the rounding of each weight to its grid: code = round(w*inv), halves to even, inv = 1/scale,
	// within lo and hi, of value scale*code. With e the rounding error it returns the first index of the least e^2/diag + pen,
	// the first index of the largest |e|*inv - pen, and that value; -1 for what has no finite value.
	CheapestRounding func(w, diag, pen, scale, inv, lo, hi []T) (cheapest, farthest int, steps T)
}

// Tile is the edge of the tiles in which Elim stores vectors and matrices.
const Tile = 16

// Elim32 and Elim64 are the best forms for this machine.
var (
	Elim32 = genericElim[float32]()
	Elim64 = genericElim[float64]()
)

func genericElim[T float32 | float64]() Elim[T] {
	return Elim[T]{elimStepGeneric[T], elimUpdateGeneric[T], cheapestColumnGeneric[T], cheapestRoundingGeneric[T]}
}

func elimStepGeneric[T float32 | float64](u []T, depth, t int, col, coef []T, inv, c T, diag, w []T) {
	for i := 0; i < len(col); i += Tile {
		var x [Tile]T
		copy(x[:], col[i:i+Tile])
		p := u[i*depth:]
		for s, f := range coef[:t] {
			for k, v := range p[s*Tile : (s+1)*Tile] {
				x[k] -= T(f * v)
			}
		}
		dg, wt, out := diag[i:i+Tile], w[i:i+Tile], p[t*Tile:(t+1)*Tile]
		for k, v := range x {
			v *= inv
			out[k] = v
			dg[k] -= T(v * v)
			wt[k] -= T(c * v)
		}
	}
}

func elimUpdateGeneric[T float32 | float64](dst, src, u []T, depth, t, tiles int) {
	for i := range tiles * Tile {
		row := [Tile]T(src[i*Tile:])
		ui := u[i/Tile*depth*Tile+i%Tile:]
		for s := range t {
			f := ui[s*Tile]
			for k, v := range u[s*Tile : (s+1)*Tile] {
				row[k] -= T(f * v)
			}
		}
		copy(dst[i*Tile:], row[:])
	}
}

func cheapestColumnGeneric[T float32 | float64](w, diag, pen []T) int {
	best, at := T(math.Inf(1)), -1
	for i, v := range w {
		if s := T(v*v)/diag[i] + pen[i]; s < best {
			best, at = s, i
		}
	}
	return at
}

func cheapestRoundingGeneric[T float32 | float64](w, diag, pen, scale, inv, lo, hi []T) (cheapest, farthest int, steps T) {
	best, at := T(math.Inf(1)), -1
	far, out := T(math.Inf(-1)), -1
	for i, v := range w {
		q := min(max(T(math.RoundToEven(float64(v*inv[i]))), lo[i]), hi[i])
		e := v - T(q*scale[i])
		if c := T(e*e)/diag[i] + pen[i]; c < best {
			best, at = c, i
		}
		if r := T(T(math.Abs(float64(e)))*inv[i]) - pen[i]; r > far {
			far, out = r, i
		}
	}
	return at, out, far
}
