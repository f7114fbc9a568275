package ops

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// rowOp computes a run: dst[i] = f(a[i*sa], b[i*sb]) with steps of 0 or 1.
type rowOp[A, R any] func(dst []R, a, b []A, sa, sb int)

// rowsOf makes a run of a scalar function.
func rowsOf[A, R any](f func(a, b A) R) rowOp[A, R] {
	return func(dst []R, a, b []A, sa, sb int) {
		switch {
		case sa == 1 && sb == 1:
			b = b[:len(dst)]
			for i, x := range a[:len(dst)] {
				dst[i] = f(x, b[i])
			}
		case sa == 1:
			y := b[0]
			for i, x := range a[:len(dst)] {
				dst[i] = f(x, y)
			}
		case sb == 1:
			x := a[0]
			for i, y := range b[:len(dst)] {
				dst[i] = f(x, y)
			}
		default:
			v := f(a[0], b[0])
			for i := range dst {
				dst[i] = v
			}
		}
	}
}

// binary is the kernel form of a broadcasting operator with inputs a and b of one type A and a result of type out.
func binary[A, R any](out onnxio.DataType, f rowOp[A, R]) func(c *exec.Call) error {
	return func(c *exec.Call) error {
		a, b := c.In[0], c.In[1]
		shape, err := broadcast(a.Shape, b.Shape)
		if err != nil {
			return err
		}
		t := out
		if t == onnxio.Undefined {
			t = a.Type
		}
		y := elementwiseOut(c, t, shape)
		binaryInto(c, data[R](y), data[A](a), data[A](b), shape, a.Shape, b.Shape, f)
		c.Out[0] = y
		return nil
	}
}

// elementwiseOut takes the memory of input 0 or 1 when that is free and as large as the result.
func elementwiseOut(c *exec.Call, t onnxio.DataType, shape []int) *tensor {
	n := size(shape)
	for i := range min(2, len(c.In)) {
		if x := c.In[i]; x != nil && x.Type == t && x.Len() == n && c.MayReuse(i) {
			return c.Reuse(i, t, shape...)
		}
	}
	return c.New(t, shape...)
}

func binaryInto[A, R any](c *exec.Call, y []R, a, b []A, shape, as, bs []int, f rowOp[A, R]) {
	if len(y) == 0 {
		return
	}
	l := newLoop(shape, stridesOf(shape), spread(as, shape), spread(bs, shape))
	rows, n := l.rows()
	sa, sb := min(l.inner(1), 1), min(l.inner(2), 1)
	if rows == 1 {
		c.Parallel(n, 1, func(lo, hi int) { f(y[lo:hi], a[lo*sa:], b[lo*sb:], sa, sb) })
		return
	}
	c.Parallel(rows, n, func(lo, hi int) {
		l.each(lo, hi, func(_ int, off []int) { f(y[off[0]:off[0]+n], a[off[1]:], b[off[2]:], sa, sb) })
	})
}

var errDivide = errors.New("division of an integer by zero")

func add[T number](x, y T) T { return x + y }
func sub[T number](x, y T) T { return x - y }
func mul[T number](x, y T) T { return x * y }
func div[T float](x, y T) T  { return x / y }

func divInt[T integer](x, y T) T {
	if y == 0 {
		panic(errDivide)
	}
	return x / y
}

// numbers registers one generic function for all numeric types.
func numbers(i8 rowOp[int8, int8], i16 rowOp[int16, int16], i32 rowOp[int32, int32], i64 rowOp[int64, int64],
	u8 rowOp[uint8, uint8], u16 rowOp[uint16, uint16], u32 rowOp[uint32, uint32], u64 rowOp[uint64, uint64],
	f32 rowOp[float32, float32], f64 rowOp[float64, float64]) typed {
	return typed{
		onnxio.Int8: binary(0, i8), onnxio.Int16: binary(0, i16), onnxio.Int32: binary(0, i32), onnxio.Int64: binary(0, i64),
		onnxio.Uint8: binary(0, u8), onnxio.Uint16: binary(0, u16), onnxio.Uint32: binary(0, u32), onnxio.Uint64: binary(0, u64),
		onnxio.Float32: binary(0, f32), onnxio.Float64: binary(0, f64),
	}
}

// binaryOp prepares a broadcasting operator. Before version 7 the second input was aligned by attributes broadcast and axis.
func binaryOp(forms typed) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	k := by(0, forms)
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		axis := n.Int("axis", -1)
		legacy := n.Opset() < 7 && n.Domain() == "" && n.Int("broadcast", 0) != 0 && n.HasAttr("axis")
		return func(c *exec.Call) error {
			if err := need(c, 2); err != nil {
				return err
			}
			if err := sameType(c, 0, 2); err != nil {
				return err
			}
			if a, b := c.In[0], c.In[1]; legacy && int(axis)+len(b.Shape) < len(a.Shape) {
				shape := append([]int{}, b.Shape...)
				for len(shape)+int(axis) < len(a.Shape) {
					shape = append(shape, 1)
				}
				c.In[1] = c.View(b, shape...)
			}
			return k(c)
		}, nil
	}
}

func addRows[T number](d, a, b []T, sa, sb int) {
	switch {
	case sa == 1 && sb == 1:
		a, b = a[:len(d)], b[:len(d)]
		for i := range d {
			d[i] = a[i] + b[i]
		}
	case sa == 1:
		y := b[0]
		for i, x := range a[:len(d)] {
			d[i] = x + y
		}
	default:
		rowsOf(add[T])(d, a, b, sa, sb)
	}
}

func mulRows[T number](d, a, b []T, sa, sb int) {
	switch {
	case sa == 1 && sb == 1:
		a, b = a[:len(d)], b[:len(d)]
		for i := range d {
			d[i] = a[i] * b[i]
		}
	case sa == 1:
		y := b[0]
		for i, x := range a[:len(d)] {
			d[i] = x * y
		}
	default:
		rowsOf(mul[T])(d, a, b, sa, sb)
	}
}

func pow[T float](x, y T) T {
	switch y {
	case 2:
		return x * x
	case 1:
		return x
	case 0.5:
		return T(math.Sqrt(float64(x)))
	}
	return T(math.Pow(float64(x), float64(y)))
}

// powKernel takes an exponent of any type; the result has the type of the base.
func powKernel(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	x, y := c.In[0], c.In[1]
	if x.Type == onnxio.Int32 || x.Type == onnxio.Int64 {
		return powInt(c)
	}
	if y.Type != x.Type {
		e, err := y.ConvertTo(x.Type)
		if err != nil {
			return err
		}
		c.In[1] = e
	}
	return by(0, typed{onnxio.Float32: binary(0, rowsOf(pow[float32])), onnxio.Float64: binary(0, rowsOf(pow[float64]))})(c)
}

func powInt(c *exec.Call) error {
	t := c.In[0].Type
	for i := range 2 {
		w, err := c.In[i].ConvertTo(onnxio.Float64)
		if err != nil {
			return err
		}
		c.In[i] = w
	}
	if err := binary(0, rowsOf(pow[float64]))(c); err != nil {
		return err
	}
	y, err := c.Out[0].ConvertTo(t)
	c.Out[0] = y
	return err
}

// fmod is C's: the sign of the dividend. modulo is Python's: the sign of the divisor.
func fmodFloat[T float](x, y T) T { return T(math.Mod(float64(x), float64(y))) }

func fmodInt[T integer](x, y T) T {
	if y == 0 {
		panic(errDivide)
	}
	return x % y
}

func moduloInt[T integer](x, y T) T {
	r := fmodInt(x, y)
	if r != 0 && (r < 0) != (y < 0) {
		r += y
	}
	return r
}

func moduloFloat[T float](x, y T) T {
	r := fmodFloat(x, y)
	if r != 0 && (r < 0) != (y < 0) {
		r += y
	}
	return r
}

func prepareMod(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	forms := numbers(rowsOf(moduloInt[int8]), rowsOf(moduloInt[int16]), rowsOf(moduloInt[int32]), rowsOf(moduloInt[int64]),
		rowsOf(moduloInt[uint8]), rowsOf(moduloInt[uint16]), rowsOf(moduloInt[uint32]), rowsOf(moduloInt[uint64]),
		rowsOf(moduloFloat[float32]), rowsOf(moduloFloat[float64]))
	if n.Int("fmod", 0) != 0 {
		forms = numbers(rowsOf(fmodInt[int8]), rowsOf(fmodInt[int16]), rowsOf(fmodInt[int32]), rowsOf(fmodInt[int64]),
			rowsOf(fmodInt[uint8]), rowsOf(fmodInt[uint16]), rowsOf(fmodInt[uint32]), rowsOf(fmodInt[uint64]),
			rowsOf(fmodFloat[float32]), rowsOf(fmodFloat[float64]))
	}
	return binaryOp(forms)(n, p)
}

func preparePRelu(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := binaryOp(numbers(rowsOf(prelu[int8]), rowsOf(prelu[int16]), rowsOf(prelu[int32]), rowsOf(prelu[int64]),
		rowsOf(prelu[uint8]), rowsOf(prelu[uint16]), rowsOf(prelu[uint32]), rowsOf(prelu[uint64]),
		rowsOf(prelu[float32]), rowsOf(prelu[float64])))(n, p)
	if n.Opset() >= 7 {
		return func(c *exec.Call) error {
			if x, s := c.Input(0), c.Input(1); x != nil && s != nil {
				if shape, err := broadcast(x.Shape, s.Shape); err != nil || !slices.Equal(shape, x.Shape) {
					return fmt.Errorf("slope has shape %v, which does not broadcast to %v", s.Shape, x.Shape)
				}
			}
			return k(c)
		}, err
	}
	return func(c *exec.Call) error { // one slope a channel
		if x, s := c.Input(0), c.Input(1); x != nil && s != nil && s.Len() > 1 && len(x.Shape) > 2 {
			shape := []int{s.Len()}
			for range len(x.Shape) - 2 {
				shape = append(shape, 1)
			}
			c.In[1] = c.View(s, shape...)
		}
		return k(c)
	}, err
}

func prelu[T number](x, slope T) T {
	if x < 0 {
		return x * slope
	}
	return x
}

func init() {
	addForms := numbers(addRows[int8], addRows[int16], addRows[int32], addRows[int64], addRows[uint8], addRows[uint16],
		addRows[uint32], addRows[uint64], addFloat32, addRows[float64])
	subForms := numbers(rowsOf(sub[int8]), rowsOf(sub[int16]), rowsOf(sub[int32]), rowsOf(sub[int64]), rowsOf(sub[uint8]),
		rowsOf(sub[uint16]), rowsOf(sub[uint32]), rowsOf(sub[uint64]), subFloat32, rowsOf(sub[float64]))
	mulForms := numbers(mulRows[int8], mulRows[int16], mulRows[int32], mulRows[int64], mulRows[uint8], mulRows[uint16],
		mulRows[uint32], mulRows[uint64], mulFloat32, mulRows[float64])
	divForms := numbers(rowsOf(divInt[int8]), rowsOf(divInt[int16]), rowsOf(divInt[int32]), rowsOf(divInt[int64]), rowsOf(divInt[uint8]),
		rowsOf(divInt[uint16]), rowsOf(divInt[uint32]), rowsOf(divInt[uint64]), divFloat32, rowsOf(div[float64]))
	exec.Register(
		exec.Op{Name: "Add", Since: 1, Infer: inferBroadcast(0, 0), Prepare: binaryOp(addForms)},
		exec.Op{Name: "Sub", Since: 1, Infer: inferBroadcast(0, 0), Prepare: binaryOp(subForms)},
		exec.Op{Name: "Mul", Since: 1, Infer: inferBroadcast(0, 0), Prepare: binaryOp(mulForms)},
		exec.Op{Name: "Div", Since: 1, Infer: inferBroadcast(0, 0), Prepare: binaryOp(divForms)},
		exec.Op{Name: "Mod", Since: 10, Infer: inferBroadcast(0, 0), Prepare: prepareMod},
		exec.Op{Name: "PRelu", Since: 1, Infer: sameAs(0), Prepare: preparePRelu},
		exec.Op{Name: "Pow", Since: 1, Infer: inferBroadcast(0, 0), Prepare: func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
			return powKernel, nil
		}},
	)
}
