package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// fusedActivation is the function that a fused operator applies to its result; p are its parameters, with the defaults of the
// operator of that name where they are missing. "" is none.
func fusedActivation(name string, p []float32) (exec.Kernel, error) {
	at := func(i int, def float64) float64 {
		if i < len(p) {
			return float64(p[i])
		}
		return def
	}
	switch name {
	case "":
		return nil, nil
	case "Relu":
		return by(0, typed{onnxio.Float32: mapRuns(1, kernel.Relu), onnxio.Float64: mapKernel(1, relu[float64])}), nil
	case "Tanh":
		return withVector(kernel.Tanh, math.Tanh), nil
	case "Sigmoid":
		return withVector(kernel.Sigmoid, sigmoid), nil
	case "Gelu":
		return withVector(kernel.Gelu, gelu), nil
	case "LeakyRelu":
		a := at(0, 0.01)
		return viaFloat64(func(x float64) float64 {
			if x < 0 {
				return a * x
			}
			return x
		}), nil
	case "Clip":
		lo, hi := at(0, -math.MaxFloat32), at(1, math.MaxFloat32)
		return viaFloat64(func(x float64) float64 { return math.Max(lo, math.Min(hi, x)) }), nil
	case "HardSigmoid":
		a, b := at(0, 0.2), at(1, 0.5)
		return viaFloat64(func(x float64) float64 { return hardSigmoid(x, a, b) }), nil
	case "HardSwish":
		a, b := at(0, 1.0/6), at(1, 0.5)
		return viaFloat64(func(x float64) float64 { return x * hardSigmoid(x, a, b) }), nil
	}
	return nil, fmt.Errorf("attribute activation is %q, which is not known", name)
}

// thenActivate runs k on the first inputs of the call, adds input sum if there is one, and applies act.
func thenActivate(k, act exec.Kernel, inputs, sum int) exec.Kernel {
	return func(c *exec.Call) error {
		given := c.In
		c.In = given[:min(inputs, len(given))]
		if err := k(c); err != nil {
			return err
		}
		c.KeepInputs()
		if sum >= 0 && sum < len(given) && given[sum] != nil {
			z := given[sum]
			if z.Type != c.Out[0].Type || size(z.Shape) != c.Out[0].Len() {
				return fmt.Errorf("input %d is %v, expected %v", sum, z, c.Out[0])
			}
			c.In = []*tensor{c.Out[0], z}
			if err := sumPair(c); err != nil {
				return err
			}
		}
		if act == nil {
			return nil
		}
		c.In = []*tensor{c.Out[0]}
		return act(c)
	}
}

var sumPair = by(0, typed{onnxio.Float32: binary(0, addFloat32), onnxio.Float64: binary(0, addRows[float64])})

func prepareFusedConv(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := prepareConv(n, p)
	if err != nil {
		return nil, err
	}
	act, err := fusedActivation(n.Str("activation", ""), n.Floats("activation_params"))
	return thenActivate(k, act, 3, 3), err
}

func prepareNhwcConv(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := prepareFusedConv(n, p)
	return nhwc(k, 0, 3), err
}

func prepareFusedGemm(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := prepareGemm(n, p)
	if err != nil {
		return nil, err
	}
	act, err := fusedActivation(n.Str("activation", ""), activationParams(n))
	return thenActivate(k, act, 3, -1), err
}

// activationParams reads the parameters of FusedGemm and FusedMatMulActivation, as many as are given.
func activationParams(n *graph.Node) []float32 {
	var p []float32
	for _, name := range []string{"activation_alpha", "activation_beta", "activation_gamma"} {
		if !n.HasAttr(name) {
			break
		}
		p = append(p, n.Float(name, 0))
	}
	return p
}

// fusedOperand tells how an operand of FusedMatMul is brought to [batch rows cols]: batch moves the first axis behind the batch
// axes, swap exchanges the last two.
type fusedOperand struct{ batch, swap bool }

func (o fusedOperand) perm(rank int) []int {
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = i
	}
	if o.batch && rank > 2 {
		copy(perm, perm[1:rank-1])
		perm[rank-2] = 0
	}
	if o.swap && rank > 1 {
		perm[rank-2], perm[rank-1] = perm[rank-1], perm[rank-2]
	}
	return perm
}

func operandsOf(n *graph.Node) [2]fusedOperand {
	return [2]fusedOperand{
		{n.Int("transBatchA", 0) != 0, n.Int("transA", 0) != 0}, {n.Int("transBatchB", 0) != 0, n.Int("transB", 0) != 0},
	}
}

// prepareFusedMatMul: Y = activation(alpha A' B').
func prepareFusedMatMul(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	act, err := fusedActivation(n.Str("activation", ""), activationParams(n))
	if err != nil {
		return nil, err
	}
	ops, alpha := operandsOf(n), n.Float("alpha", 1)
	k := productKernel(packMatrix(p.Const(1), ops[1].swap)) // what is packed has two axes: batch moves none of them
	return thenActivate(func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		c.KeepInputs()
		in := []*tensor{c.In[0], c.In[1]}
		for i, o := range ops {
			if o.batch || o.swap {
				in[i] = transposed(c, in[i], o.perm(len(in[i].Shape)))
			}
		}
		c.In = in
		if err := k(c); err != nil || alpha == 1 {
			return err
		}
		switch y := c.Out[0].Data.(type) {
		case []float32:
			kernel.Scale(alpha, y)
		case []float64:
			for i := range y {
				y[i] *= float64(alpha)
			}
		}
		return nil
	}, act, 2, -1), nil
}

func inferFusedMatMul(n *graph.Node) error {
	var s [2]graph.Shape
	for i, o := range operandsOf(n) {
		given := shapeOf(n, i)
		if given == nil {
			continue
		}
		s[i] = graph.Shape{}
		for _, p := range o.perm(len(given)) {
			s[i] = append(s[i], given[p])
		}
	}
	out, err := matmulDims(s[0], s[1])
	n.SetOut(0, typeOf(n, 0), out)
	return err
}

// biasGelu prepares y = f(x + bias); the bias lies along the last axis and may be missing where needed is false.
func biasGelu(act exec.Kernel, needed bool) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return always(func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		if b := c.Input(1); b != nil {
			if err := sameType(c, 0, 2); err != nil {
				return err
			}
			if rank := len(c.In[0].Shape); len(b.Shape) != 1 || rank == 0 || b.Shape[0] != c.In[0].Shape[rank-1] {
				return fmt.Errorf("bias has shape %v for an input of shape %v", b.Shape, c.In[0].Shape)
			}
			if err := sumPair(c); err != nil {
				return err
			}
			c.KeepInputs()
			c.In = []*tensor{c.Out[0]}
		} else if needed {
			return fmt.Errorf("input 1, the bias, is missing")
		}
		return act(c)
	})
}

func init() {
	add := func(name string, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: microsoft, Name: name, Since: 1, Infer: infer, Prepare: prepare})
	}
	add("FusedConv", inferConv, prepareFusedConv)
	add("NhwcConv", inferNHWC(0, inferConv), prepareNhwcConv)
	add("NhwcFusedConv", inferNHWC(0, inferConv), prepareNhwcConv)
	add("FusedGemm", inferGemm, prepareFusedGemm)
	add("FusedMatMul", inferFusedMatMul, prepareFusedMatMul)
	add("TransposeMatMul", inferFusedMatMul, prepareFusedMatMul)
	add("FusedMatMulActivation", inferFusedMatMul, prepareFusedMatMul)
	add("BiasGelu", sameAs(0), biasGelu(withVector(kernel.Gelu, gelu), true))
	add("FastGelu", sameAs(0), biasGelu(viaFloat64(geluTanh), false))
}
