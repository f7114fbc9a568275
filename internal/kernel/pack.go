package kernel

// PackedB is a constant right operand (k x n), laid out once for SgemmPackedB: for each block of kc rows, panels of nr columns.
type PackedB struct {
	K, N int
	t    *tiling[float32]
	data []float32
}

// PackB packs the k x n matrix b or, with trans, the n x k slice b holding its transpose.
func PackB(trans bool, k, n int, b []float32, ldb int) *PackedB {
	t := tiling32()
	return &PackedB{k, n, t, packAll(t.kc, t.nr, b, ldb, trans, k, n)}
}

// PackedA is a constant left operand (m x k), laid out once for SgemmPackedA and Conv: for each block of kc columns, panels of mr
// rows.
type PackedA struct {
	M, K int
	t    *tiling[float32]
	data []float32
}

// PackA packs the m x k matrix a or, with trans, the k x m slice a holding its transpose.
func PackA(trans bool, m, k int, a []float32, lda int) *PackedA {
	t := tiling32()
	return &PackedA{m, k, t, packAll(t.kc, t.mr, a, lda, !trans, k, m)}
}

func packAll(kc, w int, src []float32, ld int, trans bool, k, n int) []float32 {
	np := roundUp(n, w)
	data := make([]float32, np*k+packSlack)
	packBlocks(data, kc, w, src, ld, trans, k, n)
	return data[:np*k]
}

// packBlocks packs to data, which has packSlack elements more than it needs.
func packBlocks(data []float32, kc, w int, src []float32, ld int, trans bool, k, n int) {
	np := roundUp(n, w)
	for p := 0; p < k; p += kc {
		kb := min(kc, k-p)
		// A panel ends with its slack overwritten by the next one, so they are packed in ascending order.
		packPanels(data[p*np:], w, src, ld, trans, p, kb, 0, n, 1)
	}
}

// packSlack is how many elements after the last panel a packing kernel may overwrite.
const packSlack = 16

// packPanels lays columns [j, j+nb) of rows [p, p+kb) of a matrix out as panels of w columns, row by row, times alpha;
// missing columns of the last panel are zero. With trans the slice holds the transpose of that matrix.
func packPanels[T Float](dst []T, w int, src []T, ld int, trans bool, p, kb, j, nb int, alpha T) {
	for ; nb > 0; nb, j, dst = nb-w, j+w, dst[w*kb:] {
		cols := min(w, nb)
		if trans {
			packTransposed(dst, w, src[j*ld+p:], ld, kb, cols)
		} else {
			packRows(dst, w, src[p*ld+j:], ld, kb, cols)
		}
		if alpha != 1 {
			for i := range dst[:w*kb] {
				dst[i] *= alpha
			}
		}
	}
}

// packRows copies kb rows of cols elements to rows of w, zero filled.
func packRows[T Float](dst []T, w int, src []T, ld, kb, cols int) {
	if cols < w {
		clear(dst[:w*kb])
	}
	if d, ok := any(dst).([]float32); ok {
		active.copyRows(d, w, any(src).([]float32), ld, kb, cols)
		return
	}
	for i := range kb {
		copy(dst[i*w:i*w+cols], src[i*ld:i*ld+cols])
	}
}

// packTransposed copies cols rows of kb elements to the columns of a kb x w panel, zero filled.
func packTransposed[T Float](dst []T, w int, src []T, ld, kb, cols int) {
	if cols < w {
		clear(dst[:w*kb])
	}
	done := 0
	if s, ok := any(src).([]float32); ok && cols == w {
		done = packFast(any(dst).([]float32), w, s, ld, kb)
	}
	for j := range cols {
		for i := done; i < kb; i++ {
			dst[i*w+j] = src[j*ld+i]
		}
	}
}
