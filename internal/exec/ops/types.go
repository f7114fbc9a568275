package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

type tensor = onnxio.Tensor

type float interface{ float32 | float64 }
type signed interface{ int8 | int16 | int32 | int64 }
type unsigned interface {
	uint8 | uint16 | uint32 | uint64
}
type integer interface{ signed | unsigned }
type number interface{ integer | float }

// data is the storage of x. Whoever chose the instance checked the type of the input that decides; an input of another type ends
// the call with an error.
func data[T any](x *tensor) []T {
	d, ok := x.Data.([]T)
	if !ok {
		var want T
		panic(fmt.Errorf("%v given where %T is expected: the inputs' element types must agree", x, want))
	}
	return d
}

// typed is a kernel form by element type.
type typed map[onnxio.DataType]func(c *exec.Call) error

// by runs the form for the type of input i.
func by(i int, forms typed) exec.Kernel {
	return func(c *exec.Call) error {
		x := c.Input(i)
		if x == nil {
			return fmt.Errorf("input %d is missing", i)
		}
		f := forms[x.Type]
		if f == nil {
			return typeError(i, x)
		}
		return f(c)
	}
}

func typeError(i int, x *tensor) error {
	return fmt.Errorf("input %d: element type %v is not supported by this operator", i, x.Type)
}

// need checks that inputs 0..n-1 are present.
func need(c *exec.Call, n int) error {
	for i := range n {
		if c.Input(i) == nil {
			return fmt.Errorf("input %d is missing: the operator needs %d", i, n)
		}
	}
	return nil
}

// sameType checks that all present inputs from..to-1 have the type of the first of them.
func sameType(c *exec.Call, from, to int) error {
	for i := from + 1; i < min(to, len(c.In)); i++ {
		if a, b := c.InType(from), c.InType(i); a != b && c.In[i] != nil && c.In[from] != nil {
			return fmt.Errorf("input %d is %v, but input %d is %v: they must agree", i, b, from, a)
		}
	}
	return nil
}

// ints reads a small integer tensor (int32 or int64) such as a shape or axes; nil gives nil.
func ints(x *tensor) ([]int, error) {
	if x == nil {
		return nil, nil
	}
	out := make([]int, x.Len())
	switch d := x.Data.(type) {
	case []int64:
		for i, v := range d {
			out[i] = int(v)
		}
	case []int32:
		for i, v := range d {
			out[i] = int(v)
		}
	default:
		return nil, fmt.Errorf("%v given where int64 is expected", x.Type)
	}
	return out, nil
}

// flag is 1 where an integer attribute says yes, else 0.
func flag(n *graph.Node, name string) int {
	if n.Int(name, 0) != 0 {
		return 1
	}
	return 0
}

// asInts converts attribute lists.
func asInts(l []int64) []int {
	if l == nil {
		return nil
	}
	out := make([]int, len(l))
	for i, v := range l {
		out[i] = int(v)
	}
	return out
}

// floats reads any real tensor as float64, nil gives nil.
func floats(x *tensor) ([]float64, error) {
	if x == nil {
		return nil, nil
	}
	y, err := x.ConvertTo(onnxio.Float64)
	if err != nil {
		return nil, err
	}
	return y.Float64s(), nil
}

// scalar reads a tensor with one element as float64.
func scalar(x *tensor) (float64, error) {
	if x.Len() != 1 {
		return 0, fmt.Errorf("shape %v given where a scalar is expected", x.Shape)
	}
	f, err := floats(x)
	if err != nil {
		return 0, err
	}
	return f[0], nil
}

// scalarInt reads a tensor with one integer.
func scalarInt(x *tensor) (int, error) {
	if x.Len() != 1 {
		return 0, fmt.Errorf("shape %v given where a scalar is expected", x.Shape)
	}
	y, err := x.ConvertTo(onnxio.Int64)
	if err != nil {
		return 0, err
	}
	return int(y.Int64s()[0]), nil
}
