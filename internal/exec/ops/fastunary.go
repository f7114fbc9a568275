package ops

import (
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// The float32 forms of elementwise functions without a vector kernel of their own: plain loops, which cost no call for each element,
// or several vector kernels one after the other.

// withLoop is viaFloat64 with a loop for float32. dst and x may be the same memory.
func withLoop(f32 func(dst, x []float32), f64 func(float64) float64) exec.Kernel {
	return by(0, typed{onnxio.Float32: mapRuns(2, f32), onnxio.Float64: mapKernel(16, f64)})
}

func sqrtLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Sqrt(float64(v)))
	}
}

func reciprocalLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = 1 / v
	}
}

func floorLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Floor(float64(v)))
	}
}

func ceilLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Ceil(float64(v)))
	}
}

func roundLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.RoundToEven(float64(v)))
	}
}

func absLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	}
}

func negLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = -v
	}
}

func softsignLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = v / (1 + math.Float32frombits(math.Float32bits(v)&^(1<<31)))
	}
}

// leakyLoop is x where it is positive, else a x.
func leakyLoop(a float32) func(dst, x []float32) {
	if a <= 1 && a != 0 { // the larger of the two
		return func(dst, x []float32) {
			for i, v := range x {
				dst[i] = max(v, a*v)
			}
		}
	}
	return func(dst, x []float32) {
		for i, v := range x {
			if v < 0 {
				v *= a
			}
			dst[i] = v
		}
	}
}

const unaryBlock = 512 // elements at a time, for functions that need room beside their result

// blocks calls f with room for each part of x; f may write dst over x.
func blocks(f func(dst, x, room []float32)) func(dst, x []float32) {
	return func(dst, x []float32) {
		var room [unaryBlock]float32
		for at := 0; at < len(x); at += unaryBlock {
			end := min(at+unaryBlock, len(x))
			f(dst[at:end], x[at:end], room[:end-at])
		}
	}
}

// hardSigmoidLoop is max(0, min(1, a x + b)); a NaN stays one.
func hardSigmoidLoop(a, b float32) func(dst, x []float32) {
	return func(dst, x []float32) {
		for i, v := range x {
			dst[i] = max(0, min(1, a*v+b))
		}
	}
}

func hardSwishLoop(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * max(0, min(1, v/6+0.5))
	}
}

// mishLoop is x tanh(log(1 + e)) = x w/(w + 2) with e = exp(x) and w = e (e + 2); from 20 on that is x.
var mishLoop = blocks(func(dst, x, e []float32) {
	for i, v := range x {
		e[i] = min(v, 20)
	}
	kernel.Exp(e, e)
	for i, v := range x {
		w := e[i] * (e[i] + 2)
		dst[i] = v * (w / (w + 2))
	}
})

// swishLoop is x sigmoid(a x).
func swishLoop(a float32) func(dst, x []float32) {
	return blocks(func(dst, x, s []float32) {
		kernel.Affine(s, x, a, 0)
		kernel.Sigmoid(s, s)
		kernel.Mul(dst, x, s)
	})
}

// prepareHardSigmoid, prepareSwish: as the functions of unary.go, with loops for float32.
func prepareHardSigmoid(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a, b := n.Float("alpha", 0.2), n.Float("beta", 0.5)
	return withLoop(hardSigmoidLoop(a, b), func(x float64) float64 { return hardSigmoid(x, float64(a), float64(b)) }), nil
}

func prepareSwish(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := n.Float("alpha", 1)
	return withLoop(swishLoop(a), func(x float64) float64 { return x * sigmoid(float64(a)*x) }), nil
}
