package kernel

import "math"

// syrkBlock is the number of rows whose float32 sum goes into float64: half the digits that remain are lost to a longer
// one, and at 256 the additions to H cost less than a tenth of the products.
const syrkBlock = 256

// SyrkAdd adds X^T X to the upper triangle (i <= j) of the d x d matrix h, where x holds X, n x d with leading dimension ldx.
// Blocks of 256 rows, counted from the first, are summed in float32 and added in float64. The lower triangle is left
// alone: call Mirror when the sum is complete.
func SyrkAdd(h []float64, d int, x []float32, n, ldx int, threads int) {
	if d*d*n < smallProduct {
		threads = 1
	}
	t := tiling32()
	shared := borrow[float32]()
	defer shared.giveBack()
	left := grow(&shared.a, roundUp(d, t.mr)*syrkBlock+packSlack)
	right := grow(&shared.b, roundUp(d, t.nr)*syrkBlock+packSlack)
	for p := 0; p < n; p += syrkBlock {
		kb := min(syrkBlock, n-p)
		parallelStep(threads, d, t.mr*t.nr, func(lo, hi int) {
			packPanels(left[lo*kb:], t.mr, x, ldx, false, p, kb, lo, hi-lo, 1)
			packPanels(right[lo*kb:], t.nr, x, ldx, false, p, kb, lo, hi-lo, 1)
		})
		Parallel(threads, threads, func(lo, hi int) {
			for w := lo; w < hi; w++ {
				syrkColumns(t, h, d, left, right, kb, syrkCut(d, t.nr, w, threads), syrkCut(d, t.nr, w+1, threads))
			}
		})
	}
}

// syrkCut returns the first column of worker w: the triangles left of the cuts have areas proportional to w.
func syrkCut(d, nr, w, workers int) int {
	return min(d, roundUp(int(float64(d)*math.Sqrt(float64(w)/float64(workers))), nr))
}

// syrkColumns adds one block's products to columns [j0, j1) of the upper triangle.
func syrkColumns(t *tiling[float32], h []float64, d int, left, right []float32, kb, j0, j1 int) {
	s := borrow[float32]()
	defer s.giveBack()
	tile := grow(&s.tile, t.mr*t.nr)
	for ic := 0; ic < j1; ic += t.mc {
		for j := max(j0, ic/t.nr*t.nr); j < j1; j += t.nr {
			cols := min(t.nr, d-j)
			for i := ic; i < min(ic+t.mc, j+cols); i += t.mr {
				rows := min(t.mr, d-i)
				t.micro(rows, t.nr, kb, left[i*kb:], 1, t.mr, right[j*kb:], t.nr, tile, t.nr, false, nil)
				for r := range rows {
					skip := max(0, i+r-j)
					if skip < cols {
						row := (i+r)*d + j
						active.addWide(h[row+skip:row+cols], tile[r*t.nr+skip:r*t.nr+cols])
					}
				}
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
			v := row[j] * scale
			row[j] = v
			h[j*d+i] = v
		}
	}
}
