package onnxio

import "math"

// The conversions between float32 and the two 16-bit float types stand for most of what a half-precision model costs, so they do
// not go by way of float64 and a format's description, as the others do. The results are the same bits.

// castHalf converts between float32 and Float16 or BFloat16; false when it is another pair.
func castHalf(out, in *Tensor) bool {
	wide, half := Slice[float32](in), Slice[uint16](out)
	if in.Type == Float16 || in.Type == BFloat16 {
		wide, half = Slice[float32](out), Slice[uint16](in)
	}
	switch {
	case in.Type == Float32 && out.Type == Float16:
		convert(half, wide, float16Bits)
	case in.Type == Float32 && out.Type == BFloat16:
		convert(half, wide, bfloat16Bits)
	case in.Type == Float16 && out.Type == Float32:
		convert(wide, half, fromFloat16)
	case in.Type == BFloat16 && out.Type == Float32:
		convert(wide, half, func(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) })
	default:
		return false
	}
	return true
}

func convert[D, S any](dst []D, src []S, f func(S) D) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = f(v)
	}
}

// fromFloat16 moves exponent and mantissa to their places in a float32 and multiplies by 2^112, the difference of the two biases;
// that also makes subnormal numbers normal.
func fromFloat16(code uint16) float32 {
	sign, rest := uint32(code&0x8000)<<16, uint32(code&0x7fff)
	if rest >= 0x7c00 { // infinity or NaN
		if rest > 0x7c00 {
			return float32(math.Copysign(math.NaN(), float64(math.Float32frombits(sign|0x3f800000))))
		}
		return math.Float32frombits(sign | 0x7f800000)
	}
	v := math.Float32frombits(rest<<13) * (1 << 112)
	return math.Float32frombits(math.Float32bits(v) | sign)
}

// float16Bits rounds to nearest, ties to even.
func float16Bits(v float32) uint16 {
	b := math.Float32bits(v)
	sign, rest := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case rest > 0x7f800000:
		return sign | 0x7e00
	case rest >= 0x47800000: // 65536 and up
		return sign | 0x7c00
	case rest < 0x38800000: // below 2^-14: added to 0.5, the last bit of the sum counts 2^-24
		return sign | uint16(math.Float32bits(math.Float32frombits(rest)+0.5)-0x3f000000)
	}
	return sign | uint16((rest-112<<23+0xfff+rest>>13&1)>>13) // a carry into the top exponent is the infinity that it should be
}

// bfloat16Bits rounds to nearest, ties to even.
func bfloat16Bits(v float32) uint16 {
	b := math.Float32bits(v)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16&0x8000) | 0x7fc0
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
