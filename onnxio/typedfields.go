package onnxio

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// fromTyped reads the n elements of type t from the typed field of p that holds them. Float32, Float64, Int32 and Int64 are
// the field itself; the other types are converted.
func fromTyped(p *onnxpb.TensorProto, t DataType, n int) (any, error) {
	switch t {
	case Float32:
		return p.FloatData, checkCount("float_data", len(p.FloatData), n)
	case Float64:
		return p.DoubleData, checkCount("double_data", len(p.DoubleData), n)
	case Int64:
		return p.Int64Data, checkCount("int64_data", len(p.Int64Data), n)
	case Int32:
		return p.Int32Data, checkCount("int32_data", len(p.Int32Data), n)
	case Uint64:
		return p.Uint64Data, checkCount("uint64_data", len(p.Uint64Data), n)
	case Uint32:
		return uint32Data(p.Uint64Data, n)
	case String:
		return stringData(p.StringData, n)
	case Complex64:
		if err := checkCount("float_data", len(p.FloatData), 2*n); err != nil || n == 0 {
			return []complex64{}, err
		}
		return unsafe.Slice((*complex64)(unsafe.Pointer(unsafe.SliceData(p.FloatData))), n), nil
	case Complex128:
		if err := checkCount("double_data", len(p.DoubleData), 2*n); err != nil || n == 0 {
			return []complex128{}, err
		}
		return unsafe.Slice((*complex128)(unsafe.Pointer(unsafe.SliceData(p.DoubleData))), n), nil
	}
	return smallData(p.Int32Data, t, n)
}

func checkCount(field string, got, want int) error {
	if got != want {
		return fmt.Errorf("%d values in %s, but its shape needs %d", got, field, want)
	}
	return nil
}

func uint32Data(data []uint64, n int) ([]uint32, error) {
	if err := checkCount("uint64_data", len(data), n); err != nil {
		return nil, err
	}
	out := make([]uint32, n)
	for i, v := range data {
		if v > math.MaxUint32 {
			return nil, fmt.Errorf("uint64_data[%d] = %d does not fit in uint32", i, v)
		}
		out[i] = uint32(v)
	}
	return out, nil
}

func stringData(data [][]byte, n int) ([]string, error) {
	if err := checkCount("string_data", len(data), n); err != nil {
		return nil, err
	}
	out := make([]string, n)
	for i, b := range data {
		out[i] = string(b)
	}
	return out, nil
}

// smallData reads the types of up to 16 bits, which lie in int32_data: one value an element, except that the 4- and 2-bit
// types are packed to bytes first. Bit patterns (floats, packed bytes) may come sign-extended, as some writers leave them.
func smallData(data []int32, t DataType, n int) (any, error) {
	want, bits := n, t.Bits()
	packed := bits == 4 || bits == 2
	if packed {
		want = rawLen(t, n)
		bits = 8
	}
	if err := checkCount("int32_data", len(data), want); err != nil {
		return nil, err
	}
	lo, hi := int32(0), int32(1)<<bits-1
	switch {
	case t == Bool:
		hi = 1
	case t.IsSigned() && !packed:
		lo, hi = -1<<(bits-1), 1<<(bits-1)-1
	case t.IsFloat() && bits >= 8, packed:
		lo = -1 << (bits - 1)
	}
	raw := make([]byte, 0, len(data)*(bits+7)/8)
	for i, v := range data {
		if v < lo || v > hi {
			return nil, fmt.Errorf("int32_data[%d] = %d does not fit in %v", i, v, t)
		}
		raw = append(raw, byte(v))
		if bits == 16 {
			raw = append(raw, byte(v>>8))
		}
	}
	if bits == 6 { // one code a value here, unlike raw_data
		return raw, nil
	}
	return fromRaw(t, n, raw)
}
