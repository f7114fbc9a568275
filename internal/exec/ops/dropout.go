package ops

import (
	"fmt"
	"math/rand/v2"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// generator gives the random numbers of a node: from its attribute seed, or a fixed one, so that runs repeat.
func generator(n *graph.Node) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(int64(n.Float("seed", 0))), 0x0bc))
}

// prepareDropout passes its input through; in training mode (version 12 and later, input 2) elements are dropped at random.
func prepareDropout(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	oldMask := n.Opset() < 10
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		train, ratio := false, 0.5
		if t := c.Input(2); t != nil {
			var err error
			if train, err = truth(t); err != nil {
				return err
			}
		}
		if r := c.Input(1); r != nil {
			var err error
			if ratio, err = scalar(r); err != nil {
				return err
			}
		}
		mask := onnxio.NewTensor(onnxio.Bool, x.Shape...)
		keep := data[bool](mask)
		for i := range keep {
			keep[i] = true
		}
		c.Out[0] = x
		if train && ratio > 0 {
			if !(ratio < 1) {
				return fmt.Errorf("ratio is %v, expected a number from 0 to below 1", ratio)
			}
			rng := generator(n)
			f, err := floats(x)
			if err != nil {
				return err
			}
			y := make([]float64, len(f))
			for i, v := range f {
				if keep[i] = rng.Float64() >= ratio; keep[i] {
					y[i] = v / (1 - ratio)
				}
			}
			if c.Out[0], err = onnxio.TensorOf(y, x.Shape...).ConvertTo(x.Type); err != nil {
				return err
			}
		}
		if c.OutWanted(1) {
			c.Out[1] = mask
			if oldMask {
				m, err := mask.ConvertTo(x.Type)
				c.Out[1] = m
				return err
			}
		}
		return nil
	}, nil
}

func inferDropout(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), shapeOf(n, 0))
	mask := onnxio.Bool
	if n.Opset() < 10 {
		mask = typeOf(n, 0)
	}
	n.SetOut(1, mask, shapeOf(n, 0))
	return nil
}

// prepareRandom makes tensors of random numbers: of the shape of the attribute, or of input 0 for the Like forms.
func prepareRandom(like bool, draw func(n *graph.Node) func(r *rand.Rand) float64) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		shape, t, f := asInts(n.Ints("shape")), onnxio.DataType(n.Int("dtype", 0)), draw(n)
		return func(c *exec.Call) error {
			shape, t := shape, t
			if like {
				if err := need(c, 1); err != nil {
					return err
				}
				shape = c.In[0].Shape
				if t == onnxio.Undefined {
					t = c.In[0].Type
				}
			}
			if t == onnxio.Undefined {
				t = onnxio.Float32
			}
			y := c.New(onnxio.Float64, shape...)
			rng := generator(n)
			for i := range y.Float64s() {
				y.Float64s()[i] = f(rng)
			}
			out, err := y.ConvertTo(t)
			c.Out[0] = out
			return err
		}, nil
	}
}

func uniform(n *graph.Node) func(r *rand.Rand) float64 {
	lo, hi := float64(n.Float("low", 0)), float64(n.Float("high", 1))
	return func(r *rand.Rand) float64 { return lo + (hi-lo)*r.Float64() }
}

func normal(n *graph.Node) func(r *rand.Rand) float64 {
	mean, dev := float64(n.Float("mean", 0)), float64(n.Float("scale", 1))
	return func(r *rand.Rand) float64 { return mean + dev*r.NormFloat64() }
}

// prepareBernoulli draws 1 with the probability that the input states.
func prepareBernoulli(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	to := onnxio.DataType(n.Int("dtype", 0))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		p, err := floats(c.In[0])
		if err != nil {
			return err
		}
		rng := generator(n)
		y := make([]float64, len(p))
		for i, v := range p {
			if rng.Float64() < v {
				y[i] = 1
			}
		}
		t := to
		if t == onnxio.Undefined {
			t = c.In[0].Type
		}
		c.Out[0], err = onnxio.TensorOf(y, c.In[0].Shape...).ConvertTo(t)
		return err
	}, nil
}

func inferRandom(n *graph.Node) error {
	t := onnxio.DataType(n.Int("dtype", 0))
	if len(n.Inputs) > 0 {
		if t == onnxio.Undefined {
			t = typeOf(n, 0)
		}
		n.SetOut(0, t, shapeOf(n, 0))
		return nil
	}
	if t == onnxio.Undefined {
		t = onnxio.Float32
	}
	n.SetOut(0, t, graph.ShapeOf(n.Ints("shape")...))
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Dropout", Since: 1, Infer: inferDropout, Prepare: prepareDropout, Native: true},
		exec.Op{Name: "RandomUniform", Since: 1, Infer: inferRandom, Prepare: prepareRandom(false, uniform), Native: true},
		exec.Op{Name: "RandomNormal", Since: 1, Infer: inferRandom, Prepare: prepareRandom(false, normal), Native: true},
		exec.Op{Name: "RandomUniformLike", Since: 1, Infer: inferRandom, Prepare: prepareRandom(true, uniform), Native: true},
		exec.Op{Name: "RandomNormalLike", Since: 1, Infer: inferRandom, Prepare: prepareRandom(true, normal), Native: true},
		exec.Op{Name: "Bernoulli", Since: 15, Infer: inferRandom, Prepare: prepareBernoulli, Native: true},
	)
}
