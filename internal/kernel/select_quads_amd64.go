//go:build !noasm

package kernel

import "unsafe"

var vnniQuads = quadTiling{mr: 8, nr: 48, vec: 16, sums: quadsWith(quadsAVX512), swapped: quadsWith(quadsSwappedAVX512), codes: quadCodesVNNI, narrow: quadsNarrowVNNI, pack: packQuadsWide,
	depthwise: depthQuadsVNNI, copyBytes: copyBytesWide}

// quadForm is the tiling of quads in use; nil: there is none.
func quadForm() *quadTiling {
	if level == AVX512 && vnni {
		return &vnniQuads
	}
	return nil
}

func quadsWith(f func(rows, vecs, k int, a *byte, rs, cs int, b *byte, bs int, c *int32, ldc int)) quadMicro {
	return func(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []int32, ldc int) {
		_, _, _ = a[(rows-1)*rs+(k-1)*cs+3], b[(k-1)*bs+4*cols-1], c[(rows-1)*ldc+cols-1]
		f(rows, cols/16, k, &a[0], rs, cs, &b[0], bs, &c[0], ldc)
	}
}

func quadCodesVNNI(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []byte, ldc int, e *rounding) {
	vecs := (cols + 15) / 16
	_, _, _ = a[(rows-1)*rs+(k-1)*cs+3], b[(k-1)*bs+64*vecs-1], c[(rows-1)*ldc+cols-1]
	quadCodesAVX512(rows, vecs, k, &a[0], rs, cs, &b[0], bs, &c[0], ldc, cols, (*byte)(unsafe.Pointer(e)))
}

func quadsNarrowVNNI(cols, k int, a []byte, step int, b []byte, bs int, sums []int32) {
	panels := narrowPanels(cols)
	_, _, _ = a[(panels-1)*step+32*k-1], b[(k-1)*bs+4*cols-1], sums[8*panels*cols-1]
	quadsNarrowAVX512(cols, k, &a[0], step, &b[0], bs, &sums[0])
}

type depthQuadsAssembly func(dst *byte, ldd, rows, cols int, x *byte, pitch int, w *int32, t, e *byte)

// depthQuadsOf are the forms by kernel height and vertical step. Looking them up in a map would take longer than a row of the smallest images.
var depthQuadsOf = [...][3]depthQuadsAssembly{
	3: {1: depthQuads3x1AVX512, 2: depthQuads3x2AVX512},
	5: {1: depthQuads5x1AVX512, 2: depthQuads5x2AVX512},
	7: {1: depthQuads7x1AVX512, 2: depthQuads7x2AVX512},
}

func depthQuadsVNNI(dst []byte, ldd, rows, cols int, x []byte, pitch int, w []int32, t *windows, e *rounding) {
	_, _, _ = dst[(rows-1)*ldd+cols-1], x[((rows-1)*t.step+t.kh-1)*pitch+max(0, cols-16)*t.strideW+63], w[t.kh*t.quads-1]
	depthQuadsOf[t.kh][t.step](&dst[0], ldd, rows, cols, &x[0], pitch, &w[0], (*byte)(unsafe.Pointer(t)), (*byte)(unsafe.Pointer(e)))
}

func copyBytesWide(dst []byte, ldd int, src []byte, lds, rows, cols int, flip uint32) {
	if rows > 0 && cols > 0 {
		_, _ = dst[(rows-1)*ldd+cols-1], src[(rows-1)*lds+cols-1]
		copyBytesAVX512(&dst[0], ldd, &src[0], lds, rows, cols, flip)
	}
}

func packQuadsWide(dst []int32, ldd int, src []byte, o [3]int, step, quads, cols int, flip uint32) {
	_, _ = dst[(quads-1)*ldd+cols-1], src[(quads-1)*step+o[2]+cols-1]
	packQuadsAVX512(&dst[0], ldd, &src[0], o[0], o[1], o[2], step, quads, cols, flip)
}

func scaleSumsWith(f func(dst *float32, sums, less *int32, scale, bias *float32, vecs int), lanes int) func(dst []float32, sums, less []int32, scale, bias []float32) {
	return func(dst []float32, sums, less []int32, scale, bias []float32) {
		n := len(dst) / lanes
		if n > 0 {
			_, _, _, _ = sums[n*lanes-1], less[n*lanes-1], scale[n*lanes-1], bias[n*lanes-1]
			f(&dst[0], &sums[0], &less[0], &scale[0], &bias[0], n)
		}
		m := n * lanes
		scaleSumsGeneric(dst[m:], sums[m:], less[m:], scale[m:], bias[m:])
	}
}

func addCodesWith(f func(dst, a, b *byte, vecs int, ra, rb, fixed, lo, hi float32), rest func(dst, a, b []byte, ra, rb, fixed, lo, hi float32), lanes int) func(dst, a, b []byte, ra, rb, fixed, lo, hi float32) {
	return func(dst, a, b []byte, ra, rb, fixed, lo, hi float32) {
		n := len(dst) / lanes
		if n > 0 {
			_, _ = a[n*lanes-1], b[n*lanes-1]
			f(&dst[0], &a[0], &b[0], n, ra, rb, fixed, lo, hi)
		}
		rest(dst[n*lanes:], a[n*lanes:], b[n*lanes:], ra, rb, fixed, lo, hi)
	}
}
