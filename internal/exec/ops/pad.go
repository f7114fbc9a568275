package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// padSource maps an output position along one axis to an input position, or to -1 for the constant value.
func padSource(mode string, i, begin, n int) int {
	k := i - begin
	if k >= 0 && k < n {
		return k
	}
	switch mode {
	case "edge":
		return min(max(k, 0), n-1)
	case "wrap":
		return ((k % n) + n) % n
	case "reflect":
		if n == 1 {
			return 0
		}
		period := 2 * (n - 1)
		k = ((k % period) + period) % period
		if k >= n {
			k = period - k
		}
		return k
	}
	return -1
}

// padded grows x by begin and end (which may be negative: cropping) along each axis.
func padded(c *exec.Call, x *tensor, begin, end []int, mode string, value *tensor) (*tensor, error) {
	shape := make([]int, len(x.Shape))
	source := make([][]int, len(shape))
	for d, n := range x.Shape {
		if shape[d] = n + begin[d] + end[d]; shape[d] < 0 {
			return nil, fmt.Errorf("pads %v and %v leave nothing of shape %v", begin, end, x.Shape)
		}
		if n == 0 && shape[d] > 0 && mode != "constant" {
			return nil, fmt.Errorf("mode %s cannot pad an axis without elements in shape %v", mode, x.Shape)
		}
	}
	y := c.New(x.Type, shape...) // bounds the memory before anything of that size is planned
	for d, n := range shape {
		source[d] = make([]int, n)
		for i := range source[d] {
			source[d][i] = padSource(mode, i, begin[d], x.Shape[d])
		}
	}
	if value != nil {
		permuted(y, value, 0, newLoop(shape, stridesOf(shape), make([]int, len(shape))), c.Parallel)
	} else if mode == "constant" {
		y = c.Zeros(x.Type, shape...)
	}
	if y.Len() == 0 {
		return y, nil
	}
	if len(shape) == 0 {
		newMover(y, x).move(0, 0, 1)
		return y, nil
	}
	copyPadded(newMover(y, x), shape, stridesOf(x.Shape), source)
	return y, nil
}

// copyPadded copies row by row along the last axis; the middle of a row is one run.
func copyPadded(m mover, shape, strides []int, source [][]int) {
	last := len(shape) - 1
	idx := make([]int, last)
	for row := range size(shape[:last]) {
		setTap(idx, row, shape[:last])
		base := 0
		for d, i := range idx {
			if source[d][i] < 0 {
				base = -1
				break
			}
			base += source[d][i] * strides[d]
		}
		if base < 0 {
			continue
		}
		for i := 0; i < shape[last]; {
			from, n := source[last][i], 1
			for i+n < shape[last] && from >= 0 && source[last][i+n] == from+n {
				n++
			}
			if from >= 0 {
				m.move(row*shape[last]+i, base+from, n)
			}
			i += n
		}
	}
}

// preparePad: pads and value are attributes before version 11, then inputs; axes are input 3 from version 18 on.
func preparePad(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	mode := n.Str("mode", "constant")
	switch mode {
	case "constant", "edge", "reflect", "wrap":
	default:
		return nil, fmt.Errorf("attribute mode is %q, expected constant, edge, reflect or wrap", mode)
	}
	attr, fill := asInts(n.Ints("pads")), n.Float("value", 0)
	if attr == nil {
		attr = asInts(n.Ints("paddings")) // version 1
	}
	old := n.Opset() < 11 && n.Domain() == ""
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x, pads, value := c.In[0], attr, c.Input(2)
		var axes []int
		var err error
		if old {
			if value, err = onnxio.TensorOf([]float32{fill}).ConvertTo(x.Type); err != nil {
				return err
			}
		} else if pads, err = ints(c.Input(1)); err != nil {
			return err
		}
		if value != nil && (value.Type != x.Type || value.Len() != 1) {
			return fmt.Errorf("the constant is %v, expected one element of %v", value, x.Type)
		}
		if axes, err = ints(c.Input(3)); err != nil {
			return err
		}
		begin, end, err := spreadPads(pads, axes, len(x.Shape))
		if err != nil {
			return err
		}
		c.Out[0], err = padded(c, x, begin, end, mode, value)
		return err
	}, nil
}

// spreadPads gives the pads of each axis; nil axes are all.
func spreadPads(pads, axes []int, rank int) (begin, end []int, err error) {
	if axes == nil {
		for i := range rank {
			axes = append(axes, i)
		}
	}
	if axes, err = axesIn(axes, rank); err != nil {
		return nil, nil, err
	}
	if len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("pads %v has %d entries, expected %d", pads, len(pads), 2*len(axes))
	}
	begin, end = make([]int, rank), make([]int, rank)
	for i, a := range axes {
		begin[a], end[a] = pads[i], pads[i+len(axes)]
		for _, p := range []int{begin[a], end[a]} {
			if p > 1<<40 || p < -1<<40 {
				return nil, nil, fmt.Errorf("pads %v are out of range", pads)
			}
		}
	}
	return begin, end, nil
}

func inferPad(n *graph.Node) error {
	s := shapeOf(n, 0)
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil {
		return nil
	}
	pads, ok := asInts(n.Ints("pads")), true
	var axes []int
	if n.Opset() >= 11 {
		var l []int64
		if l, ok = n.In(1).ConstInts(); ok {
			pads = asInts(l)
		}
		if v := n.In(3); v != nil && ok {
			if l, ok = v.ConstInts(); ok {
				axes = asInts(l)
			}
		}
	}
	if !ok || n.In(1) == nil && n.Opset() >= 11 {
		n.SetOut(0, typeOf(n, 0), graph.UnknownShape(len(s)))
		return nil
	}
	begin, end, err := spreadPads(pads, axes, len(s))
	if err != nil {
		return err
	}
	out := s.Clone()
	for i, d := range s {
		switch {
		case begin[i]+end[i] == 0:
		case d.Known():
			out[i] = graph.D(d.N + int64(begin[i]+end[i]))
		default:
			out[i] = graph.Unknown
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// prepareCenterCropPad crops or zero-pads the axes to the wanted sizes around their centers.
func prepareCenterCropPad(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := asInts(n.Ints("axes"))
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, axes := c.In[0], attr
		want, err := ints(c.In[1])
		if err != nil {
			return err
		}
		if axes == nil {
			for i := range x.Shape {
				axes = append(axes, i)
			}
		}
		if axes, err = axesIn(axes, len(x.Shape)); err != nil {
			return err
		}
		if len(want) != len(axes) {
			return fmt.Errorf("target shape %v for %d axes", want, len(axes))
		}
		begin, end := make([]int, len(x.Shape)), make([]int, len(x.Shape))
		for i, a := range axes {
			if want[i] < 0 {
				return fmt.Errorf("target shape %v is negative", want)
			}
			diff := want[i] - x.Shape[a]
			begin[a] = diff / 2 // an odd remainder goes behind
			end[a] = diff - begin[a]
		}
		c.Out[0], err = padded(c, x, begin, end, "constant", nil)
		return err
	}, nil
}

func inferCenterCropPad(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil {
		return nil
	}
	axes := asInts(n.Ints("axes"))
	if axes == nil {
		for i := range s {
			axes = append(axes, i)
		}
	}
	axes, err := axesIn(axes, len(s))
	if err != nil {
		return err
	}
	want, ok := n.In(1).Contents()
	for i, a := range axes {
		s[a] = graph.Unknown
		if ok && i < len(want) {
			s[a] = want[i]
		}
	}
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Pad", Since: 1, Infer: inferPad, Prepare: preparePad, Native: true},
		exec.Op{Name: "CenterCropPad", Since: 18, Infer: inferCenterCropPad, Prepare: prepareCenterCropPad, Native: true},
	)
}
