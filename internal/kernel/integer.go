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

// PairLen is the number of words that k elements take.
func PairLen(k int) int { return (k + 1) / 2 }

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

// PairRows sets dst (m x PairLen(k)) to the pairs along the rows of src (m x k), less zero: one for each row, one for all, or none.
func PairRows[T Byte](dst []int32, src []T, m, k int, zero []int32) {
	half := PairLen(k)
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

// PairCols sets dst (PairLen(k) x n) to the pairs along the columns of src (k x n), less zero: one for each column, one for all, or none.
func PairCols[T Byte](dst []int32, src []T, k, n int, zero []int32) {
	one := zeroAt(zero[:min(len(zero), 1)], 0)
	for p := range PairLen(k) {
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

// IntProduct sets c (m x n) to the product of pairs a (m x k words) and b (k words x n).
func IntProduct(m, n, k int, a, b, c []int32, threads int) {
	p := product[float32]{t: intTiling(), m: m, n: n, k: k, alpha: 1, a: dense[float32]{words(a), k, false},
		b: dense[float32]{words(b), n, false}, c: words(c), ldc: n, bits: true}
	p.run(threads)
}

// IntConv is the constant weight of a convolution of 8-bit integers.
type IntConv struct {
	groups []*PackedA
}

// PackIntConv packs w, laid out OutC x InC/Groups x KH x KW, less its zero points: one for each output channel, one for all, or none.
func PackIntConv[T Byte](s ConvShape, w []T, zero []int32) *IntConv {
	s = s.normal()
	m, ic, taps := s.OutC/s.Groups, s.InC/s.Groups, s.KH*s.KW
	k := PairLen(ic) * taps
	t := intTiling()
	c := &IntConv{}
	rows := make([]int32, m*k)
	for g := range s.Groups {
		for i := range m {
			z := zeroAt(zero, g*m+i)
			from := w[(g*m+i)*ic*taps:]
			at := func(c, tap int) int32 {
				if c >= ic {
					return 0
				}
				return int32(from[c*taps+tap]) - z
			}
			for p := range PairLen(ic) {
				for tap := range taps {
					rows[i*k+p*taps+tap] = pair(at(2*p, tap), at(2*p+1, tap))
				}
			}
		}
		c.groups = append(c.groups, &PackedA{m, k, t, packAll(t.kc, t.mr, words(rows), k, true, k, m)})
	}
	return c
}

// PairChannels sets dst to the pairs of neighbouring channels of n images x (n x Groups x InC/Groups x H x W), less zero: the form of Run.
func PairChannels[T Byte](dst []int32, s ConvShape, n int, x []T, zero int32, threads int) {
	s = s.normal()
	ic, plane := s.InC/s.Groups, s.H*s.W
	half := PairLen(ic)
	if n*s.InC*plane < smallProduct {
		threads = 1
	}
	Parallel(threads, n*s.Groups, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			PairCols(dst[j*half*plane:(j+1)*half*plane], x[j*ic*plane:(j+1)*ic*plane], ic, plane, []int32{zero})
		}
	})
}

// Run convolves n images, x from PairChannels, to sums y (n x OutC x OutH x OutW). The padding counts as the zero point.
func (c *IntConv) Run(s ConvShape, n int, x, y []int32, threads int) {
	s = s.normal()
	s.InC = PairLen(s.InC/s.Groups) * s.Groups
	in, out := s.InC*s.H*s.W/s.Groups, s.OutC*s.OutH()*s.OutW()/s.Groups
	jobs := n * s.Groups
	if out == 0 || jobs == 0 {
		return
	}
	inner := threads
	if jobs >= 2*threads {
		inner = 1
	}
	f := &PackedConv{groups: c.groups}
	Parallel((threads+inner-1)/inner, jobs, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			f.group(s, j%s.Groups, words(x[j*in:(j+1)*in]), words(y[j*out:(j+1)*out]), nil, inner)
		}
	})
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
