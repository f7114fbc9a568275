package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// resizer holds the attributes of Resize. Resizing is done one axis after the other.
type resizer struct {
	mode, coord, nearest, policy string
	cubicA, extrapolation        float64
	excludeOutside, antialias    bool
	axes                         []int // which axes sizes, scales and roi are about; nil: all
	scales                       []float64
}

// axisPlan is how one axis is resized: for each output position its input positions and their weights. An output position
// with no input lies outside of the region of interest.
type axisPlan struct {
	axis, out int
	at        [][]int
	w         [][]float64
}

// planBytes is about what a plan takes for one output position.
const planBytes = 128

func prepareResize(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	r := resizer{mode: n.Str("mode", "nearest"), coord: n.Str("coordinate_transformation_mode", "half_pixel"),
		nearest: n.Str("nearest_mode", "round_prefer_floor"), policy: n.Str("keep_aspect_ratio_policy", "stretch"),
		cubicA: float64(n.Float("cubic_coeff_a", -0.75)), extrapolation: float64(n.Float("extrapolation_value", 0)),
		excludeOutside: n.Int("exclude_outside", 0) != 0, antialias: n.Int("antialias", 0) != 0, axes: asInts(n.Ints("axes"))}
	scalesAt, sizesAt, roiAt := 2, 3, 1
	if n.Op() == "Upsample" || n.Opset() < 11 {
		r.coord, r.nearest, scalesAt, sizesAt, roiAt = "asymmetric", "simple", 1, -1, -1
		for _, s := range n.Floats("scales") {
			r.scales = append(r.scales, float64(s))
		}
	}
	if r.mode == "bilinear" {
		r.mode = "linear"
	}
	if !slices.Contains([]string{"nearest", "linear", "cubic"}, r.mode) {
		return nil, fmt.Errorf("attribute mode is %q, expected nearest, linear or cubic", r.mode)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		scales, err := floats(given(c, scalesAt))
		if err != nil {
			return err
		}
		if scales == nil {
			scales = r.scales
		}
		sizes, err := ints(given(c, sizesAt))
		if err != nil {
			return err
		}
		roi, err := floats(given(c, roiAt))
		if err != nil {
			return err
		}
		plans, err := r.plan(c, c.In[0].Shape, scales, sizes, roi)
		if err != nil {
			return err
		}
		return r.run(c, plans)
	}, nil
}

// given is input i unless it is missing or empty.
func given(c *exec.Call, i int) *tensor {
	if x := c.Input(i); x != nil && x.Len() > 0 {
		return x
	}
	return nil
}

func (r resizer) plan(c *exec.Call, shape []int, scales []float64, sizes []int, roi []float64) ([]axisPlan, error) {
	axes := r.axes
	if axes == nil {
		for i := range shape {
			axes = append(axes, i)
		}
	}
	axes, err := axesIn(axes, len(shape))
	if err != nil {
		return nil, err
	}
	if (scales == nil) == (sizes == nil) || scales != nil && len(scales) != len(axes) || sizes != nil && len(sizes) != len(axes) {
		return nil, fmt.Errorf("%d scales and %d sizes given for %d axes: give one list with an entry for each", len(scales), len(sizes), len(axes))
	}
	if r.coord == "tf_crop_and_resize" && len(roi) != 2*len(axes) {
		return nil, fmt.Errorf("roi has %d entries, expected %d", len(roi), 2*len(axes))
	}
	scales, sizes = r.target(shape, axes, scales, sizes)
	var plans []axisPlan
	for i, a := range axes {
		in, out, s := shape[a], sizes[i], scales[i]
		if !(s > 0) || out < 0 || out > 1<<31 {
			return nil, fmt.Errorf("axis %d cannot be resized from %d to %d by %v", a, in, out, s)
		}
		if in == 0 && out > 0 {
			return nil, fmt.Errorf("axis %d is empty and cannot be resized to %d", a, out)
		}
		if err := c.Charge(planBytes * int64(out)); err != nil {
			return nil, err
		}
		var crop [2]float64
		if r.coord == "tf_crop_and_resize" {
			crop = [2]float64{roi[i], roi[i+len(axes)]}
		} else if out == in && s == 1 {
			continue
		}
		plans = append(plans, r.planAxis(a, in, out, s, crop))
	}
	return plans, nil
}

// target completes scales and sizes from each other.
func (r resizer) target(shape, axes []int, scales []float64, sizes []int) ([]float64, []int) {
	if sizes == nil {
		for i, a := range axes {
			sizes = append(sizes, int(math.Floor(float64(shape[a])*scales[i])))
		}
		return scales, sizes
	}
	sizes = slices.Clone(sizes)
	for i, a := range axes {
		scales = append(scales, float64(sizes[i])/float64(max(shape[a], 1)))
	}
	if r.policy == "stretch" {
		return scales, sizes
	}
	s := slices.Min(scales)
	if r.policy == "not_smaller" {
		s = slices.Max(scales)
	}
	for i, a := range axes {
		scales[i], sizes[i] = s, int(math.Floor(s*float64(shape[a])+0.5))
	}
	return scales, sizes
}

func (r resizer) planAxis(axis, in, out int, s float64, crop [2]float64) axisPlan {
	p := axisPlan{axis: axis, out: out}
	for o := range out {
		x := r.source(float64(o), float64(in), float64(out), s, crop)
		if r.coord == "tf_crop_and_resize" && (x < 0 || x > float64(in-1)) {
			p.at, p.w = append(p.at, nil), append(p.w, nil)
			continue
		}
		at, w := r.taps(x, in, s)
		p.at, p.w = append(p.at, at), append(p.w, w)
	}
	return p
}

// source is the input coordinate of output coordinate o. With align_corners the corner of the output is where the scale puts
// it, which is between two elements when scale times size is no whole number.
func (r resizer) source(o, in, out, s float64, crop [2]float64) float64 {
	switch r.coord {
	case "asymmetric":
		return o / s
	case "align_corners":
		if s*in == 1 {
			return 0
		}
		return o * (in - 1) / (s*in - 1)
	case "pytorch_half_pixel":
		if out <= 1 {
			return 0
		}
	case "half_pixel_symmetric":
		adjust := out / (s * in)
		return in/2*(1-adjust) + (o+0.5)/s - 0.5
	case "tf_crop_and_resize":
		if out <= 1 {
			return (crop[0] + crop[1]) / 2 * (in - 1)
		}
		return crop[0]*(in-1) + o*(crop[1]-crop[0])*(in-1)/(out-1)
	}
	return (o+0.5)/s - 0.5
}

// taps are the input positions around coordinate x and their weights.
func (r resizer) taps(x float64, in int, s float64) ([]int, []float64) {
	if r.mode == "nearest" {
		switch r.nearest {
		case "floor":
			x = math.Floor(x)
		case "ceil":
			x = math.Ceil(x)
		case "round_prefer_ceil":
			x = math.Floor(x + 0.5)
		case "simple": // of versions before 11, by their vectors: floor where the tensor grows, ceil where it shrinks
			if x = float64(float32(x)); s < 1 {
				x = math.Ceil(x)
			}
			x = math.Floor(x)
		default:
			x = math.Ceil(x - 0.5)
		}
		return []int{min(max(int(x), 0), in-1)}, []float64{1}
	}
	reach, shrink := 1.0, 1.0
	if r.mode == "cubic" {
		reach = 2
	}
	if r.antialias {
		shrink = math.Min(s, 1)
	}
	var at []int
	var w []float64
	sum := 0.0
	for i := int(math.Floor(x - reach/shrink)); i <= int(math.Ceil(x+reach/shrink)); i++ {
		v := r.weight(math.Abs(float64(i)-x) * shrink)
		if v == 0 || r.excludeOutside && (i < 0 || i >= in) {
			continue
		}
		at, w = append(at, min(max(i, 0), in-1)), append(w, v)
		sum += v
	}
	for i := range w {
		w[i] /= sum
	}
	return at, w
}

// weight is the kernel at distance d: a triangle, or the cubic convolution kernel with coefficient a.
func (r resizer) weight(d float64) float64 {
	if r.mode == "linear" {
		return math.Max(0, 1-d)
	}
	a := r.cubicA
	switch {
	case d <= 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

func (r resizer) run(c *exec.Call, plans []axisPlan) error {
	x := c.In[0]
	if r.mode == "nearest" && r.coord != "tf_crop_and_resize" {
		for _, p := range plans {
			x = p.pick(c, x)
		}
		c.Out[0] = x
		return nil
	}
	of := x.Type
	x, err := realInput(c, 0)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if x.Type == onnxio.Float64 {
			x = blend[float64](c, x, p, r.extrapolation)
		} else {
			x = blend[float32](c, x, p, r.extrapolation)
		}
	}
	c.Out[0], err = x.ConvertTo(of)
	return err
}

func (p axisPlan) resized(c *exec.Call, x *tensor) *tensor {
	shape := append([]int{}, x.Shape...)
	shape[p.axis] = p.out
	return c.New(x.Type, shape...)
}

// pick copies one entry of the axis for each output position.
func (p axisPlan) pick(c *exec.Call, x *tensor) *tensor {
	y := p.resized(c, x)
	m := newMover(y, x)
	outer, n, inner := around(x.Shape, p.axis)
	c.Parallel(outer, p.out*inner, func(lo, hi int) {
		for o := lo; o < hi; o++ {
			for k, at := range p.at {
				m.move((o*p.out+k)*inner, (o*n+at[0])*inner, inner)
			}
		}
	})
	return y
}

// blend sums weighted entries of the axis for each output position.
func blend[T float](c *exec.Call, x *tensor, p axisPlan, outside float64) *tensor {
	y := p.resized(c, x)
	in, out := data[T](x), data[T](y)
	outer, n, inner := around(x.Shape, p.axis)
	c.Parallel(outer, p.out*inner*4, func(lo, hi int) {
		for o := lo; o < hi; o++ {
			for k, at := range p.at {
				row := out[(o*p.out+k)*inner:][:inner]
				if at == nil {
					for i := range row {
						row[i] = T(outside)
					}
					continue
				}
				clear(row)
				for j, src := range at {
					w := T(p.w[k][j])
					for i, v := range in[(o*n+src)*inner:][:inner] {
						row[i] += w * v
					}
				}
			}
		}
	})
	return y
}

// inferResize knows the output where scales or sizes are constant and the policy keeps them.
func inferResize(n *graph.Node) error {
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
	out := s.Clone()
	for _, a := range axes {
		out[a] = graph.Unknown
	}
	scaleIn := 2
	if n.Op() == "Upsample" || n.Opset() < 11 {
		scaleIn = 1
	}
	if sizes, ok := constInts(n, 3); ok && scaleIn == 2 && len(sizes) == len(axes) && n.Str("keep_aspect_ratio_policy", "stretch") == "stretch" {
		for i, a := range axes {
			out[a] = graph.D(int64(sizes[i]))
		}
	} else if scales := constFloats(n, scaleIn); len(scales) == len(axes) {
		for i, a := range axes {
			if s[a].Known() {
				out[a] = graph.D(int64(math.Floor(float64(s[a].N) * scales[i])))
			} else if scales[i] == 1 {
				out[a] = s[a]
			}
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// constFloats are the contents of a constant float input, nil if it is none, or the attribute scales of old files.
func constFloats(n *graph.Node, i int) []float64 {
	if v := n.In(i); v != nil {
		if t, ok := v.Const(); ok {
			f, _ := floats(t)
			return f
		}
		return nil
	}
	var out []float64
	for _, f := range n.Floats("scales") {
		out = append(out, float64(f))
	}
	return out
}

func init() {
	exec.Register(
		exec.Op{Name: "Resize", Since: 10, Infer: inferResize, Prepare: prepareResize},
		exec.Op{Name: "Upsample", Since: 7, Infer: inferResize, Prepare: prepareResize},
	)
}
