package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Small operators on matrices: Trilu, EyeLike, Det, OneHot, NonZero.

func prepareTrilu(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	upper := n.Int("upper", 1) != 0
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x, k := c.In[0], 0
		if c.Input(1) != nil {
			var err error
			if k, err = scalarInt(c.In[1]); err != nil {
				return err
			}
		}
		if len(x.Shape) < 2 {
			return fmt.Errorf("input has shape %v, expected a matrix", x.Shape)
		}
		rows, cols := x.Shape[len(x.Shape)-2], x.Shape[len(x.Shape)-1]
		k = min(max(k, -rows-1), cols+1)
		y := c.Zeros(x.Type, x.Shape...)
		m := newMover(y, x)
		for r := range size(x.Shape[:len(x.Shape)-1]) {
			lo, hi := 0, clampIndex(max(r%max(rows, 1)+k+1, 0), cols)
			if upper {
				lo, hi = min(max(r%max(rows, 1)+k, 0), cols), cols
			}
			m.move(r*cols+lo, r*cols+lo, hi-lo)
		}
		c.Out[0] = y
		return nil
	}, nil
}

func prepareEyeLike(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	t, k := onnxio.DataType(n.Int("dtype", 0)), int(n.Int("k", 0))
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x, t := c.In[0], t
		if t == onnxio.Undefined {
			t = x.Type
		}
		if len(x.Shape) != 2 {
			return fmt.Errorf("input has shape %v, expected a matrix", x.Shape)
		}
		one, err := onnxio.TensorOf([]float32{1}).ConvertTo(t)
		if err != nil {
			return err
		}
		y := c.Zeros(t, x.Shape...)
		m := newMover(y, one)
		for i := range x.Shape[0] {
			if j := i + k; j >= 0 && j < x.Shape[1] {
				m.move(i*x.Shape[1]+j, 0, 1)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

// detKernel eliminates with partial pivoting in float64.
func detKernel(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	x := c.In[0]
	rank := len(x.Shape)
	if rank < 2 || x.Shape[rank-1] != x.Shape[rank-2] {
		return fmt.Errorf("input has shape %v, expected square matrices", x.Shape)
	}
	n := x.Shape[rank-1]
	f, err := floats(x)
	if err != nil {
		return err
	}
	out := make([]float64, size(x.Shape[:rank-2]))
	for b := range out {
		out[b] = determinant(append([]float64{}, f[b*n*n:(b+1)*n*n]...), n)
	}
	c.Out[0], err = onnxio.TensorOf(out, x.Shape[:rank-2]...).ConvertTo(x.Type)
	return err
}

func determinant(a []float64, n int) float64 {
	det := 1.0
	for p := range n {
		best := p
		for r := p + 1; r < n; r++ {
			if math.Abs(a[r*n+p]) > math.Abs(a[best*n+p]) {
				best = r
			}
		}
		if a[best*n+p] == 0 {
			return 0
		}
		if best != p {
			det = -det
			for k := range n {
				a[p*n+k], a[best*n+k] = a[best*n+k], a[p*n+k]
			}
		}
		det *= a[p*n+p]
		for r := p + 1; r < n; r++ {
			f := a[r*n+p] / a[p*n+p]
			for k := p; k < n; k++ {
				a[r*n+k] -= f * a[p*n+k]
			}
		}
	}
	return det
}

func prepareOneHot(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := int(n.Int("axis", -1))
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		idx, values := c.In[0], c.In[2]
		depth, err := scalarInt(c.In[1])
		if err != nil {
			return err
		}
		f, err := floats(idx)
		if err != nil {
			return err
		}
		if values.Len() != 2 || depth < 0 {
			return fmt.Errorf("values are %v and depth %d, expected two values and a depth of at least 0", values, depth)
		}
		axis, err := axisIn(attr, len(idx.Shape)+1)
		if err != nil {
			return err
		}
		shape := append(append(append([]int{}, idx.Shape[:axis]...), depth), idx.Shape[axis:]...)
		y := c.New(values.Type, shape...)
		permuted(y, values, 0, newLoop(shape, stridesOf(shape), make([]int, len(shape))), c.Parallel)
		m := newMover(y, values)
		inner := size(idx.Shape[axis:])
		for k, v := range f {
			i := int(v)
			if i < 0 {
				i += depth
			}
			if i >= 0 && i < depth {
				m.move((k/inner*depth+i)*inner+k%inner, 1, 1)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

func inferOneHot(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 2), nil)
	s := shapeOf(n, 0)
	if s == nil {
		return nil
	}
	axis, err := axisIn(int(n.Int("axis", -1)), len(s)+1)
	if err != nil {
		return err
	}
	depth := graph.Unknown
	if l, ok := n.In(1).Contents(); ok && len(l) == 1 {
		depth = l[0]
	}
	n.SetOut(0, typeOf(n, 2), append(append(append(graph.Shape{}, s[:axis]...), depth), s[axis:]...))
	return nil
}

func nonZeroKernel(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	x := c.In[0]
	keep, err := x.ConvertTo(onnxio.Bool)
	if err != nil {
		return err
	}
	var hits []int
	for i, ok := range data[bool](keep) {
		if ok {
			hits = append(hits, i)
		}
	}
	y := c.New(onnxio.Int64, len(x.Shape), len(hits))
	d := data[int64](y)
	pos := make([]int, len(x.Shape))
	for k, at := range hits {
		setTap(pos, at, x.Shape)
		for i, p := range pos {
			d[i*len(hits)+k] = int64(p)
		}
	}
	c.Out[0] = y
	return nil
}

func inferDet(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	if s := shapeOf(n, 0); len(s) >= 2 {
		n.SetOut(0, typeOf(n, 0), append(graph.Shape{}, s[:len(s)-2]...))
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Trilu", Since: 14, Infer: sameAs(0), Prepare: prepareTrilu, Native: true},
		exec.Op{Name: "EyeLike", Since: 9, Infer: inferEyeLike, Prepare: prepareEyeLike, Native: true},
		exec.Op{Name: "Det", Since: 11, Infer: inferDet, Prepare: always(detKernel)},
		exec.Op{Name: "OneHot", Since: 9, Infer: inferOneHot, Prepare: prepareOneHot, Native: true},
		exec.Op{Name: "NonZero", Since: 9, Infer: inferNonZero, Prepare: always(nonZeroKernel), Native: true},
	)
}

func inferEyeLike(n *graph.Node) error {
	t := onnxio.DataType(n.Int("dtype", 0))
	if t == onnxio.Undefined {
		t = typeOf(n, 0)
	}
	n.SetOut(0, t, shapeOf(n, 0))
	return nil
}

func inferNonZero(n *graph.Node) error {
	rank := graph.Unknown
	if s := shapeOf(n, 0); s != nil {
		rank = graph.D(int64(len(s)))
	}
	n.SetOut(0, onnxio.Int64, graph.Shape{rank, graph.Unknown})
	return nil
}
