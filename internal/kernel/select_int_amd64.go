//go:build !noasm

package kernel

import "golang.org/x/sys/cpu"

var (
	avx2TilingInt   = tiling[float32]{mr: 6, nr: 16, vec: 8, kc: intK, mc: 144, nc: 512, micro: sgemmTile(igemmAVX2, 8)}
	avx512TilingInt = tiling[float32]{mr: 8, nr: 48, vec: 16, kc: intK, mc: 192, nc: 480, micro: sgemmTile(igemmAVX512, 16)}
	vnniTilingInt   = tiling[float32]{mr: 8, nr: 48, vec: 16, kc: intK, mc: 192, nc: 480, micro: sgemmTile(igemmVNNIAVX512, 16)}
)

// vnni tells whether AVX-512 forms may use VNNI; tests switch it.
var vnni = cpu.X86.HasAVX512VNNI

func intTiling() *tiling[float32] {
	if level == AVX512 && vnni {
		return &vnniTilingInt
	}
	return [...]*tiling[float32]{&genericInt, &avx2TilingInt, &avx512TilingInt}[level]
}

func requantWith(f func(dst *byte, sums *int32, vecs int, factor, lo, hi float32, zero int32), lanes int) func(dst []byte, sums []int32, factor, lo, hi float32, zero int32) {
	return func(dst []byte, sums []int32, factor, lo, hi float32, zero int32) {
		n := len(dst) / lanes
		if n > 0 {
			_ = sums[n*lanes-1]
			f(&dst[0], &sums[0], n, factor, lo, hi, zero)
		}
		requantGeneric(dst[n*lanes:], sums[n*lanes:len(dst)], factor, lo, hi, zero)
	}
}

func quantWith(f func(dst *byte, x *float32, vecs int, scale, lo, hi float32, zero int32), lanes int, rest func(dst []byte, x []float32, scale, lo, hi float32, zero int32)) func(dst []byte, x []float32, scale, lo, hi float32, zero int32) {
	return func(dst []byte, x []float32, scale, lo, hi float32, zero int32) {
		n := len(dst) / lanes
		if n > 0 {
			_ = x[n*lanes-1]
			f(&dst[0], &x[0], n, scale, lo, hi, zero)
		}
		rest(dst[n*lanes:], x[n*lanes:len(dst)], scale, lo, hi, zero)
	}
}

func dequantWith(f func(dst *float32, x *byte, vecs int, scale, zero float32), rest func(dst []float32, x []byte, scale, zero float32), lanes int) func(dst []float32, x []byte, scale, zero float32) {
	return func(dst []float32, x []byte, scale, zero float32) {
		n := len(dst) / lanes
		if n > 0 {
			_ = x[n*lanes-1]
			f(&dst[0], &x[0], n, scale, zero)
		}
		rest(dst[n*lanes:], x[n*lanes:len(dst)], scale, zero)
	}
}
