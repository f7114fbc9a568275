package ops

import (
	"fmt"
	"sync"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

type convAttrs struct {
	win   windowAttrs
	group int
}

func prepareConv(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	a := convAttrs{w, int(n.Int("group", 1))}
	packed := packConv(p.Const(1), a)
	k := by(0, typed{
		onnxio.Float32: func(c *exec.Call) error { return convFloat32(c, a, packed) },
		onnxio.Float64: func(c *exec.Call) error { return conv[float64](c, a) },
	})
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

// convShape is a convolution with all its sizes known.
type convShape struct {
	window
	batch, group    int
	cin, cout       int // per group
	inPix, outPix   int
	taps, unfolded  int // kernel positions, and cin*taps
	depthwise, flat bool
}

func (a convAttrs) shape(x, w, b *tensor) (s convShape, err error) {
	if len(x.Shape) < 3 || len(w.Shape) != len(x.Shape) {
		return s, fmt.Errorf("input has shape %v and weight %v, expected [N C spatial...] and [M C/group kernel...]", x.Shape, w.Shape)
	}
	s.group, s.batch, s.cin = a.group, x.Shape[0], w.Shape[1]
	if a.group < 1 || x.Shape[1] != s.cin*a.group || w.Shape[0]%a.group != 0 {
		return s, fmt.Errorf("input of shape %v, weight of shape %v and group %d do not fit: channels must be %d", x.Shape, w.Shape, a.group, s.cin*a.group)
	}
	s.cout = w.Shape[0] / a.group
	if b != nil && (len(b.Shape) != 1 || b.Shape[0] != w.Shape[0]) {
		return s, fmt.Errorf("bias has shape %v, expected [%d]", b.Shape, w.Shape[0])
	}
	if s.window, err = a.win.at(x.Shape[2:], w.Shape[2:]); err != nil {
		return s, err
	}
	s.inPix, s.outPix, s.taps = size(s.in), size(s.out), size(s.kernel)
	s.unfolded = s.cin * s.taps
	s.depthwise, s.flat = s.cin == 1 && s.group > 1, s.trivial()
	return s, nil
}

// conv is the convolution of any number of spatial dimensions: per image and group W (cout x cin taps) times the unfolded input.
func conv[T float](c *exec.Call, a convAttrs) error {
	x, w, b := c.In[0], c.In[1], c.Input(2)
	s, err := a.shape(x, w, b)
	if err != nil {
		return err
	}
	y := c.New(x.Type, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	c.Out[0] = y
	r := convRun[T]{s: s, x: data[T](x), w: data[T](w), y: data[T](y)}
	if b != nil {
		r.bias = data[T](b)
	}
	switch {
	case len(r.y) == 0:
		return nil
	case s.depthwise:
		c.Parallel(s.batch*s.group, s.outPix*s.taps*s.cout, r.channels)
		return nil
	}
	return r.groups(c)
}

// convRun is one call of conv. A unit is a group of an image.
type convRun[T float] struct {
	s             convShape
	x, w, y, bias []T
	inner         int // threads that share a unit
}

// channels computes units [from, to) of a depthwise convolution.
func (r *convRun[T]) channels(from, to int) {
	s := r.s
	tap := make([]int, len(s.kernel))
	for u := from; u < to; u++ {
		for m := range s.cout {
			o := (u%s.group)*s.cout + m
			row := r.y[(u*s.cout+m)*s.outPix:][:s.outPix]
			fill(row, r.bias, o)
			correlate(row, r.x[u*s.inPix:][:s.inPix], r.w[o*s.taps:][:s.taps], s.window, tap)
		}
	}
}

// groups computes all units, which threads share, or each of which they share where there are few.
func (r *convRun[T]) groups(c *exec.Call) error {
	units := r.s.batch * r.s.group
	workers := min(c.Threads, units)
	if r.inner = 1; units < c.Threads {
		workers, r.inner = 1, c.Threads
	}
	cols := make([][]T, workers)
	if !r.s.flat {
		for i := range cols {
			cols[i] = data[T](c.New(c.In[0].Type, r.s.unfolded, r.s.outPix))
		}
	}
	some := func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for u := i * units / workers; u < (i+1)*units/workers && c.Ctx.Err() == nil; u++ {
				r.unit(u, cols[i])
			}
		}
	}
	if workers == 1 {
		some(0, 1)
	} else {
		c.Parallel(workers, 1<<30, some)
	}
	return c.Ctx.Err()
}

// unit computes unit u; col is room for the unfolded input.
func (r *convRun[T]) unit(u int, col []T) {
	s := r.s
	in := r.x[u*s.cin*s.inPix:][:s.cin*s.inPix]
	if !s.flat {
		unfold(col, in, s)
		in = col
	}
	g := u % s.group
	out := r.y[u*s.cout*s.outPix:][:s.cout*s.outPix]
	for m := range s.cout {
		fill(out[m*s.outPix:][:s.outPix], r.bias, g*s.cout+m)
	}
	product(false, false, s.cout, s.outPix, s.unfolded, 1, r.w[g*s.cout*s.unfolded:], s.unfolded, in, s.outPix, 1, out, s.outPix, r.inner)
}

// packConv packs a constant weight for the vector kernels, at the first run; nil where they do not apply.
func packConv(w *tensor, a convAttrs) func() *kernel.PackedConv {
	group := a.group
	if w == nil || w.Type != onnxio.Float32 || len(w.Shape) < 3 || len(w.Shape) > 4 || group < 1 || w.Shape[0]%group != 0 || w.Len() == 0 {
		return nil
	}
	if w.Shape[1] == 1 && group > 1 {
		return nil // depthwise
	}
	x := []int{1, w.Shape[1] * group} // an image as large as the kernel, which dilations spread
	for i, d := range w.Shape[2:] {
		if i < len(a.win.dilations) {
			d = (d-1)*a.win.dilations[i] + 1
		}
		x = append(x, d)
	}
	s, err := a.shape(&tensor{Type: w.Type, Shape: x}, w, nil)
	if err != nil {
		return nil // the run will say why
	}
	return sync.OnceValue(func() *kernel.PackedConv { return kernel.PackConv(s.planar(), w.Float32s()) })
}

// convFloat32 takes one and two spatial dimensions to the vector kernels and leaves the others to conv.
func convFloat32(c *exec.Call, a convAttrs, packed func() *kernel.PackedConv) error {
	x, w, b := c.In[0], c.In[1], c.Input(2)
	if len(x.Shape) != 3 && len(x.Shape) != 4 || c.Ctx.Err() != nil {
		return conv[float32](c, a)
	}
	s, err := a.shape(x, w, b)
	if err != nil {
		return err
	}
	y := c.New(x.Type, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	c.Out[0] = y
	if y.Len() == 0 {
		return nil
	}
	e := kernel.Bias(nil, nil)
	if b != nil {
		e.Row = b.Float32s()
	}
	ks := s.planar()
	switch {
	case s.depthwise:
		kernel.Depthwise(ks, s.batch, x.Float32s(), w.Float32s(), y.Float32s(), e, c.Threads)
	case packed == nil:
		kernel.PackConv(ks, w.Float32s()).Run(ks, s.batch, x.Float32s(), y.Float32s(), e, c.Threads)
	default:
		packed().Run(ks, s.batch, x.Float32s(), y.Float32s(), e, c.Threads)
	}
	return nil
}

// planar is the geometry in the kernels' terms; one dimension is a picture of one row.
func (s convShape) planar() kernel.ConvShape {
	k := kernel.ConvShape{InC: s.group * s.cin, OutC: s.group * s.cout, Groups: s.group, H: 1, KH: 1}
	last := len(s.in) - 1
	k.W, k.KW, k.StrideW, k.DilationW = s.in[last], s.kernel[last], s.strides[last], s.dilations[last]
	k.PadLeft, k.PadRight = s.begin[last], s.end[last]
	if last == 1 {
		k.H, k.KH, k.StrideH, k.DilationH = s.in[0], s.kernel[0], s.strides[0], s.dilations[0]
		k.PadTop, k.PadBottom = s.begin[0], s.end[0]
	}
	return k
}

func fill[T float](row, bias []T, i int) {
	if bias == nil {
		clear(row)
		return
	}
	v := bias[i]
	for k := range row {
		row[k] = v
	}
}

// unfold writes the input values that each kernel position meets: col is (channels taps) x output positions.
func unfold[T any](col, in []T, s convShape) {
	tap := make([]int, len(s.kernel))
	for ch := range len(in) / max(s.inPix, 1) {
		for t := range s.taps {
			setTap(tap, t, s.kernel)
			gatherTap(col[(ch*s.taps+t)*s.outPix:][:s.outPix], in[ch*s.inPix:][:s.inPix], s.window, tap)
		}
	}
}

// tapRows calls fn for each output row that kernel position tap reaches: the row's start in the output, the columns
// [lo, hi) whose input lies inside, and the input position of column lo. Rows that lie outside have lo = hi.
func (g window) tapRows(tap []int, fn func(row, lo, hi, in int)) {
	last := len(g.out) - 1
	lo, hi := g.inside(last, tap[last])
	first := lo*g.strides[last] + tap[last]*g.dilations[last] - g.begin[last]
	rows := size(g.out[:last])
	for r := range rows {
		k, pos, step, ok := r, 0, g.in[last], true
		for d := last - 1; d >= 0; d-- {
			o := k % g.out[d]
			k /= g.out[d]
			i := o*g.strides[d] + tap[d]*g.dilations[d] - g.begin[d]
			if i < 0 || i >= g.in[d] {
				ok = false
				break
			}
			pos += i * step
			step *= g.in[d]
		}
		if ok {
			fn(r*g.out[last], lo, hi, pos+first)
		} else {
			fn(r*g.out[last], 0, 0, 0)
		}
	}
}

// gatherTap copies what one kernel position sees into an output-shaped plane; the padding is zero.
func gatherTap[T any](dst, src []T, g window, tap []int) {
	last := len(g.out) - 1
	width, step := g.out[last], g.strides[last]
	g.tapRows(tap, func(row, lo, hi, in int) {
		d := dst[row : row+width]
		clear(d[:lo])
		clear(d[hi:])
		d = d[lo:hi]
		if step == 1 && lo < hi {
			copy(d, src[in:])
			return
		}
		for i := range d {
			d[i] = src[in]
			in += step
		}
	})
}

// correlate adds the correlation of one plane with one kernel to out.
func correlate[T float](out, in, w []T, g window, tap []int) {
	last := len(g.out) - 1
	step := g.strides[last]
	for t, v := range w {
		setTap(tap, t, g.kernel)
		g.tapRows(tap, func(row, lo, hi, at int) {
			d := out[row+lo : row+hi]
			if len(d) == 0 {
				return
			}
			if step == 1 {
				for i, x := range in[at : at+len(d)] {
					d[i] += v * x
				}
				return
			}
			for i := range d {
				d[i] += v * in[at]
				at += step
			}
		})
	}
}

// setTap writes the coordinates of kernel position t.
func setTap(tap []int, t int, kernel []int) {
	for d := len(tap) - 1; d >= 0; d-- {
		tap[d] = t % kernel[d]
		t /= kernel[d]
	}
}

func inferConv(n *graph.Node) error {
	s, err := convDims(n, shapeOf(n, 0), shapeOf(n, 1))
	n.SetOut(0, typeOf(n, 0), s)
	return err
}

// convDims is the shape of a convolution's output, nil when a rank is unknown.
func convDims(n *graph.Node, x, w graph.Shape) (graph.Shape, error) {
	if x == nil || len(w) != len(x) || len(x) < 3 {
		return nil, nil
	}
	kernel, ok := w[2:].Ints()
	if !ok {
		kernel = nil
	}
	spatial, err := inferWindow(n, x, kernel)
	if err != nil {
		return nil, err
	}
	return append(graph.Shape{x[0], w[0]}, spatial...), nil
}

func init() {
	exec.Register(exec.Op{Name: "Conv", Since: 1, Infer: inferConv, Prepare: prepareConv})
}
