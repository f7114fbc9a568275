package ops

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// box is a rectangle with ordered corners.
type box struct{ y0, x0, y1, x1 float64 }

// boxOf reads four numbers: two opposite corners y, x, y, x in any order, or centre x, centre y, width, height.
func boxOf(v []float64, centred bool) box {
	if centred {
		return box{v[1] - v[3]/2, v[0] - v[2]/2, v[1] + v[3]/2, v[0] + v[2]/2}
	}
	return box{math.Min(v[0], v[2]), math.Min(v[1], v[3]), math.Max(v[0], v[2]), math.Max(v[1], v[3])}
}

func (b box) area() float64 { return (b.y1 - b.y0) * (b.x1 - b.x0) }

// overlap is the area that two boxes share over the area that they cover together.
func (b box) overlap(o box) float64 {
	h := math.Min(b.y1, o.y1) - math.Max(b.y0, o.y0)
	w := math.Min(b.x1, o.x1) - math.Max(b.x0, o.x0)
	if h <= 0 || w <= 0 || b.area() <= 0 || o.area() <= 0 {
		return 0
	}
	return h * w / (b.area() + o.area() - h*w)
}

// suppression are the settings of one NonMaxSuppression call.
type suppression struct {
	most    int     // boxes kept for each class
	overlap float64 // a box that overlaps a kept one by more goes
	score   float64 // a box must score more, where scored is set
	scored  bool
}

// keep lists the boxes to keep, best first; of equal scores the first come first.
func (s suppression) keep(boxes []box, scores []float64) []int {
	var order, kept []int
	for i, v := range scores {
		if v == v && (!s.scored || v > s.score) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
next:
	for _, i := range order {
		if len(kept) >= s.most {
			break
		}
		for _, k := range kept {
			if boxes[i].overlap(boxes[k]) > s.overlap {
				continue next
			}
		}
		kept = append(kept, i)
	}
	return kept
}

// prepareNonMaxSuppression: boxes [batch boxes 4] and scores [batch classes boxes] give rows of batch, class and box.
func prepareNonMaxSuppression(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	centred := n.Int("center_point_box", 0) != 0
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		bs, ss := c.In[0].Shape, c.In[1].Shape
		if len(bs) != 3 || bs[2] != 4 || len(ss) != 3 || ss[0] != bs[0] || ss[2] != bs[1] {
			return fmt.Errorf("boxes of shape %v and scores of shape %v: expected [batch boxes 4] and [batch classes boxes]", bs, ss)
		}
		s, err := suppressionOf(c)
		if err != nil {
			return err
		}
		corners, err := floats(c.In[0])
		if err != nil {
			return err
		}
		scores, err := floats(c.In[1])
		if err != nil {
			return err
		}
		rows := []int64{}
		boxes := make([]box, bs[1])
		for b := range bs[0] {
			for i := range boxes {
				boxes[i] = boxOf(corners[(b*bs[1]+i)*4:], centred)
			}
			for class := range ss[1] {
				if err := c.Ctx.Err(); err != nil {
					return err
				}
				for _, i := range s.keep(boxes, scores[(b*ss[1]+class)*bs[1]:][:bs[1]]) {
					rows = append(rows, int64(b), int64(class), int64(i))
				}
			}
		}
		c.Out[0] = onnxio.TensorOf(rows, len(rows)/3, 3)
		return nil
	}, nil
}

func suppressionOf(c *exec.Call) (s suppression, err error) {
	most, err := scalarInput(c, 2, 0)
	if err != nil {
		return s, err
	}
	s.most = int(math.Min(math.Max(most, 0), math.MaxInt32))
	if s.overlap, err = scalarInput(c, 3, 0); err != nil {
		return s, err
	}
	s.scored = c.Input(4) != nil && c.In[4].Len() > 0
	s.score, err = scalarInput(c, 4, 0)
	return s, err
}

// roiAttrs are the attributes of RoiAlign.
type roiAttrs struct {
	height, width int
	samples       int // in each direction of a bin; 0: as many as the bin has elements
	scale         float64
	shift         float64 // half an element where pixels are areas and not points
	max           bool
}

// prepareRoiAlign: before version 16 coordinates are not shifted by half an element.
func prepareRoiAlign(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := roiAttrs{height: int(n.Int("output_height", 1)), width: int(n.Int("output_width", 1)),
		samples: int(n.Int("sampling_ratio", 0)), scale: float64(n.Float("spatial_scale", 1))}
	mode, def := n.Str("mode", "avg"), "half_pixel"
	if n.Opset() < 16 {
		def = "output_half_pixel"
	}
	switch t := n.Str("coordinate_transformation_mode", def); t {
	case "half_pixel":
		a.shift = 0.5
	case "output_half_pixel":
	default:
		return nil, fmt.Errorf("attribute coordinate_transformation_mode is %q, expected half_pixel or output_half_pixel", t)
	}
	if mode != "avg" && mode != "max" {
		return nil, fmt.Errorf("attribute mode is %q, expected avg or max", mode)
	}
	if a.height < 1 || a.width < 1 || a.samples < 0 || a.samples > 1<<12 {
		return nil, fmt.Errorf("output of %d x %d with %d samples: expected positive sizes", a.height, a.width, a.samples)
	}
	a.max = mode == "max"
	return floatForms(
		func(c *exec.Call) error { return roiAlign[float32](c, a) },
		func(c *exec.Call) error { return roiAlign[float64](c, a) }), nil
}

// roiAlign pools regions [rois 4] (x, y, x, y) of x [N C H W] to [rois C height width]: each bin is the mean, or the largest
// part, of samples that are interpolated from four elements.
func roiAlign[T float](c *exec.Call, a roiAttrs) error {
	if err := need(c, 3); err != nil {
		return err
	}
	x := c.In[0]
	rois, err := floats(c.In[1])
	if err != nil {
		return err
	}
	batch, err := ints(c.In[2])
	if err != nil {
		return err
	}
	if rs := c.In[1].Shape; len(x.Shape) != 4 || len(rs) != 2 || rs[1] != 4 || rs[0] != len(batch) {
		return fmt.Errorf("input of shape %v, regions of shape %v and %d batch indices: expected [N C H W], [rois 4] and [rois]", x.Shape, rs, len(batch))
	}
	for r, b := range batch {
		if b < 0 || b >= x.Shape[0] {
			return fmt.Errorf("region %d is of batch entry %d of %d", r, b, x.Shape[0])
		}
		for _, v := range rois[r*4 : r*4+4] {
			if !(math.Abs(v*a.scale) < 1<<24) {
				return fmt.Errorf("region %d has the coordinate %v", r, v)
			}
		}
	}
	channels, h, w := x.Shape[1], x.Shape[2], x.Shape[3]
	y := c.New(x.Type, len(batch), channels, a.height, a.width)
	c.Out[0] = y
	if y.Len() == 0 {
		return nil
	}
	if h*w == 0 {
		return fmt.Errorf("input of shape %v has no elements to sample", x.Shape)
	}
	xd, yd := data[T](x), data[T](y)
	c.Parallel(len(batch), channels*a.height*a.width*16, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			out := yd[r*channels*a.height*a.width:]
			a.bins(rois[r*4:r*4+4], func(bin, rows, cols int, at func(i, j int) (y, x float64)) {
				poolBin(a.max, out[bin:], a.height*a.width, xd[batch[r]*channels*h*w:], channels, h, w, rows, cols, at)
			})
		}
	})
	return nil
}

// bins calls fn for each bin of a region, with the number of samples in each direction and where they lie.
func (a roiAttrs) bins(roi []float64, fn func(bin, rows, cols int, at func(i, j int) (y, x float64))) {
	x0, y0 := roi[0]*a.scale-a.shift, roi[1]*a.scale-a.shift
	w, h := roi[2]*a.scale-a.shift-x0, roi[3]*a.scale-a.shift-y0
	if a.shift == 0 {
		w, h = math.Max(w, 1), math.Max(h, 1)
	}
	bh, bw := h/float64(a.height), w/float64(a.width)
	rows, cols := a.samples, a.samples
	if a.samples == 0 {
		rows, cols = max(int(math.Ceil(bh)), 0), max(int(math.Ceil(bw)), 0)
	}
	for p := range a.height {
		for q := range a.width {
			fn(p*a.width+q, rows, cols, func(i, j int) (y, x float64) {
				return y0 + float64(p)*bh + (float64(i)+0.5)*bh/float64(rows), x0 + float64(q)*bw + (float64(j)+0.5)*bw/float64(cols)
			})
		}
	}
}

// poolBin fills one bin of all channels.
func poolBin[T float](largest bool, out []T, outStep int, in []T, channels, h, w, rows, cols int, at func(i, j int) (y, x float64)) {
	sums := make([]float64, channels)
	first := true
	for i := range rows {
		for j := range cols {
			y, x := at(i, j)
			pos, weight := corners(y, x, h, w)
			for ch := range sums {
				plane := in[ch*h*w:][:h*w]
				if largest {
					v := math.Inf(-1)
					for k, p := range pos {
						v = math.Max(v, weight[k]*float64(plane[p]))
					}
					if first || v > sums[ch] {
						sums[ch] = v
					}
					continue
				}
				for k, p := range pos {
					sums[ch] += weight[k] * float64(plane[p])
				}
			}
			first = false
		}
	}
	for ch, v := range sums {
		if !largest {
			v /= float64(max(rows*cols, 1))
		}
		out[ch*outStep] = T(v)
	}
}

// corners are the four elements around a position and their bilinear weights; weights are 0 more than one element outside.
func corners(y, x float64, h, w int) (pos [4]int, weight [4]float64) {
	if y < -1 || y > float64(h) || x < -1 || x > float64(w) {
		return pos, weight
	}
	side := func(v float64, n int) (lo, hi int, t float64) {
		v = math.Max(v, 0)
		if lo = int(v); lo >= n-1 {
			return n - 1, n - 1, 0
		}
		return lo, lo + 1, v - float64(lo)
	}
	y0, y1, ty := side(y, h)
	x0, x1, tx := side(x, w)
	return [4]int{y0*w + x0, y0*w + x1, y1*w + x0, y1*w + x1}, [4]float64{(1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx}
}

func inferRoiAlign(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	rois, x := shapeOf(n, 1), shapeOf(n, 0)
	if len(rois) == 2 && len(x) == 4 {
		n.SetOut(0, typeOf(n, 0), graph.Shape{rois[0], x[1], graph.D(n.Int("output_height", 1)), graph.D(n.Int("output_width", 1))})
	}
	return nil
}

// prepareMaxRoiPool: the largest element of each bin of regions [rois 5] (batch entry, x, y, x, y, ends included), rounded to whole
// elements.
func prepareMaxRoiPool(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	pooled, scale := asInts(n.Ints("pooled_shape")), float64(n.Float("spatial_scale", 1))
	if len(pooled) != 2 || pooled[0] < 1 || pooled[1] < 1 {
		return nil, fmt.Errorf("attribute pooled_shape is %v, expected two positive sizes", pooled)
	}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, rs := c.In[0], c.In[1].Shape
		if len(x.Shape) != 4 || len(rs) != 2 || rs[1] != 5 {
			return fmt.Errorf("input of shape %v and regions of shape %v: expected [N C H W] and [rois 5]", x.Shape, rs)
		}
		rois, err := floats(c.In[1])
		if err != nil {
			return err
		}
		in, err := floats(x)
		if err != nil {
			return err
		}
		y := c.New(x.Type, rs[0], x.Shape[1], pooled[0], pooled[1])
		c.Out[0] = y
		out := make([]float64, y.Len())
		for r := range rs[0] {
			roi := rois[r*5 : r*5+5]
			if b := roi[0]; !(b >= 0 && b < float64(x.Shape[0])) {
				return fmt.Errorf("region %d is of batch entry %v of %d", r, b, x.Shape[0])
			}
			maxRoi(out[r*x.Shape[1]*pooled[0]*pooled[1]:], in[int(roi[0])*size(x.Shape[1:]):], x.Shape[1:], roi[1:], scale, pooled)
		}
		return store(y, out)
	}, nil
}

func maxRoi(out, in []float64, shape []int, roi []float64, scale float64, pooled []int) {
	var at [2][2]int // by dimension (height first): start and length
	for d := range at {
		lo, hi := math.Round(roi[1-d]*scale), math.Round(roi[3-d]*scale)
		lo, hi = math.Min(math.Max(lo, -1<<24), 1<<24), math.Min(math.Max(hi, -1<<24), 1<<24)
		at[d] = [2]int{int(lo), max(int(hi)-int(lo)+1, 1)}
	}
	span := func(d, i int) (lo, hi int) {
		start, n, parts := at[d][0], at[d][1], pooled[d]
		return min(max(start+i*n/parts, 0), shape[1+d]), min(max(start+((i+1)*n+parts-1)/parts, 0), shape[1+d])
	}
	h, w := shape[1], shape[2]
	for ch := range shape[0] {
		for p := range pooled[0] {
			for q := range pooled[1] {
				y0, y1 := span(0, p)
				x0, x1 := span(1, q)
				best, any := 0.0, false
				for y := y0; y < y1; y++ {
					for _, v := range in[(ch*h+y)*w+x0 : (ch*h+y)*w+max(x0, x1)] {
						if !any || v > best {
							best, any = v, true
						}
					}
				}
				out[(ch*pooled[0]+p)*pooled[1]+q] = best
			}
		}
	}
}

func inferMaxRoiPool(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	rois, x, p := shapeOf(n, 1), shapeOf(n, 0), n.Ints("pooled_shape")
	if len(rois) == 2 && len(x) == 4 && len(p) == 2 {
		n.SetOut(0, typeOf(n, 0), graph.Shape{rois[0], x[1], graph.D(p[0]), graph.D(p[1])})
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "NonMaxSuppression", Since: 10, Infer: func(n *graph.Node) error {
			n.SetOut(0, onnxio.Int64, graph.Shape{graph.Unknown, graph.D(3)})
			return nil
		}, Prepare: prepareNonMaxSuppression},
		exec.Op{Name: "RoiAlign", Since: 10, Infer: inferRoiAlign, Prepare: prepareRoiAlign},
		exec.Op{Name: "MaxRoiPool", Since: 1, Infer: inferMaxRoiPool, Prepare: prepareMaxRoiPool},
	)
}
