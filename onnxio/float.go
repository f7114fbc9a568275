package onnxio

import "math"

// floatFormat describes a float type of at most 16 bits: sign, exponent and mantissa from the top. The value of a normal
// code is (-1)^s * 2^(e-bias) * (1 + m/2^man), that of a subnormal one (e = 0) is (-1)^s * 2^(1-bias) * m/2^man.
type floatFormat struct {
	exp, man, bias uint
	special        special
}

type special uint8

const (
	ieee special = iota // the top exponent holds infinities and NaNs
	fn                  // finite, all ones is NaN
	fnuz                // finite, "negative zero" is NaN, zero has no sign
	none                // every code is a number
)

var floatFormats = map[DataType]floatFormat{
	Float16:        {5, 10, 15, ieee},
	BFloat16:       {8, 7, 127, ieee},
	Float8E5M2:     {5, 2, 15, ieee},
	Float8E4M3FN:   {4, 3, 7, fn},
	Float8E4M3FNUZ: {4, 3, 8, fnuz},
	Float8E5M2FNUZ: {5, 2, 16, fnuz},
	Float6E2M3:     {2, 3, 1, none},
	Float6E3M2:     {3, 2, 3, none},
	Float4E2M1:     {2, 1, 1, none},
}

const e8m0NaN = 255

// sign is the sign bit's place.
func (f floatFormat) sign() uint16 { return 1 << (f.exp + f.man) }

// max is the code of the largest finite number.
func (f floatFormat) max() uint16 {
	switch f.special {
	case ieee:
		return f.inf() - 1
	case fn:
		return f.sign() - 2
	}
	return f.sign() - 1
}

// inf is the code of positive infinity in the ieee formats.
func (f floatFormat) inf() uint16 { return (1<<f.exp - 1) << f.man }

// nan is the code for a NaN with the given sign bit. The formats without one answer with negative zero, as ml_dtypes does.
func (f floatFormat) nan(sign uint16) uint16 {
	switch f.special {
	case ieee:
		return sign | f.inf() | 1<<(f.man-1)
	case fn:
		return sign | (f.sign() - 1)
	}
	return f.sign()
}

// decode gives the exact value of a code.
func (f floatFormat) decode(code uint16) float32 {
	neg := code&f.sign() != 0
	mag := code & (f.sign() - 1)
	e, m := int(mag>>f.man), float64(mag&(1<<f.man-1))
	var v float64
	switch {
	case f.special == fnuz && neg && mag == 0, f.special == fn && mag == f.sign()-1, f.special == ieee && mag > f.inf():
		v = math.NaN()
	case f.special == ieee && mag == f.inf():
		v = math.Inf(1)
	case e == 0:
		v = math.Ldexp(m, 1-int(f.bias)-int(f.man))
	default:
		v = math.Ldexp(m+float64(uint(1)<<f.man), e-int(f.bias)-int(f.man))
	}
	if neg {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}

// encode rounds to the nearest code, ties to even. What is too large becomes the largest finite number when saturate is set
// or the format has nothing beyond it; otherwise infinity, or NaN where there is none.
func (f floatFormat) encode(x float64, saturate bool) uint16 {
	var sign uint16
	if math.Signbit(x) {
		sign = f.sign()
	}
	if math.IsNaN(x) {
		return f.nan(sign)
	}
	mag, ok := f.magnitude(math.Abs(x))
	switch {
	case ok && mag == 0 && f.special == fnuz:
		return 0
	case ok:
		return sign | mag
	case saturate || f.special == none:
		return sign | f.max()
	case f.special == ieee:
		return sign | f.inf()
	}
	return f.nan(sign)
}

// magnitude is the code of x >= 0, and whether x rounds to a finite number at all.
func (f floatFormat) magnitude(x float64) (uint16, bool) {
	if x == 0 {
		return 0, true
	}
	if math.IsInf(x, 1) {
		return 0, false
	}
	_, e := math.Frexp(x) // x = 1.m * 2^(e-1)
	least := 2 - int(f.bias)
	e = max(e, least) // below the least normal number the step stays the same
	steps := math.RoundToEven(math.Ldexp(x, int(f.man)+1-e))
	code := math.Ldexp(float64(e-least), int(f.man)) + steps // a carry in steps moves on to the exponent by itself
	if code > float64(f.max()) {
		return 0, false
	}
	return uint16(code), true
}

// Rounding is how a cast to Float8E8M0 picks a power of two.
type Rounding uint8

// The values of Cast's attribute round_mode.
const (
	RoundUp Rounding = iota
	RoundDown
	RoundNearest // a tie goes up
)

// encodeE8M0 picks the power of two for x. Negative numbers, for which the format has nothing, become NaN.
func encodeE8M0(x float64, o CastOptions) uint16 {
	if math.IsNaN(x) || x < 0 {
		return e8m0NaN
	}
	code := 0.0
	if x == 0 {
		code = -1
	} else {
		m, e := math.Frexp(x) // x = m * 2^e, 0.5 <= m < 1
		if o.Round == RoundUp && m > 0.5 || o.Round == RoundNearest && m >= 0.75 {
			e++
		}
		code = float64(e - 1 + 127)
	}
	switch {
	case code >= 0 && code < e8m0NaN && !math.IsInf(x, 1):
		return uint16(code)
	case o.NoSaturate:
		return e8m0NaN
	case code < 0:
		return 0
	}
	return e8m0NaN - 1
}

// DecodeFloat is the value of the code of a float type of at most 16 bits, exactly. Codes have no value for any other type:
// the result is NaN then.
func DecodeFloat(t DataType, code uint16) float32 {
	switch f, ok := floatFormats[t]; {
	case t == BFloat16:
		return math.Float32frombits(uint32(code) << 16)
	case ok:
		return f.decode(code)
	case t == Float8E8M0 && code < e8m0NaN:
		return float32(math.Ldexp(1, int(code)-127))
	}
	return float32(math.NaN())
}

// EncodeFloat rounds x to a code of the float type t of at most 16 bits: to nearest, ties to even, except for Float8E8M0. It
// follows the tables of the operator Cast; the result is 0 when t is no such type.
func EncodeFloat(t DataType, x float64, o CastOptions) uint16 {
	f, ok := floatFormats[t]
	switch {
	case ok:
		return f.encode(x, !o.NoSaturate && t.Bits() < 16)
	case t == Float8E8M0:
		return encodeE8M0(x, o)
	}
	return 0
}
