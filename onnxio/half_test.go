package onnxio

import (
	"math"
	"testing"
)

// TestHalf: the short ways give the bits of the general ones: for every code, and for the numbers at and beside every place where
// rounding changes.
func TestHalf(t *testing.T) {
	for _, typ := range []DataType{Float16, BFloat16} {
		var at []float32
		for code := range 1 << 16 {
			in := NewTensor(typ, 1)
			Slice[uint16](in)[0] = uint16(code)
			out := NewTensor(Float32, 1)
			if !castHalf(out, in) {
				t.Fatalf("%v to float32 is not converted", typ)
			}
			got, want := out.Float32s()[0], DecodeFloat(typ, uint16(code))
			if math.Float32bits(got) != math.Float32bits(want) && (got == got || want == want) {
				t.Fatalf("%v code %#x is %v, expected %v", typ, code, got, want)
			}
			next := DecodeFloat(typ, uint16(code+1))
			half := float32((float64(want) + float64(next)) / 2)
			at = append(at, want, half, math.Nextafter32(half, want), math.Nextafter32(half, next))
		}
		at = append(at, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 65519.996, 65520, 65536, 1e-8, 2.98023223876953125e-8)
		in, out := TensorOf(at, len(at)), NewTensor(typ, len(at))
		if !castHalf(out, in) {
			t.Fatalf("float32 to %v is not converted", typ)
		}
		for i, v := range at {
			if got, want := Slice[uint16](out)[i], EncodeFloat(typ, float64(v), CastOptions{}); got != want {
				t.Fatalf("%v (%#x) in %v is %#x, expected %#x", v, math.Float32bits(v), typ, got, want)
			}
		}
	}
}
