package kernel

// Transpose sets dst (cols x rows, leading dimension ldd) to the transpose of src (rows x cols, leading dimension lds).
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows > 0 && cols > 0 {
		_, _ = src[(rows-1)*lds+cols-1], dst[(cols-1)*ldd+rows-1]
		active.transpose(dst, ldd, src, lds, rows, cols)
	}
}

// transposeGeneric works in blocks of 16 x 16, a few cache lines on either side.
func transposeGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	const block = 16
	for i0 := 0; i0 < rows; i0 += block {
		for j0 := 0; j0 < cols; j0 += block {
			for i := i0; i < min(i0+block, rows); i++ {
				for j := j0; j < min(j0+block, cols); j++ {
					dst[j*ldd+i] = src[i*lds+j]
				}
			}
		}
	}
}
