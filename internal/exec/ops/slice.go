package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// cut is a resolved slice of one axis: n entries from start on, step apart.
type cut struct{ start, step, n int }

// resolveCut clamps bounds as the operator Slice defines.
func resolveCut(start, end, step, size int) (cut, error) {
	if step == 0 {
		return cut{}, fmt.Errorf("a slice step is 0")
	}
	if start < 0 {
		start += size
	}
	if end < 0 {
		end += size
	}
	if step > 0 {
		start, end = min(max(start, 0), size), min(max(end, 0), size)
		if end <= start {
			return cut{start: 0, step: 1}, nil
		}
		return cut{start, step, 0}.exact(end), nil
	}
	start, end = min(max(start, -1), size-1), min(max(end, -1), size-1)
	if end >= start {
		return cut{start: 0, step: 1}, nil
	}
	return cut{start, step, 0}.exact(end), nil
}

// exact counts the entries before end.
func (k cut) exact(end int) cut {
	if k.step > 0 {
		k.n = (end-k.start-1)/k.step + 1
	} else {
		k.n = (k.start-end-1)/-max(k.step, -math.MaxInt) + 1
	}
	return k
}

// cuts resolves a Slice for all axes of shape.
func cuts(shape, starts, ends, axes, steps []int) ([]cut, error) {
	if axes == nil {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	if len(starts) != len(ends) || len(starts) != len(axes) || steps != nil && len(steps) != len(starts) {
		return nil, fmt.Errorf("starts, ends, axes and steps have %d, %d, %d and %d entries: they must agree", len(starts), len(ends), len(axes), len(steps))
	}
	axes, err := axesIn(axes, len(shape))
	if err != nil {
		return nil, err
	}
	out := make([]cut, len(shape))
	for i, d := range shape {
		out[i] = cut{0, 1, d}
	}
	for i, a := range axes {
		step := 1
		if steps != nil {
			step = steps[i]
		}
		if out[a], err = resolveCut(starts[i], ends[i], step, shape[a]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sliceArgs reads starts, ends, axes and steps from attributes (before version 10) or inputs.
func sliceArgs(n *graph.Node, in func(i int) ([]int, error)) (args [4][]int, err error) {
	if n.Opset() < 10 {
		return [4][]int{asInts(n.Ints("starts")), asInts(n.Ints("ends")), asInts(n.Ints("axes")), nil}, nil
	}
	for i := range args {
		if args[i], err = in(i + 1); err != nil {
			return args, fmt.Errorf("input %d: %w", i+1, err)
		}
	}
	return args, nil
}

func prepareSlice(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		a, err := sliceArgs(n, func(i int) ([]int, error) { return ints(c.Input(i)) })
		if err != nil {
			return err
		}
		x := c.In[0]
		k, err := cuts(x.Shape, a[0], a[1], a[2], a[3])
		if err != nil {
			return err
		}
		c.Out[0] = sliced(c, x, k)
		return nil
	}, nil
}

func sliced(c *exec.Call, x *tensor, k []cut) *tensor {
	shape, strides := make([]int, len(k)), stridesOf(x.Shape)
	base, whole := 0, true
	for i, cut := range k {
		shape[i] = cut.n
		base += cut.start * strides[i]
		strides[i] *= cut.step
		whole = whole && cut.n == x.Shape[i] && cut.step == 1
	}
	if whole {
		return x
	}
	y := c.New(x.Type, shape...)
	permuted(y, x, base, newLoop(shape, stridesOf(shape), strides), c.Parallel)
	return y
}

func inferSlice(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	s := shapeOf(n, 0)
	if s == nil {
		return nil
	}
	known := true
	a, err := sliceArgs(n, func(i int) ([]int, error) {
		if n.In(i) == nil {
			return nil, nil
		}
		l, ok := constInts(n, i)
		known = known && ok
		return l, nil
	})
	if err != nil {
		return err
	}
	out := s.Clone()
	if !known {
		if axes, ok := constInts(n, 3); ok { // the other axes stay
			if axes, err = axesIn(axes, len(s)); err != nil {
				return err
			}
			for _, x := range axes {
				out[x] = graph.Unknown
			}
			n.SetOut(0, typeOf(n, 0), out)
			return nil
		}
		n.SetOut(0, typeOf(n, 0), graph.UnknownShape(len(s)))
		return nil
	}
	shape := make([]int, len(s))
	for i, d := range s {
		shape[i] = int(max(d.N, 0))
	}
	k, err := cuts(shape, a[0], a[1], a[2], a[3])
	if err != nil {
		return err
	}
	axes := a[2]
	if axes == nil {
		for i := range a[0] {
			axes = append(axes, i)
		}
	}
	if axes, err = axesIn(axes, len(s)); err != nil {
		return err
	}
	for i, x := range axes {
		switch {
		case s[x].Known():
			out[x] = graph.D(int64(k[x].n))
		case a[0][i] == 0 && a[1][i] >= 1<<31-1 && (a[3] == nil || a[3][i] == 1): // all of it
		default:
			out[x] = graph.Unknown
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Slice", Since: 1, Infer: inferSlice, Prepare: prepareSlice, Native: true})
}
