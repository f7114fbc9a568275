package kernel

import (
	"fmt"
	"math"
)

// CholInverse64 overwrites the symmetric positive definite n x n matrix a (reading its lower triangle) with its inverse, both
// triangles. Errors are those of Cholesky64. n^3/2 multiply-adds.
//
// The inverse comes by symmetric sweeps over blocks P of columns. With A_PP = L L^T and U_i = A_iP L^-T for all other rows i, swept
// before or not, a sweep is
//
//	A_ij -= U_i U_j^T;   A_iP = U_i L^-1;   A_PP = -L^-T L^-1
//
// which is one update A -= V V^T with V_i = U_i, V_P = -L^-T, after A_iP and A_PP were set to zero. When all is swept A holds -A^-1.
func CholInverse64(a []float64, n, threads int) error {
	depth := 64
	switch {
	case n < 640:
		depth = 32 // what the blocks' own factors cost counts
	case n >= 2048:
		depth = 128 // the matrix comes from memory
	}
	return invertInPanels(a, n, depth, threads)
}

// invertInPanels is CholInverse64 with panels of depth columns.
func invertInPanels(a []float64, n, depth, threads int) error {
	if n == 0 {
		return nil
	}
	s := newSweep(a, n, depth, threads)
	defer s.release()
	for p := 0; p < n; p += s.depth {
		if err := s.panel(p, min(p+s.depth, n)); err != nil {
			return err
		}
		s.turn(p, min(p+s.depth, n))
		s.update(min(s.depth, n-p))
	}
	s.store(a)
	return nil
}

// sweep is a matrix on its way to its inverse, in the layout of Elim.
type sweep struct {
	k                     Elim[float64]
	n, ld, threads        int
	depth, stride         int // columns of a block; rows of the panel's tiles, see Elim
	a, u                  []float64
	col, coef, diag, idle []float64 // coef: row t of L for column t of the block, its diagonal inverted
}

func newSweep(a []float64, n, depth, threads int) *sweep {
	s := &sweep{k: ElimOf[float64](), n: n, ld: roundUp(n, Tile), threads: threads, depth: depth}
	if n*n*s.depth < smallProduct {
		s.threads = 1
	}
	s.stride = s.depth + 1
	v := func(n int) []float64 { return make([]float64, n) }
	s.a, s.u = Slab[float64](TriangleSize(s.ld)), Slab[float64](s.stride*s.ld)
	s.col, s.coef, s.diag, s.idle = v(s.ld), v(s.depth*s.depth), v(s.ld), v(s.ld)
	Parallel(s.threads, s.ld/Tile, func(lo, hi int) {
		for i := lo * Tile; i < min(hi*Tile, n); i++ {
			s.diag[i] = a[i*n+i]
			for q := range i/Tile + 1 {
				copy(s.a[TriangleOrigin(s.ld, q)+i*Tile:], a[i*n+q*Tile:i*n+min(q*Tile+Tile, i+1)])
			}
			for j := i / Tile * Tile; j < i; j++ { // tiles on the diagonal are whole
				s.a[TriangleOrigin(s.ld, i/Tile)+j*Tile+i%Tile] = a[i*n+j]
			}
		}
	})
	return s
}

func (s *sweep) release() {
	ReleaseSlab(s.a)
	ReleaseSlab(s.u)
}

// panel computes U for the columns from..to-1, and L as its rows from..to-1: these first, then the others, which need L only.
func (s *sweep) panel(from, to int) error {
	end := roundUp(to, Tile)
	for p := from; p < to; p++ {
		d := s.diag[p]
		if !(d > 0) || math.IsInf(d, 1) {
			return fmt.Errorf("matrix is not positive definite: pivot %d is %g", p, d)
		}
		t := p - from
		coef := s.coef[t*s.depth:][:t+1]
		for i := range t {
			coef[i] = s.u[s.at(p, i)]
		}
		coef[t] = 1 / math.Sqrt(d)
		s.step(from, end, p, t)
	}
	rest := s.ld - (end - from)
	parallelStep(s.threads, rest, panelRows, func(lo, hi int) {
		s.rows(min(lo, from), min(hi, from), from, to)
		s.rows(max(lo, from)+end-from, max(hi, from)+end-from, from, to)
	})
	return nil
}

// panelRows is how many rows of a panel are computed at a time: they stay in the cache nearest to the processor.
const panelRows = 64

// rows computes U for rows lo..hi-1, which L is known for.
func (s *sweep) rows(lo, hi, from, to int) {
	for ; lo < hi; lo += panelRows {
		for p := from; p < to; p++ {
			s.step(lo, min(lo+panelRows, hi), p, p-from)
		}
	}
}

// step computes column t of rows lo..hi-1 of the panel from column p of A.
func (s *sweep) step(lo, hi, p, t int) {
	col, coef := s.col[lo:hi], s.coef[t*s.depth:][:t+1]
	triangleRows(col, s.a, s.ld, p, lo)
	s.k.Step(s.u[lo*s.stride:], s.stride, t, col, coef, coef[t], 0, s.diag[lo:hi], s.idle[lo:hi])
}

// at is the place of row i, column t of the panel.
func (s *sweep) at(i, t int) int { return (i/Tile*s.stride+t)*Tile + i%Tile }

// turn puts -L^-T into the panel and clears what the update is to set anew.
func (s *sweep) turn(from, to int) {
	b := to - from
	m := make([]float64, b*b) // L^-1
	for i := range b {
		row := m[i*b : i*b+i+1]
		d := 1 / s.u[s.at(from+i, i)]
		for k := range i {
			axpyOf(-s.u[s.at(from+i, k)]*d, m[k*b:k*b+k+1], row)
		}
		row[i] = d
	}
	for i := range b {
		for t := range b {
			if t < i {
				s.u[s.at(from+i, t)] = 0
			} else {
				s.u[s.at(from+i, t)] = -m[t*b+i]
			}
		}
	}
	for q := range from / Tile {
		o := TriangleOrigin(s.ld, q)
		clear(s.a[o+from*Tile : o+to*Tile])
	}
	for q := from / Tile; q*Tile < to; q++ {
		o := TriangleOrigin(s.ld, q)
		clear(s.a[o+q*Tile*Tile : o+s.ld*Tile])
	}
}

// updateTiles is how many tile rows of V go through all tile columns at a time: they stay in the second cache.
const updateTiles = 16

// update subtracts V V^T, V of t columns. Each worker takes every so many tile columns, forth and back as they get shorter.
func (s *sweep) update(t int) {
	tiles := s.ld / Tile
	workers := min(s.threads, tiles)
	Parallel(workers, workers, func(lo, hi int) {
		for w := lo; w < hi; w++ {
			for r := 0; r < tiles; r += updateTiles {
				end := min(r+updateTiles, tiles)
				for k := 0; k*workers < end; k++ {
					q := k*workers + w
					if k%2 == 1 {
						q = k*workers + workers - 1 - w
					}
					if q >= end {
						continue
					}
					i := max(q, r)
					x := s.a[TriangleOrigin(s.ld, q)+i*Tile*Tile:]
					s.k.Update(x, x, s.u[i*s.stride*Tile:], s.u[q*s.stride*Tile:], s.stride, t, end-i)
				}
			}
		}
	})
}

// store writes -A to both triangles of a.
func (s *sweep) store(a []float64) {
	n := s.n
	Parallel(s.threads, s.ld/Tile, func(lo, hi int) {
		for q := lo; q < hi; q++ {
			for i := q * Tile; i < n; i++ {
				row := s.a[TriangleOrigin(s.ld, q)+i*Tile:][:Tile]
				for j, v := range row[:min(Tile, i+1-q*Tile)] {
					a[i*n+q*Tile+j], a[(q*Tile+j)*n+i] = -v, -v
				}
			}
		}
	})
}

// TriangleSize is the numbers of a triangle of tiles, see Elim, of ld rows.
func TriangleSize(ld int) int { return ld * (ld + Tile) / 2 }

// TriangleOrigin is where row 0 of tile column q would begin, if the column did not start at row q*Tile.
func TriangleOrigin(ld, q int) int { return q*Tile*ld - q*(q+1)/2*Tile*Tile }

// TriangleColumn sets dst to the first len(dst) elements of column p of the symmetric matrix a, a triangle of tiles of ld rows;
// len(dst) is a multiple of Tile and above p.
func TriangleColumn[T Float](dst, a []T, ld, p int) { triangleRows(dst, a, ld, p, 0) }

// triangleRows is TriangleColumn for elements from, a multiple of Tile, and the following.
func triangleRows[T Float](dst, a []T, ld, p, from int) {
	above := min(len(dst), max(0, (p/Tile+1)*Tile-from)) // and in the tile on the diagonal
	for i := 0; i < above; i += Tile {
		v := *(*[Tile]T)(a[TriangleOrigin(ld, (from+i)/Tile)+p*Tile:])
		*(*[Tile]T)(dst[i:]) = v
	}
	o := TriangleOrigin(ld, p/Tile) + p%Tile + from*Tile
	for i := above; i < len(dst); i += Tile {
		x, c := a[o+i*Tile:], (*[Tile]T)(dst[i:])
		_ = x[(Tile-1)*Tile]
		for k := range c {
			c[k] = x[k*Tile]
		}
	}
}

// TriangleColumns is TriangleColumn for the c columns from p on, one after the other, n elements each. Four columns within a tile are read
// together, since their elements lie side by side.
func TriangleColumns[T Float](dst, a []T, ld, p, c, n int) {
	if c != 4 || p%Tile > Tile-4 {
		for k := range c {
			TriangleColumn(dst[k*n:(k+1)*n], a, ld, p+k)
		}
		return
	}
	above := min(n, (p/Tile+1)*Tile)
	for k := range c {
		triangleRows(dst[k*n:][:above], a, ld, p+k, 0)
	}
	if above == n {
		return
	}
	o := TriangleOrigin(ld, p/Tile) + p%Tile
	x, y, z, w := dst[above:n], dst[n+above:2*n], dst[2*n+above:3*n], dst[3*n+above:4*n]
	y, z, w = y[:len(x)], z[:len(x)], w[:len(x)]
	a = a[o+above*Tile:]
	for i := range x {
		v := (*[4]T)(a[i*Tile:])
		x[i], y[i], z[i], w[i] = v[0], v[1], v[2], v[3]
	}
}
