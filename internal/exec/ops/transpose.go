package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// transposed copies x with its axes in the order perm.
func transposed(c *exec.Call, x *tensor, perm []int) *tensor {
	shape, strides := make([]int, len(perm)), make([]int, len(perm))
	st := stridesOf(x.Shape)
	for i, p := range perm {
		shape[i], strides[i] = x.Shape[p], st[p]
	}
	if movesNothing(x.Shape, perm) {
		return c.View(x, shape...)
	}
	y := c.New(x.Type, shape...)
	permuted(y, x, 0, newLoop(shape, stridesOf(shape), strides), c.Parallel)
	return y
}

// movesNothing reports whether only axes of size 1 change places.
func movesNothing(shape, perm []int) bool {
	last := -1
	for _, p := range perm {
		if shape[p] == 1 {
			continue
		}
		if p < last {
			return false
		}
		last = p
	}
	return true
}

func checkPerm(perm []int, rank int) ([]int, error) {
	if perm == nil {
		for i := rank - 1; i >= 0; i-- {
			perm = append(perm, i)
		}
		return perm, nil
	}
	p, err := axesIn(perm, rank)
	if err != nil {
		return nil, fmt.Errorf("attribute perm: %w", err)
	}
	if len(p) != rank {
		return nil, fmt.Errorf("attribute perm has %d axes, the input has rank %d", len(p), rank)
	}
	return p, nil
}

func prepareTranspose(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := asInts(n.Ints("perm"))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		perm, err := checkPerm(attr, len(c.In[0].Shape))
		if err != nil {
			return err
		}
		c.Out[0] = transposed(c, c.In[0], perm)
		return nil
	}, nil
}

func inferTranspose(n *graph.Node) error {
	s := shapeOf(n, 0)
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil {
		return nil
	}
	perm, err := checkPerm(asInts(n.Ints("perm")), len(s))
	if err != nil {
		return err
	}
	out := make(graph.Shape, len(s))
	for i, p := range perm {
		out[i] = s[p]
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Transpose", Since: 1, Infer: inferTranspose, Prepare: prepareTranspose, Native: true})
}
