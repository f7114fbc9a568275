package ops

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Operators that give the same elements another shape, without a copy.

// reshaped resolves the target of a Reshape: 0 copies a dimension (unless allowZero), one -1 takes what is left.
func reshaped(in, want []int, allowZero bool) ([]int, error) {
	out := slices.Clone(want)
	hole, n := -1, 1
	for i, d := range out {
		switch {
		case d == 0 && !allowZero:
			if i >= len(in) {
				return nil, fmt.Errorf("target %v copies dimension %d of shape %v, which has none", want, i, in)
			}
			out[i] = in[i]
		case d == -1 && hole < 0:
			hole = i
			continue
		case d < 0:
			return nil, fmt.Errorf("target %v: one dimension may be -1, the others must not be negative", want)
		}
		if out[i] > 0 && n > (1<<62)/out[i] {
			return nil, fmt.Errorf("target %v has too many elements", want)
		}
		n *= out[i]
	}
	total := size(in)
	if hole >= 0 {
		if n == 0 || total%n != 0 {
			return nil, fmt.Errorf("cannot reshape %v to %v: %d elements do not divide", in, want, total)
		}
		out[hole] = total / n
		n *= out[hole]
	}
	if n != total {
		return nil, fmt.Errorf("cannot reshape %v (%d elements) to %v (%d elements)", in, total, out, n)
	}
	return out, nil
}

func prepareReshape(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, allowZero := asInts(n.Ints("shape")), n.Int("allowzero", 0) != 0
	fromAttr := n.Opset() < 5
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		want := attr
		if !fromAttr {
			if err := need(c, 2); err != nil {
				return err
			}
			var err error
			if want, err = ints(c.In[1]); err != nil {
				return err
			}
		}
		shape, err := reshaped(c.In[0].Shape, want, allowZero)
		if err != nil {
			return err
		}
		c.Out[0] = c.View(c.In[0], shape...)
		return nil
	}, nil
}

func inferReshape(n *graph.Node) error {
	in := shapeOf(n, 0)
	var want []graph.Dim
	if l, ok := n.In(1).ConstInts(); ok && n.In(1) != nil {
		for _, d := range l {
			want = append(want, graph.Dim{N: d})
		}
	} else if l, ok := n.In(1).Contents(); ok {
		want = l
	}
	if n.Opset() < 5 {
		for _, d := range n.Ints("shape") {
			want = append(want, graph.Dim{N: d})
		}
	}
	if want == nil {
		var s graph.Shape
		if v := n.In(1); v != nil && len(v.Shape) == 1 && v.Shape[0].Known() && v.Shape[0].N < 64 {
			s = graph.UnknownShape(int(v.Shape[0].N))
		}
		n.SetOut(0, typeOf(n, 0), s)
		return nil
	}
	out := make(graph.Shape, len(want))
	holes, rest := []int{}, graph.D(1)
	for i, d := range want {
		if d.N == 0 && n.Int("allowzero", 0) == 0 {
			d = graph.Unknown
			if i < len(in) {
				d = in[i]
			}
			out[i] = d
			rest = rest.Mul(d)
			continue
		}
		if d.N < 0 && d.Sym == "" {
			out[i] = graph.Unknown
			holes = append(holes, i)
			continue
		}
		out[i] = d
		rest = rest.Mul(d)
	}
	if len(holes) == 1 && in != nil {
		out[holes[0]] = in.Elements().Div(rest)
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func prepareFlatten(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	axis := int(n.Int("axis", 1))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		a := axis
		if a < 0 {
			a += len(x.Shape)
		}
		if a < 0 || a > len(x.Shape) {
			return fmt.Errorf("axis %d is out of range for rank %d", axis, len(x.Shape))
		}
		c.Out[0] = c.View(x, size(x.Shape[:a]), size(x.Shape[a:]))
		return nil
	}, nil
}

func inferFlatten(n *graph.Node) error {
	s := shapeOf(n, 0)
	if s == nil {
		n.SetOut(0, typeOf(n, 0), graph.UnknownShape(2))
		return nil
	}
	a := int(n.Int("axis", 1))
	if a < 0 {
		a += len(s)
	}
	if a < 0 || a > len(s) {
		return fmt.Errorf("axis %d is out of range for rank %d", a, len(s))
	}
	n.SetOut(0, typeOf(n, 0), graph.Shape{s[:a].Elements(), s[a:].Elements()})
	return nil
}

// axesOf is the list of axes from input 1, or before version 13 from the attribute.
func axesOf(c *exec.Call, attr []int) ([]int, error) {
	if x := c.Input(1); x != nil {
		return ints(x)
	}
	return attr, nil
}

func squeezed(shape, axes []int) ([]int, error) {
	out := []int{}
	if axes == nil {
		for _, d := range shape {
			if d != 1 {
				out = append(out, d)
			}
		}
		return out, nil
	}
	axes, err := axesIn(axes, len(shape))
	if err != nil {
		return nil, err
	}
	for i, d := range shape {
		if !slices.Contains(axes, i) {
			out = append(out, d)
		} else if d != 1 {
			return nil, fmt.Errorf("cannot squeeze axis %d of shape %v: its size is not 1", i, shape)
		}
	}
	return out, nil
}

func unsqueezed(shape, axes []int) ([]int, error) {
	axes, err := axesIn(axes, len(shape)+len(axes))
	if err != nil {
		return nil, err
	}
	out := make([]int, 0, len(shape)+len(axes))
	for k := 0; len(out) < cap(out); {
		if slices.Contains(axes, len(out)) {
			out = append(out, 1)
		} else {
			out = append(out, shape[k])
			k++
		}
	}
	return out, nil
}

func prepareSqueeze(to func(shape, axes []int) ([]int, error)) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		attr := asInts(n.Ints("axes"))
		return func(c *exec.Call) error {
			if err := need(c, 1); err != nil {
				return err
			}
			axes, err := axesOf(c, attr)
			if err != nil {
				return err
			}
			shape, err := to(c.In[0].Shape, axes)
			if err != nil {
				return err
			}
			c.Out[0] = c.View(c.In[0], shape...)
			return nil
		}, nil
	}
}

// attrOrConst is the list of axes of a node as far as it is known before the run; ok is false if it is not.
func attrOrConst(n *graph.Node) (axes []int, ok bool) {
	if n.In(1) != nil {
		return constInts(n, 1)
	}
	return asInts(n.Ints("axes")), true
}

func inferSqueeze(n *graph.Node) error {
	s := shapeOf(n, 0)
	axes, ok := attrOrConst(n)
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil || !ok {
		return nil
	}
	out := graph.Shape{}
	if axes == nil {
		for _, d := range s {
			if !d.Known() {
				return nil
			}
			if d.N != 1 {
				out = append(out, d)
			}
		}
		n.SetOut(0, typeOf(n, 0), out)
		return nil
	}
	axes, err := axesIn(axes, len(s))
	if err != nil {
		return err
	}
	for i, d := range s {
		if !slices.Contains(axes, i) {
			out = append(out, d)
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func inferUnsqueeze(n *graph.Node) error {
	s := shapeOf(n, 0)
	axes, ok := attrOrConst(n)
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil || !ok {
		return nil
	}
	axes, err := axesIn(axes, len(s)+len(axes))
	if err != nil {
		return err
	}
	out := graph.Shape{}
	for k := 0; len(out) < len(s)+len(axes); {
		if slices.Contains(axes, len(out)) {
			out = append(out, graph.D(1))
		} else {
			out = append(out, s[k])
			k++
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func identity(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	c.Out[0] = c.In[0]
	return nil
}

func prepareShape(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	start, end := int(n.Int("start", 0)), int(n.Int("end", 1<<31))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		s := c.In[0].Shape
		lo, hi := clampIndex(start, len(s)), clampIndex(end, len(s))
		out := []int64{}
		for i := lo; i < hi; i++ {
			out = append(out, int64(s[i]))
		}
		c.Out[0] = onnxio.TensorOf(out, len(out))
		return nil
	}, nil
}

// clampIndex resolves a bound that may count from the end, and keeps it within 0..n.
func clampIndex(i, n int) int {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

func inferShape(n *graph.Node) error {
	s := shapeOf(n, 0)
	if s == nil {
		n.SetOut(0, onnxio.Int64, graph.UnknownShape(1))
		return nil
	}
	lo, hi := clampIndex(int(n.Int("start", 0)), len(s)), clampIndex(int(n.Int("end", 1<<31)), len(s))
	n.SetOut(0, onnxio.Int64, graph.ShapeOf(max(hi-lo, 0)))
	return nil
}

func sizeKernel(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	c.Out[0] = onnxio.TensorOf([]int64{int64(c.In[0].Len())})
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Reshape", Since: 1, Infer: inferReshape, Prepare: prepareReshape, Native: true},
		exec.Op{Name: "Flatten", Since: 1, Infer: inferFlatten, Prepare: prepareFlatten, Native: true},
		exec.Op{Name: "Squeeze", Since: 1, Infer: inferSqueeze, Prepare: prepareSqueeze(squeezed), Native: true},
		exec.Op{Name: "Unsqueeze", Since: 1, Infer: inferUnsqueeze, Prepare: prepareSqueeze(unsqueezed), Native: true},
		exec.Op{Name: "Identity", Since: 1, Infer: sameAs(0), Prepare: always(identity), Native: true, Containers: true},
		exec.Op{Name: "Shape", Since: 1, Infer: inferShape, Prepare: prepareShape, Native: true},
		exec.Op{Name: "Size", Since: 1, Infer: func(n *graph.Node) error {
			n.SetOut(0, onnxio.Int64, graph.Shape{})
			return nil
		}, Prepare: always(sizeKernel), Native: true},
	)
}
