package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareLRN: y = x / (bias + alpha/size * sum of x^2 over the neighbouring channels)^beta.
func prepareLRN(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := lrnAttrs{int(n.Int("size", 0)), float64(n.Float("alpha", 1e-4)), float64(n.Float("beta", 0.75)), float64(n.Float("bias", 1))}
	if a.size < 1 {
		return nil, fmt.Errorf("attribute size is %d, expected a positive number", a.size)
	}
	return floatForms(
		func(c *exec.Call) error { return lrn[float32](c, a) },
		func(c *exec.Call) error { return lrn[float64](c, a) }), nil
}

type lrnAttrs struct {
	size              int
	alpha, beta, bias float64
}

func lrn[T float](c *exec.Call, a lrnAttrs) error {
	x := c.In[0]
	if len(x.Shape) < 3 {
		return fmt.Errorf("input has shape %v, expected [N C spatial...]", x.Shape)
	}
	y := c.New(x.Type, x.Shape...)
	xd, yd := data[T](x), data[T](y)
	ch, inner := x.Shape[1], size(x.Shape[2:])
	c.Parallel(x.Shape[0]*ch, 40*inner, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			k, first := u%ch, u/ch*ch
			from, to := max(0, k-(a.size-1)/2), min(ch-1, k+a.size/2)
			for i := range inner {
				var sq float64
				for j := from; j <= to; j++ {
					v := float64(xd[(first+j)*inner+i])
					sq += v * v
				}
				yd[u*inner+i] = T(float64(xd[u*inner+i]) / math.Pow(a.bias+a.alpha/float64(a.size)*sq, a.beta))
			}
		}
	})
	c.Out[0] = y
	return nil
}

// prepareSwiGLU: y = a sigmoid(alpha a) b.
func prepareSwiGLU(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	alpha := float64(n.Float("alpha", 1))
	f := func(a, b float64) float64 { return a * sigmoid(alpha*a) * b }
	return binaryOp(typed{
		onnxio.Float32: binary(0, rowsOf(func(a, b float32) float32 { return float32(f(float64(a), float64(b))) })),
		onnxio.Float64: binary(0, rowsOf(f)),
	})(n, p)
}

func init() {
	exec.Register(
		exec.Op{Name: "LRN", Since: 1, Infer: sameAs(0), Prepare: prepareLRN},
		exec.Op{Name: "SwiGLU", Since: 28, Infer: inferBroadcast(0, onnxio.Undefined), Prepare: prepareSwiGLU},
	)
}
