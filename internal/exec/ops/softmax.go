package ops

import (
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
)

// softmaxForm is one of the functions that normalize along an axis.
type softmaxForm int

const (
	softmaxPlain softmaxForm = iota // exp(x) / sum exp(x)
	softmaxLog                      // x - log sum exp(x)
	softmaxHard                     // 1 at the first largest, else 0
)

// prepareSoftmax: before version 13 all dimensions from axis on are one (default axis 1), from 13 on one axis (default the last).
func prepareSoftmax(form softmaxForm) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		flat := n.Opset() < 13 && n.Domain() == ""
		def := int64(-1)
		if flat {
			def = 1
		}
		axis := int(n.Int("axis", def))
		return floatForms(
			func(c *exec.Call) error { return softmax[float32](c, form, axis, flat) },
			func(c *exec.Call) error { return softmax[float64](c, form, axis, flat) }), nil
	}
}

func softmax[T float](c *exec.Call, form softmaxForm, attr int, flat bool) error {
	x := c.In[0]
	if len(x.Shape) == 0 {
		x = c.View(x, 1)
		attr, flat = 0, false
	}
	axis := attr
	if !flat || axis != len(x.Shape) {
		var err error
		if axis, err = axisIn(attr, len(x.Shape)); err != nil {
			return err
		}
	}
	n, inner := size(x.Shape[axis:]), 1
	if !flat {
		_, n, inner = around(x.Shape, axis)
	}
	y := c.New(x.Type, c.In[0].Shape...)
	c.Out[0] = y
	xd, yd := data[T](x), data[T](y)
	if len(xd) == 0 {
		return nil
	}
	if inner == 1 {
		c.Parallel(len(xd)/n, 16*n, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				y, x := yd[r*n:(r+1)*n], xd[r*n:(r+1)*n]
				if f, ok := any(y).([]float32); ok && form == softmaxPlain {
					kernel.Softmax(f, any(x).([]float32), 1, n)
					continue
				}
				softmaxRow(form, y, x)
			}
		})
		return nil
	}
	c.Parallel(len(xd)/(n*inner), 16*n*inner, func(lo, hi int) {
		row := make([]T, n)
		for o := lo; o < hi; o++ {
			for i := range inner {
				base := o*n*inner + i
				for k := range row {
					row[k] = xd[base+k*inner]
				}
				softmaxRow(form, row, row)
				for k, v := range row {
					yd[base+k*inner] = v
				}
			}
		}
	})
	return nil
}

// softmaxRow normalizes one row; y may be x.
func softmaxRow[T float](form softmaxForm, y, x []T) {
	best := 0
	for i, v := range x {
		if v > x[best] || v != v {
			best = i
		}
	}
	top := x[best]
	if form == softmaxHard {
		clear(y)
		y[best] = 1
		return
	}
	var sum float64
	if form == softmaxLog {
		for _, v := range x {
			sum += math.Exp(float64(v - top))
		}
		shift := T(math.Log(sum))
		for i, v := range x {
			y[i] = v - top - shift
		}
		return
	}
	for i, v := range x {
		e := math.Exp(float64(v - top))
		sum += e
		y[i] = T(e)
	}
	inv := 1 / sum
	for i, v := range y {
		y[i] = T(float64(v) * inv)
	}
}

func init() {
	exec.Register(
		exec.Op{Name: "Softmax", Since: 1, Infer: sameAs(0), Prepare: prepareSoftmax(softmaxPlain)},
		exec.Op{Name: "LogSoftmax", Since: 1, Infer: sameAs(0), Prepare: prepareSoftmax(softmaxLog)},
		exec.Op{Name: "Hardmax", Since: 1, Infer: sameAs(0), Prepare: prepareSoftmax(softmaxHard)},
	)
}
