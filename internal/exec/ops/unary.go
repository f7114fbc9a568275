package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// mapKernel is y[i] = f(x[i]) for one element type; cost is what an element takes in simple operations.
func mapKernel[T any](cost int, f func(T) T) func(c *exec.Call) error {
	return mapRuns(cost, func(y, x []T) {
		for i, v := range x {
			y[i] = f(v)
		}
	})
}

// mapRuns is mapKernel for a function on runs of elements, which may get the same slice twice.
func mapRuns[T any](cost int, f func(y, x []T)) func(c *exec.Call) error {
	return func(c *exec.Call) error {
		x := c.In[0]
		y := c.Reuse(0, x.Type, x.Shape...)
		xd, yd := data[T](x), data[T](y)
		c.Parallel(len(xd), cost, func(lo, hi int) { f(yd[lo:hi], xd[lo:hi]) })
		c.Out[0] = y
		return nil
	}
}

// always prepares a kernel that needs nothing from the node.
func always(k exec.Kernel) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return func(*graph.Node, *exec.Prep) (exec.Kernel, error) { return k, nil }
}

// viaFloat64 maps float32 and float64 through one float64 function.
func viaFloat64(f func(float64) float64) exec.Kernel {
	return by(0, typed{
		onnxio.Float32: mapKernel(16, func(x float32) float32 { return float32(f(float64(x))) }),
		onnxio.Float64: mapKernel(16, f),
	})
}

func absInt[T signed](x T) T {
	if x < 0 {
		return -x
	}
	return x
}

func neg[T signed | float](x T) T { return -x }
func same[T any](x T) T           { return x }

func absFloat[T float](x T) T { return T(math.Abs(float64(x))) }

func signOf[T number](x T) T {
	switch {
	case x > 0:
		return 1
	case x < 0:
		var zero T
		return zero - 1
	}
	return x // zero and NaN
}

func sigmoid(x float64) float64    { return 1 / (1 + math.Exp(-x)) }
func softplus(x float64) float64   { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
func softsign(x float64) float64   { return x / (1 + math.Abs(x)) }
func reciprocal(x float64) float64 { return 1 / x }

func relu[T signed | float](x T) T {
	if x < 0 {
		return 0
	}
	return x
}

func gelu(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }

func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func mish(x float64) float64 { return x * math.Tanh(softplus(x)) }

// withAlpha prepares activations that have up to two float attributes.
func withAttrs(name1 string, def1 float32, name2 string, def2 float32, f func(x, a, b float64) float64) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		a, b := float64(n.Float(name1, def1)), 0.0
		if name2 != "" {
			b = float64(n.Float(name2, def2))
		}
		return viaFloat64(func(x float64) float64 { return f(x, a, b) }), nil
	}
}

func prepareGelu(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	switch a := n.Str("approximate", "none"); a {
	case "none":
		return withVector(kernel.Gelu, gelu), nil
	case "tanh":
		return viaFloat64(geluTanh), nil
	default:
		return nil, fmt.Errorf(`attribute approximate is %q, expected "none" or "tanh"`, a)
	}
}

func prepareLeakyRelu(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := n.Float("alpha", 0.01)
	return by(0, typed{
		onnxio.Float32: mapRuns(1, leakyLoop(a)),
		onnxio.Float64: mapKernel(1, func(x float64) float64 {
			if x < 0 {
				return float64(a) * x
			}
			return x
		}),
	}), nil
}

// hardSigmoid is max(0, min(1, a x + b)).
func hardSigmoid(x, a, b float64) float64 { return math.Max(0, math.Min(1, a*x+b)) }

func shrink(x, lambd, bias float64) float64 {
	switch {
	case x < -lambd:
		return x + bias
	case x > lambd:
		return x - bias
	}
	return 0
}

func init() {
	reg := func(name string, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Name: name, Since: 1, Infer: sameAs(0), Prepare: prepare})
	}
	for name, f := range map[string]func(float64) float64{
		"Acos": math.Acos, "Acosh": math.Acosh, "Asin": math.Asin, "Asinh": math.Asinh, "Atan": math.Atan, "Atanh": math.Atanh,
		"Cos": math.Cos, "Cosh": math.Cosh, "Sin": math.Sin, "Sinh": math.Sinh, "Tan": math.Tan,
		"Log": math.Log, "Softplus": softplus,
	} {
		reg(name, always(viaFloat64(f)))
	}
	reg("Sqrt", always(withLoop(sqrtLoop, math.Sqrt)))
	reg("Reciprocal", always(withLoop(reciprocalLoop, reciprocal)))
	reg("Ceil", always(withLoop(ceilLoop, math.Ceil)))
	reg("Floor", always(withLoop(floorLoop, math.Floor)))
	reg("Round", always(withLoop(roundLoop, math.RoundToEven)))
	reg("Softsign", always(withLoop(softsignLoop, softsign)))
	reg("Mish", always(withLoop(mishLoop, mish)))
	reg("Tanh", always(withVector(kernel.Tanh, math.Tanh)))
	reg("Exp", always(withVector(kernel.Exp, math.Exp)))
	reg("Erf", always(withVector(kernel.Erf, math.Erf)))
	reg("Sigmoid", always(withVector(kernel.Sigmoid, sigmoid)))
	reg("Abs", always(by(0, typed{
		onnxio.Float32: mapRuns(1, absLoop), onnxio.Float64: mapKernel(1, absFloat[float64]),
		onnxio.Int8: mapKernel(1, absInt[int8]), onnxio.Int16: mapKernel(1, absInt[int16]),
		onnxio.Int32: mapKernel(1, absInt[int32]), onnxio.Int64: mapKernel(1, absInt[int64]),
		onnxio.Uint8: mapKernel(1, same[uint8]), onnxio.Uint16: mapKernel(1, same[uint16]),
		onnxio.Uint32: mapKernel(1, same[uint32]), onnxio.Uint64: mapKernel(1, same[uint64]),
	})))
	reg("Neg", always(by(0, typed{
		onnxio.Float32: mapRuns(1, negLoop), onnxio.Float64: mapKernel(1, neg[float64]),
		onnxio.Int8: mapKernel(1, neg[int8]), onnxio.Int16: mapKernel(1, neg[int16]),
		onnxio.Int32: mapKernel(1, neg[int32]), onnxio.Int64: mapKernel(1, neg[int64]),
	})))
	reg("Relu", always(by(0, typed{
		onnxio.Float32: mapRuns(1, kernel.Relu), onnxio.Float64: mapKernel(1, relu[float64]),
		onnxio.Int8: mapKernel(1, relu[int8]), onnxio.Int16: mapKernel(1, relu[int16]),
		onnxio.Int32: mapKernel(1, relu[int32]), onnxio.Int64: mapKernel(1, relu[int64]),
	})))
	reg("Sign", always(by(0, typed{
		onnxio.Float32: mapKernel(1, signOf[float32]), onnxio.Float64: mapKernel(1, signOf[float64]),
		onnxio.Int8: mapKernel(1, signOf[int8]), onnxio.Int16: mapKernel(1, signOf[int16]),
		onnxio.Int32: mapKernel(1, signOf[int32]), onnxio.Int64: mapKernel(1, signOf[int64]),
		onnxio.Uint8: mapKernel(1, signOf[uint8]), onnxio.Uint16: mapKernel(1, signOf[uint16]),
		onnxio.Uint32: mapKernel(1, signOf[uint32]), onnxio.Uint64: mapKernel(1, signOf[uint64]),
	})))
	reg("Gelu", prepareGelu)
	reg("LeakyRelu", prepareLeakyRelu)
	reg("HardSigmoid", prepareHardSigmoid)
	reg("HardSwish", always(withLoop(hardSwishLoop, func(x float64) float64 { return x * hardSigmoid(x, 1.0/6, 0.5) })))
	reg("Elu", withAttrs("alpha", 1, "", 0, func(x, a, _ float64) float64 {
		if x < 0 {
			return a * math.Expm1(x)
		}
		return x
	}))
	reg("Celu", withAttrs("alpha", 1, "", 0, func(x, a, _ float64) float64 {
		return math.Max(0, x) + math.Min(0, a*math.Expm1(x/a))
	}))
	reg("Selu", withAttrs("alpha", 1.67326319217681884765625, "gamma", 1.05070102214813232421875, func(x, a, g float64) float64 {
		if x <= 0 {
			return g * a * math.Expm1(x)
		}
		return g * x
	}))
	reg("ThresholdedRelu", withAttrs("alpha", 1, "", 0, func(x, a, _ float64) float64 {
		if x > a {
			return x
		}
		return 0
	}))
	reg("Shrink", func(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
		k, err := withAttrs("lambd", 0.5, "bias", 0, shrink)(n, p)
		return throughDouble(k), err
	})
	reg("Swish", prepareSwish)
	exec.Register(exec.Op{Domain: "com.microsoft", Name: "Gelu", Since: 1, Infer: sameAs(0), Prepare: always(withVector(kernel.Gelu, gelu))})
	exec.Register(exec.Op{Domain: "com.microsoft", Name: "QuickGelu", Since: 1, Infer: sameAs(0),
		Prepare: withAttrs("alpha", 1.702, "", 0, func(x, a, _ float64) float64 { return x * sigmoid(a*x) })})
}
