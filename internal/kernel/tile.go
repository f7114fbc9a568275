package kernel

// Float is the element type of the matrix kernels.
type Float interface{ float32 | float64 }

// tiling describes one register-blocked micro-kernel and the cache blocks around it.
//
// A product C = A B is cut into blocks of kc columns of A: kc*nr elements of B stay in the first-level cache, mc*kc of A in
// the second, kc*nc of B in the third. kc alone decides the order of summation.
type tiling[T Float] struct {
	mr, nr     int // largest tile of the micro-kernel
	vec        int // elements of one vector register; nr is a multiple of it
	kc, mc, nc int
	micro      microFunc[T]
	stack      stackFunc[T]  // nil: none
	narrow     narrowFunc[T] // nil: none
}

// narrowFunc sets out[8*(p*cols+j)+i] to the product of row i of packed panel p of A, step elements from one to the next, with column j of
// B, for j < cols <= narrowCols and p < narrowPanels(cols).
type narrowFunc[T Float] func(cols, k int, a []T, step int, b []T, bs int, out []T)

// microFunc computes one tile: C[i,j] = sum_k A[i*rs+k*cs] B[k*bs+j], added to C if acc, for i < rows <= mr and
// j < cols, where cols is a multiple of vec and at most nr; then applies e unless that is nil.
type microFunc[T Float] func(rows, cols, k int, a []T, rs, cs int, b []T, bs int, c []T, ldc int, acc bool, e *tail)

// stackFunc is microFunc for n tiles of mr rows below each other, whose panels of A begin step elements apart. It may change e.
type stackFunc[T Float] func(n, cols, k int, a []T, rs, cs, step int, b []T, bs int, c []T, ldc int, acc bool, e *tail)

// tail is an Epilogue at one tile: the biases start at the tile's first row and column. Assembly reads it.
type tail struct {
	row, col *float32 // nil: none
	lo, hi   float32
	add      *float32 // nil: none
	ld       int      // of add; it is that of C
}

// microGeneric is the micro-kernel in Go: four rows by four columns at a time.
func microGeneric[T Float](rows, cols, k int, a []T, rs, cs int, b []T, bs int, c []T, ldc int, acc bool, e *tail) {
	var t [4][4]T
	for p := range k {
		bp := b[p*bs : p*bs+4 : p*bs+4]
		b0, b1, b2, b3 := bp[0], bp[1], bp[2], bp[3]
		for i := range rows {
			x := a[i*rs+p*cs]
			r := &t[i&3]
			r[0] += x * b0
			r[1] += x * b1
			r[2] += x * b2
			r[3] += x * b3
		}
	}
	for i := range rows {
		row := c[i*ldc : i*ldc+4]
		for j, v := range t[i&3] {
			if acc {
				v += row[j]
			}
			row[j] = v
		}
		if e != nil {
			e.apply32(any(row).([]float32), i)
		}
	}
}

var (
	generic32 = tiling[float32]{mr: 4, nr: 4, vec: 4, kc: 256, mc: 128, nc: 2048, micro: microGeneric[float32]}
	generic64 = tiling[float64]{mr: 4, nr: 4, vec: 4, kc: 256, mc: 64, nc: 1024, micro: microGeneric[float64]}
)
