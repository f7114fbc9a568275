//go:build !noasm

package kernel

import "unsafe"

// Block sizes: measured on Zen 3 at n = 512..2048, where kc = 256..512 differ by 2%.
var (
	avx2Tiling32   = tiling[float32]{mr: 6, nr: 16, vec: 8, kc: 384, mc: 144, nc: 3072, micro: sgemmTile(sgemmAVX2, 8), stack: stackWith(sgemmStackAVX2, 6, 8), narrow: narrowWith(sgemmNarrowAVX2, 6)}
	avx2Tiling64   = tiling[float64]{mr: 6, nr: 8, vec: 4, kc: 256, mc: 96, nc: 2048, micro: dgemmTile(dgemmAVX2, 4)}
	avx512Tiling32 = tiling[float32]{mr: 8, nr: 48, vec: 16, kc: 384, mc: 192, nc: 3072, micro: sgemmTile(sgemmAVX512, 16), stack: stackWith(sgemmStackAVX512, 8, 16), narrow: narrowWith(sgemmNarrowAVX512, 8)}
	avx512Tiling64 = tiling[float64]{mr: 8, nr: 24, vec: 8, kc: 256, mc: 96, nc: 2040, micro: dgemmTile(dgemmAVX512, 8)}
)

// sgemmTile adapts an assembly function, which takes pointers and counts vectors, to microFunc.
func sgemmTile(f func(rows, vecs, k int, a *float32, rs, cs int, b *float32, bs int, c *float32, ldc int, acc bool, e *byte), vec int) microFunc[float32] {
	return func(rows, cols, k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, acc bool, e *tail) {
		_, _ = b[(k-1)*bs+cols-1], c[(rows-1)*ldc+cols-1]
		f(rows, cols/vec, k, &a[0], rs, cs, &b[0], bs, &c[0], ldc, acc, (*byte)(unsafe.Pointer(e)))
	}
}

// stackWith adapts an assembly function in the same way to stackFunc.
func stackWith(f func(n, vecs, k int, a *float32, rs, cs, step int, b *float32, bs int, c *float32, ldc int, acc bool, e *byte), mr, vec int) stackFunc[float32] {
	return func(n, cols, k int, a []float32, rs, cs, step int, b []float32, bs int, c []float32, ldc int, acc bool, e *tail) {
		_, _, _ = a[(n-1)*step+(mr-1)*rs+(k-1)*cs], b[(k-1)*bs+cols-1], c[(n*mr-1)*ldc+cols-1]
		f(n, cols/vec, k, &a[0], rs, cs, step, &b[0], bs, &c[0], ldc, acc, (*byte)(unsafe.Pointer(e)))
	}
}

// narrowWith reads vectors of eight rows from panels of mr: the last may reach beyond its panel, but not beyond what packing allocates.
func narrowWith(f func(cols, k int, a *float32, step int, b *float32, bs int, out *float32), mr int) narrowFunc[float32] {
	return func(cols, k int, a []float32, step int, b []float32, bs int, out []float32) {
		panels := narrowPanels(cols)
		_, _, _ = a[:(panels-1)*step+(k-1)*mr+8:cap(a)], b[(k-1)*bs+cols-1], out[8*cols*panels-1]
		f(cols, k, &a[0], step, &b[0], bs, &out[0])
	}
}

func dgemmTile(f func(rows, vecs, k int, a *float64, rs, cs int, b *float64, bs int, c *float64, ldc int, acc bool, e *byte), vec int) microFunc[float64] {
	return func(rows, cols, k int, a []float64, rs, cs int, b []float64, bs int, c []float64, ldc int, acc bool, _ *tail) {
		_, _ = b[(k-1)*bs+cols-1], c[(rows-1)*ldc+cols-1]
		f(rows, cols/vec, k, &a[0], rs, cs, &b[0], bs, &c[0], ldc, acc, nil)
	}
}

func tiling32() *tiling[float32] {
	return [...]*tiling[float32]{&generic32, &avx2Tiling32, &avx512Tiling32}[level]
}

func tiling64() *tiling[float64] {
	return [...]*tiling[float64]{&generic64, &avx2Tiling64, &avx512Tiling64}[level]
}

// formsOf returns the kernels of an instruction set: what it has no form of its own for comes from the one before.
func formsOf(i ISA) *forms {
	f := generic
	if i >= AVX2 {
		f.addWide = addWideAVX2
		f.widen = widenAVX2
		f.add = addAVX2
		f.sub = subAVX2
		f.mul = mulAVX2
		f.div = divAVX2
		f.mulSub = mulSubAVX2
		f.axpy = axpyAVX2
		f.scale = scaleAVX2
		f.clip = clipAVX2
		f.dot = dotAVX2
		f.sum = sumAVX2
		f.largest = largestAVX2
		f.sumSquares = sumSquaresAVX2
		f.normalize = normalizeAVX2
		f.exp = expAVX2
		f.sigmoid = sigmoidAVX2
		f.silu = siluAVX2
		f.tanh = tanhAVX2
		f.erf = erfAVX2
		f.gelu = geluAVX2
		f.expSum = expSumAVX2
		f.transpose = transposeAVX2
		f.taps = tapsWith(tapsAVX2, 8)
		f.gather = gatherWith(gatherAVX2, 8)
		f.requant = requantWith(requantAVX2, 8)
		f.quant = quantWith(quantAVX2, 8, quantGeneric)
		f.round = quantWith(roundAVX2, 8, roundGeneric)
		f.scaleSums = scaleSumsWith(scaleSumsAVX2, 8)
		f.addCodesU = addCodesWith(addCodesUAVX2, addCodesGeneric[uint8], 8)
		f.addCodesS = addCodesWith(addCodesSAVX2, addCodesGeneric[int8], 8)
		f.dequantU = dequantWith(dequantUAVX2, dequantUGeneric, 8)
		f.dequantS = dequantWith(dequantSAVX2, dequantSGeneric, 8)
		f.depthwise = depthwiseWith(depthwise4AVX2, depthwise7AVX2)
		f.narrowDepth = f.depthwise
		f.copyRows = copyRowsWith(copyRowsAVX2)
		f.deinterleave = deinterleaveWith(deinterleaveAVX2)
		f.winogradIn = winogradInWith(winogradInAVX2, 8)
		f.winogradOut = winogradOutWith(winogradOutAVX2)
		f.sumMirrored = sumMirroredWith(sumMirroredAVX2, 4)
	}
	if i == AVX512 {
		f.addWide = addWideAVX512
		f.widen = widenAVX512
		f.add = addAVX512
		f.sub = subAVX512
		f.mul = mulAVX512
		f.div = divAVX512
		f.mulSub = mulSubAVX512
		f.axpy = axpyAVX512
		f.scale = scaleAVX512
		f.clip = clipAVX512
		f.dot = dotAVX512
		f.sum = sumAVX512
		f.largest = largestAVX512
		f.sumSquares = sumSquaresAVX512
		f.normalize = normalizeAVX512
		f.exp = expAVX512
		f.sigmoid = sigmoidAVX512
		f.silu = siluAVX512
		f.tanh = tanhAVX512
		f.erf = erfAVX512
		f.gelu = geluAVX512
		f.expSum = expSumAVX512
		f.taps = tapsWith(tapsAVX512, 16)
		f.gather = gatherWith(gatherAVX512, 16)
		f.requant = requantWith(requantAVX512, 16)
		f.quant = quantWith(quantAVX512, 16, quantGeneric)
		f.round = quantWith(roundAVX512, 16, roundGeneric)
		f.scaleSums = scaleSumsWith(scaleSumsAVX512, 16)
		f.addCodesU = addCodesWith(addCodesUAVX512, addCodesGeneric[uint8], 16)
		f.addCodesS = addCodesWith(addCodesSAVX512, addCodesGeneric[int8], 16)
		f.dequantU = dequantWith(dequantUAVX512, dequantUGeneric, 16)
		f.dequantS = dequantWith(dequantSAVX512, dequantSGeneric, 16)
		f.depthwise = depthwiseWith(depthwise4AVX512, depthwise7AVX512)
		f.winogradIn = winogradInWith(winogradInAVX512, 16)
		f.winogradOut = winogradOutWith(winogradOutAVX512)
		f.sumMirrored = sumMirroredWith(sumMirroredAVX512, 8)
		f.copyRows = copyRowsWith(copyRowsAVX512)
		f.deinterleave = deinterleaveWith(deinterleaveAVX512)
	}
	return &f
}

// sumMirroredWith takes whole vectors of columns where the matrix is aligned; the rest is done element by element.
func sumMirroredWith(f func(rows, columns *float64, ld int, parts [][]float64, lds, vecs int, scale float64), lanes int) func(rows, columns []float64, ld int, parts [][]float64, lds, m, n int, scale float64) {
	return func(rows, columns []float64, ld int, parts [][]float64, lds, m, n int, scale float64) {
		const line = 64
		vecs := n / lanes
		if m != MirrorRows || vecs == 0 || ld%MirrorRows != 0 || (uintptr(unsafe.Pointer(&rows[0]))|uintptr(unsafe.Pointer(&columns[0])))%line != 0 {
			sumMirroredGeneric(rows, columns, ld, parts, lds, m, n, scale)
			return
		}
		f(&rows[0], &columns[0], ld, parts, lds, vecs, scale)
		if done := vecs * lanes; done < n {
			rest := make([][]float64, len(parts))
			for i, p := range parts {
				rest[i] = p[done:]
			}
			sumMirroredGeneric(rows[done:], columns[done*ld:], ld, rest, lds, m, n-done, scale)
		}
	}
}

// transposeAVX2 transposes strips of eight rows; what is left over is done element by element.
func transposeAVX2(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	i, c8 := 0, cols/8*8
	if c8 > 0 {
		for ; i+8 <= rows; i += 8 {
			transpose8AVX2(&dst[i], ldd, &src[i*lds], lds, 8, c8/8)
		}
	}
	if c8 < cols && i > 0 {
		transposeGeneric(dst[c8*ldd:], ldd, src[c8:], lds, i, cols-c8)
	}
	if i < rows {
		transposeGeneric(dst[i:], ldd, src[i*lds:], lds, rows-i, cols)
	}
}

// packFast packs the first rows of a transposed panel of w full columns and returns how many. It writes eight columns at a time; where w
// is no multiple of eight, what goes too far is overwritten by the next row, so the last rows are left to the caller.
func packFast(dst []float32, w int, src []float32, ld, kb int) int {
	if level == Generic {
		return 0
	}
	blocks := kb / 8
	if w%8 != 0 {
		blocks = (kb - 1) / 8
	}
	if blocks <= 0 {
		return 0
	}
	for j := 0; j < w; j += 8 {
		transpose8AVX2(&dst[j], w, &src[j*ld], ld, min(8, w-j), blocks)
	}
	return 8 * blocks
}
