package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// indices reads an index tensor, resolves negative entries and checks the range.
func indices(x *tensor, n int) ([]int, error) {
	idx, err := ints(x)
	if err != nil {
		return nil, err
	}
	for i, v := range idx {
		if v < -n || v >= n {
			return nil, fmt.Errorf("index %d is out of range for size %d", v, n)
		}
		if v < 0 {
			idx[i] = v + n
		}
	}
	return idx, nil
}

func prepareGather(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := int(n.Int("axis", 0))
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, ix := c.In[0], c.In[1]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		idx, err := indices(ix, x.Shape[axis])
		if err != nil {
			return err
		}
		shape := append(append(append([]int{}, x.Shape[:axis]...), ix.Shape...), x.Shape[axis+1:]...)
		y := c.New(x.Type, shape...)
		m := newMover(y, x)
		outer, total, inner := around(x.Shape, axis)
		for o := range outer {
			for k, i := range idx {
				m.move((o*len(idx)+k)*inner, (o*total+i)*inner, inner)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

func inferGather(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	x, ix := shapeOf(n, 0), shapeOf(n, 1)
	if x == nil || ix == nil {
		return nil
	}
	axis, err := axisIn(int(n.Int("axis", 0)), len(x))
	if err != nil {
		return err
	}
	out := append(append(append(graph.Shape{}, x[:axis]...), ix...), x[axis+1:]...)
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// prepareGatherElements: y[i][j] = x[index[i][j]][j] for axis 0, and so on.
func prepareGatherElements(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := int(n.Int("axis", 0))
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, ix := c.In[0], c.In[1]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		if err := fits(ix.Shape, x.Shape, axis); err != nil {
			return err
		}
		idx, err := indices(ix, x.Shape[axis])
		if err != nil {
			return err
		}
		y := c.New(x.Type, ix.Shape...)
		m := newMover(y, x)
		elementsAlong(ix.Shape, x.Shape, axis, idx, func(k, at int) { m.move(k, at, 1) })
		c.Out[0] = y
		return nil
	}, nil
}

// fits checks that an index tensor lies within a data tensor but for the axis that it indexes.
func fits(index, shape []int, axis int) error {
	if len(index) != len(shape) {
		return fmt.Errorf("indices have rank %d, the data rank %d", len(index), len(shape))
	}
	for i, d := range index {
		if i != axis && d > shape[i] {
			return fmt.Errorf("indices of shape %v go beyond data of shape %v", index, shape)
		}
	}
	return nil
}

// elementsAlong calls fn for each element k of an index tensor with the position in the data that it names.
func elementsAlong(index, shape []int, axis int, idx []int, fn func(k, at int)) {
	st := stridesOf(shape)
	along := st[axis]
	st[axis] = 0
	l := loop{dims: index, strides: [][]int{stridesOf(index), st}}
	if len(index) == 0 {
		return
	}
	rows, n := l.rows()
	step := l.inner(1)
	l.each(0, rows, func(_ int, off []int) {
		for i := range n {
			k := off[0] + i
			fn(k, off[1]+i*step+idx[k]*along)
		}
	})
}

func inferLikeIndex(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), shapeOf(n, 1).Clone())
	return nil
}

func prepareGatherND(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	batch := int(n.Int("batch_dims", 0))
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, ix := c.In[0], c.In[1]
		if len(ix.Shape) == 0 || batch < 0 || batch >= len(ix.Shape) || batch > len(x.Shape) {
			return fmt.Errorf("batch_dims %d with indices of shape %v and data of shape %v", batch, ix.Shape, x.Shape)
		}
		for i := range batch {
			if ix.Shape[i] != x.Shape[i] {
				return fmt.Errorf("batch dimension %d is %d in the data and %d in the indices", i, x.Shape[i], ix.Shape[i])
			}
		}
		depth := ix.Shape[len(ix.Shape)-1]
		if batch+depth > len(x.Shape) {
			return fmt.Errorf("indices of depth %d for data of shape %v", depth, x.Shape)
		}
		at, err := positions(ix, x.Shape, batch, depth)
		if err != nil {
			return err
		}
		inner := size(x.Shape[batch+depth:])
		y := c.New(x.Type, append(append([]int{}, ix.Shape[:len(ix.Shape)-1]...), x.Shape[batch+depth:]...)...)
		m := newMover(y, x)
		for k, p := range at {
			m.move(k*inner, p, inner)
		}
		c.Out[0] = y
		return nil
	}, nil
}

// positions gives for each index tuple the position in data of that shape where its slice starts.
func positions(ix *tensor, shape []int, batch, depth int) ([]int, error) {
	idx, err := ints(ix)
	if err != nil {
		return nil, err
	}
	st := stridesOf(shape)
	count := size(ix.Shape[:len(ix.Shape)-1])
	per := count / max(size(shape[:batch]), 1)
	block := size(shape[batch:])
	out := make([]int, count)
	for k := range out {
		if per > 0 {
			out[k] = k / per * block
		}
		for d := range depth {
			v, n := idx[k*depth+d], shape[batch+d]
			if v < -n || v >= n {
				return nil, fmt.Errorf("index %d is out of range for size %d", v, n)
			}
			if v < 0 {
				v += n
			}
			out[k] += v * st[batch+d]
		}
	}
	return out, nil
}

func inferGatherND(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	x, ix := shapeOf(n, 0), shapeOf(n, 1)
	batch := int(n.Int("batch_dims", 0))
	if x == nil || len(ix) == 0 || !ix[len(ix)-1].Known() || batch < 0 || batch > len(x) || ix[len(ix)-1].N > int64(len(x)-batch) {
		return nil
	}
	out := append(graph.Shape{}, ix[:len(ix)-1]...)
	n.SetOut(0, typeOf(n, 0), append(out, x[batch+int(ix[len(ix)-1].N):]...))
	return nil
}

// compressKernel keeps the entries along an axis (of the flattened tensor without one) whose condition is true.
func prepareCompress(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, flat := int(n.Int("axis", 0)), !n.HasAttr("axis")
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x := c.In[0]
		if c.In[1].Type != onnxio.Bool {
			return typeError(1, c.In[1])
		}
		if flat {
			x = c.View(x, x.Len())
		}
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		var keep []int
		for i, ok := range data[bool](c.In[1]) {
			if ok && i < x.Shape[axis] {
				keep = append(keep, i)
			}
		}
		shape := append([]int{}, x.Shape...)
		shape[axis] = len(keep)
		y := c.New(x.Type, shape...)
		m := newMover(y, x)
		outer, total, inner := around(x.Shape, axis)
		for o := range outer {
			for k, i := range keep {
				m.move((o*len(keep)+k)*inner, (o*total+i)*inner, inner)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

func inferCompress(n *graph.Node) error {
	if !n.HasAttr("axis") {
		n.SetOut(0, typeOf(n, 0), graph.UnknownShape(1))
		return nil
	}
	s := shapeOf(n, 0).Clone()
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil {
		return nil
	}
	axis, err := axisIn(int(n.Int("axis", 0)), len(s))
	if err != nil {
		return err
	}
	s[axis] = graph.Unknown
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Gather", Since: 1, Infer: inferGather, Prepare: prepareGather, Native: true},
		exec.Op{Name: "GatherElements", Since: 11, Infer: inferLikeIndex, Prepare: prepareGatherElements, Native: true},
		exec.Op{Name: "GatherND", Since: 11, Infer: inferGatherND, Prepare: prepareGatherND, Native: true},
		exec.Op{Name: "Compress", Since: 9, Infer: inferCompress, Prepare: prepareCompress, Native: true},
	)
}
