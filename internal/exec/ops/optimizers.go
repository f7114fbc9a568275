package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// The operators that update weights. Their first inputs are the learning rate and the number of updates so far; then come all weights,
// all gradients and each kind of accumulated state, and the outputs are the new weights and the new states.

const domainTraining = "ai.onnx.preview.training"

// update computes one element: x is the weight, g its gradient and s its states, which it changes.
type update func(rate, count, x, g float64, s []float64) float64

// prepareUpdate makes the kernel of an optimizer that keeps a number of states for each weight.
func prepareUpdate(states int, rule func(n *graph.Node) (update, error)) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		f, err := rule(n)
		if err != nil {
			return nil, err
		}
		return func(c *exec.Call) error {
			each := 2 + states
			if err := need(c, len(c.In)); err != nil {
				return err
			}
			if len(c.In) < 2+each || (len(c.In)-2)%each != 0 {
				return fmt.Errorf("has %d inputs, expected rate, count and %d for each weight", len(c.In), each)
			}
			rate, err := scalar(c.In[0])
			if err != nil {
				return err
			}
			count, err := scalar(c.In[1])
			if err != nil {
				return err
			}
			weights := (len(c.In) - 2) / each
			for w := range weights {
				if err := updateOne(c, f, rate, count, w, weights, states); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
}

func updateOne(c *exec.Call, f update, rate, count float64, w, weights, states int) error {
	list := make([][]float64, 2+states)
	for k := range list {
		x := c.In[2+k*weights+w]
		if !slices.Equal(x.Shape, c.In[2+w].Shape) {
			return fmt.Errorf("input %d has shape %v, the weight %v", 2+k*weights+w, x.Shape, c.In[2+w].Shape)
		}
		v, err := floats(x)
		if err != nil {
			return err
		}
		list[k] = slices.Clone(v)
	}
	s := make([]float64, states)
	for i := range list[0] {
		for k := range s {
			s[k] = list[2+k][i]
		}
		list[0][i] = f(rate, count, list[0][i], list[1][i], s)
		for k := range s {
			list[2+k][i] = s[k]
		}
	}
	for k := range 1 + states {
		from, at := k, k*weights+w
		if k > 0 {
			from++ // the gradient is no output
		}
		x := c.In[2+from*weights+w]
		y := c.New(x.Type, x.Shape...)
		if err := store(y, list[from]); err != nil {
			return err
		}
		c.SetOut(at, y)
	}
	return nil
}

func adagrad(n *graph.Node) (update, error) {
	norm, decay, eps := float64(n.Float("norm_coefficient", 0)), float64(n.Float("decay_factor", 0)), float64(n.Float("epsilon", 1e-6))
	return func(rate, count, x, g float64, s []float64) float64 {
		g += norm * x
		s[0] += g * g
		return x - rate/(1+count*decay)*g/(math.Sqrt(s[0])+eps)
	}, nil
}

func adam(n *graph.Node) (update, error) {
	a, b, eps := float64(n.Float("alpha", 0.9)), float64(n.Float("beta", 0.999)), float64(n.Float("epsilon", 1e-6))
	norm, post := float64(n.Float("norm_coefficient", 0)), float64(n.Float("norm_coefficient_post", 0))
	return func(rate, count, x, g float64, s []float64) float64 {
		g += norm * x
		s[0] = a*s[0] + (1-a)*g
		s[1] = b*s[1] + (1-b)*g*g
		if count > 0 {
			rate *= math.Sqrt(1-math.Pow(b, count)) / (1 - math.Pow(a, count))
		}
		return (1 - post) * (x - rate*s[0]/(math.Sqrt(s[1])+eps))
	}, nil
}

func momentum(n *graph.Node) (update, error) {
	a, b, norm, mode := float64(n.Float("alpha", 0)), float64(n.Float("beta", 0)), float64(n.Float("norm_coefficient", 0)), n.Str("mode", "")
	if mode != "standard" && mode != "nesterov" {
		return nil, fmt.Errorf("attribute mode is %q, expected standard or nesterov", mode)
	}
	return func(rate, count, x, g float64, s []float64) float64 {
		g += norm * x
		beta := b
		if count <= 0 {
			beta = 1
		}
		s[0] = a*s[0] + beta*g
		if mode == "nesterov" {
			return x - rate*(g+a*s[0])
		}
		return x - rate*s[0]
	}, nil
}

// inferUpdate: output i is like input 2+i, but the gradients in between have no output.
func inferUpdate(states int) graph.InferRule {
	return func(n *graph.Node) error {
		weights := (len(n.Inputs) - 2) / (2 + states)
		for i := range n.Outputs {
			from := 2 + i
			if i >= weights {
				from += weights
			}
			n.SetOut(i, typeOf(n, from), shapeOf(n, from))
		}
		return nil
	}
}

func init() {
	exec.Register(
		exec.Op{Domain: domainTraining, Name: "Adagrad", Since: 1, Infer: inferUpdate(1), Prepare: prepareUpdate(1, adagrad), Native: true},
		exec.Op{Domain: domainTraining, Name: "Adam", Since: 1, Infer: inferUpdate(2), Prepare: prepareUpdate(2, adam), Native: true},
		exec.Op{Domain: domainTraining, Name: "Momentum", Since: 1, Infer: inferUpdate(1), Prepare: prepareUpdate(1, momentum), Native: true},
	)
}
