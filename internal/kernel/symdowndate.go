package kernel

// SymDowndate starts a new block of an elimination: for the survivors keep (ascending positions in a), 0 <= i <= j < len(keep),
//
//	dst[i*ldd+j] = a[keep[i]*lda+keep[j]] - sum_{t<b} u[t*ldu+keep[i]]*u[t*ldu+keep[j]]
//
// Only upper triangles are read and written. dst may be a itself if ldd == lda; otherwise they must not overlap. It costs
// len(keep)^2*b/2 multiply-adds.
func SymDowndate(dst []float32, ldd int, a []float32, lda int, keep []int32, u []float32, ldu, b int) {
	n := len(keep)
	if n == 0 {
		return
	}
	t, s := tiling32(), borrow[float32]()
	defer s.giveBack()
	left := grow(&s.a, roundUp(n, t.mr)*b)
	right := grow(&s.b, roundUp(n, t.nr)*b)
	packKept(left, t.mr, u, ldu, b, keep, -1)
	packKept(right, t.nr, u, ldu, b, keep, 1)
	tile := grow(&s.tile, t.mr*t.nr)
	for jc := 0; jc < n; jc += downdateColumns {
		end := min(jc+downdateColumns, n)
		for i := 0; i < end; i += t.mr {
			rows := min(t.mr, n-i)
			j0 := max(jc, i/t.nr*t.nr)
			for r := range rows {
				active.compact(dst[(i+r)*ldd:], a[int(keep[i+r])*lda:], keep, max(j0, i+r), end)
			}
			if b == 0 {
				continue
			}
			for j := j0; j < end; j += t.nr {
				cols := min(t.nr, end-j)
				ap, bp := left[i*b:], right[j*b:]
				if cols == t.nr && j >= i+rows-1 {
					t.micro(rows, cols, b, ap, 1, t.mr, bp, t.nr, dst[i*ldd+j:], ldd, true, nil)
					continue
				}
				t.micro(rows, t.nr, b, ap, 1, t.mr, bp, t.nr, tile, t.nr, false, nil)
				for r := range rows {
					for q := max(j, i+r); q < j+cols; q++ {
						dst[(i+r)*ldd+q] += tile[r*t.nr+q-j]
					}
				}
			}
		}
	}
}

// downdateColumns is the width of a block of columns whose packed panel (times b <= 64 steps) stays in the second-level cache. It is
// a multiple of every nr.
const downdateColumns = 768

// packKept lays the kept elements of the b rows of u out as panels of w, times sign.
func packKept(dst []float32, w int, u []float32, ldu, b int, keep []int32, sign float32) {
	for t := range b {
		row := u[t*ldu:]
		for i := 0; i < len(keep); i += w {
			d := dst[i*b+t*w : i*b+t*w+w]
			group := keep[i:min(i+w, len(keep))]
			for r, k := range group {
				d[r] = sign * row[k]
			}
			clear(d[len(group):])
		}
	}
}

// compactGeneric sets dst[j] = src[keep[j]] for from <= j < to, ascending, so that dst may be src or lie before it.
func compactGeneric(dst, src []float32, keep []int32, from, to int) {
	for j := from; j < to; j++ {
		dst[j] = src[keep[j]]
	}
}
