package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// deformAttrs are the attributes of DeformConv.
type deformAttrs struct {
	windowAttrs
	group, offsetGroup int
}

func prepareDeformConv(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	a := deformAttrs{w, int(n.Int("group", 1)), int(n.Int("offset_group", 1))}
	if a.group < 1 || a.offsetGroup < 1 {
		return nil, fmt.Errorf("group is %d and offset_group is %d, expected positive numbers", a.group, a.offsetGroup)
	}
	return floatForms(
		func(c *exec.Call) error { return deformConv[float32](c, a) },
		func(c *exec.Call) error { return deformConv[float64](c, a) }), nil
}

// deformCall is one checked call.
type deformCall struct {
	deformAttrs
	g                window
	batch, in, out   int // in and out: channels
	taps, points     int // of a kernel and of an output plane
	offset, mask     []float64
	rank, plane, per int // per: input channels of an offset group
}

// deformConv is a convolution that reads its input beside the kernel's grid: input 2, the offset, holds for each offset group, kernel
// tap and dimension the distance to go, for each output position; input 4, if given, a factor. Outside of the input is 0.
func deformConv[T float](c *exec.Call, a deformAttrs) error {
	if err := need(c, 3); err != nil {
		return err
	}
	x, w := c.In[0], c.In[1]
	d, err := a.check(c, x, w)
	if err != nil {
		return err
	}
	bias := c.Input(3)
	if bias != nil && (bias.Type != x.Type || bias.Len() != d.out) || w.Type != x.Type {
		return fmt.Errorf("weight is %v and bias %v for an input %v and %d output channels", w, bias, x, d.out)
	}
	y := c.New(x.Type, append([]int{d.batch, d.out}, d.g.out...)...)
	c.Out[0] = y
	xd, wd, yd := data[T](x), data[T](w), data[T](y)
	rows := d.in / a.group * d.taps
	col := c.New(x.Type, d.in*d.taps, d.points)
	cd := data[T](col)
	for b := range d.batch {
		deformColumns(c, d, cd, xd[b*d.in*d.plane:][:d.in*d.plane], b)
		for k := range a.group {
			each := d.out / a.group
			out := yd[(b*d.out+k*each)*d.points:][:each*d.points]
			if len(out) == 0 {
				continue
			}
			beta := T(0)
			if bias != nil {
				beta = 1
				for i := range out {
					out[i] = data[T](bias)[k*each+i/d.points]
				}
			}
			product(false, false, each, d.points, rows, 1, wd[k*each*rows:], rows, cd[k*rows*d.points:], d.points, beta, out, d.points, c.Threads)
		}
	}
	return nil
}

func (a deformAttrs) check(c *exec.Call, x, w *tensor) (d deformCall, err error) {
	rank := len(x.Shape) - 2
	if rank < 1 || len(w.Shape) != rank+2 || x.Shape[1] != w.Shape[1]*a.group || w.Shape[0]%a.group != 0 || x.Shape[1]%a.offsetGroup != 0 {
		return d, fmt.Errorf("input of shape %v, weight of shape %v, group %d and offset_group %d do not fit", x.Shape, w.Shape, a.group, a.offsetGroup)
	}
	d = deformCall{deformAttrs: a, rank: rank, batch: x.Shape[0], in: x.Shape[1], out: w.Shape[0], taps: size(w.Shape[2:]), plane: size(x.Shape[2:]),
		per: x.Shape[1] / a.offsetGroup}
	if d.g, err = a.at(x.Shape[2:], w.Shape[2:]); err != nil {
		return d, err
	}
	d.points = size(d.g.out)
	groups := d.batch * a.offsetGroup * d.taps * d.points
	if d.offset, err = floats(c.In[2]); err != nil {
		return d, err
	}
	if len(d.offset) != groups*rank {
		return d, fmt.Errorf("offset has shape %v, expected [%d %d] and the output's %v", c.In[2].Shape, d.batch, a.offsetGroup*d.taps*rank, d.g.out)
	}
	if d.mask, err = floats(c.Input(4)); err != nil {
		return d, err
	}
	if d.mask != nil && len(d.mask) != groups {
		return d, fmt.Errorf("mask has shape %v, expected [%d %d] and the output's %v", c.In[4].Shape, d.batch, a.offsetGroup*d.taps, d.g.out)
	}
	return d, nil
}

// deformColumns fills col, [channels*taps points], with what each output position of batch entry b reads.
func deformColumns[T float](c *exec.Call, d deformCall, col, x []T, b int) {
	s := sampler{dims: d.g.in, taps: 2, pad: "zeros", align: true}
	c.Parallel(d.offsetGroup*d.taps, 16*d.points*d.per, func(lo, hi int) {
		var m mix
		at, tap, o := make([]float64, d.rank), make([]int, d.rank), make([]int, d.rank)
		for u := lo; u < hi; u++ {
			og, t := u/d.taps, u%d.taps
			setTap(tap, t, d.g.kernel)
			for p := range d.points {
				setTap(o, p, d.g.out)
				for i := range at {
					at[i] = float64(o[i]*d.g.strides[i]-d.g.begin[i]+tap[i]*d.g.dilations[i]) +
						d.offset[(((b*d.offsetGroup+og)*d.taps+t)*d.rank+i)*d.points+p]
				}
				s.resolve(at, &m)
				f := 1.0
				if d.mask != nil {
					f = d.mask[((b*d.offsetGroup+og)*d.taps+t)*d.points+p]
				}
				for ch := og * d.per; ch < (og+1)*d.per; ch++ {
					var sum float64
					for k, e := range m.at {
						sum += m.weight[k] * float64(x[ch*d.plane+e])
					}
					col[(ch*d.taps+t)*d.points+p] = T(sum * f)
				}
			}
		}
	})
}

func init() {
	exec.Register(exec.Op{Name: "DeformConv", Since: 19, Infer: inferConv, Prepare: prepareDeformConv})
}
