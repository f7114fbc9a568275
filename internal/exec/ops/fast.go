package ops

import (
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// The float32 forms that have vector kernels.

// vectorRows takes whole runs from a vector kernel; withB and withA are the forms where one operand is a single number, nil for
// the scalar loop.
func vectorRows(both func(d, a, b []float32), withB, withA func(d, x []float32, v float32), plain rowOp[float32, float32]) rowOp[float32, float32] {
	return func(d, a, b []float32, sa, sb int) {
		switch {
		case sa == 1 && sb == 1:
			both(d, a[:len(d)], b[:len(d)])
		case sa == 1 && withB != nil:
			withB(d, a[:len(d)], b[0])
		case sb == 1 && withA != nil:
			withA(d, b[:len(d)], a[0])
		default:
			plain(d, a, b, sa, sb)
		}
	}
}

func plusNumber(d, x []float32, v float32)  { kernel.Affine(d, x, 1, v) }
func minusNumber(d, x []float32, v float32) { kernel.Affine(d, x, 1, -v) }
func fromNumber(d, x []float32, v float32)  { kernel.Affine(d, x, -1, v) }

func timesNumber(d, x []float32, v float32) {
	for i, u := range x { // not Affine: adding 0 would lose the sign of -0
		d[i] = u * v
	}
}

var (
	addFloat32 = vectorRows(kernel.Add, plusNumber, plusNumber, addRows[float32])
	subFloat32 = vectorRows(kernel.Sub, minusNumber, fromNumber, rowsOf(sub[float32]))
	mulFloat32 = vectorRows(kernel.Mul, timesNumber, timesNumber, mulRows[float32])
	divFloat32 = vectorRows(kernel.Div, nil, nil, rowsOf(div[float32]))
)

// withVector is viaFloat64 with a vector kernel for float32.
func withVector(f32 func(dst, x []float32), f64 func(float64) float64) exec.Kernel {
	return by(0, typed{onnxio.Float32: mapRuns(4, f32), onnxio.Float64: mapKernel(16, f64)})
}

// sumRuns adds runs of consecutive float32 up by the vector kernel, in blocks whose sums go into float64; other layouts go to slow.
func sumRuns(done func(sum float64, n int) float64, slow func(c *exec.Call, r reduced, y *tensor)) func(c *exec.Call, r reduced, y *tensor) {
	const block = 512
	return func(c *exec.Call, r reduced, y *tensor) {
		if rows, n := r.gone.rows(); rows != 1 || n < 8 || r.gone.inner(0) != 1 {
			slow(c, r, y)
			return
		}
		x, d := data[float32](c.In[0]), data[float32](y)
		r.run(c, func(out, base int) {
			sum := 0.0
			for i := 0; i < r.count; i += block {
				sum += float64(kernel.Sum(x[base+i : base+min(i+block, r.count)]))
			}
			d[out] = float32(done(sum, r.count))
		})
	}
}
