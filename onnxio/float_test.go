package onnxio

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"testing"
)

// Checksums of ml_dtypes 0.6 and NumPy: all codes decoded to float32, and 2^18 float32 patterns of every exponent encoded,
// saturating and not. NaNs count as one.
var floatGolden = []struct {
	t                 DataType
	decode, sat, nsat uint32
}{
	{Float16, 0x3020c7a7, 0x7821ce50, 0x7821ce50},
	{BFloat16, 0x28c5ed34, 0x69e6348c, 0x69e6348c},
	{Float8E4M3FN, 0x2fdee9ac, 0x64031f5a, 0x5e8228b2},
	{Float8E4M3FNUZ, 0xf2dfa052, 0x404eebfb, 0xd28b69c2},
	{Float8E5M2, 0x3d83fd11, 0x95dafb1f, 0x92ef192c},
	{Float8E5M2FNUZ, 0x9c70b84, 0xb0930540, 0x28da64e4},
	{Float4E2M1, 0x866770b6, 0xb9bd6d8a, 0xb9bd6d8a},
	{Float6E2M3, 0x50f19834, 0xbcf7d948, 0xbcf7d948},
	{Float6E3M2, 0xce26bb00, 0x1be1f92f, 0x1be1f92f},
}

func TestFloatGolden(t *testing.T) {
	for _, g := range floatGolden {
		if got := decodeSum(g.t); got != g.decode {
			t.Errorf("%v: decode %#x, want %#x", g.t, got, g.decode)
		}
		if got := encodeSum(g.t, CastOptions{}); got != g.sat {
			t.Errorf("%v: encode %#x, want %#x", g.t, got, g.sat)
		}
		if got := encodeSum(g.t, CastOptions{NoSaturate: true}); got != g.nsat {
			t.Errorf("%v: encode without saturation %#x, want %#x", g.t, got, g.nsat)
		}
	}
	if got := decodeSum(Float8E8M0); got != 0x719979ba {
		t.Errorf("float8e8m0: decode %#x", got)
	}
}

func decodeSum(dt DataType) uint32 {
	var b []byte
	for code := range 1 << dt.Bits() {
		v := DecodeFloat(dt, uint16(code))
		bits := math.Float32bits(v)
		if v != v {
			bits = 0x7fc00000
		}
		b = binary.LittleEndian.AppendUint32(b, bits)
	}
	return crc32.ChecksumIEEE(b)
}

func encodeSum(dt DataType, o CastOptions) uint32 {
	var b []byte
	for i := range uint32(1 << 18) {
		x := math.Float32frombits(i*16411 + 7)
		code := EncodeFloat(dt, float64(x), o)
		if v := DecodeFloat(dt, code); v != v || x != x {
			code = 0
		}
		b = append(b, byte(code))
		if dt.Bits() == 16 {
			b = append(b, byte(code>>8))
		}
	}
	return crc32.ChecksumIEEE(b)
}

// Every code that is a number encodes to itself.
func TestFloatCodesRoundTrip(t *testing.T) {
	for dt := range floatFormats {
		for code := range 1 << dt.Bits() {
			if v := DecodeFloat(dt, uint16(code)); v == v {
				if back := EncodeFloat(dt, float64(v), CastOptions{NoSaturate: true}); back != uint16(code) {
					t.Errorf("%v: %#x is %g, which encodes to %#x", dt, code, v, back)
				}
			}
		}
	}
}

func TestFloatSpecial(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		t    DataType
		x    float64
		sat  uint16
		nsat uint16
	}{ // the tables of the operator Cast
		{Float8E4M3FN, inf, 0x7e, 0x7f}, {Float8E4M3FN, -inf, 0xfe, 0xff}, {Float8E4M3FN, 1e9, 0x7e, 0x7f},
		{Float8E4M3FN, nan, 0x7f, 0x7f}, {Float8E4M3FN, math.Copysign(0, -1), 0x80, 0x80},
		{Float8E4M3FNUZ, inf, 0x7f, 0x80}, {Float8E4M3FNUZ, -1e-30, 0, 0}, {Float8E4M3FNUZ, nan, 0x80, 0x80},
		{Float8E5M2, inf, 0x7b, 0x7c}, {Float8E5M2, -inf, 0xfb, 0xfc}, {Float8E5M2, 61440, 0x7b, 0x7c},
		{Float8E5M2, 61439, 0x7b, 0x7b}, {Float8E5M2FNUZ, -inf, 0xff, 0x80},
		{Float16, 65519.99, 0x7bff, 0x7bff}, {Float16, 65520, 0x7c00, 0x7c00}, {Float16, 6e-8, 1, 1},
		{Float16, math.SmallestNonzeroFloat64, 0, 0}, {BFloat16, 1.00390625, 0x3f80, 0x3f80},
		{Float4E2M1, 5, 6, 6}, {Float4E2M1, -inf, 15, 15}, {Float4E2M1, nan, 8, 8}, {Float4E2M1, 0.25, 0, 0},
		{Float32, 1, 0, 0},
	} {
		got, ngot := EncodeFloat(c.t, c.x, CastOptions{}), EncodeFloat(c.t, c.x, CastOptions{NoSaturate: true})
		if got != c.sat || ngot != c.nsat {
			t.Errorf("%v of %g: %#x and %#x, want %#x and %#x", c.t, c.x, got, ngot, c.sat, c.nsat)
		}
	}
}

func TestE8M0(t *testing.T) {
	for _, c := range []struct {
		x                 float64
		up, down, nearest uint16
		nsat              uint16 // nearest, not saturating
	}{
		{0, 0, 0, 0, 255}, {1, 127, 127, 127, 127}, {1.1, 128, 127, 127, 127}, {1.5, 128, 127, 128, 128}, {1.499, 128, 127, 127, 127},
		{math.Ldexp(1, 127), 254, 254, 254, 254}, {math.Ldexp(1.7, 127), 254, 254, 254, 255}, {math.Inf(1), 254, 254, 254, 255},
		{math.Ldexp(1, -127), 0, 0, 0, 0}, {math.Ldexp(1, -129), 0, 0, 0, 255}, {math.NaN(), 255, 255, 255, 255}, {-1, 255, 255, 255, 255},
	} {
		got := []uint16{EncodeFloat(Float8E8M0, c.x, CastOptions{}), EncodeFloat(Float8E8M0, c.x, CastOptions{Round: RoundDown}),
			EncodeFloat(Float8E8M0, c.x, CastOptions{Round: RoundNearest}), EncodeFloat(Float8E8M0, c.x, CastOptions{Round: RoundNearest, NoSaturate: true})}
		if want := []uint16{c.up, c.down, c.nearest, c.nsat}; !slices.Equal(got, want) {
			t.Errorf("%g: %v, want %v", c.x, got, want)
		}
	}
}
