package kernel

import "math"

// syrkBlock is the number of rows whose float32 sum goes into float64: half the digits that remain are lost to a longer
// one, and at 256 the additions to H cost less than a tenth of the products.
const syrkBlock = 256

// syrkPacked is how many numbers of X are laid out at a time, at most: as many blocks as that leaves, up to four, are added
// to a part of H while it is in the cache.
const syrkPacked = 2 << 20

// SyrkAdd adds X^T X to the upper triangle (i <= j) of the d x d matrix h, where x holds X, n x d with leading dimension ldx.
// Blocks of 256 rows, counted from the first, are summed in float32 and added in float64. The lower triangle is left
// alone: call Mirror when the sum is complete.
func SyrkAdd(h []float64, d int, x []float32, n, ldx int, threads int) {
	if d*d*n < smallProduct {
		threads = 1
	}
	t := tiling32()
	s := syrk{t: t, h: h, d: d, size: roundUp(d, t.nr) * syrkBlock}
	blocks := max(1, min(4, syrkPacked/max(1, d*syrkBlock), (n+syrkBlock-1)/syrkBlock))
	shared := borrow[float32]()
	defer shared.giveBack()
	s.panels = grow(&shared.b, blocks*s.size+packSlack)
	squares := (d + t.nr - 1) / t.nr
	squares = squares * (squares + 1) / 2
	workers := max(1, min(threads, squares))
	for p := 0; p < n; p += blocks * syrkBlock {
		s.rows = min(blocks*syrkBlock, n-p)
		parallelStep(threads, d, t.nr, func(lo, hi int) {
			s.each(func(at, kb int, panels []float32) {
				packPanels(panels[lo*kb:], t.nr, x, ldx, false, p+at, kb, lo, hi-lo, 1)
			})
		})
		Parallel(workers, workers, func(lo, hi int) { s.squares(lo*squares/workers, hi*squares/workers) })
	}
}

// syrk is rows of X, laid out in blocks of syrkBlock as panels of nr columns, on their way into h. Both sides of the products are read from them:
// the left one in pieces of up to mr columns.
type syrk struct {
	t       *tiling[float32]
	h       []float64
	d, rows int
	panels  []float32
	size    int // of a block
}

// each calls do with the first row and the rows of each block, and where it lies.
func (s *syrk) each(do func(at, kb int, panels []float32)) {
	for i, at := 0, 0; at < s.rows; i, at = i+1, at+syrkBlock {
		do(at, min(syrkBlock, s.rows-at), s.panels[i*s.size:])
	}
}

// squares adds the products of all blocks to squares from..to-1 of the upper triangle, nr x nr each, counted down one column of squares
// after the other: (0,0), (0,1), (1,1), (0,2), ...
func (s *syrk) squares(from, to int) {
	t, buf := s.t, borrow[float32]()
	defer buf.giveBack()
	tile := grow(&buf.tile, t.mr*t.nr)
	column := func(square int) int { return int((math.Sqrt(float64(8*square+1)) - 1) / 2) }
	last := column(max(from, to-1))
	step := max(1, t.mc/t.nr) // squares whose left sides stay in the cache
	for ic := 0; ic <= last; ic += step {
		for j := max(column(from), ic); j <= last; j++ {
			first := j * (j + 1) / 2
			for i := max(ic, from-first); i < min(ic+step, j+1, to-first); i++ {
				s.square(i*t.nr, j*t.nr, tile)
			}
		}
	}
}

// square adds the products of all blocks to the square at (i0, j).
func (s *syrk) square(i0, j int, tile []float32) {
	t, cols := s.t, min(s.t.nr, s.d-j)
	for i := i0; i < min(i0+t.nr, j+cols); i += t.mr {
		rows := min(t.mr, i0+t.nr-i, s.d-i)
		s.each(func(_, kb int, panels []float32) {
			t.micro(rows, t.nr, kb, panels[i0*kb+i-i0:], 1, t.nr, panels[j*kb:], t.nr, tile, t.nr, false, nil)
			for r := range rows {
				if skip := max(0, i+r-j); skip < cols {
					row := (i+r)*s.d + j
					active.addWide(s.h[row+skip:row+cols], tile[r*t.nr+skip:r*t.nr+cols])
				}
			}
		})
	}
}

// Mirror copies the upper triangle of the d x d matrix h to the lower one.
func Mirror[T Float](h []T, d int) { MirrorScaled(h, d, 1, 1) }

// MirrorScaled multiplies the upper triangle of the d x d matrix h by scale and copies it to the lower one.
func MirrorScaled[T Float](h []T, d int, scale T, threads int) {
	const block = 32
	blocks := (d + block - 1) / block
	if d*d < smallProduct {
		threads = 1
	}
	threads = max(1, min(threads, blocks))
	Parallel(threads, threads, func(lo, hi int) {
		for w := lo; w < hi; w++ {
			for i0 := w * block; i0 < d; i0 += threads * block { // rows get shorter: every worker takes some of each length
				for j0 := i0; j0 < d; j0 += block {
					mirrorBlock(h, d, scale, i0, min(i0+block, d), j0, min(j0+block, d))
				}
			}
		}
	})
}

func mirrorBlock[T Float](h []T, d int, scale T, i0, i1, j0, j1 int) {
	for i := i0; i < i1; i++ {
		row := h[i*d : i*d+j1]
		for j := max(j0, i); j < j1; j++ {
			row[j] *= scale
		}
	}
	const lines = 8 // numbers that are written side by side
	for i := i0; i < i1; i += lines {
		n := min(lines, i1-i)
		for j := max(j0, i+1); j < j1; j++ {
			dst := h[j*d+i:][:min(n, j-i)]
			for k := range dst {
				dst[k] = h[(i+k)*d+j]
			}
		}
	}
}
