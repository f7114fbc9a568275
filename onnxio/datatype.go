package onnxio

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// DataType is the element type of a tensor. The numbers are those of TensorProto.DataType in onnx.proto.
type DataType int32

// The element types of IR version 14. The comment gives the Go type of Tensor.Data.
const (
	Undefined      DataType = 0  // nil
	Float32        DataType = 1  // []float32
	Uint8          DataType = 2  // []uint8
	Int8           DataType = 3  // []int8
	Uint16         DataType = 4  // []uint16
	Int16          DataType = 5  // []int16
	Int32          DataType = 6  // []int32
	Int64          DataType = 7  // []int64
	String         DataType = 8  // []string
	Bool           DataType = 9  // []bool
	Float16        DataType = 10 // []uint16, IEEE binary16 bits
	Float64        DataType = 11 // []float64
	Uint32         DataType = 12 // []uint32
	Uint64         DataType = 13 // []uint64
	Complex64      DataType = 14 // []complex64
	Complex128     DataType = 15 // []complex128
	BFloat16       DataType = 16 // []uint16, the upper half of a float32
	Float8E4M3FN   DataType = 17 // []uint8, bits
	Float8E4M3FNUZ DataType = 18 // []uint8, bits
	Float8E5M2     DataType = 19 // []uint8, bits
	Float8E5M2FNUZ DataType = 20 // []uint8, bits
	Uint4          DataType = 21 // []uint8, one element each, 0..15
	Int4           DataType = 22 // []int8, one element each, -8..7
	Float4E2M1     DataType = 23 // []uint8, one code each, 0..15
	Float8E8M0     DataType = 24 // []uint8, bits: a power of two
	Uint2          DataType = 25 // []uint8, one element each, 0..3
	Int2           DataType = 26 // []int8, one element each, -2..1
	Float6E2M3     DataType = 27 // []uint8, one code each, 0..63
	Float6E3M2     DataType = 28 // []uint8, one code each, 0..63
)

type kind uint8

const (
	kindNone kind = iota
	kindFloat
	kindSigned
	kindUnsigned
	kindBool
	kindString
	kindComplex
)

type typeInfo struct {
	name string
	bits int // per element in raw_data; 0 where raw_data is not allowed
	kind kind
}

var typeInfos = [...]typeInfo{
	Undefined: {"undefined", 0, kindNone},
	Float32:   {"float32", 32, kindFloat}, Float64: {"float64", 64, kindFloat},
	Float16: {"float16", 16, kindFloat}, BFloat16: {"bfloat16", 16, kindFloat},
	Float8E4M3FN: {"float8e4m3fn", 8, kindFloat}, Float8E4M3FNUZ: {"float8e4m3fnuz", 8, kindFloat},
	Float8E5M2: {"float8e5m2", 8, kindFloat}, Float8E5M2FNUZ: {"float8e5m2fnuz", 8, kindFloat},
	Float8E8M0: {"float8e8m0", 8, kindFloat}, Float4E2M1: {"float4e2m1", 4, kindFloat},
	Float6E2M3: {"float6e2m3", 6, kindFloat}, Float6E3M2: {"float6e3m2", 6, kindFloat},
	Int64: {"int64", 64, kindSigned}, Int32: {"int32", 32, kindSigned}, Int16: {"int16", 16, kindSigned},
	Int8: {"int8", 8, kindSigned}, Int4: {"int4", 4, kindSigned}, Int2: {"int2", 2, kindSigned},
	Uint64: {"uint64", 64, kindUnsigned}, Uint32: {"uint32", 32, kindUnsigned}, Uint16: {"uint16", 16, kindUnsigned},
	Uint8: {"uint8", 8, kindUnsigned}, Uint4: {"uint4", 4, kindUnsigned}, Uint2: {"uint2", 2, kindUnsigned},
	Bool: {"bool", 8, kindBool}, String: {"string", 0, kindString},
	Complex64: {"complex64", 64, kindComplex}, Complex128: {"complex128", 128, kindComplex},
}

func (t DataType) info() typeInfo {
	if t < 0 || int(t) >= len(typeInfos) {
		return typeInfo{name: fmt.Sprintf("element type %d", int32(t))}
	}
	return typeInfos[t]
}

// Valid reports whether t is one of the element types that a tensor may have.
func (t DataType) Valid() bool { return t.info().kind != kindNone }

// String is the lower-case name, such as "float32" or "float8e4m3fn".
func (t DataType) String() string { return t.info().name }

// Bits is the size of an element in a file's raw_data: 2 for int2 up to 128 for complex128, and 0 for strings.
func (t DataType) Bits() int { return t.info().bits }

// IsFloat reports whether t is a real floating-point type of any width.
func (t DataType) IsFloat() bool { return t.info().kind == kindFloat }

// IsInteger reports whether t is a signed or unsigned integer type of any width. Bool is not one.
func (t DataType) IsInteger() bool { return t.IsSigned() || t.info().kind == kindUnsigned }

// IsSigned reports whether t is a signed integer type.
func (t DataType) IsSigned() bool { return t.info().kind == kindSigned }

// Proto is the same number as a pointer, as protobuf messages want it.
func (t DataType) Proto() *int32 { n := int32(t); return &n }

var _ = [1]struct{}{}[int(onnxpb.TensorProto_FLOAT6E3M2)-int(Float6E3M2)] // the numbers agree
