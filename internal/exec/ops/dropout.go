package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareDropout passes its input through; in training mode (version 12 and later, input 2) elements are dropped at random.
func prepareDropout(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	oldMask, seed := n.Opset() < 10, seedOf(n)
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
			rng := newTwister(seed)
			f, err := floats(x)
			if err != nil {
				return err
			}
			y := make([]float64, len(f))
			for i, v := range f {
				if keep[i] = rng.uniform() >= ratio; keep[i] {
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

func init() {
	exec.Register(exec.Op{Name: "Dropout", Since: 1, Infer: inferDropout, Prepare: prepareDropout, Native: true})
}
