package onnxio

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// CastOptions are the attributes of the operator Cast that matter for float types of 8 bits. The zero value is the default.
type CastOptions struct {
	NoSaturate bool     // too large a number becomes infinity or NaN, not the largest finite number
	Round      Rounding // Float8E8M0 only
}

// ToFloat32 is the tensor as float32: t itself when it is that already.
func (t *Tensor) ToFloat32() (*Tensor, error) { return t.ConvertTo(Float32) }

// ConvertTo converts every element as the operator Cast does with its default attributes. It returns t itself when the type
// is the same.
//
// Floats round to nearest, ties to even, saturating for types of 8 bits and less. A float becomes an integer by dropping its
// fraction; NaN becomes 0. Integers that do not fit lose their higher bits. Strings are parsed and printed as decimal numbers.
// Complex numbers only convert among themselves and from real ones.
func (t *Tensor) ConvertTo(to DataType) (*Tensor, error) { return t.Cast(to, CastOptions{}) }

// Cast is ConvertTo with the attributes of the operator Cast.
func (t *Tensor) Cast(to DataType, o CastOptions) (*Tensor, error) {
	if t.Type == to {
		return t, nil
	}
	if !to.Valid() || t.Type.info().kind == kindComplex && to.info().kind != kindComplex {
		return nil, fmt.Errorf("cannot convert %v to %v", t.Type, to)
	}
	out := NewTensor(to, t.Shape...)
	var err error
	if castHalf(out, t) {
		return out, nil
	}
	switch {
	case t.Type == String:
		err = parseStrings(out, Slice[string](t), o)
	case to == String:
		printStrings(Slice[string](out), t)
	case to.info().kind == kindComplex:
		castComplex(out, t)
	case t.Type.IsFloat() || to.IsFloat():
		read := readFloats
		if (t.Type == Int64 || t.Type == Uint64) && to != Float64 {
			read = readSticky
		}
		castBlocks(t, out, read, writeFloats, o)
	default:
		castBlocks(t, out, readInts, writeInts, o)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

const castBlock = 1024 // elements converted at a time: the block stays in the first-level cache

// castBlocks converts by way of a small buffer of N, float64 or int64.
func castBlocks[N float64 | int64](in, out *Tensor, read func([]N, *Tensor, int), write func(*Tensor, int, []N, CastOptions), o CastOptions) {
	buf := make([]N, min(castBlock, in.Len()))
	for at, n := 0, in.Len(); at < n; at += len(buf) {
		buf = buf[:min(len(buf), n-at)]
		read(buf, in, at)
		write(out, at, buf, o)
	}
}

// readFloats reads len(dst) elements of t from index at on.
func readFloats(dst []float64, t *Tensor, at int) {
	end := at + len(dst)
	switch d := t.Data.(type) {
	case []float32:
		widen(dst, d[at:end])
	case []float64:
		copy(dst, d[at:end])
	case []int8:
		widen(dst, d[at:end])
	case []int16:
		widen(dst, d[at:end])
	case []int32:
		widen(dst, d[at:end])
	case []int64:
		widen(dst, d[at:end])
	case []uint32:
		widen(dst, d[at:end])
	case []uint64:
		widen(dst, d[at:end])
	case []bool:
		for i, v := range d[at:end] {
			dst[i] = float64(bit(v))
		}
	case []uint8:
		if !t.Type.IsFloat() {
			widen(dst, d[at:end])
			return
		}
		for i, v := range d[at:end] {
			dst[i] = float64(DecodeFloat(t.Type, uint16(v)))
		}
	case []uint16:
		if !t.Type.IsFloat() {
			widen(dst, d[at:end])
			return
		}
		for i, v := range d[at:end] {
			dst[i] = float64(DecodeFloat(t.Type, v))
		}
	}
}

// readSticky reads 64-bit integers for a conversion to a type of at most 32 bits: of a number beyond 2^53 the bits that
// float64 cannot hold become one sticky bit, so that the rounding to come is the only one.
func readSticky(dst []float64, t *Tensor, at int) {
	const low = 1<<11 - 1
	switch d := t.Data.(type) {
	case []int64:
		for i, v := range d[at : at+len(dst)] {
			if r := v & low; r != 0 && (v >= 1<<53 || v <= -1<<53) {
				v = v&^low | 1<<11
			}
			dst[i] = float64(v)
		}
	case []uint64:
		for i, v := range d[at : at+len(dst)] {
			if r := v & low; r != 0 && v >= 1<<53 {
				v = v&^low | 1<<11
			}
			dst[i] = float64(v)
		}
	}
}

// readInts reads integers and bools; uint64 as the int64 with the same bits.
func readInts(dst []int64, t *Tensor, at int) {
	end := at + len(dst)
	switch d := t.Data.(type) {
	case []int8:
		widen(dst, d[at:end])
	case []int16:
		widen(dst, d[at:end])
	case []int32:
		widen(dst, d[at:end])
	case []int64:
		widen(dst, d[at:end])
	case []uint8:
		widen(dst, d[at:end])
	case []uint16:
		widen(dst, d[at:end])
	case []uint32:
		widen(dst, d[at:end])
	case []uint64:
		widen(dst, d[at:end])
	case []bool:
		for i, v := range d[at:end] {
			dst[i] = int64(bit(v))
		}
	}
}

func writeFloats(t *Tensor, at int, src []float64, o CastOptions) {
	end := at + len(src)
	switch d := t.Data.(type) {
	case []float32:
		widen(d[at:end], src)
	case []float64:
		copy(d[at:end], src)
	case []bool:
		for i, v := range src {
			d[at+i] = v != 0
		}
	case []uint8:
		if !t.Type.IsFloat() {
			writeTruncated(t, at, src)
			return
		}
		for i, v := range src {
			d[at+i] = uint8(EncodeFloat(t.Type, v, o))
		}
	case []uint16:
		if !t.Type.IsFloat() {
			writeTruncated(t, at, src)
			return
		}
		for i, v := range src {
			d[at+i] = EncodeFloat(t.Type, v, o)
		}
	default:
		writeTruncated(t, at, src)
	}
}

// writeTruncated drops the fractions, clamps to the range of 64-bit integers and stores the lower bits.
func writeTruncated(t *Tensor, at int, src []float64) {
	var buf [castBlock]int64
	for i, v := range src {
		switch {
		case math.IsNaN(v):
			buf[i] = 0
		case t.Type == Uint64 && v >= 1<<63:
			buf[i] = -1
			if v < 1<<64 {
				buf[i] = int64(uint64(v))
			}
		case v >= 1<<63:
			buf[i] = math.MaxInt64
		case v <= -1<<63:
			buf[i] = math.MinInt64
		default:
			buf[i] = int64(v)
		}
	}
	writeInts(t, at, buf[:len(src)], CastOptions{})
}

func writeInts(t *Tensor, at int, src []int64, _ CastOptions) {
	end := at + len(src)
	switch d := t.Data.(type) {
	case []int8:
		widen(d[at:end], src)
		if b := t.Type.Bits(); b < 8 {
			for i, v := range d[at:end] {
				d[at+i] = v << (8 - b) >> (8 - b)
			}
		}
	case []int16:
		widen(d[at:end], src)
	case []int32:
		widen(d[at:end], src)
	case []int64:
		widen(d[at:end], src)
	case []uint8:
		mask := uint8(1<<t.Type.Bits() - 1)
		for i, v := range src {
			d[at+i] = uint8(v) & mask
		}
	case []uint16:
		widen(d[at:end], src)
	case []uint32:
		widen(d[at:end], src)
	case []uint64:
		widen(d[at:end], src)
	case []bool:
		for i, v := range src {
			d[at+i] = v != 0
		}
	}
}

type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// widen converts number by number as Go does.
func widen[D, S number](dst []D, src []S) {
	for i, v := range src {
		dst[i] = D(v)
	}
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func castComplex(out, in *Tensor) {
	set := func(i int, v complex128) {
		switch d := out.Data.(type) {
		case []complex64:
			d[i] = complex64(v)
		case []complex128:
			d[i] = v
		}
	}
	switch d := in.Data.(type) {
	case []complex64:
		for i, v := range d {
			set(i, complex128(v))
		}
	case []complex128:
		for i, v := range d {
			set(i, v)
		}
	default:
		var v [1]float64
		for i := range in.Len() {
			readFloats(v[:], in, i)
			set(i, complex(v[0], 0))
		}
	}
}

// parseStrings reads decimal numbers. An integer type takes a string with a fraction too, which it drops.
func parseStrings(out *Tensor, in []string, o CastOptions) error {
	for i, s := range in {
		s = strings.TrimSpace(s)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && !out.Type.IsFloat() {
			writeInts(out, i, []int64{n}, o)
			continue
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil && out.Type == Uint64 {
			writeInts(out, i, []int64{int64(n)}, o)
			continue
		}
		bits := 64
		if out.Type.Bits() <= 32 {
			bits = 32
		}
		f, err := strconv.ParseFloat(s, bits)
		if err != nil && !math.IsInf(f, 0) { // a number too large is infinite
			return fmt.Errorf("element %d: %q is no number", i, s)
		}
		writeFloats(out, i, []float64{f}, o)
	}
	return nil
}

// printStrings writes the shortest decimal number that reads back as the same element.
func printStrings(out []string, in *Tensor) {
	var f [1]float64
	var n [1]int64
	for i := range out {
		switch {
		case in.Type.IsFloat():
			readFloats(f[:], in, i)
			bits := 32
			if in.Type == Float64 {
				bits = 64
			}
			out[i] = formatFloat(f[0], bits)
		case in.Type == Uint64:
			out[i] = strconv.FormatUint(Slice[uint64](in)[i], 10)
		default:
			readInts(n[:], in, i)
			out[i] = strconv.FormatInt(n[0], 10)
		}
	}
}

func formatFloat(f float64, bits int) string {
	switch {
	case math.IsInf(f, 1):
		return "INF"
	case math.IsInf(f, -1):
		return "-INF"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}
