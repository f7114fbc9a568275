package onnxgo

import (
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"github.com/obc-onnx/obc/onnxio"
)

// fromGorgonia gives a tensor of gorgonia.org/tensor as ours. Data may be shared; a view is copied.
func fromGorgonia(t tensor.Tensor) (*onnxio.Tensor, error) {
	if t == nil {
		return nil, fmt.Errorf("there is no tensor")
	}
	d, ok := t.(*tensor.Dense)
	if !ok {
		return nil, fmt.Errorf("a tensor of type %T is not supported, only *tensor.Dense", t)
	}
	if d.RequiresIterator() {
		m, ok := d.Materialize().(*tensor.Dense)
		if !ok {
			return nil, fmt.Errorf("cannot copy the view of shape %v", d.Shape())
		}
		d = m
	}
	shape := slices.Clone([]int(d.Shape()))
	if d.DataOrder().IsColMajor() && len(shape) > 1 {
		return nil, fmt.Errorf("the tensor of shape %v is stored column by column: make a row-major copy", shape)
	}
	x, err := wrap(d.Data(), shape)
	if err == nil && x.Len() != lengthOf(x.Data) {
		err = fmt.Errorf("the tensor holds %d elements, its shape is %v", lengthOf(x.Data), shape)
	}
	return x, err
}

func wrap(data any, shape []int) (*onnxio.Tensor, error) {
	switch v := data.(type) {
	case []float32:
		return onnxio.TensorOf(v, shape...), nil
	case float32:
		return onnxio.TensorOf([]float32{v}, shape...), nil
	case []float64:
		return onnxio.TensorOf(v, shape...), nil
	case float64:
		return onnxio.TensorOf([]float64{v}, shape...), nil
	case []int8:
		return onnxio.TensorOf(v, shape...), nil
	case int8:
		return onnxio.TensorOf([]int8{v}, shape...), nil
	case []int16:
		return onnxio.TensorOf(v, shape...), nil
	case int16:
		return onnxio.TensorOf([]int16{v}, shape...), nil
	case []int32:
		return onnxio.TensorOf(v, shape...), nil
	case int32:
		return onnxio.TensorOf([]int32{v}, shape...), nil
	case []int64:
		return onnxio.TensorOf(v, shape...), nil
	case int64:
		return onnxio.TensorOf([]int64{v}, shape...), nil
	case []int:
		wide := make([]int64, len(v))
		for i, k := range v {
			wide[i] = int64(k)
		}
		return onnxio.TensorOf(wide, shape...), nil
	case int:
		return onnxio.TensorOf([]int64{int64(v)}, shape...), nil
	case []uint8:
		return onnxio.TensorOf(v, shape...), nil
	case uint8:
		return onnxio.TensorOf([]uint8{v}, shape...), nil
	case []uint16:
		return onnxio.TensorOf(v, shape...), nil
	case uint16:
		return onnxio.TensorOf([]uint16{v}, shape...), nil
	case []uint32:
		return onnxio.TensorOf(v, shape...), nil
	case uint32:
		return onnxio.TensorOf([]uint32{v}, shape...), nil
	case []uint64:
		return onnxio.TensorOf(v, shape...), nil
	case uint64:
		return onnxio.TensorOf([]uint64{v}, shape...), nil
	case []bool:
		return onnxio.TensorOf(v, shape...), nil
	case bool:
		return onnxio.TensorOf([]bool{v}, shape...), nil
	case []string:
		return onnxio.TensorOf(v, shape...), nil
	case string:
		return onnxio.TensorOf([]string{v}, shape...), nil
	}
	return nil, fmt.Errorf("elements of type %T are not supported", data)
}

// toGorgonia copies a result. Types that gorgonia.org/tensor lacks (float16 and smaller, 4-bit integers) become float32 or the next
// larger integer.
func toGorgonia(x *onnxio.Tensor) (t tensor.Tensor, err error) {
	if x == nil || x.Type == onnxio.Undefined {
		return nil, fmt.Errorf("the result is no tensor")
	}
	if x.Type.IsFloat() && x.Type != onnxio.Float32 && x.Type != onnxio.Float64 {
		if x, err = x.ConvertTo(onnxio.Float32); err != nil {
			return nil, err
		}
	} else {
		x = x.Clone()
	}
	defer func() {
		if r := recover(); r != nil { // gorgonia.org/tensor panics on shapes that it cannot hold
			t, err = nil, fmt.Errorf("gorgonia.org/tensor cannot hold %v: %v", x, r)
		}
	}()
	if len(x.Shape) == 0 {
		v, err := first(x.Data)
		if err != nil {
			return nil, err
		}
		return tensor.New(tensor.FromScalar(v)), nil
	}
	return tensor.New(tensor.WithShape(x.Shape...), tensor.WithBacking(x.Data)), nil
}

// lengthOf is the number of elements of a slice that wrap accepts.
func lengthOf(data any) int {
	switch v := data.(type) {
	case []float32:
		return len(v)
	case []float64:
		return len(v)
	case []int8:
		return len(v)
	case []int16:
		return len(v)
	case []int32:
		return len(v)
	case []int64:
		return len(v)
	case []uint8:
		return len(v)
	case []uint16:
		return len(v)
	case []uint32:
		return len(v)
	case []uint64:
		return len(v)
	case []bool:
		return len(v)
	case []string:
		return len(v)
	}
	return -1
}

func first(data any) (any, error) {
	switch v := data.(type) {
	case []float32:
		return v[0], nil
	case []float64:
		return v[0], nil
	case []int8:
		return v[0], nil
	case []int16:
		return v[0], nil
	case []int32:
		return v[0], nil
	case []int64:
		return v[0], nil
	case []uint8:
		return v[0], nil
	case []uint16:
		return v[0], nil
	case []uint32:
		return v[0], nil
	case []uint64:
		return v[0], nil
	case []bool:
		return v[0], nil
	case []string:
		return v[0], nil
	}
	return nil, fmt.Errorf("elements of type %T are not supported", data)
}
