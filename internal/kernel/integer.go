package kernel

import (
	"math"
	"unsafe"
)

// Products of 8-bit integers without their zero points, -255..255, with exact sums in int32. Two neighbours along the inner dimension
// lie in one 32-bit word, the first in the low half: one instruction multiplies both and adds them. The words travel through the packing
// and blocking of the float32 product, which only move bits.

// Byte is the type of a quantized element.
type Byte interface{ int8 | uint8 }

// pairLen is the number of words that k elements take.
func pairLen(k int) int { return (k + 1) / 2 }

func pair(a, b int32) int32 { return a&0xffff | b<<16 }

// zeroAt is entry i of a list of zero points, its only one, or 0 for none.
func zeroAt(zero []int32, i int) int32 {
	switch len(zero) {
	case 0:
		return 0
	case 1:
		return zero[0]
	}
	return zero[i]
}

// pairRows sets dst (m x pairLen(k)) to the pairs along the rows of src (m x k), less zero: one for each row, one for all, or none.
func pairRows[T Byte](dst []int32, src []T, m, k int, zero []int32) {
	half := pairLen(k)
	for i := range m {
		z, s, d := zeroAt(zero, i), src[i*k:(i+1)*k], dst[i*half:(i+1)*half]
		for p := range k / 2 {
			d[p] = pair(int32(s[2*p])-z, int32(s[2*p+1])-z)
		}
		if k%2 == 1 {
			d[half-1] = pair(int32(s[k-1])-z, 0)
		}
	}
}

// pairCols sets dst (pairLen(k) x n) to the pairs along the columns of src (k x n), less zero: one for each column, one for all, or none.
func pairCols[T Byte](dst []int32, src []T, k, n int, zero []int32) {
	one := zeroAt(zero[:min(len(zero), 1)], 0)
	for p := range pairLen(k) {
		d, a := dst[p*n:(p+1)*n], src[2*p*n:(2*p+1)*n]
		if 2*p+1 == k {
			for j := range d {
				d[j] = pair(int32(a[j])-zeroAt(zero, j), 0)
			}
			continue
		}
		b := src[(2*p+1)*n : (2*p+2)*n]
		if len(zero) > 1 {
			for j := range d {
				d[j] = pair(int32(a[j])-zero[j], int32(b[j])-zero[j])
			}
			continue
		}
		for j := range d {
			d[j] = pair(int32(a[j])-one, int32(b[j])-one)
		}
	}
}

// words is x as the float32 product carries it.
func words(x []int32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// intWords is the reverse of words.
func intWords(x []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// Requant sets dst = min(hi, max(lo, round(sums*factor) + zero)), rounded to even; dst holds int8 or uint8, and lo..hi is the range of its
// type.
func Requant[T Byte](dst []T, sums []int32, factor float32, zero int32) {
	lo, hi := int32(0), int32(255)
	if T(0)-1 < 0 {
		lo, hi = -128, 127
	}
	active.requant(raw(dst), sums[:len(dst)], factor, float32(lo-zero), float32(hi-zero), zero)
}

// Quantize sets dst = min(hi, max(lo, round(x/scale) + zero)) as Requant does; NaN gives the lowest code.
func Quantize[T Byte](dst []T, x []float32, scale float32, zero int32) {
	lo, hi := int32(0), int32(255)
	if T(0)-1 < 0 {
		lo, hi = -128, 127
	}
	active.quant(raw(dst), x[:len(dst)], scale, float32(lo-zero), float32(hi-zero), zero)
}

// Dequantize sets dst = (x - zero)*scale, over len(dst).
func Dequantize[T Byte](dst []float32, x []T, scale float32, zero int32) {
	x = x[:len(dst)]
	if T(0)-1 < 0 {
		active.dequantS(dst, raw(x), scale, float32(zero))
	} else {
		active.dequantU(dst, raw(x), scale, float32(zero))
	}
}

// raw is x as bytes.
func raw[T Byte](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

func signedBytes(x []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

func requantGeneric(dst []byte, sums []int32, factor, lo, hi float32, zero int32) {
	for i, s := range sums {
		dst[i] = rounded(float32(s)*factor, lo, hi, zero)
	}
}

func quantGeneric(dst []byte, x []float32, scale, lo, hi float32, zero int32) {
	for i, v := range x {
		dst[i] = rounded(v/scale, lo, hi, zero)
	}
}

// roundGeneric is quantGeneric with a factor in place of a divisor.
func roundGeneric(dst []byte, x []float32, factor, lo, hi float32, zero int32) {
	for i, v := range x {
		dst[i] = rounded(v*factor, lo, hi, zero)
	}
}

// scaleSumsGeneric sets dst = float(sums + less)*scale + bias, rounded after each step; dst may lie where sums lies.
func scaleSumsGeneric(dst []float32, sums, less []int32, scale, bias []float32) {
	for i := range dst {
		dst[i] = float32(float32(sums[i]+less[i])*scale[i]) + bias[i]
	}
}

// AddCodes sets dst to the codes nearest to a*ra + (b*rb + fixed), rounded to even, with two roundings to float32 before: all three have the
// type of dst, and zero points do not count.
func AddCodes(dst, a, b Codes, ra, rb, fixed float32) {
	if dst.Signed {
		active.addCodesS(dst.Bytes, a.Bytes[:len(dst.Bytes)], b.Bytes[:len(dst.Bytes)], ra, rb, fixed, -128, 127)
	} else {
		active.addCodesU(dst.Bytes, a.Bytes[:len(dst.Bytes)], b.Bytes[:len(dst.Bytes)], ra, rb, fixed, 0, 255)
	}
}

func addCodesGeneric[T Byte](dst, a, b []byte, ra, rb, fixed, lo, hi float32) {
	for i := range dst {
		dst[i] = rounded(fma32(float32(T(a[i])), ra, fma32(float32(T(b[i])), rb, fixed)), lo, hi, 0)
	}
}

// rounded is round(v) within lo..hi, plus zero.
func rounded(v, lo, hi float32, zero int32) byte {
	if !(v > lo) {
		v = lo
	}
	if v > hi {
		v = hi
	}
	return byte(int32(math.RoundToEven(float64(v))) + zero)
}

func dequantUGeneric(dst []float32, x []byte, scale, zero float32) {
	for i, v := range x {
		dst[i] = (float32(v) - zero) * scale
	}
}

func dequantSGeneric(dst []float32, x []byte, scale, zero float32) {
	for i, v := range x {
		dst[i] = (float32(int8(v)) - zero) * scale
	}
}

// microPairs is the micro-kernel of pairs in Go: C[i,j] = sum of both halves' products.
func microPairs(rows, cols, k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, acc bool, _ *tail) {
	for i := range rows {
		var t [4]int32
		for p := range k {
			x := int32(math.Float32bits(a[i*rs+p*cs]))
			for j := range t {
				y := int32(math.Float32bits(b[p*bs+j]))
				t[j] += int32(int16(x))*int32(int16(y)) + (x>>16)*(y>>16)
			}
		}
		for j, v := range t {
			if acc {
				v += int32(math.Float32bits(c[i*ldc+j]))
			}
			c[i*ldc+j] = math.Float32frombits(uint32(v))
		}
	}
}

// intK is the block size along the inner dimension: all of it, because sums of blocks would be added as floats at the edges.
const intK = 1 << 40

var genericInt = tiling[float32]{mr: 4, nr: 4, vec: 4, kc: intK, mc: 128, nc: 512, micro: microPairs}
