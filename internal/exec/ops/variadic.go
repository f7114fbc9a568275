package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// maxOf and minOf give NaN when either is NaN.
func maxOf[T number](a, b T) T {
	if a > b || a != a {
		return a
	}
	return b
}

func minOf[T number](a, b T) T {
	if a < b || a != a {
		return a
	}
	return b
}

// variadic folds any number of inputs with a broadcasting operation.
func variadic(pair typed, last func(c *exec.Call, n int) error) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	k := by(0, pair)
	return always(func(c *exec.Call) error {
		in := c.In
		if len(in) == 0 {
			return fmt.Errorf("has no inputs, expected at least one")
		}
		if err := need(c, len(in)); err != nil {
			return err
		}
		if err := sameType(c, 0, len(in)); err != nil {
			return err
		}
		if pair[in[0].Type] == nil { // of one input, nothing else would look at it
			return typeError(0, in[0])
		}
		c.KeepInputs() // their numbers change below
		acc := in[0]
		for _, x := range in[1:] {
			c.In = []*tensor{acc, x}
			if err := k(c); err != nil {
				return err
			}
			acc = c.Out[0]
		}
		c.In = in
		c.Out[0] = acc
		if last != nil {
			return last(c, len(in))
		}
		return nil
	})
}

// divideBy finishes a mean.
func divideBy(c *exec.Call, n int) error {
	y := onnxio.NewTensor(c.Out[0].Type, c.Out[0].Shape...)
	switch d := y.Data.(type) {
	case []float32:
		for i, v := range data[float32](c.Out[0]) {
			d[i] = v / float32(n)
		}
	case []float64:
		for i, v := range data[float64](c.Out[0]) {
			d[i] = v / float64(n)
		}
	}
	c.Out[0] = y
	return nil
}

// prepareClip: attributes min and max before version 11, then inputs.
func prepareClip(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	fromAttrs := n.Opset() < 11
	var lo, hi *tensor
	if fromAttrs {
		if n.HasAttr("min") {
			lo = onnxio.TensorOf([]float32{n.Float("min", 0)})
		}
		if n.HasAttr("max") {
			hi = onnxio.TensorOf([]float32{n.Float("max", 0)})
		}
	}
	forms := typed{
		onnxio.Float32: clip[float32], onnxio.Float64: clip[float64], onnxio.Int8: clip[int8], onnxio.Int16: clip[int16],
		onnxio.Int32: clip[int32], onnxio.Int64: clip[int64], onnxio.Uint8: clip[uint8], onnxio.Uint16: clip[uint16],
		onnxio.Uint32: clip[uint32], onnxio.Uint64: clip[uint64],
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		if fromAttrs {
			c.In = []*tensor{c.In[0], lo, hi}
		}
		for i := 1; i < len(c.In); i++ {
			if x := c.In[i]; x != nil {
				if x.Len() != 1 {
					return fmt.Errorf("input %d has shape %v, expected a scalar", i, x.Shape)
				}
				w, err := x.ConvertTo(c.In[0].Type)
				if err != nil {
					return err
				}
				c.In[i] = w
			}
		}
		return by(0, forms)(c)
	}, nil
}

func clip[T number](c *exec.Call) error {
	lo, hi := c.Input(1), c.Input(2)
	if f, ok := clipVector(c, lo, hi); ok {
		return f(c)
	}
	switch {
	case lo != nil && hi != nil:
		l, h := data[T](lo)[0], data[T](hi)[0]
		return mapRuns(2, func(y, x []T) {
			for i, v := range x {
				if v < l {
					v = l
				}
				if v > h {
					v = h
				}
				y[i] = v
			}
		})(c)
	case lo != nil:
		l := data[T](lo)[0]
		return mapKernel(1, func(v T) T {
			if v < l {
				return l
			}
			return v
		})(c)
	case hi != nil:
		h := data[T](hi)[0]
		return mapKernel(1, func(v T) T {
			if v > h {
				return h
			}
			return v
		})(c)
	}
	c.Out[0] = c.In[0]
	return nil
}

// clipVector is the float32 form; NaN stays NaN.
func clipVector(c *exec.Call, lo, hi *tensor) (func(c *exec.Call) error, bool) {
	if c.In[0].Type != onnxio.Float32 || lo == nil && hi == nil {
		return nil, false
	}
	l, h := float32(math.Inf(-1)), float32(math.Inf(1))
	if lo != nil {
		l = lo.Float32s()[0]
	}
	if hi != nil {
		h = hi.Float32s()[0]
	}
	return mapRuns(1, func(y, x []float32) { kernel.Clip(y, x, l, h) }), true
}

func init() {
	maxForms := numbers(rowsOf(maxOf[int8]), rowsOf(maxOf[int16]), rowsOf(maxOf[int32]), rowsOf(maxOf[int64]), rowsOf(maxOf[uint8]),
		rowsOf(maxOf[uint16]), rowsOf(maxOf[uint32]), rowsOf(maxOf[uint64]), rowsOf(maxOf[float32]), rowsOf(maxOf[float64]))
	minForms := numbers(rowsOf(minOf[int8]), rowsOf(minOf[int16]), rowsOf(minOf[int32]), rowsOf(minOf[int64]), rowsOf(minOf[uint8]),
		rowsOf(minOf[uint16]), rowsOf(minOf[uint32]), rowsOf(minOf[uint64]), rowsOf(minOf[float32]), rowsOf(minOf[float64]))
	sumForms := typed{onnxio.Float32: binary(0, addFloat32), onnxio.Float64: binary(0, addRows[float64])}
	exec.Register(
		exec.Op{Name: "Max", Since: 1, Infer: inferBroadcast(0, 0), Prepare: variadic(maxForms, nil)},
		exec.Op{Name: "Min", Since: 1, Infer: inferBroadcast(0, 0), Prepare: variadic(minForms, nil)},
		exec.Op{Name: "Sum", Since: 1, Infer: inferBroadcast(0, 0), Prepare: variadic(sumForms, nil)},
		exec.Op{Name: "Mean", Since: 1, Infer: inferBroadcast(0, 0), Prepare: variadic(sumForms, divideBy)},
		exec.Op{Name: "Clip", Since: 1, Infer: sameAs(0), Prepare: prepareClip},
	)
}
