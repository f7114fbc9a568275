package onnxio

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// typedCount says which field of p holds elements of type t, how many values are there, and how many n elements need. The
// 4- and 2-bit types lie in packed bytes, one to a value; complex numbers are two values.
func typedCount(p *onnxpb.TensorProto, t DataType, n int) (field string, have, want int) {
	switch t {
	case Float32:
		return "float_data", len(p.FloatData), n
	case Complex64:
		return "float_data", len(p.FloatData), 2 * n
	case Float64:
		return "double_data", len(p.DoubleData), n
	case Complex128:
		return "double_data", len(p.DoubleData), 2 * n
	case Int64:
		return "int64_data", len(p.Int64Data), n
	case Uint64, Uint32:
		return "uint64_data", len(p.Uint64Data), n
	case String:
		return "string_data", len(p.StringData), n
	case Int4, Uint4, Float4E2M1, Int2, Uint2:
		return "int32_data", len(p.Int32Data), rawLen(t, n)
	}
	return "int32_data", len(p.Int32Data), n
}

// fromTyped reads the n elements of type t, whose count has been checked, from the typed field of p that holds them. Those
// that the field holds as they are share its memory.
func fromTyped(p *onnxpb.TensorProto, t DataType, n int) (any, error) {
	switch t {
	case Float32:
		return p.FloatData, nil
	case Float64:
		return p.DoubleData, nil
	case Int64:
		return p.Int64Data, nil
	case Int32:
		return p.Int32Data, nil
	case Uint64:
		return p.Uint64Data, nil
	case Uint32:
		return uint32Data(p.Uint64Data)
	case String:
		out := make([]string, n)
		for i, b := range p.StringData {
			out[i] = string(b)
		}
		return out, nil
	case Complex64:
		return unsafe.Slice((*complex64)(unsafe.Pointer(unsafe.SliceData(p.FloatData))), n), nil
	case Complex128:
		return unsafe.Slice((*complex128)(unsafe.Pointer(unsafe.SliceData(p.DoubleData))), n), nil
	}
	return smallData(p.Int32Data, t, n)
}

func uint32Data(data []uint64) ([]uint32, error) {
	out := make([]uint32, len(data))
	for i, v := range data {
		if v > math.MaxUint32 {
			return nil, fmt.Errorf("uint64_data[%d] = %d does not fit in uint32", i, v)
		}
		out[i] = uint32(v)
	}
	return out, nil
}

// smallData reads the types of up to 16 bits, which lie in int32_data: one value an element, except that the 4- and 2-bit
// types are packed to bytes first. Bit patterns (floats, packed bytes) may come sign-extended, as some writers leave them.
func smallData(data []int32, t DataType, n int) (any, error) {
	bits := t.Bits()
	packed := bits == 4 || bits == 2
	if packed {
		bits = 8
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
