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
	s := syrk{t: t, h: h, d: d, leftSize: roundUp(d, t.mr) * syrkBlock, rightSize: roundUp(d, t.nr) * syrkBlock}
	blocks := max(1, min(4, syrkPacked/max(1, d*syrkBlock), (n+syrkBlock-1)/syrkBlock))
	shared := borrow[float32]()
	defer shared.giveBack()
	s.left = grow(&shared.a, blocks*s.leftSize+packSlack)
	s.right = grow(&shared.b, blocks*s.rightSize+packSlack)
	for p := 0; p < n; p += blocks * syrkBlock {
		s.rows = min(blocks*syrkBlock, n-p)
		parallelStep(threads, d, t.mr*t.nr, func(lo, hi int) {
			s.each(func(at, kb int, left, right []float32) {
				packPanels(left[lo*kb:], t.mr, x, ldx, false, p+at, kb, lo, hi-lo, 1)
				packPanels(right[lo*kb:], t.nr, x, ldx, false, p+at, kb, lo, hi-lo, 1)
			})
		})
		Parallel(threads, threads, func(lo, hi int) {
			for w := lo; w < hi; w++ {
				s.columns(syrkCut(d, t.nr, w, threads), syrkCut(d, t.nr, w+1, threads))
			}
		})
	}
}

// syrk is rows of X, laid out in blocks of syrkBlock, on their way into h.
type syrk struct {
	t                   *tiling[float32]
	h                   []float64
	d, rows             int
	left, right         []float32
	leftSize, rightSize int
}

// each calls do with the first row and the rows of each block, and where it lies.
func (s *syrk) each(do func(at, kb int, left, right []float32)) {
	for i, at := 0, 0; at < s.rows; i, at = i+1, at+syrkBlock {
		do(at, min(syrkBlock, s.rows-at), s.left[i*s.leftSize:], s.right[i*s.rightSize:])
	}
}

// syrkCut returns the first column of worker w: the triangles left of the cuts have areas proportional to w.
func syrkCut(d, nr, w, workers int) int {
	return min(d, roundUp(int(float64(d)*math.Sqrt(float64(w)/float64(workers))), nr))
}

// columns adds the products of all blocks to columns [j0, j1) of the upper triangle.
func (s *syrk) columns(j0, j1 int) {
	t, buf := s.t, borrow[float32]()
	defer buf.giveBack()
	tile := grow(&buf.tile, t.mr*t.nr)
	for ic := 0; ic < j1; ic += t.mc {
		for j := max(j0, ic/t.nr*t.nr); j < j1; j += t.nr {
			cols := min(t.nr, s.d-j)
			for i := ic; i < min(ic+t.mc, j+cols); i += t.mr {
				rows := min(t.mr, s.d-i)
				s.each(func(_, kb int, left, right []float32) {
					t.micro(rows, t.nr, kb, left[i*kb:], 1, t.mr, right[j*kb:], t.nr, tile, t.nr, false, nil)
					for r := range rows {
						if skip := max(0, i+r-j); skip < cols {
							row := (i+r)*s.d + j
							active.addWide(s.h[row+skip:row+cols], tile[r*t.nr+skip:r*t.nr+cols])
						}
					}
				})
			}
		}
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
