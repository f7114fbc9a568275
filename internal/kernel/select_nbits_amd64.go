//go:build !noasm

package kernel

// nbitsForms is the implementation in use. Integers take VNNI at 512 bits, or what AVX2 has.
func nbitsForms() nbitsForm {
	if level == Generic {
		return genericNBits
	}
	f := nbitsForm{nbitsIntWith(nbitsIntAVX2), nbitsFloatWith(nbitsFloatAVX2), [5]int{1: 16, 2: 16, 4: 8}, [5]int{1: 16, 2: 16}}
	if level == AVX512 {
		f.floats, f.floatCols = nbitsFloatWith(nbitsFloatAVX512), [5]int{1: 64, 2: 64}
		if vnni {
			f.ints, f.intCols = nbitsIntWith(nbitsIntAVX512), [5]int{1: 64, 2: 64, 4: 32}
		}
	}
	return f
}

func nbitsIntWith(f func(rows, blocks, groups int, a *byte, lda int, da *float32, ldd int, w *byte, scale, c *float32, ldc int)) func(rows, blocks, groups int, a []byte, lda int, da []float32, ldd int, w []byte, scale, c []float32, ldc int) {
	return func(rows, blocks, groups int, a []byte, lda int, da []float32, ldd int, w []byte, scale, c []float32, ldc int) {
		_, _ = a[(rows-1)*lda+8*blocks*groups-1], da[(rows-1)*ldd+2*blocks-1]
		f(rows, blocks, groups, &a[0], lda, &da[0], ldd, &w[0], &scale[0], &c[0], ldc)
	}
}

func nbitsFloatWith(f func(rows, blocks, groups int, a *float32, lda int, sums *float32, ldd int, w *byte, scale, c *float32, ldc int)) func(rows, blocks, groups int, a []float32, lda int, sums []float32, ldd int, w []byte, scale, c []float32, ldc int) {
	return func(rows, blocks, groups int, a []float32, lda int, sums []float32, ldd int, w []byte, scale, c []float32, ldc int) {
		_, _ = a[(rows-1)*lda+8*blocks*groups-1], sums[(rows-1)*ldd+blocks-1]
		f(rows, blocks, groups, &a[0], lda, &sums[0], ldd, &w[0], &scale[0], &c[0], ldc)
	}
}
