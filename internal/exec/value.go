package exec

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// Values that are no tensors travel as a Tensor of type Undefined whose Data is one of the types below.

// Sequence is an ordered list of tensors (or of optionals).
type Sequence struct {
	Type  onnxio.DataType // of the elements
	Elems []*onnxio.Tensor
}

// Optional is a value that may be absent.
type Optional struct {
	Value *onnxio.Tensor // nil: absent
}

// Map is a dictionary with either integer or string keys, each in the order of the file or of the operator that made it.
type Map struct {
	Keys   *onnxio.Tensor // int64 or string, rank 1
	Values *onnxio.Tensor // one for each key
}

// NewSequence wraps a list of tensors.
func NewSequence(t onnxio.DataType, elems ...*onnxio.Tensor) *onnxio.Tensor {
	return &onnxio.Tensor{Data: &Sequence{t, elems}}
}

// NewOptional wraps a value that may be nil.
func NewOptional(v *onnxio.Tensor) *onnxio.Tensor { return &onnxio.Tensor{Data: &Optional{v}} }

// IsSequence reports whether x is a sequence.
func IsSequence(x *onnxio.Tensor) bool { _, ok := x.Data.(*Sequence); return ok }

// IsOptional reports whether x is an optional.
func IsOptional(x *onnxio.Tensor) bool { _, ok := x.Data.(*Optional); return ok }

// ofTensors is the kernel k, to which inputs that are no tensors do not come.
func ofTensors(k Kernel) Kernel {
	return func(c *Call) error {
		for i, x := range c.In {
			if x == nil || x.Type != onnxio.Undefined {
				continue
			}
			switch x.Data.(type) {
			case *Sequence:
				return fmt.Errorf("input %d is a sequence, expected a tensor", i)
			case *Optional:
				return fmt.Errorf("input %d is an optional, expected a tensor: OptionalGetElement takes it out", i)
			case *Map:
				return fmt.Errorf("input %d is a map, expected a tensor", i)
			}
		}
		return k(c)
	}
}

// toFloat64 is a float32 tensor with its elements widened.
func toFloat64(x *onnxio.Tensor) *onnxio.Tensor {
	y := onnxio.NewTensor(onnxio.Float64, x.Shape...)
	d := y.Float64s()
	for i, v := range x.Float32s() {
		d[i] = float64(v)
	}
	return y
}

// widest is toFloat64 where there is float32, also within sequences and optionals.
func widest(t *onnxio.Tensor) *onnxio.Tensor {
	switch d := t.Data.(type) {
	case []float32:
		return toFloat64(t)
	case *Sequence:
		if d.Type != onnxio.Float32 {
			return t
		}
		elems := make([]*onnxio.Tensor, len(d.Elems))
		for i, e := range d.Elems {
			elems[i] = widest(e)
		}
		return NewSequence(onnxio.Float64, elems...)
	case *Optional:
		if d.Value != nil {
			return NewOptional(widest(d.Value))
		}
	}
	return t
}

// isSmallFloat reports whether kernels see x widened to float32.
func isSmallFloat(t onnxio.DataType) bool {
	return t.IsFloat() && t != onnxio.Float32 && t != onnxio.Float64
}

// widened makes a kernel for float32 serve the small floating-point types: they are computed in float32, and rounded once to the
// type of the first floating-point input.
func widened(k Kernel) Kernel {
	return func(c *Call) error {
		first, small := onnxio.Undefined, false
		for _, x := range c.In {
			if x == nil || !x.Type.IsFloat() {
				continue
			}
			if first == onnxio.Undefined {
				first = x.Type
			}
			small = small || isSmallFloat(x.Type)
		}
		if !small {
			return k(c)
		}
		given := c.In
		c.wide = given
		defer func() { c.In, c.wide = given, nil }()
		c.In = make([]*onnxio.Tensor, len(given))
		for i, x := range given {
			c.In[i] = x
			if x != nil && isSmallFloat(x.Type) {
				w, err := x.ConvertTo(onnxio.Float32)
				if err != nil {
					return err
				}
				c.In[i] = w
			}
		}
		if err := k(c); err != nil {
			return err
		}
		if !isSmallFloat(first) {
			return nil
		}
		for i, y := range c.Out {
			if y != nil && y.Type == onnxio.Float32 && c.exact>>i&1 == 0 {
				r, err := y.ConvertTo(first)
				if err != nil {
					return err
				}
				if err := c.adopt(r); err != nil {
					return err
				}
				c.Out[i] = r
			}
		}
		return nil
	}
}
