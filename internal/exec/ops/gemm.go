package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// product computes C = alpha op(A) op(B) + beta C on row-major matrices.
func product[T float](transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc, threads int) {
	if m == 0 || n == 0 {
		return
	}
	switch a := any(a).(type) {
	case []float32:
		kernel.Sgemm(transA, transB, m, n, k, float32(alpha), a, max(lda, 1), any(b).([]float32), max(ldb, 1), float32(beta), any(c).([]float32), max(ldc, 1), threads)
	case []float64:
		kernel.Dgemm(transA, transB, m, n, k, float64(alpha), a, max(lda, 1), any(b).([]float64), max(ldb, 1), float64(beta), any(c).([]float64), max(ldc, 1), threads)
	}
}

type gemmAttrs struct {
	alpha, beta    float32
	transA, transB bool
}

func prepareGemm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	g := gemmAttrs{n.Float("alpha", 1), n.Float("beta", 1), n.Int("transA", 0) != 0, n.Int("transB", 0) != 0}
	k := by(0, typed{
		onnxio.Float32: func(c *exec.Call) error { return gemm[float32](c, g) },
		onnxio.Float64: func(c *exec.Call) error { return gemm[float64](c, g) },
		onnxio.Int32:   func(c *exec.Call) error { return viaDouble(c, func() error { return gemm[float64](c, g) }) },
		onnxio.Int64:   func(c *exec.Call) error { return viaDouble(c, func() error { return gemm[float64](c, g) }) },
		onnxio.Uint32:  func(c *exec.Call) error { return viaDouble(c, func() error { return gemm[float64](c, g) }) },
		onnxio.Uint64:  func(c *exec.Call) error { return viaDouble(c, func() error { return gemm[float64](c, g) }) },
	})
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

// viaDouble computes integers in float64, which is exact up to 2^53, and converts the result back.
func viaDouble(c *exec.Call, fn func() error) error {
	t := c.In[0].Type
	c.KeepInputs()
	for i, x := range c.In {
		if x == nil {
			continue
		}
		w, err := x.ConvertTo(onnxio.Float64)
		if err != nil {
			return err
		}
		c.In[i] = w
	}
	if err := fn(); err != nil {
		return err
	}
	y, err := c.Out[0].ConvertTo(t)
	c.Out[0] = y
	return err
}

// gemm is Y = alpha A' B' + beta C, with C broadcast to Y.
func gemm[T float](c *exec.Call, g gemmAttrs) error {
	a, b := c.In[0], c.In[1]
	if len(a.Shape) != 2 || len(b.Shape) != 2 {
		return fmt.Errorf("inputs have shapes %v and %v, expected two matrices", a.Shape, b.Shape)
	}
	m, k, kb, n := a.Shape[0], a.Shape[1], b.Shape[0], b.Shape[1]
	if g.transA {
		m, k = k, m
	}
	if g.transB {
		kb, n = n, kb
	}
	if k != kb {
		return fmt.Errorf("cannot multiply shapes %v (transA %v) and %v (transB %v)", a.Shape, g.transA, b.Shape, g.transB)
	}
	y := c.New(a.Type, m, n)
	d, beta := data[T](y), T(0)
	if z := c.Input(2); z != nil && g.beta != 0 {
		shape, err := broadcast(z.Shape, y.Shape)
		if err != nil || size(shape) != m*n {
			return fmt.Errorf("input C has shape %v, which does not broadcast to %v", z.Shape, y.Shape)
		}
		permuted(y, z, 0, newLoop(y.Shape, []int{n, 1}, spread(z.Shape, y.Shape)), c.Parallel)
		beta = T(g.beta)
	}
	product(g.transA, g.transB, m, n, k, T(g.alpha), data[T](a), a.Shape[1], data[T](b), b.Shape[1], beta, d, n, c.Threads)
	c.Out[0] = y
	return nil
}

func inferGemm(n *graph.Node) error {
	a, b := shapeOf(n, 0), shapeOf(n, 1)
	out := graph.UnknownShape(2)
	if len(a) == 2 {
		out[0] = a[flag(n, "transA")]
	}
	if len(b) == 2 {
		out[1] = b[1-flag(n, "transB")]
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Gemm", Since: 1, Infer: inferGemm, Prepare: prepareGemm})
}
