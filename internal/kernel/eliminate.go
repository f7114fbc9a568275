package kernel

import "math"

// Elim is the inner steps of the elimination in internal/obs, for float32 or float64. Vectors over columns are cut into
// tiles of Tile elements, padded to whole tiles. The symmetric matrix A is stored as its tile columns, rows of Tile elements
// each: tile column q holds the rows from q*Tile on. The panel U holds up to depth eliminated columns:
// element i of column t is u[(i/Tile)*depth*Tile + t*Tile + i%Tile].
//
// Each element of A and of the diagonal goes through the same chain of operations, x -= u_s[i]*u_s[j] for s = 0, 1, 2, ...,
// wherever a panel ends, so that results do not depend on the depth of the panels.
//
// Lengths of vectors are multiples of Tile and above 0.
type Elim[T Float] struct {
	// Step appends column t to the panel u and applies it: for all i < len(col)
	//
	//	v = (col[i] - sum_{s<t} u[s][i]*coef[s]) * inv;  u[t][i] = v;  diag[i] -= v*v;  w[i] -= c*v
	Step func(u []T, depth, t int, col, coef []T, inv, c T, diag, w []T)

	// StepFour is Step for four columns at once, with equal bits: columns t .. t+3 of the panel from the columns of A that lie in col one after the
	// other, n = len(col)/4 elements each. coef holds inv of each, c of each, and then, column s of the panel after the other, its
	// coefficients for the four: those of columns t .. t+3 count for the later ones of these.
	StepFour func(u []T, depth, t int, col, coef []T, diag, w []T)

	// Update subtracts U U^T from a part of one tile column of A: dst = src - U_i U_q^T for tiles tile rows i. dst and src start
	// at the tile of the first of them, u at its rows of the panel, uq at those of the column; t > 0 columns of the panel are used.
	// dst may be src.
	Update func(dst, src, u, uq []T, depth, t, tiles int)

	// Cheapest is the first index of the least w[i]^2/diag[i] + pen[i]; -1 if none is finite.
	Cheapest func(w, diag, pen []T) int

	// CheapestRounding rates the rounding of each weight to its grid: code = round(w*inv), halves to even, inv = 1/scale,
	// within lo and hi, of value scale*code. With e the rounding error it returns the first index of the least e^2/diag + pen,
	// the first index of the largest |e|*inv - pen, and that value; -1 for what has no finite value.
	CheapestRounding func(w, diag, pen, scale, inv, lo, hi []T) (cheapest, farthest int, steps T)

	// Blocks of c columns are rated in groups of Tile blocks, one a lane. Split lays the blocks of src, one after the other,
	// out as groups: column e of block b is dst[(b/Tile*c+e)*Tile + b%Tile]. The matrix [Hinv]_BB of block b, a lower triangle, has
	// entry (e, f), e >= f, at d[(b/Tile*c*(c+1)/2 + e*(e+1)/2+f)*Tile + b%Tile]. Lanes without a block hold anything. All three work
	// on whole groups: len(dst) = groups*c*Tile, and src is as long.
	Split func(dst, src []T, c int)

	// BlockStep applies one eliminated column, split: d(e,f) -= u_e*u_f.
	BlockStep func(d, u []T, c int)

	// BlockFour is Split and BlockStep of the columns t .. t+3 of the panel u, whose first column begins a block, for blocks of four: with
	// equal bits, all that is in the tiles of so many groups, which u must hold. Nil for float64.
	BlockFour func(d, u []T, depth, t, groups int)

	// CheapestFour is the first block of four of the least BlockScore + pen, of the weights by position: len(pen)/Tile groups; -1 if
	// none is finite. It factorises the matrices as L D L^T, and so rounds otherwise. Nil but for float32 with AVX-512.
	CheapestFour func(w, d, pen []T) int

	// GetFour is TriangleColumns for the columns p .. p+3, which lie in one tile: element i < n of column p+k is dst[k*ldd+i]. PutFour sets
	// those columns and rows of the triangle, in its tile columns from..to-1 only, to what GetFour would return. n is a multiple of Tile. Nil for float64.
	GetFour func(dst []T, ldd int, a []T, ld, p, n int)
	PutFour func(a []T, ld, p, n int, src []T, ldd, from, to int)

	// BlockScore sets score[b] = w_B^T [Hinv]_BB^-1 w_B by a Cholesky factorisation, NaN if the matrix is not positive definite; w
	// is split. work holds at least (c*(c+1)/2+c)*Tile elements.
	BlockScore func(score, w, d, work []T, c int)
}

// Tile is the edge of the tiles in which Elim stores vectors and matrices.
const Tile = 16

// ElimOf is the best form for this machine.
func ElimOf[T Float]() Elim[T] {
	if e, ok := any(elim32()).(Elim[T]); ok {
		return e
	}
	return any(elim64()).(Elim[T])
}

func genericElim[T Float]() Elim[T] {
	return Elim[T]{elimStepGeneric[T], elimStepFourGeneric[T], elimUpdateGeneric[T], cheapestColumnGeneric[T], cheapestRoundingGeneric[T],
		splitGeneric[T], blockStepGeneric[T], nil, nil, nil, nil, blockScoreGeneric[T]}
}

func elimStepGeneric[T Float](u []T, depth, t int, col, coef []T, inv, c T, diag, w []T) {
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

func elimStepFourGeneric[T Float](u []T, depth, t int, col, coef []T, diag, w []T) {
	n := len(col) / 4
	one := make([]T, t+3)
	for k := range 4 {
		for s := range t + k {
			one[s] = coef[8+4*s+k]
		}
		elimStepGeneric(u, depth, t+k, col[k*n:(k+1)*n], one, coef[k], coef[4+k], diag, w)
	}
}

func elimUpdateGeneric[T Float](dst, src, u, uq []T, depth, t, tiles int) {
	for i := range tiles * Tile {
		row := [Tile]T(src[i*Tile:])
		ui := u[i/Tile*depth*Tile+i%Tile:]
		for s := range t {
			f := ui[s*Tile]
			for k, v := range uq[s*Tile : (s+1)*Tile] {
				row[k] -= T(f * v)
			}
		}
		copy(dst[i*Tile:], row[:])
	}
}

func cheapestColumnGeneric[T Float](w, diag, pen []T) int {
	best, at := T(math.Inf(1)), -1
	for i, v := range w {
		if s := T(v*v)/diag[i] + pen[i]; s < best {
			best, at = s, i
		}
	}
	return at
}

func cheapestRoundingGeneric[T Float](w, diag, pen, scale, inv, lo, hi []T) (cheapest, farthest int, steps T) {
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

func splitGeneric[T Float](dst, src []T, c int) {
	for b := range len(src) / c {
		x, y := src[b*c:(b+1)*c], dst[b/Tile*c*Tile+b%Tile:]
		for e, v := range x {
			y[e*Tile] = v
		}
	}
}

func blockStepGeneric[T Float](d, u []T, c int) {
	for ; len(u) > 0; u = u[c*Tile:] {
		for e := range c {
			x := (*[Tile]T)(u[e*Tile:])
			for f := range e + 1 {
				y, z := (*[Tile]T)(u[f*Tile:]), (*[Tile]T)(d)
				for k, v := range x {
					z[k] -= T(v * y[k])
				}
				d = d[Tile:]
			}
		}
	}
}

func blockScoreGeneric[T Float](score, w, d, work []T, c int) {
	l, y := work[:c*(c+1)/2*Tile], work[c*(c+1)/2*Tile:]
	row := func(x []T, i int) *[Tile]T { return (*[Tile]T)(x[i*Tile:]) }
	for ; len(w) > 0; w, d, score = w[c*Tile:], d[len(l):], score[Tile:] {
		var sum [Tile]T
		for e := range c {
			le := e * (e + 1) / 2
			for f := range e + 1 {
				lf := f * (f + 1) / 2
				x := *row(d, le+f)
				for g := range f {
					subtract(&x, row(l, le+g), row(l, lf+g))
				}
				for k := range x {
					if f < e {
						x[k] *= l[(lf+f)*Tile+k] // the diagonal of l holds reciprocals
					} else {
						x[k] = 1 / T(math.Sqrt(float64(x[k])))
					}
				}
				*row(l, le+f) = x
			}
			z := *row(w, e)
			for f := range e {
				subtract(&z, row(l, le+f), row(y, f))
			}
			for k := range z {
				z[k] *= l[(le+e)*Tile+k]
				sum[k] += T(z[k] * z[k])
			}
			*row(y, e) = z
		}
		*row(score, 0) = sum
	}
}

// subtract is x -= a b.
func subtract[T Float](x, a, b *[Tile]T) {
	for k := range x {
		x[k] -= T(a[k] * b[k])
	}
}
