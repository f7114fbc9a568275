package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

func expandKernel(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	want, err := ints(c.In[1])
	if err != nil {
		return err
	}
	x := c.In[0]
	shape, err := broadcast(x.Shape, want)
	if err != nil {
		return err
	}
	if size(shape) == x.Len() {
		c.Out[0] = c.View(x, shape...)
		return nil
	}
	y := c.New(x.Type, shape...)
	permuted(y, x, 0, newLoop(shape, stridesOf(shape), spread(x.Shape, shape)), c.Parallel)
	c.Out[0] = y
	return nil
}

func inferExpand(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	if want, ok := n.In(1).Contents(); ok {
		n.SetOut(0, typeOf(n, 0), broadcastDims(shapeOf(n, 0), graph.Shape(want)))
	} else if rank, ok := lengthOf(n, 1); ok {
		n.SetOut(0, typeOf(n, 0), broadcastDims(shapeOf(n, 0), graph.UnknownShape(rank)))
	}
	return nil
}

// tileKernel repeats a tensor; version 1 took one count and one axis.
func prepareTile(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	old := n.Opset() < 6
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x := c.In[0]
		reps, err := ints(c.In[1])
		if err != nil {
			return err
		}
		if old && len(c.In) > 2 {
			axis, err := scalarInt(c.In[2])
			if err != nil {
				return err
			}
			if axis, err = axisIn(axis, len(x.Shape)); err != nil {
				return err
			}
			one := make([]int, len(x.Shape))
			for i := range one {
				one[i] = 1
			}
			one[axis] = reps[0]
			reps = one
		}
		if len(reps) != len(x.Shape) {
			return fmt.Errorf("%d repeats for rank %d", len(reps), len(x.Shape))
		}
		// Each axis becomes two: the repeat, which does not move in x, and the axis itself.
		var wide, strides, shape []int
		st := stridesOf(x.Shape)
		for i, r := range reps {
			if r < 0 || r > 0 && x.Shape[i] > math.MaxInt/r {
				return fmt.Errorf("bad repeats %v", reps)
			}
			wide, strides, shape = append(wide, r, x.Shape[i]), append(strides, 0, st[i]), append(shape, r*x.Shape[i])
		}
		y := c.New(x.Type, shape...)
		permuted(y, x, 0, newLoop(wide, stridesOf(wide), strides), c.Parallel)
		c.Out[0] = y
		return nil
	}, nil
}

func inferTile(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	s := shapeOf(n, 0)
	reps, ok := n.In(1).Contents()
	if s == nil || !ok || len(reps) != len(s) {
		if s != nil {
			n.SetOut(0, typeOf(n, 0), graph.UnknownShape(len(s)))
		}
		return nil
	}
	out := make(graph.Shape, len(s))
	for i := range s {
		out[i] = s[i].Mul(reps[i])
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// whereKernel selects elements of any type.
func whereKernel(c *exec.Call) error {
	if err := need(c, 3); err != nil {
		return err
	}
	cond, a, b := c.In[0], c.In[1], c.In[2]
	if cond.Type != onnxio.Bool {
		return typeError(0, cond)
	}
	if err := sameType(c, 1, 3); err != nil {
		return err
	}
	shape, err := broadcast(cond.Shape, a.Shape, b.Shape)
	if err != nil {
		return err
	}
	y := c.New(a.Type, shape...)
	l := newLoop(shape, stridesOf(shape), spread(cond.Shape, shape), spread(a.Shape, shape), spread(b.Shape, shape))
	if a.Type == onnxio.String {
		choose(c, l, data[string](y), data[bool](cond), data[string](a), data[string](b))
	} else {
		switch _, n := bytesOf(a); n {
		case 1:
			choose(c, l, raw[uint8](y), data[bool](cond), raw[uint8](a), raw[uint8](b))
		case 2:
			choose(c, l, raw[uint16](y), data[bool](cond), raw[uint16](a), raw[uint16](b))
		case 4:
			choose(c, l, raw[uint32](y), data[bool](cond), raw[uint32](a), raw[uint32](b))
		case 8:
			choose(c, l, raw[uint64](y), data[bool](cond), raw[uint64](a), raw[uint64](b))
		default:
			choose(c, l, raw[complex128](y), data[bool](cond), raw[complex128](a), raw[complex128](b))
		}
	}
	c.Out[0] = y
	return nil
}

func choose[T any](c *exec.Call, l loop, y []T, cond []bool, a, b []T) {
	if len(y) == 0 {
		return
	}
	rows, n := l.rows()
	sc, sa, sb := l.inner(1), l.inner(2), l.inner(3)
	c.Parallel(rows, n, func(lo, hi int) {
		l.each(lo, hi, func(_ int, off []int) {
			d := y[off[0] : off[0]+n]
			for i := range d {
				if cond[off[1]+i*sc] {
					d[i] = a[off[2]+i*sa]
				} else {
					d[i] = b[off[3]+i*sb]
				}
			}
		})
	})
}

func ranged[T number](c *exec.Call) error {
	start, limit, delta := data[T](c.In[0])[0], data[T](c.In[1])[0], data[T](c.In[2])[0]
	if delta == 0 {
		return fmt.Errorf("the step is 0")
	}
	count := math.Max(math.Ceil((float64(limit)-float64(start))/float64(delta)), 0)
	if !(count < 1<<40) {
		return fmt.Errorf("a range of %v elements is too long", count)
	}
	y := c.New(c.In[0].Type, int(count))
	d := data[T](y)
	for i := range d {
		d[i] = start + T(i)*delta
	}
	c.Out[0] = y
	return nil
}

func rangeKernel(c *exec.Call) error {
	if err := need(c, 3); err != nil {
		return err
	}
	if err := sameType(c, 0, 3); err != nil {
		return err
	}
	for i, x := range c.In[:3] {
		if x.Len() != 1 {
			return fmt.Errorf("input %d has shape %v, expected a scalar", i, x.Shape)
		}
	}
	return by(0, typed{onnxio.Float32: ranged[float32], onnxio.Float64: ranged[float64], onnxio.Int16: ranged[int16],
		onnxio.Int32: ranged[int32], onnxio.Int64: ranged[int64]})(c)
}

func inferRange(n *graph.Node) error {
	out := graph.Shape{graph.Unknown}
	a, ok1 := n.In(0).Contents()
	b, ok2 := n.In(1).Contents()
	d, ok3 := n.In(2).Contents()
	if ok1 && ok2 && ok3 && len(a) == 1 && len(b) == 1 && len(d) == 1 {
		if a[0].N == 0 && d[0].N == 1 {
			out[0] = b[0]
		} else if a[0].Known() && b[0].Known() && d[0].N > 0 {
			out[0] = graph.D(max(0, (b[0].N-a[0].N+d[0].N-1)/d[0].N))
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func prepareConstantOfShape(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	value := onnxio.NewTensor(onnxio.Float32, 1)
	if n.HasAttr("value") {
		var err error
		if value, err = n.Tensor("value"); err != nil {
			return nil, err
		}
		if value.Len() != 1 {
			return nil, fmt.Errorf("attribute value has shape %v, expected one element", value.Shape)
		}
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		shape, err := ints(c.In[0])
		if err != nil {
			return err
		}
		y := c.New(value.Type, shape...)
		permuted(y, value, 0, newLoop(shape, stridesOf(shape), make([]int, len(shape))), c.Parallel)
		c.Out[0] = y
		return nil
	}, nil
}

func inferConstantOfShape(n *graph.Node) error {
	t := onnxio.Float32
	if n.HasAttr("value") {
		if v, err := n.Tensor("value"); err == nil {
			t = v.Type
		}
	}
	var s graph.Shape
	if l, ok := n.In(0).Contents(); ok {
		s = graph.Shape(l).Clone()
	} else if rank, ok := lengthOf(n, 0); ok {
		s = graph.UnknownShape(rank)
	}
	n.SetOut(0, t, s)
	return nil
}

func inferWhere(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 1), broadcastDims(shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)))
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Expand", Since: 8, Infer: inferExpand, Prepare: always(expandKernel), Native: true},
		exec.Op{Name: "Tile", Since: 1, Infer: inferTile, Prepare: prepareTile, Native: true},
		exec.Op{Name: "Where", Since: 9, Infer: inferWhere, Prepare: always(whereKernel), Native: true},
		exec.Op{Name: "Range", Since: 11, Infer: inferRange, Prepare: always(rangeKernel)},
		exec.Op{Name: "ConstantOfShape", Since: 9, Infer: inferConstantOfShape, Prepare: prepareConstantOfShape, Native: true},
	)
}
