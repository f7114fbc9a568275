package ops

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// Operators that move blocks of elements: DepthToSpace, SpaceToDepth, ReverseSequence, TensorScatter, Col2Im.

func prepareDepthToSpace(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	b, mode := int(n.Int("blocksize", 0)), n.Str("mode", "DCR")
	if b < 1 || b > 1<<20 || mode != "DCR" && mode != "CRD" {
		return nil, fmt.Errorf("attributes blocksize %d and mode %q: expected a positive size and DCR or CRD", b, mode)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if len(x.Shape) != 4 || x.Shape[1]%(b*b) != 0 {
			return fmt.Errorf("input has shape %v, expected [N C H W] with C divisible by %d", x.Shape, b*b)
		}
		nn, ch, h, w := x.Shape[0], x.Shape[1]/(b*b), x.Shape[2], x.Shape[3]
		if mode == "DCR" {
			t := transposed(c, c.View(x, nn, b, b, ch, h, w), []int{0, 3, 4, 1, 5, 2})
			c.Out[0] = c.View(t, nn, ch, h*b, w*b)
			return nil
		}
		t := transposed(c, c.View(x, nn, ch, b, b, h, w), []int{0, 1, 4, 2, 5, 3})
		c.Out[0] = c.View(t, nn, ch, h*b, w*b)
		return nil
	}, nil
}

func prepareSpaceToDepth(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	b, crd := int(n.Int("blocksize", 0)), n.Str("mode", "DCR") == "CRD"
	if b < 1 {
		return nil, fmt.Errorf("attribute blocksize is %d, expected a positive size", b)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if len(x.Shape) != 4 || x.Shape[2]%b != 0 || x.Shape[3]%b != 0 {
			return fmt.Errorf("input has shape %v, expected [N C H W] with H and W divisible by %d", x.Shape, b)
		}
		nn, ch, h, w := x.Shape[0], x.Shape[1], x.Shape[2]/b, x.Shape[3]/b
		perm := []int{0, 3, 5, 1, 2, 4}
		if crd {
			perm = []int{0, 1, 3, 5, 2, 4}
		}
		t := transposed(c, c.View(x, nn, ch, h, b, w, b), perm)
		c.Out[0] = c.View(t, nn, ch*b*b, h, w)
		return nil
	}, nil
}

func inferBlocks(n *graph.Node) error {
	s := shapeOf(n, 0)
	n.SetOut(0, typeOf(n, 0), nil)
	b := graph.D(n.Int("blocksize", 1))
	if len(s) != 4 {
		return nil
	}
	out := graph.Shape{s[0], s[1].Div(b.Mul(b)), s[2].Mul(b), s[3].Mul(b)}
	if n.Op() == "SpaceToDepth" {
		out = graph.Shape{s[0], s[1].Mul(b.Mul(b)), s[2].Div(b), s[3].Div(b)}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// prepareReverseSequence turns the first sequence_lens[b] entries of each batch entry around.
func prepareReverseSequence(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	batchAxis, timeAxis := int(n.Int("batch_axis", 1)), int(n.Int("time_axis", 0))
	if batchAxis+timeAxis != 1 || batchAxis*timeAxis != 0 {
		return nil, fmt.Errorf("batch_axis %d and time_axis %d: expected 0 and 1 or 1 and 0", batchAxis, timeAxis)
	}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x := c.In[0]
		lens, err := ints(c.In[1])
		if err != nil {
			return err
		}
		if len(x.Shape) < 2 || len(lens) != x.Shape[batchAxis] {
			return fmt.Errorf("input of shape %v with %d sequence lengths", x.Shape, len(lens))
		}
		y := c.New(x.Type, x.Shape...)
		m := newMover(y, x)
		st := stridesOf(x.Shape)
		for b, l := range lens {
			if l < 0 || l > x.Shape[timeAxis] {
				return fmt.Errorf("sequence length %d for %d steps", l, x.Shape[timeAxis])
			}
			for t := range x.Shape[timeAxis] {
				from := t
				if t < l {
					from = l - 1 - t
				}
				m.move(b*st[batchAxis]+t*st[timeAxis], b*st[batchAxis]+from*st[timeAxis], st[1])
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

// prepareTensorScatter writes an update into a cache along an axis, from a start that each batch entry has.
func prepareTensorScatter(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, circular := int(n.Int("axis", -2)), n.Str("mode", "linear") == "circular"
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, u := c.In[0], c.In[1]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		if err := sameType(c, 0, 2); err != nil {
			return err
		}
		if !alongside(u.Shape, x.Shape, axis) || axis == 0 || u.Shape[axis] > x.Shape[axis] {
			return fmt.Errorf("an update of shape %v does not fit a cache of shape %v along axis %d", u.Shape, x.Shape, axis)
		}
		start, err := ints(c.Input(2))
		if err != nil {
			return err
		}
		if start != nil && len(start) != x.Shape[0] {
			return fmt.Errorf("%d write indices for a batch of %d", len(start), x.Shape[0])
		}
		y := c.New(x.Type, x.Shape...)
		newMover(y, x).move(0, 0, x.Len())
		m := newMover(y, u)
		outer, total, inner := around(x.Shape, axis)
		steps := u.Shape[axis]
		for o := range outer {
			at := 0
			if start != nil {
				at = start[o/(outer/x.Shape[0])]
			}
			for t := range steps {
				k := at + t
				if circular {
					k %= total
				}
				if k < 0 || k >= total {
					return fmt.Errorf("write index %d is out of range for size %d", k, total)
				}
				m.move((o*total+k)*inner, (o*steps+t)*inner, inner)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

// alongside reports whether two shapes are equal but for one axis.
func alongside(a, b []int, axis int) bool {
	return len(a) == len(b) && slices.Equal(a[:axis], b[:axis]) && slices.Equal(a[axis+1:], b[axis+1:])
}

// prepareCol2Im adds columns of blocks up to an image: the reverse of unfolding.
func prepareCol2Im(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	return throughDouble(floatForms(
		func(c *exec.Call) error { return col2im[float32](c, w) },
		func(c *exec.Call) error { return col2im[float64](c, w) })), nil
}

func col2im[T float](c *exec.Call, w windowAttrs) error {
	if err := need(c, 3); err != nil {
		return err
	}
	image, err := ints(c.In[1])
	if err != nil {
		return err
	}
	block, err := ints(c.In[2])
	if err != nil {
		return err
	}
	g, err := w.at(image, block)
	if err != nil {
		return err
	}
	x := c.In[0]
	taps, pix := size(block), size(g.out)
	if len(x.Shape) != 3 || taps == 0 || x.Shape[1]%taps != 0 || x.Shape[2] != pix {
		return fmt.Errorf("input has shape %v, expected [N C*%d %d]", x.Shape, taps, pix)
	}
	ch := x.Shape[1] / taps
	y := c.Zeros(x.Type, append([]int{x.Shape[0], ch}, image...)...)
	xd, yd := data[T](x), data[T](y)
	tap := make([]int, len(block))
	for u := range x.Shape[0] * ch {
		for t := range taps {
			setTap(tap, t, block)
			scatterTap(yd[u*size(image):][:size(image)], xd[(u*taps+t)*pix:][:pix], g, tap)
		}
	}
	c.Out[0] = y
	return nil
}

// inferCol2Im: [N C*block L] gives [N C image...].
func inferCol2Im(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	rank, ok := lengthOf(n, 1)
	if !ok {
		return nil
	}
	out := graph.UnknownShape(rank + 2)
	if x := shapeOf(n, 0); len(x) == 3 {
		out[0] = x[0]
		if block, ok := constInts(n, 2); ok && size(block) > 0 {
			out[1] = x[1].Div(graph.D(int64(size(block))))
		}
	}
	if image, ok := n.In(1).Contents(); ok {
		copy(out[2:], image)
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "DepthToSpace", Since: 1, Infer: inferBlocks, Prepare: prepareDepthToSpace, Native: true},
		exec.Op{Name: "SpaceToDepth", Since: 1, Infer: inferBlocks, Prepare: prepareSpaceToDepth, Native: true},
		exec.Op{Name: "ReverseSequence", Since: 10, Infer: sameAs(0), Prepare: prepareReverseSequence, Native: true},
		exec.Op{Name: "TensorScatter", Since: 24, Infer: sameAs(0), Prepare: prepareTensorScatter, Native: true},
		exec.Op{Name: "Col2Im", Since: 18, Infer: inferCol2Im, Prepare: prepareCol2Im},
	)
}
