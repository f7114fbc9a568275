package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// eachWindow calls fn for each output position with the input positions of its window that lie inside, in order.
func (g window) eachWindow(fn func(out int, at []int)) {
	rank := len(g.in)
	pos, tap := make([]int, rank), make([]int, rank)
	at := make([]int, 0, size(g.kernel))
	for o := range size(g.out) {
		setTap(pos, o, g.out)
		at = at[:0]
		for t := range size(g.kernel) {
			setTap(tap, t, g.kernel)
			p, inside := 0, true
			for d := range rank {
				i := pos[d]*g.strides[d] + tap[d]*g.dilations[d] - g.begin[d]
				inside = inside && i >= 0 && i < g.in[d]
				p = p*g.in[d] + i
			}
			if inside {
				at = append(at, p)
			}
		}
		fn(o, at)
	}
}

// padded counts the kernel positions of output o that lie inside the input or its padding, for averages that count padding.
func (g window) padded(o int) int {
	pos := make([]int, len(g.in))
	setTap(pos, o, g.out)
	n := 1
	for d := range pos {
		hits := 0
		for t := range g.kernel[d] {
			if i := pos[d]*g.strides[d] + t*g.dilations[d] - g.begin[d]; i < g.in[d]+g.end[d] {
				hits++
			}
		}
		n *= hits
	}
	return n
}

// poolPlan holds, for one plane, the input positions of each window: computed once, used for all planes.
type poolPlan struct {
	start []int32 // of output o's positions in at
	at    []int32
}

func planPool(c *exec.Call, g window) poolPlan {
	var p poolPlan
	if err := c.Charge(int64(math.Min(4*float64(size(g.out))*float64(size(g.kernel)), 1<<62))); err != nil {
		panic(err) // a kernel of the size of the input, at each of its places
	}
	g.eachWindow(func(_ int, at []int) {
		p.start = append(p.start, int32(len(p.at)))
		for _, i := range at {
			p.at = append(p.at, int32(i))
		}
	})
	p.start = append(p.start, int32(len(p.at)))
	return p
}

func (p poolPlan) of(o int) []int32 { return p.at[p.start[o]:p.start[o+1]] }

func poolInput(c *exec.Call) (*tensor, error) {
	if err := need(c, 1); err != nil {
		return nil, err
	}
	if x := c.In[0]; len(x.Shape) >= 3 {
		return x, nil
	}
	return nil, fmt.Errorf("input has shape %v, expected [N C spatial...]", c.In[0].Shape)
}

func prepareMaxPool(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	colMajor := n.Int("storage_order", 0) != 0
	return by(0, typed{
		onnxio.Float32: func(c *exec.Call) error { return maxPool(c, w, colMajor, float32(math.Inf(-1))) },
		onnxio.Float64: func(c *exec.Call) error { return maxPool(c, w, colMajor, math.Inf(-1)) },
		onnxio.Int8:    func(c *exec.Call) error { return maxPool[int8](c, w, colMajor, math.MinInt8) },
		onnxio.Uint8:   func(c *exec.Call) error { return maxPool[uint8](c, w, colMajor, 0) },
	}), nil
}

// maxPool takes the largest element of each window; lowest is smaller than all.
func maxPool[T number](c *exec.Call, w windowAttrs, colMajor bool, lowest T) error {
	x, err := poolInput(c)
	if err != nil {
		return err
	}
	g, err := w.at(x.Shape[2:], nil)
	if err != nil {
		return err
	}
	y := c.New(x.Type, append([]int{x.Shape[0], x.Shape[1]}, g.out...)...)
	c.Out[0] = y
	var where []int64
	if c.OutWanted(1) {
		c.Out[1] = c.New(onnxio.Int64, y.Shape...)
		where = data[int64](c.Out[1])
	}
	if y.Len() == 0 {
		return nil
	}
	xd, yd := data[T](x), data[T](y)
	if where == nil && g.separable() {
		poolPlanes(c, g, yd, xd, lowest, keepLarger[T], func(int, []T) {})
		return nil
	}
	in, out := size(g.in), size(g.out)
	plan := planPool(c, g)
	c.Parallel(x.Shape[0]*x.Shape[1], out*size(g.kernel), func(lo, hi int) {
		for u := lo; u < hi; u++ {
			plane := xd[u*in : (u+1)*in]
			for o := range out {
				at := plan.of(o)
				if len(at) == 0 {
					continue
				}
				best := at[0]
				for _, i := range at[1:] {
					if v := plane[i]; v > plane[best] || v != v {
						best = i
					}
				}
				yd[u*out+o] = plane[best]
				if where != nil {
					where[u*out+o] = int64(u*in + planeIndex(int(best), g.in, colMajor))
				}
			}
		}
	})
	return nil
}

// planeIndex is a position in a plane counted along the first axis first, if colMajor.
func planeIndex(at int, shape []int, colMajor bool) int {
	if !colMajor {
		return at
	}
	pos := make([]int, len(shape))
	setTap(pos, at, shape)
	k := 0
	for d := len(shape) - 1; d >= 0; d-- {
		k = k*shape[d] + pos[d]
	}
	return k
}

// foldPool prepares poolings that fold a window's values into one. exp and p are used by LpPool.
func foldPool(fold func(n *graph.Node) func(values func(fn func(float64)), inside, padded int) float64) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		w, err := windowOf(n)
		if err != nil {
			return nil, err
		}
		f := fold(n)
		return floatForms(
			func(c *exec.Call) error { return runFold[float32](c, w, f) },
			func(c *exec.Call) error { return runFold[float64](c, w, f) }), nil
	}
}

func runFold[T float](c *exec.Call, w windowAttrs, f func(values func(fn func(float64)), inside, padded int) float64) error {
	x, err := poolInput(c)
	if err != nil {
		return err
	}
	g, err := w.at(x.Shape[2:], nil)
	if err != nil {
		return err
	}
	y := c.New(x.Type, append([]int{x.Shape[0], x.Shape[1]}, g.out...)...)
	c.Out[0] = y
	if y.Len() == 0 { // its axes may be of any length
		return nil
	}
	xd, yd := data[T](x), data[T](y)
	in, out := size(g.in), size(g.out)
	plan := planPool(c, g)
	padded := make([]int, out)
	for o := range padded {
		padded[o] = g.padded(o)
	}
	c.Parallel(x.Shape[0]*x.Shape[1], out*size(g.kernel), func(lo, hi int) {
		for u := lo; u < hi; u++ {
			plane := xd[u*in : (u+1)*in]
			for o := range out {
				at := plan.of(o)
				yd[u*out+o] = T(f(func(fn func(float64)) {
					for _, i := range at {
						fn(float64(plane[i]))
					}
				}, len(at), padded[o]))
			}
		}
	})
	return nil
}

func averageFold(n *graph.Node) func(values func(fn func(float64)), inside, padded int) float64 {
	all := n.Int("count_include_pad", 0) != 0
	return func(values func(fn func(float64)), inside, padded int) float64 {
		var sum float64
		values(func(v float64) { sum += v })
		if all {
			inside = padded
		}
		if inside == 0 {
			return 0
		}
		return sum / float64(inside)
	}
}

func lpFold(n *graph.Node) func(values func(fn func(float64)), inside, padded int) float64 {
	p := float64(n.Int("p", 2))
	return func(values func(fn func(float64)), _, _ int) float64 {
		var sum float64
		values(func(v float64) { sum += math.Pow(math.Abs(v), p) })
		return math.Pow(sum, 1/p)
	}
}

func inferPool(n *graph.Node) error {
	x := shapeOf(n, 0)
	n.SetOut(0, typeOf(n, 0), nil)
	n.SetOut(1, onnxio.Int64, nil)
	if len(x) < 3 {
		return nil
	}
	spatial, err := inferWindow(n, x, nil)
	if err != nil {
		return err
	}
	out := append(graph.Shape{x[0], x[1]}, spatial...)
	n.SetOut(0, typeOf(n, 0), out)
	n.SetOut(1, onnxio.Int64, out)
	return nil
}

// globalPool reduces all spatial axes.
func globalPool(forms reducers) exec.Kernel {
	return func(c *exec.Call) error {
		x, err := poolInput(c)
		if err != nil {
			return err
		}
		axes := []int{}
		for i := 2; i < len(x.Shape); i++ {
			axes = append(axes, i)
		}
		f := forms[x.Type]
		if f == nil {
			return typeError(0, x)
		}
		r := planReduce(x.Shape, axes, true)
		y := c.New(x.Type, r.shape...)
		f(c, r, y)
		c.Out[0] = y
		return nil
	}
}

func prepareGlobalLp(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	p := float64(n.Int("p", 2))
	return globalPool(viaDoubles(func(a, x float64) float64 { return a + math.Pow(math.Abs(x), p) },
		func(a float64, _ int) float64 { return math.Pow(a, 1/p) })), nil
}

func inferGlobal(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	for i := 2; i < len(s); i++ {
		s[i] = graph.D(1)
	}
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

// prepareMaxUnpool puts values back where MaxPool found them.
func prepareMaxUnpool(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, err := poolInput(c)
		if err != nil {
			return err
		}
		want, err := ints(c.Input(2))
		if err != nil {
			return err
		}
		rank := len(x.Shape) - 2
		kernel, strides := w.kernel, orOnes(w.strides, rank)
		if len(kernel) != rank || len(strides) != rank {
			return fmt.Errorf("attribute kernel_shape is %v for %d spatial dimensions", kernel, rank)
		}
		natural := []int{x.Shape[0], x.Shape[1]}
		for i, d := range x.Shape[2:] {
			v := (d-1)*strides[i] + kernel[i]
			if w.pads != nil {
				v -= w.pads[i] + w.pads[i+rank]
			}
			natural = append(natural, v)
		}
		shape := natural
		if want != nil {
			shape = want
		}
		if len(shape) != len(natural) {
			return fmt.Errorf("output_shape is %v, expected rank %d", shape, len(natural))
		}
		idx, err := ints(c.In[1])
		if err != nil {
			return err
		}
		if len(idx) != x.Len() {
			return fmt.Errorf("indices have shape %v, the values %v", c.In[1].Shape, x.Shape)
		}
		y := c.Zeros(x.Type, shape...)
		m := newMover(y, x)
		pos := make([]int, len(shape))
		st := stridesOf(shape)
		for k, i := range idx {
			if i < 0 || i >= size(natural) {
				return fmt.Errorf("index %d is out of range for an output of shape %v", i, natural)
			}
			setTap(pos, i, natural)
			at := 0
			for d, p := range pos {
				if p >= shape[d] {
					return fmt.Errorf("index %d is out of range for an output of shape %v", i, shape)
				}
				at += p * st[d]
			}
			m.move(at, k, 1)
		}
		c.Out[0] = y
		return nil
	}, nil
}

func inferMaxUnpool(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	n.SetOut(0, typeOf(n, 0), nil)
	if s == nil {
		return nil
	}
	if n.In(2) != nil {
		out := graph.UnknownShape(len(s))
		if want, ok := n.In(2).Contents(); ok && len(want) == len(s) {
			copy(out, want)
		}
		n.SetOut(0, typeOf(n, 0), out)
		return nil
	}
	w, err := windowOf(n)
	if err != nil {
		return err
	}
	rank := len(s) - 2
	strides := orOnes(w.strides, max(rank, 0))
	if rank < 1 || len(w.kernel) != rank || len(strides) != rank || w.pads != nil && len(w.pads) != 2*rank {
		return fmt.Errorf("kernel_shape %v, strides %v and pads %v do not fit an input of shape %v", w.kernel, w.strides, w.pads, s)
	}
	for i := range rank {
		d := s[2+i]
		s[2+i] = graph.Unknown
		if d.Known() {
			v := (d.N-1)*int64(strides[i]) + int64(w.kernel[i])
			if w.pads != nil {
				v -= int64(w.pads[i] + w.pads[i+rank])
			}
			s[2+i] = graph.D(v)
		}
	}
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "MaxPool", Since: 1, Infer: inferPool, Prepare: prepareMaxPool},
		exec.Op{Name: "AveragePool", Since: 1, Infer: inferPool, Prepare: prepareAveragePool},
		exec.Op{Name: "LpPool", Since: 1, Infer: inferPool, Prepare: foldPool(lpFold)},
		exec.Op{Name: "MaxUnpool", Since: 9, Infer: inferMaxUnpool, Prepare: prepareMaxUnpool, Native: true},
		exec.Op{Name: "GlobalAveragePool", Since: 1, Infer: inferGlobal, Prepare: always(globalPool(viaDoubles(
			func(a, x float64) float64 { return a + x }, func(a float64, n int) float64 { return a / float64(n) })))},
		exec.Op{Name: "GlobalMaxPool", Since: 1, Infer: inferGlobal, Prepare: always(globalPool(extremes(true)))},
		exec.Op{Name: "GlobalLpPool", Since: 1, Infer: inferGlobal, Prepare: prepareGlobalLp},
	)
}
