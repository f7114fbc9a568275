package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// concatenated joins tensors of one type along an axis that is already resolved.
func concatenated(c *exec.Call, in []*tensor, axis int) (*tensor, error) {
	shape := append([]int{}, in[0].Shape...)
	shape[axis] = 0
	for i, x := range in {
		if x.Type != in[0].Type || len(x.Shape) != len(shape) {
			return nil, fmt.Errorf("input %d is %v, which does not join with %v", i, x, in[0])
		}
		for k, d := range x.Shape {
			if k != axis && d != shape[k] {
				return nil, fmt.Errorf("input %d is %v, which does not join with %v along axis %d", i, x, in[0], axis)
			}
		}
		shape[axis] += x.Shape[axis]
	}
	y := c.New(in[0].Type, shape...)
	outer, _, inner := around(shape, axis)
	at := 0
	for _, x := range in {
		m := newMover(y, x)
		run := x.Shape[axis] * inner
		for o := range outer {
			m.move(o*shape[axis]*inner+at, o*run, run)
		}
		at += run
	}
	return y, nil
}

func prepareConcat(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := int(n.Int("axis", 1))
	return func(c *exec.Call) error {
		if len(c.In) == 0 {
			return fmt.Errorf("has no inputs, expected at least one")
		}
		if err := need(c, len(c.In)); err != nil {
			return err
		}
		axis, err := axisIn(attr, len(c.In[0].Shape))
		if err != nil {
			return err
		}
		c.Out[0], err = concatenated(c, c.In, axis)
		return err
	}, nil
}

func inferConcat(n *graph.Node) error { return inferJoined(n, 0, 0, 1) }

// inferJoined: output 0 has the type of input like and joins the inputs from, from+step and so on.
func inferJoined(n *graph.Node, like, from, step int) error {
	n.SetOut(0, typeOf(n, like), nil)
	var out graph.Shape
	axis := 0
	for i := from; i < len(n.Inputs); i += step {
		s := shapeOf(n, i)
		if s == nil {
			return nil
		}
		if out == nil {
			var err error
			if axis, err = axisIn(int(n.Int("axis", 1)), len(s)); err != nil {
				return err
			}
			out = s.Clone()
			continue
		}
		if len(s) != len(out) {
			return fmt.Errorf("input %d has rank %d, input %d rank %d", i, len(s), from, len(out))
		}
		for k, d := range s {
			if k == axis {
				out[k] = out[k].Add(d)
			} else if !out[k].Known() {
				out[k] = d
			}
		}
	}
	n.SetOut(0, typeOf(n, like), out)
	return nil
}

// partSizes are the sizes along the axis of a Split: given, or as equal as can be (the last one smaller).
func partSizes(total, parts int, given []int) ([]int, error) {
	if given != nil {
		sum := 0
		for _, d := range given {
			if d < 0 {
				return nil, fmt.Errorf("split %v has a negative size", given)
			}
			sum += d
		}
		if sum != total || len(given) != parts {
			return nil, fmt.Errorf("split %v does not make %d parts of size %d in all", given, parts, total)
		}
		return given, nil
	}
	each := (total + parts - 1) / max(parts, 1)
	out := make([]int, parts)
	for i := range out {
		out[i] = min(each, max(total-i*each, 0))
	}
	return out, nil
}

func prepareSplit(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, given := int(n.Int("axis", 0)), asInts(n.Ints("split"))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		want, err := axesOf(c, given)
		if err != nil {
			return err
		}
		sizes, err := partSizes(x.Shape[axis], len(c.Out), want)
		if err != nil {
			return err
		}
		at := 0
		for i, d := range sizes {
			if c.OutWanted(i) {
				c.Out[i] = section(c, x, axis, at, d)
			}
			at += d
		}
		return nil
	}, nil
}

// section copies n entries of axis, from entry at on.
func section(c *exec.Call, x *tensor, axis, at, n int) *tensor {
	shape := append([]int{}, x.Shape...)
	shape[axis] = n
	y := c.New(x.Type, shape...)
	outer, total, inner := around(x.Shape, axis)
	m := newMover(y, x)
	for o := range outer {
		m.move(o*n*inner, (o*total+at)*inner, n*inner)
	}
	return y
}

func inferSplit(n *graph.Node) error {
	s := shapeOf(n, 0)
	given, ok := asInts(n.Ints("split")), true
	if n.In(1) != nil {
		given, ok = constInts(n, 1)
	}
	var sizes []int
	axis := 0
	if s != nil {
		var err error
		if axis, err = axisIn(int(n.Int("axis", 0)), len(s)); err != nil {
			return err
		}
		if ok && given != nil {
			sizes = given
		} else if ok && s[axis].Known() {
			sizes, _ = partSizes(int(s[axis].N), len(n.Outputs), nil)
		}
	}
	for i := range n.Outputs {
		var out graph.Shape
		if s != nil {
			out = s.Clone()
			out[axis] = graph.Unknown
			if i < len(sizes) {
				out[axis] = graph.D(int64(sizes[i]))
			}
		}
		n.SetOut(i, typeOf(n, 0), out)
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Concat", Since: 1, Infer: inferConcat, Prepare: prepareConcat, Native: true},
		exec.Op{Name: "Split", Since: 1, Infer: inferSplit, Prepare: prepareSplit, Native: true},
	)
}
