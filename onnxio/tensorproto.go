package onnxio

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// littleEndian tells whether the machine stores numbers as ONNX files do.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Proto is the tensor as a message with the given name, its elements in raw_data (strings in string_data). It shares no
// memory with t.
func (t *Tensor) Proto(name string) *onnxpb.TensorProto {
	p := &onnxpb.TensorProto{DataType: t.Type.Proto(), Name: proto.String(name)}
	for _, d := range t.Shape {
		p.Dims = append(p.Dims, int64(d))
	}
	if s, ok := t.Data.([]string); ok {
		for _, e := range s {
			p.StringData = append(p.StringData, []byte(e))
		}
		return p
	}
	p.RawData = t.raw()
	return p
}

// raw is a copy of the elements in the layout of raw_data. It is never nil, so that an empty tensor still says where its
// elements are.
func (t *Tensor) raw() []byte {
	switch d := t.Data.(type) {
	case []float32:
		return bytesOf(d, 4)
	case []float64:
		return bytesOf(d, 8)
	case []int8:
		return pack(bytesOf(d, 1), t.Type.Bits())
	case []int16:
		return bytesOf(d, 2)
	case []int32:
		return bytesOf(d, 4)
	case []int64:
		return bytesOf(d, 8)
	case []uint8:
		return pack(bytesOf(d, 1), t.Type.Bits())
	case []uint16:
		return bytesOf(d, 2)
	case []uint32:
		return bytesOf(d, 4)
	case []uint64:
		return bytesOf(d, 8)
	case []bool:
		return bytesOf(d, 1)
	case []complex64:
		return bytesOf(d, 4)
	case []complex128:
		return bytesOf(d, 8)
	}
	panic(fmt.Sprintf("onnxio: a %v tensor holds %T", t.Type, t.Data))
}

// fromRaw views raw, whose length has been checked, as the n elements of type t. It copies only where the layout forces it:
// packed types, big-endian machines and misaligned data.
func fromRaw(t DataType, n int, raw []byte) (any, error) {
	switch t {
	case Float32:
		return view[float32](raw, 4), nil
	case Float64:
		return view[float64](raw, 8), nil
	case Int8:
		return view[int8](raw, 1), nil
	case Int16:
		return view[int16](raw, 2), nil
	case Int32:
		return view[int32](raw, 4), nil
	case Int64:
		return view[int64](raw, 8), nil
	case Uint16, Float16, BFloat16:
		return view[uint16](raw, 2), nil
	case Uint32:
		return view[uint32](raw, 4), nil
	case Uint64:
		return view[uint64](raw, 8), nil
	case Complex64:
		return view[complex64](raw, 4), nil
	case Complex128:
		return view[complex128](raw, 8), nil
	case Bool:
		if i := slices.IndexFunc(raw, func(b byte) bool { return b > 1 }); i >= 0 {
			return nil, fmt.Errorf("byte %#02x at element %d is no bool (0 or 1)", raw[i], i)
		}
		return view[bool](raw, 1), nil
	case Int4, Int2:
		return view[int8](signExtend(unpack(raw, n, t.Bits()), t.Bits()), 1), nil
	case Uint4, Uint2, Float4E2M1, Float6E2M3, Float6E3M2:
		return unpack(raw, n, t.Bits()), nil
	}
	return raw, nil // Uint8 and the 8-bit float codes
}

// rawLen is the size in bytes of n elements of type t in raw_data, or -1 when it does not fit in an int.
func rawLen(t DataType, n int) int {
	if bits := t.Bits(); bits < 8 {
		return n/8*bits + (n%8*bits+7)/8
	}
	return product([]int{n, t.Bits() / 8})
}

// view returns b as a slice of T whose byte order words are word bytes long: b itself where it is aligned and the machine is
// little-endian, a copy otherwise.
func view[T any](b []byte, word int) []T {
	var e T
	n := len(b) / int(unsafe.Sizeof(e))
	if n == 0 {
		return []T{}
	}
	if littleEndian && uintptr(unsafe.Pointer(unsafe.SliceData(b)))%unsafe.Alignof(e) == 0 {
		return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
	}
	out := make([]T, n)
	swapInto(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(out))), len(b)), b, word)
	return out
}

// bytesOf returns a little-endian copy of s, whose byte order words are word bytes long.
func bytesOf[T any](s []T, word int) []byte {
	if len(s) == 0 {
		return []byte{}
	}
	out := make([]byte, len(s)*int(unsafe.Sizeof(s[0])))
	swapInto(out, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(out)), word)
	return out
}

// swapInto copies src to dst, turning each word around on a big-endian machine.
func swapInto(dst, src []byte, word int) {
	copy(dst, src)
	if littleEndian {
		return
	}
	for ; len(dst) >= word; dst = dst[word:] {
		slices.Reverse(dst[:word])
	}
}

// unpack spreads n codes of bits bits (1 to 8, a bit stream with the lowest bit first) to one byte each.
func unpack(packed []byte, n, bits int) []uint8 {
	out := make([]uint8, n)
	mask := uint16(1)<<bits - 1
	for i := range out {
		at, shift := i/8*bits+i%8*bits/8, i%8*bits%8
		w := uint16(packed[at])
		if shift+bits > 8 {
			w |= uint16(packed[at+1]) << 8
		}
		out[i] = uint8(w >> shift & mask)
	}
	return out
}

// pack is the inverse of unpack; it uses the low bits of each code. With 8 bits it returns codes itself.
func pack(codes []uint8, bits int) []byte {
	if bits == 8 {
		return codes
	}
	out := make([]byte, len(codes)/8*bits+(len(codes)%8*bits+7)/8)
	mask := uint16(1)<<bits - 1
	for i, c := range codes {
		at, shift := i/8*bits+i%8*bits/8, i%8*bits%8
		w := (uint16(c) & mask) << shift
		out[at] |= byte(w)
		if shift+bits > 8 {
			out[at+1] |= byte(w >> 8)
		}
	}
	return out
}

// signExtend turns codes of bits bits into two's complement bytes, in place.
func signExtend(codes []uint8, bits int) []uint8 {
	for i, c := range codes {
		codes[i] = uint8(int8(c<<(8-bits)) >> (8 - bits))
	}
	return codes
}
