package ops

import (
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareCumulative folds along an axis and keeps every partial result: CumSum and CumProd.
func prepareCumulative(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	product := n.Op() == "CumProd"
	exclusive, reverse := n.Int("exclusive", 0) != 0, n.Int("reverse", 0) != 0
	k := by(0, typed{
		onnxio.Float32: cumulative[float32](product, exclusive, reverse), onnxio.Float64: cumulative[float64](product, exclusive, reverse),
		onnxio.Int32: cumulative[int32](product, exclusive, reverse), onnxio.Int64: cumulative[int64](product, exclusive, reverse),
		onnxio.Uint32: cumulative[uint32](product, exclusive, reverse), onnxio.Uint64: cumulative[uint64](product, exclusive, reverse),
	})
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		return k(c)
	}, nil
}

func cumulative[T number](product, exclusive, reverse bool) func(c *exec.Call) error {
	return func(c *exec.Call) error {
		x := c.In[0]
		axis, err := scalarInt(c.In[1])
		if err != nil {
			return err
		}
		if axis, err = axisIn(axis, len(x.Shape)); err != nil {
			return err
		}
		y := c.New(x.Type, x.Shape...)
		xd, yd := data[T](x), data[T](y)
		_, n, inner := around(x.Shape, axis)
		r := planReduce(x.Shape, []int{axis}, true)
		r.run(c, func(_, base int) {
			at, step := base, inner
			if reverse {
				at, step = base+(n-1)*inner, -inner
			}
			acc := T(0)
			if product {
				acc = 1
			}
			for range n {
				before := acc
				if product {
					acc *= xd[at]
				} else {
					acc += xd[at]
				}
				yd[at] = acc
				if exclusive {
					yd[at] = before
				}
				at += step
			}
		})
		c.Out[0] = y
		return nil
	}
}

func init() {
	exec.Register(
		exec.Op{Name: "CumSum", Since: 11, Infer: sameAs(0), Prepare: prepareCumulative},
		exec.Op{Name: "CumProd", Since: 26, Infer: sameAs(0), Prepare: prepareCumulative},
	)
}
