//go:build !noasm

package kernel

import "unsafe"

// The adapters of the convolution kernels check the slices' ends, because assembly takes pointers and counts vectors.

func tapsWith(f func(dst *float32, vecs int, x *float32, offs []int32, w *float32, bias, lo, hi float32), lanes int) func(dst []float32, n int, x []float32, offs []int32, w []float32, bias, lo, hi float32) {
	return func(dst []float32, n int, x []float32, offs []int32, w []float32, bias, lo, hi float32) {
		if n <= 0 {
			return
		}
		end := roundUp(n, 4*lanes) - 1
		_, _, _ = dst[end], x[end+int(offs[len(offs)-1])], w[len(offs)-1]
		f(&dst[0], (n+lanes-1)/lanes, &x[0], offs, &w[0], bias, lo, hi)
	}
}

func gatherWith(f func(dst *float32, ldd int, src *float32, rows []int32, c *byte), lanes int) func(dst []float32, ld, vec int, src []float32, rows []int32, c *columns) {
	return func(dst []float32, ld, vec int, src []float32, rows []int32, c *columns) {
		if vec != lanes || len(rows) == 0 {
			gatherGeneric(dst, ld, vec, src, rows, c)
			return
		}
		_ = dst[(len(rows)-1)*ld+vec-1]
		f(&dst[0], ld, &src[0], rows, (*byte)(unsafe.Pointer(c)))
	}
}

func winogradInWith(f func(dst *float32, ldd, next int, x *float32, pitch, phase, vecs, rows int), lanes int) func(dst []float32, ldd, next int, x []float32, pitch, phase, n, rows int) {
	return func(dst []float32, ldd, next int, x []float32, pitch, phase, n, rows int) {
		if rows <= 0 {
			return
		}
		vecs := (n + lanes - 1) / lanes
		_, _ = dst[15*ldd+(rows-1)*next+vecs*lanes-1], x[3*phase+rows*pitch+vecs*lanes]
		f(&dst[0], ldd, next, &x[0], pitch, phase, vecs, rows)
	}
}

func winogradOutWith(f func(dst *float32, ldd int, m *float32, ldm, next, cols, rows int, add *float32, bias, lo, hi float32)) func(dst []float32, ldd int, m []float32, ldm, next, cols, rows int, add []float32, bias, lo, hi float32) {
	return func(dst []float32, ldd int, m []float32, ldm, next, cols, rows int, add []float32, bias, lo, hi float32) {
		if rows <= 0 {
			return
		}
		last := (2*rows-1)*ldd + cols - 1
		_, _ = dst[last], m[15*ldm+(rows-1)*next+(cols+1)/2-1]
		var a *float32
		if add != nil {
			_ = add[last]
			a = &add[0]
		}
		f(&dst[0], ldd, &m[0], ldm, next, cols, rows, a, bias, lo, hi)
	}
}

func copyRowsWith(f func(dst *float32, ldd int, src *float32, lds, rows, cols int)) func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	return func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
		if rows > 0 && cols > 0 {
			_, _ = dst[(rows-1)*ldd+cols-1], src[(rows-1)*lds+cols-1]
			f(&dst[0], ldd, &src[0], lds, rows, cols)
		}
	}
}

func deinterleaveWith(f func(even, odd *float32, ldd int, src *float32, lds, rows, cols int)) func(even, odd []float32, ldd int, src []float32, lds, rows, cols int) {
	return func(even, odd []float32, ldd int, src []float32, lds, rows, cols int) {
		if rows <= 0 || cols < 2 {
			deinterleaveGeneric(even, odd, ldd, src, lds, rows, cols)
			return
		}
		_, _, _ = even[(rows-1)*ldd+(cols-1)/2], odd[(rows-1)*ldd+cols/2-1], src[(rows-1)*lds+cols-1]
		f(&even[0], &odd[0], ldd, &src[0], lds, rows, cols)
	}
}

type stripFunc func(dst *float32, ldd, rows, cols int, x *float32, pitch int, streams []int32, w *float32, ldw int, bias, lo, hi float32)

// depthwiseWith cuts the rows into strips of four or seven, whichever wastes fewer.
func depthwiseWith(four, seven stripFunc) func(dst []float32, ldd, rows, cols int, x []float32, pitch int, streams []int32, w []float32, ldw int, bias, lo, hi float32) {
	return func(dst []float32, ldd, rows, cols int, x []float32, pitch int, streams []int32, w []float32, ldw int, bias, lo, hi float32) {
		f, step := seven, 7
		if roundUp(rows, 4) < roundUp(rows, 7) {
			f, step = four, 4
		}
		for i := 0; i < rows; i += step {
			n := min(step, rows-i)
			_ = dst[(i+n-1)*ldd+cols-1]
			f(&dst[i*ldd], ldd, n, cols, &x[i*pitch], pitch, streams, &w[0], ldw, bias, lo, hi)
		}
	}
}
