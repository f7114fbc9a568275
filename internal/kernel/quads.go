package kernel

import "unsafe"

// Products of bytes where the processor multiplies four at a time: a quad holds four neighbours along the inner dimension, the first in
// the lowest byte. One operand is unsigned, the other signed; codes of the other kind have their highest bit flipped, which moves them and
// their zero point by 128. Zero points are not taken off before: sum (a - za)(b - zb) = sum ab - za sum b - zb sum a + K za zb.

// quadTiling is the register tile of a form; nil forms have none, and multiply pairs.
type quadTiling struct {
	mr, nr, vec int
	sums        quadMicro                                                                                       // b unsigned
	swapped     quadMicro                                                                                       // a unsigned
	codes       func(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []byte, ldc int, e *rounding) // b unsigned, any cols
	narrow      quadsNarrowFunc                                                                                 // b unsigned; nil: none
	pack        func(dst []int32, ldd int, src []byte, o [3]int, step, quads, cols int, flip uint32)
	depthwise   depthQuadsFunc
	copyBytes   func(dst []byte, ldd int, src []byte, lds, rows, cols int, flip uint32)
}

// quadMicro computes C[i,j] = sum over k quads of the products of the four bytes at a[i*rs+p*cs] and at b[p*bs+4*j], for i < rows <= mr
// and j < cols, where cols is a multiple of vec and at most nr. Strides of a and b count bytes.
type quadMicro func(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []int32, ldc int)

// quadsNarrowFunc sets sums[8*(p*cols+j)+i] to the sum of row i of panel p of A, step bytes from one to the next, with column j of B, for
// j < cols <= narrowCols and p < narrowPanels(cols).
type quadsNarrowFunc func(cols, k int, a []byte, step int, b []byte, bs int, sums []int32)

// beyond is how many of so many columns lie beyond whole vectors, if the kernel for few columns takes them.
func (t *quadTiling) beyond(cols int) int {
	if rest := cols % t.vec; t.narrow != nil && rest <= narrowCols {
		return rest
	}
	return 0
}

// rounding is a Rounding from the first row of a tile on: min(255, max(0, round((sum + bias)*factor) + zero)) with the bits of flip flipped.
// Assembly reads it.
type rounding struct {
	bias   *int32
	factor *float32
	hi     float32 // 255 - zero
	zero   int32   // of the codes as unsigned ones
	flip   uint32
}

// to makes e the rounding to codes of the kind of c, from output channel i on.
func (e *rounding) to(c Codes, bias []int32, factor []float32, i int) *rounding {
	flip := uint32(0)
	if c.Signed {
		flip = flipBits
	}
	zero := flipped(c.Zero, flip, 128)
	*e = rounding{&bias[i], &factor[i], float32(255 - zero), zero, flip}
	return e
}

// row makes codes of the sums of row i, which already have the bias.
func (e *rounding) row(dst []byte, sums []int32, i int) {
	requantGeneric(dst, sums, unsafe.Slice(e.factor, i+1)[i], float32(-e.zero), e.hi, e.zero)
	for j := range dst {
		dst[j] ^= byte(e.flip)
	}
}

// quadLen is the number of quads that k elements take.
func quadLen(k int) int { return (k + 3) / 4 }

// flipBits turns signed codes to unsigned ones and back.
const flipBits = 0x80808080

// flipped is a zero point of signed codes seen as unsigned (to 128) or of unsigned ones seen as signed (to -128).
func flipped(zero int32, flip uint32, to int32) int32 {
	if flip != 0 {
		return zero + to
	}
	return zero
}

func quadSums(swapped bool) quadMicro {
	return func(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []int32, ldc int) {
		for i := range rows {
			for j := range cols {
				var sum int32
				for p := range k {
					x, y := a[i*rs+p*cs:], b[p*bs+4*j:]
					for q := range 4 {
						if swapped {
							sum += int32(x[q]) * int32(int8(y[q]))
						} else {
							sum += int32(int8(x[q])) * int32(y[q])
						}
					}
				}
				c[i*ldc+j] = sum
			}
		}
	}
}

func quadCodesGeneric(rows, cols, k int, a []byte, rs, cs int, b []byte, bs int, c []byte, ldc int, e *rounding) {
	row := make([]int32, cols)
	for i := range rows {
		quadSums(false)(1, cols, k, a[i*rs:], rs, cs, b, bs, row, cols)
		bias := unsafe.Slice(e.bias, rows)[i]
		for j := range row {
			row[j] += bias
		}
		e.row(c[i*ldc:i*ldc+cols], row, i)
	}
}

// packQuadsGeneric sets dst[q*ldd+j], j < cols, to the quads of the bytes at src[q*step+j] and o[0], o[1], o[2] behind it, with the bits of
// flip flipped.
func packQuadsGeneric(dst []int32, ldd int, src []byte, o [3]int, step, quads, cols int, flip uint32) {
	for q := range quads {
		s, d := src[q*step:], dst[q*ldd:q*ldd+cols]
		for j := range d {
			d[j] = int32((uint32(s[j]) | uint32(s[o[0]+j])<<8 | uint32(s[o[1]+j])<<16 | uint32(s[o[2]+j])<<24) ^ flip)
		}
	}
}

// genericQuads is the tiling in Go: the tests' reference, and what they run where the processor has none.
var genericQuads = quadTiling{mr: 8, nr: 48, vec: 16, sums: quadSums(false), swapped: quadSums(true), codes: quadCodesGeneric, pack: packQuadsGeneric,
	depthwise: depthQuadsGeneric, copyBytes: copyBytesGeneric}

// copyBytesGeneric copies rows of cols bytes with the bits of flip flipped.
func copyBytesGeneric(dst []byte, ldd int, src []byte, lds, rows, cols int, flip uint32) {
	for i := range rows {
		for j, v := range src[i*lds : i*lds+cols] {
			dst[i*ldd+j] = v ^ byte(flip)
		}
	}
}

// packRowsOfBytes sets dst[q*ldd+j] to the quads of rows 4q..4q+3 of k rows of bytes, ld apart; rows beyond the last are copies of it, to be
// multiplied by zeros.
func (t *quadTiling) packRowsOfBytes(dst []int32, ldd int, src []byte, ld, k, cols int, flip uint32) {
	full := k / 4
	if full > 0 {
		t.pack(dst, ldd, src, [3]int{ld, 2 * ld, 3 * ld}, 4*ld, full, cols, flip)
	}
	if rest := k % 4; rest > 0 {
		o := [3]int{min(1, rest-1) * ld, min(2, rest-1) * ld, (rest - 1) * ld}
		t.pack(dst[full*ldd:], ldd, src[4*full*ld:], o, 0, 1, cols, flip)
	}
}

// byteWords is x as bytes.
func byteWords(x []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// rawCodes is x as bytes, and what flips codes of its type when want tells the other kind.
func rawCodes[T Byte](x []T, wantSigned bool) ([]byte, uint32) {
	if (T(0)-1 < 0) != wantSigned {
		return raw(x), flipBits
	}
	return raw(x), 0
}
