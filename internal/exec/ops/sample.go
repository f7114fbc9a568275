package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// sampler interpolates a plane of spatial dimensions dims at real positions.
type sampler struct {
	dims  []int
	taps  int    // per dimension: 1 nearest, 2 linear, 4 cubic
	pad   string // zeros, border or reflection
	align bool   // -1 and 1 are the centres of the corner elements, not their outer edges
}

// bounds are the positions beyond which dimension i is padding.
func (s sampler) bounds(i int) (lo, hi float64) {
	if s.align {
		return 0, float64(s.dims[i] - 1)
	}
	return -0.5, float64(s.dims[i]) - 0.5
}

// tapsAt gives the elements along dimension i that position x is mixed of, and their weights; -1 stands for an element that is zero.
func (s sampler) tapsAt(i int, x float64, at *[4]int, weight *[4]float64) {
	n := s.dims[i]
	if s.taps == 1 {
		x = math.RoundToEven(x)
	}
	lo, hi := s.bounds(i)
	if x < lo || x > hi || x != x {
		switch s.pad {
		case "border":
			x = math.Min(math.Max(x, 0), float64(n-1))
		case "reflection":
			x = mirrored(x, lo, hi)
		}
	}
	if !(math.Abs(x) < 1<<30) { // far outside, or no number
		x = -1 << 30
		if s.pad != "zeros" {
			x = 0
		}
	}
	base := math.Floor(x)
	t := x - base
	switch s.taps {
	case 1:
		weight[0] = 1
	case 2:
		weight[0], weight[1] = 1-t, t
	default:
		base--
		cubicWeights(t, weight)
	}
	for k := range s.taps {
		at[k] = s.element(i, int(base)+k)
	}
}

// element resolves an index that may lie outside.
func (s sampler) element(i, k int) int {
	n := s.dims[i]
	switch {
	case k >= 0 && k < n:
		return k
	case s.pad == "border":
		return min(max(k, 0), n-1)
	case s.pad == "reflection":
		lo, hi := s.bounds(i)
		return min(max(int(mirrored(float64(k), lo, hi)), 0), n-1)
	}
	return -1
}

// mirrored reflects x at lo and hi until it lies between them.
func mirrored(x, lo, hi float64) float64 {
	span := hi - lo
	if !(span > 0) {
		return lo
	}
	d := x - lo
	if x < lo {
		d = lo - x
	}
	r := math.Mod(d, 2*span)
	if r > span {
		r = 2*span - r
	}
	return lo + r
}

// cubicWeights are those of Keys' cubic convolution with a = -0.75, for a position t after the second of four elements.
func cubicWeights(t float64, w *[4]float64) {
	const a = -0.75
	far := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
	near := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
	w[0], w[1], w[2], w[3] = far(t+1), near(t), near(1-t), far(2-t)
}

// mix is a position as a list of elements of the flattened plane with their weights.
type mix struct {
	at     []int
	weight []float64
}

// resolve mixes position x, one coordinate a dimension.
func (s sampler) resolve(x []float64, m *mix) {
	m.at, m.weight = append(m.at[:0], 0), append(m.weight[:0], 1)
	var at [4]int
	var weight [4]float64
	for i := range s.dims {
		s.tapsAt(i, x[i], &at, &weight)
		old := len(m.at)
		for k := range s.taps {
			if at[k] < 0 || weight[k] == 0 {
				continue
			}
			for e := range old {
				m.at, m.weight = append(m.at, m.at[e]*s.dims[i]+at[k]), append(m.weight, m.weight[e]*weight[k])
			}
		}
		m.at, m.weight = append(m.at[:0], m.at[old:]...), append(m.weight[:0], m.weight[old:]...)
	}
}

// gridAttrs are the attributes of GridSample.
type gridAttrs struct {
	taps  int
	pad   string
	align bool
}

// prepareGridSample: version 16 knows two spatial dimensions and calls the modes bilinear and bicubic.
func prepareGridSample(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := gridAttrs{pad: n.Str("padding_mode", "zeros"), align: n.Int("align_corners", 0) != 0}
	switch mode := n.Str("mode", "linear"); mode {
	case "nearest":
		a.taps = 1
	case "linear", "bilinear":
		a.taps = 2
	case "cubic", "bicubic":
		a.taps = 4
	default:
		return nil, fmt.Errorf("attribute mode is %q, expected nearest, linear or cubic", mode)
	}
	if a.pad != "zeros" && a.pad != "border" && a.pad != "reflection" {
		return nil, fmt.Errorf("attribute padding_mode is %q, expected zeros, border or reflection", a.pad)
	}
	if a.taps == 1 {
		return a.run, nil // any type can be picked
	}
	return throughDouble(a.run), nil
}

// run reads x of [N C spatial...] at the positions of the grid, [N out... rank] with the last spatial dimension's coordinate first.
func (a gridAttrs) run(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	x, grid := c.In[0], c.In[1]
	rank := len(x.Shape) - 2
	if rank < 1 || len(grid.Shape) != rank+2 || grid.Shape[rank+1] != rank || grid.Shape[0] != x.Shape[0] {
		return fmt.Errorf("input of shape %v and grid of shape %v: expected [N C spatial...] and [N out... %d]", x.Shape, grid.Shape, max(rank, 1))
	}
	if size(x.Shape[2:]) == 0 && grid.Len() > 0 {
		return fmt.Errorf("input of shape %v has no elements to sample", x.Shape)
	}
	where, err := a.positions(grid, x.Shape[2:])
	if err != nil {
		return err
	}
	y := c.New(x.Type, append([]int{x.Shape[0], x.Shape[1]}, grid.Shape[1:rank+1]...)...)
	c.Out[0] = y
	s := sampler{dims: x.Shape[2:], taps: a.taps, pad: a.pad, align: a.align}
	switch {
	case a.taps == 1:
		pickNearest(c, s, where, y, x)
	case len(whole[float32](x)) > 0 || x.Len() == 0:
		sampleAll[float32](c, s, where, y, x)
	case len(whole[float64](x)) > 0:
		sampleAll[float64](c, s, where, y, x)
	default:
		return typeError(0, x)
	}
	return nil
}

// whole is the data of x if it is held as []T.
func whole[T any](x *tensor) []T { d, _ := x.Data.([]T); return d }

// positions turns the grid, where -1 and 1 are the ends, into positions in elements, in the grid's own precision.
func (a gridAttrs) positions(grid *tensor, dims []int) ([]float64, error) {
	g, err := floats(grid)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(g))
	_, single := grid.Data.([]float32)
	for i, v := range g {
		k := len(dims) - 1 - i%len(dims)
		to := i - i%len(dims) + k
		n := float64(dims[k])
		switch {
		case a.align && single:
			out[to] = float64((float32(v) + 1) / 2 * float32(n-1))
		case a.align:
			out[to] = (v + 1) / 2 * (n - 1)
		case single:
			out[to] = float64(((float32(v)+1)*float32(n) - 1) / 2)
		default:
			out[to] = ((v+1)*n - 1) / 2
		}
	}
	return out, nil
}

// sampleAll mixes each channel at all positions.
func sampleAll[T float](c *exec.Call, s sampler, where []float64, y, x *tensor) {
	rank, batch, channels := len(s.dims), x.Shape[0], x.Shape[1]
	in, points := size(s.dims), size(y.Shape[2:])
	xd, yd := data[T](x), data[T](y)
	c.Parallel(batch*points, channels*8, func(lo, hi int) {
		var m mix
		for u := lo; u < hi; u++ {
			b, p := u/points, u%points
			s.resolve(where[u*rank:(u+1)*rank], &m)
			for ch := range channels {
				plane := xd[(b*channels+ch)*in:][:in]
				var sum float64
				for k, e := range m.at {
					sum += m.weight[k] * float64(plane[e])
				}
				yd[(b*channels+ch)*points+p] = T(sum)
			}
		}
	})
}

// pickNearest copies the nearest elements, of any type.
func pickNearest(c *exec.Call, s sampler, where []float64, y, x *tensor) {
	rank, batch, channels := len(s.dims), x.Shape[0], x.Shape[1]
	in, points := size(s.dims), size(y.Shape[2:])
	mv := newMover(y, x)
	zero := newMover(y, onnxio.NewTensor(x.Type, 1))
	c.Parallel(batch*points, channels*8, func(lo, hi int) {
		var m mix
		for u := lo; u < hi; u++ {
			b, p := u/points, u%points
			s.resolve(where[u*rank:(u+1)*rank], &m)
			for ch := range channels {
				to := (b*channels+ch)*points + p
				if len(m.at) == 0 {
					zero.move(to, 0, 1)
					continue
				}
				mv.move(to, (b*channels+ch)*in+m.at[0], 1)
			}
		}
	})
}

// inferGridSample: [N C] and the grid's spatial dimensions.
func inferGridSample(n *graph.Node) error {
	x, g := shapeOf(n, 0), shapeOf(n, 1)
	n.SetOut(0, typeOf(n, 0), nil)
	if len(x) >= 3 && len(g) == len(x) {
		n.SetOut(0, typeOf(n, 0), append(x[:2:2], g[1:len(g)-1]...))
	}
	return nil
}

// prepareAffineGrid: the positions of an output's elements, between -1 and 1 along each dimension, mapped by theta [N rank rank+1].
func prepareAffineGrid(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	align := n.Int("align_corners", 0) != 0
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		theta, err := floats(c.In[0])
		if err != nil {
			return err
		}
		dims, err := ints(c.In[1])
		if err != nil {
			return err
		}
		ts := c.In[0].Shape
		rank := len(dims) - 2
		if rank < 1 || len(ts) != 3 || ts[0] != dims[0] || ts[1] != rank || ts[2] != rank+1 {
			return fmt.Errorf("theta has shape %v for a size of %v, expected [N rank rank+1] for a size of [N C spatial...]", ts, dims)
		}
		dims = dims[2:]
		for _, d := range dims {
			if d < 0 {
				return fmt.Errorf("size is %v: a negative dimension", dims)
			}
		}
		y := c.New(c.In[0].Type, append(append([]int{ts[0]}, dims...), rank)...)
		c.Out[0] = y
		out := make([]float64, y.Len())
		affine(out, theta, dims, ts[0], align)
		return store(y, out)
	}, nil
}

func affine(out, theta []float64, dims []int, batch int, align bool) {
	rank := len(dims)
	points := size(dims)
	pos := make([]float64, rank+1) // last dimension first, then 1
	pos[rank] = 1
	for p := range points {
		rest := p
		for i := rank - 1; i >= 0; i-- {
			k, n := rest%dims[i], float64(dims[i])
			rest /= dims[i]
			v := (2*float64(k)+1)/n - 1
			if align {
				v = 0
				if n > 1 {
					v = 2*float64(k)/(n-1) - 1
				}
			}
			pos[rank-1-i] = v
		}
		for b := range batch {
			for r := range rank {
				var sum float64
				for k, v := range pos {
					sum += theta[(b*rank+r)*(rank+1)+k] * v
				}
				out[(b*points+p)*rank+r] = sum
			}
		}
	}
}

func inferAffineGrid(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	if size, ok := n.In(1).Contents(); ok && len(size) >= 3 {
		n.SetOut(0, typeOf(n, 0), append(append(graph.Shape{size[0]}, size[2:]...), graph.D(int64(len(size)-2))))
	} else if rank, ok := lengthOf(n, 1); ok && rank >= 3 {
		n.SetOut(0, typeOf(n, 0), append(graph.UnknownShape(rank-1), graph.D(int64(rank-2))))
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "GridSample", Since: 16, Infer: inferGridSample, Prepare: prepareGridSample},
		exec.Op{Name: "AffineGrid", Since: 20, Infer: inferAffineGrid, Prepare: prepareAffineGrid},
	)
}
