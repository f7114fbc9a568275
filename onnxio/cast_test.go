package onnxio

import (
	"math"
	"reflect"
	"testing"
)

func TestConvertTo(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	i4 := &Tensor{Type: Int4, Shape: []int{5}, Data: []int8{7, -8, -7, -1, -8}}
	for _, c := range []struct{ in, want *Tensor }{
		{TensorOf([]float32{-9, 8, 9, 15, 8.9}, 5), i4},
		{TensorOf([]float64{1.9, -1.9, nan, 300, -inf}, 5), TensorOf([]int8{1, -1, 0, 44, 0}, 5)},
		{TensorOf([]float64{1e300, -1e300, inf, 0x1p63, 5}, 5), TensorOf([]int64{math.MaxInt64, math.MinInt64, math.MaxInt64, math.MaxInt64, 5}, 5)},
		{TensorOf([]float64{0x1p63, 0x1p64, 3}, 3), TensorOf([]uint64{1 << 63, math.MaxUint64, 3}, 3)},
		{TensorOf([]int16{200, -1}, 2), TensorOf([]int8{-56, -1}, 2)},
		{TensorOf([]int32{-1, 36, 0}, 3), TensorOf([]bool{true, true, false}, 3)},
		{TensorOf([]float32{0, float32(math.Copysign(0, -1)), 0.1, float32(nan)}, 4), TensorOf([]bool{false, false, true, true}, 4)},
		{TensorOf([]bool{true, false}, 2), TensorOf([]float64{1, 0}, 2)},
		{TensorOf([]bool{true, false}, 2), TensorOf([]uint8{1, 0}, 2)},
		{TensorOf([]uint64{math.MaxUint64}), TensorOf([]float64{0x1p64})},
		{TensorOf([]int64{1<<60 + 1, 1<<54 + 1<<30 + 1, -(1<<54 + 1<<30 + 1)}, 3), TensorOf([]float32{1 << 60, 1<<54 + 1<<31, -(1<<54 + 1<<31)}, 3)},
		{TensorOf([]uint64{1<<54 + 1<<30 + 1}), TensorOf([]float32{1<<54 + 1<<31})},
		{&Tensor{Type: Float16, Shape: []int{3}, Data: []uint16{0x3c00, 0xc000, 1}}, TensorOf([]float32{1, -2, 0x1p-24}, 3)},
		{TensorOf([]float64{1.5, 2.5}, 2), &Tensor{Type: BFloat16, Shape: []int{2}, Data: []uint16{0x3fc0, 0x4020}}},
		{&Tensor{Type: Float8E5M2, Shape: []int{}, Data: []uint8{0x3e}}, TensorOf([]int32{1})},
		{TensorOf([]string{" 3.25", "1e3", "-INF", "nan", "1e999"}, 5), TensorOf([]float32{3.25, 1000, float32(-inf), float32(nan), float32(inf)}, 5)},
		{TensorOf([]string{"12", "-7", "9223372036854775807"}, 3), TensorOf([]int64{12, -7, math.MaxInt64}, 3)},
		{TensorOf([]string{"18446744073709551615"}), TensorOf([]uint64{math.MaxUint64})},
		{TensorOf([]float32{0.1, 2, float32(inf), float32(-inf)}, 4), TensorOf([]string{"0.1", "2", "INF", "-INF"}, 4)},
		{TensorOf([]uint64{math.MaxUint64}), TensorOf([]string{"18446744073709551615"})},
		{i4, TensorOf([]string{"7", "-8", "-7", "-1", "-8"}, 5)},
		{TensorOf([]complex64{1 + 2i}), TensorOf([]complex128{1 + 2i})},
		{TensorOf([]int32{3}), TensorOf([]complex64{3})},
		{TensorOf([]float32{}, 0, 3), TensorOf([]int8{}, 0, 3)},
	} {
		got, err := c.in.ConvertTo(c.want.Type)
		if err != nil || !sameTensor(got, c.want) {
			t.Errorf("%v %v to %v: got %v (%v), want %v", c.in, c.in.Data, c.want, got, err, c.want.Data)
		}
	}
}

func TestConvertToErrors(t *testing.T) {
	for _, c := range []struct {
		in *Tensor
		to DataType
	}{{TensorOf([]complex64{1}), Float32}, {TensorOf([]string{"x"}), Int8}, {TensorOf([]int8{1}), Undefined}, {TensorOf([]int8{1}), 99}} {
		if got, err := c.in.ConvertTo(c.to); err == nil {
			t.Errorf("%v to %v: got %v, want an error", c.in, c.to, got)
		}
	}
}

// Each type converts to each other one, for sizes around the block size, and small integers survive the way there and back.
func TestConvertAllPairs(t *testing.T) {
	for _, n := range []int{0, 1, castBlock - 1, castBlock, castBlock + 1, 2*castBlock + 3} {
		ones := NewTensor(Uint8, n)
		for i := range Slice[uint8](ones) {
			Slice[uint8](ones)[i] = uint8(i & 1)
		}
		for from := Float32; from <= Float6E3M2; from++ {
			x, err := ones.ConvertTo(from)
			if from == Float8E8M0 || from.info().kind == kindComplex {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for to := Float32; to <= Float6E3M2; to++ {
				if to == Float8E8M0 || to == Int2 || to.info().kind == kindComplex || from == Bool && to == String || from == String && to == Bool {
					continue
				}
				y, err := x.ConvertTo(to)
				if err != nil {
					t.Fatalf("%v to %v: %v", from, to, err)
				}
				if z, err := y.ConvertTo(Uint8); err != nil || !reflect.DeepEqual(z, ones) {
					t.Fatalf("%v to %v to uint8, %d elements: not what went in (%v)", from, to, n, err)
				}
			}
		}
	}
}

func sameTensor(a, b *Tensor) bool {
	if x, ok := a.Data.([]float32); ok && a.Type == b.Type && reflect.DeepEqual(a.Shape, b.Shape) {
		y := b.Data.([]float32)
		for i := range x {
			if x[i] != y[i] && (x[i] == x[i] || y[i] == y[i]) {
				return false
			}
		}
		return len(x) == len(y)
	}
	return reflect.DeepEqual(a, b)
}
