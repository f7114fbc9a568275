package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// scatterInto writes update k onto element at(k) of y, n elements each.
type scatterInto func(y, updates *tensor, d, s, n int)

// combiner is how updates meet what is there: replace it, or add, multiply, take the larger or the smaller.
func combiner(reduction string) (scatterInto, error) {
	switch reduction {
	case "", "none":
		return func(y, u *tensor, d, s, n int) { newMover(y, u).move(d, s, n) }, nil
	case "add", "mul", "max", "min":
		return func(y, u *tensor, d, s, n int) { reduceOnto(reduction, y, u, d, s, n) }, nil
	}
	return nil, fmt.Errorf("attribute reduction is %q, expected none, add, mul, max or min", reduction)
}

func reduceOnto(reduction string, y, u *tensor, d, s, n int) {
	switch v := y.Data.(type) {
	case []float32:
		combine(reduction, v[d:d+n], data[float32](u)[s:])
	case []float64:
		combine(reduction, v[d:d+n], data[float64](u)[s:])
	case []int8:
		combine(reduction, v[d:d+n], data[int8](u)[s:])
	case []int16:
		combine(reduction, v[d:d+n], data[int16](u)[s:])
	case []int32:
		combine(reduction, v[d:d+n], data[int32](u)[s:])
	case []int64:
		combine(reduction, v[d:d+n], data[int64](u)[s:])
	case []uint8:
		combine(reduction, v[d:d+n], data[uint8](u)[s:])
	case []uint16:
		combine(reduction, v[d:d+n], data[uint16](u)[s:])
	case []uint32:
		combine(reduction, v[d:d+n], data[uint32](u)[s:])
	case []uint64:
		combine(reduction, v[d:d+n], data[uint64](u)[s:])
	default:
		panic(fmt.Sprintf("reduction %s does not take %v", reduction, y.Type))
	}
}

func combine[T number](reduction string, y, u []T) {
	for i := range y {
		switch reduction {
		case "add":
			y[i] += u[i]
		case "mul":
			y[i] *= u[i]
		case "max":
			y[i] = maxOf(y[i], u[i])
		default:
			y[i] = minOf(y[i], u[i])
		}
	}
}

// scattered is a copy of input 0 to scatter input 2 onto.
func scattered(c *exec.Call) (*tensor, error) {
	if err := need(c, 3); err != nil {
		return nil, err
	}
	if c.In[0].Type != c.In[2].Type {
		return nil, fmt.Errorf("updates are %v, the data %v: they must agree", c.In[2].Type, c.In[0].Type)
	}
	y := c.New(c.In[0].Type, c.In[0].Shape...)
	newMover(y, c.In[0]).move(0, 0, y.Len())
	return y, nil
}

// prepareScatterElements: y[index[i][j]][j] = updates[i][j] for axis 0, and so on.
func prepareScatterElements(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := int(n.Int("axis", 0))
	onto, err := combiner(n.Str("reduction", "none"))
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		y, err := scattered(c)
		if err != nil {
			return err
		}
		ix, u := c.In[1], c.In[2]
		axis, err := axisIn(attr, len(y.Shape))
		if err != nil {
			return err
		}
		if err := fits(ix.Shape, y.Shape, axis); err != nil {
			return err
		}
		if size(ix.Shape) != u.Len() {
			return fmt.Errorf("updates have shape %v, the indices %v: they must agree", u.Shape, ix.Shape)
		}
		idx, err := indices(ix, y.Shape[axis])
		if err != nil {
			return err
		}
		elementsAlong(ix.Shape, y.Shape, axis, idx, func(k, at int) { onto(y, u, at, k, 1) })
		c.Out[0] = y
		return nil
	}, nil
}

// prepareScatterND: y[index[i]] = updates[i] for index tuples in the last dimension of the indices.
func prepareScatterND(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	onto, err := combiner(n.Str("reduction", "none"))
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		y, err := scattered(c)
		if err != nil {
			return err
		}
		ix, u := c.In[1], c.In[2]
		if len(ix.Shape) == 0 || ix.Shape[len(ix.Shape)-1] > len(y.Shape) {
			return fmt.Errorf("indices of shape %v for data of shape %v", ix.Shape, y.Shape)
		}
		depth := ix.Shape[len(ix.Shape)-1]
		at, err := positions(ix, y.Shape, 0, depth)
		if err != nil {
			return err
		}
		inner := size(y.Shape[depth:])
		if len(at)*inner != u.Len() {
			return fmt.Errorf("updates have shape %v, expected %d slices of %d elements", u.Shape, len(at), inner)
		}
		for k, p := range at {
			onto(y, u, p, k*inner, inner)
		}
		c.Out[0] = y
		return nil
	}, nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Scatter", Since: 9, Infer: sameAs(0), Prepare: prepareScatterElements, Native: true},
		exec.Op{Name: "ScatterElements", Since: 11, Infer: sameAs(0), Prepare: prepareScatterElements},
		exec.Op{Name: "ScatterND", Since: 11, Infer: sameAs(0), Prepare: prepareScatterND},
	)
}
