package onnxio

import (
	"fmt"
	"math"
	"slices"
)

// Tensor is a dense array in row-major order. Data is a slice of the Go type that the DataType constants name; types
// below eight bits are unpacked, one element per slice entry.
type Tensor struct {
	Type  DataType
	Shape []int // empty for a scalar
	Data  any
}

// Elem is the set of Go types that stand for themselves as tensor elements.
type Elem interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | bool | string | complex64 | complex128
}

// NewTensor makes a tensor of zeros (false, ""). It panics when t is no element type or a dimension is negative.
func NewTensor(t DataType, shape ...int) *Tensor {
	n := product(shape)
	if n < 0 {
		panic(fmt.Sprintf("onnxio: NewTensor: bad shape %v", shape))
	}
	return &Tensor{Type: t, Shape: append([]int{}, shape...), Data: makeData(t, n)}
}

// TensorOf wraps data, without a copy, in a tensor of the matching type. It panics when the shape has another number of
// elements than data.
func TensorOf[T Elem](data []T, shape ...int) *Tensor {
	if n := product(shape); n != len(data) {
		panic(fmt.Sprintf("onnxio: TensorOf: shape %v for %d elements", shape, len(data)))
	}
	return &Tensor{Type: typeOf[T](), Shape: append([]int{}, shape...), Data: data}
}

// Len is the number of elements.
func (t *Tensor) Len() int { return product(t.Shape) }

// Rank is the number of dimensions.
func (t *Tensor) Rank() int { return len(t.Shape) }

// Float32s is the data of a Float32 tensor itself, nil for any other type.
func (t *Tensor) Float32s() []float32 { return Slice[float32](t) }

// Float64s is the data of a Float64 tensor itself, nil for any other type.
func (t *Tensor) Float64s() []float64 { return Slice[float64](t) }

// Int64s is the data of an Int64 tensor itself, nil for any other type.
func (t *Tensor) Int64s() []int64 { return Slice[int64](t) }

// Slice is the data itself when it is held as []T, else nil. Note that float16 and bfloat16 are held as []uint16, and the
// small types as []uint8 or []int8.
func Slice[T Elem](t *Tensor) []T {
	s, _ := t.Data.([]T)
	return s
}

// Clone is a copy that shares nothing with t.
func (t *Tensor) Clone() *Tensor {
	c := NewTensor(t.Type, t.Shape...)
	switch d := t.Data.(type) {
	case []float32:
		copy(c.Data.([]float32), d)
	case []float64:
		copy(c.Data.([]float64), d)
	case []int8:
		copy(c.Data.([]int8), d)
	case []int16:
		copy(c.Data.([]int16), d)
	case []int32:
		copy(c.Data.([]int32), d)
	case []int64:
		copy(c.Data.([]int64), d)
	case []uint8:
		copy(c.Data.([]uint8), d)
	case []uint16:
		copy(c.Data.([]uint16), d)
	case []uint32:
		copy(c.Data.([]uint32), d)
	case []uint64:
		copy(c.Data.([]uint64), d)
	case []bool:
		copy(c.Data.([]bool), d)
	case []string:
		copy(c.Data.([]string), d)
	case []complex64:
		copy(c.Data.([]complex64), d)
	case []complex128:
		copy(c.Data.([]complex128), d)
	}
	return c
}

// String describes the tensor without its data: "float32[2 3]".
func (t *Tensor) String() string { return fmt.Sprintf("%v%v", t.Type, t.Shape) }

func makeData(t DataType, n int) any {
	switch t {
	case Float32:
		return make([]float32, n)
	case Float64:
		return make([]float64, n)
	case Int8, Int4, Int2:
		return make([]int8, n)
	case Int16:
		return make([]int16, n)
	case Int32:
		return make([]int32, n)
	case Int64:
		return make([]int64, n)
	case Uint16, Float16, BFloat16:
		return make([]uint16, n)
	case Uint32:
		return make([]uint32, n)
	case Uint64:
		return make([]uint64, n)
	case Bool:
		return make([]bool, n)
	case String:
		return make([]string, n)
	case Complex64:
		return make([]complex64, n)
	case Complex128:
		return make([]complex128, n)
	}
	if !t.Valid() {
		panic(fmt.Sprintf("onnxio: no such element type: %d", int32(t)))
	}
	return make([]uint8, n) // Uint8, Uint4, Uint2 and the float codes of up to eight bits
}

func typeOf[T Elem]() DataType {
	switch any(*new(T)).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case int16:
		return Int16
	case int32:
		return Int32
	case int64:
		return Int64
	case uint8:
		return Uint8
	case uint16:
		return Uint16
	case uint32:
		return Uint32
	case uint64:
		return Uint64
	case bool:
		return Bool
	case string:
		return String
	case complex64:
		return Complex64
	}
	return Complex128
}

// product is the number of elements of a shape, or -1 when a dimension is negative or the product does not fit in an int.
func product[T int | int64](shape []T) int {
	for _, d := range shape {
		if d < 0 {
			return -1
		}
	}
	if slices.Contains(shape, 0) {
		return 0
	}
	n := 1
	for _, d := range shape {
		if int64(d) > int64(math.MaxInt/n) {
			return -1
		}
		n *= int(d)
	}
	return n
}
