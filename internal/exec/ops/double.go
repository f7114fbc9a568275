package ops

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Operators that are not worth a form for each element type compute in float64: they read with floats and write with store.

// store writes v to y, rounded to y's type as Cast does it. y has as many elements as v.
func store(y *tensor, v []float64) error {
	switch d := y.Data.(type) {
	case []float64:
		copy(d, v)
		return nil
	case []float32:
		for i, x := range v {
			d[i] = float32(x)
		}
		return nil
	}
	r, err := onnxio.TensorOf(v, y.Shape...).ConvertTo(y.Type)
	if err != nil {
		return err
	}
	newMover(y, r).move(0, 0, len(v))
	return nil
}

// scalarInput is input i, a tensor with one element, as float64; def when it is omitted or empty.
func scalarInput(c *exec.Call, i int, def float64) (float64, error) {
	x := c.Input(i)
	if x == nil || x.Len() == 0 {
		return def, nil
	}
	v, err := scalar(x)
	if err != nil {
		return 0, fmt.Errorf("input %d: %w", i, err)
	}
	return v, nil
}

// throughDouble lets a kernel for float64 serve integers and bool: input 0 is converted, and output 0 back.
func throughDouble(k exec.Kernel) exec.Kernel {
	return func(c *exec.Call) error {
		x := c.Input(0)
		if x == nil || !x.Type.Valid() || x.Type.IsFloat() || x.Type == onnxio.String || x.Type == onnxio.Complex64 || x.Type == onnxio.Complex128 {
			return k(c)
		}
		wide, err := x.ConvertTo(onnxio.Float64)
		if err != nil {
			return err
		}
		given := c.In
		defer func() { c.In = given }()
		c.In = slices.Clone(given)
		c.In[0] = wide
		if err := k(c); err != nil {
			return err
		}
		c.Out[0], err = c.Out[0].ConvertTo(x.Type)
		return err
	}
}

// alike brings the floating-point inputs listed to one type, float64 if any of them is that and float32 otherwise, for kernels that
// the standard lets mix types. Output i then takes the type of the input that result[i] names. The operator must be Native.
func alike(k exec.Kernel, inputs []int, result ...int) exec.Kernel {
	return func(c *exec.Call) error {
		to := onnxio.Float32
		for _, i := range inputs {
			if x := c.Input(i); x != nil && x.Type == onnxio.Float64 {
				to = onnxio.Float64
			}
		}
		given := c.In
		defer func() { c.In = given }()
		c.In = slices.Clone(given)
		for _, i := range inputs {
			x := c.Input(i)
			if x == nil || !x.Type.IsFloat() {
				continue
			}
			var err error
			if c.In[i], err = x.ConvertTo(to); err != nil {
				return err
			}
		}
		if err := k(c); err != nil {
			return err
		}
		for i, from := range result {
			if i >= len(c.Out) || c.Out[i] == nil || from >= len(given) || given[from] == nil {
				continue
			}
			var err error
			if c.Out[i], err = c.Out[i].ConvertTo(given[from].Type); err != nil {
				return err
			}
		}
		return nil
	}
}
