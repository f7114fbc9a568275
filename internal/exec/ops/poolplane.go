package ops

import (
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// Poolings of planes [H W] whose fold goes through one dimension after the other: largest and mean. First each input row is folded to
// the output's width, then the rows of each window.

// separable reports whether the pooling is of planes.
func (g window) separable() bool { return len(g.in) == 2 }

// foldRow folds a row of the input to a row of the output: out starts as the neutral element.
func foldRow[T number](g window, out, in []T, f func(out, in []T, step int)) {
	for tap := range g.kernel[1] {
		lo, hi := g.inside(1, tap)
		if lo < hi {
			f(out[lo:hi], in[lo*g.strides[1]+tap*g.dilations[1]-g.begin[1]:], g.strides[1])
		}
	}
}

// keepLarger keeps the larger element; a NaN stays.
func keepLarger[T number](out, in []T, step int) {
	for i, o := range out {
		out[i] = max(o, in[i*step])
	}
}

func addRow[T number](out, in []T, step int) {
	if step == 1 {
		in = in[:len(out)]
		for i := range out {
			out[i] += in[i]
		}
		return
	}
	for i := range out {
		out[i] += in[i*step]
	}
}

// poolPlanes folds all planes; neutral is what the fold starts from, and done finishes a row of the output.
func poolPlanes[T number](c *exec.Call, g window, y, x []T, neutral T, f func(out, in []T, step int), done func(row int, out []T)) {
	ih, iw, oh, ow := g.in[0], g.in[1], g.out[0], g.out[1]
	c.Parallel(len(y)/max(oh*ow, 1), ih*ow*g.kernel[1]+oh*ow*g.kernel[0], func(lo, hi int) {
		rows := make([]T, ih*ow)
		for u := lo; u < hi; u++ {
			plane, out := x[u*ih*iw:(u+1)*ih*iw], y[u*oh*ow:(u+1)*oh*ow]
			for i := range rows {
				rows[i] = neutral
			}
			for r := range ih {
				foldRow(g, rows[r*ow:(r+1)*ow], plane[r*iw:(r+1)*iw], f)
			}
			for i := range out {
				out[i] = neutral
			}
			for o := range oh {
				row := out[o*ow : (o+1)*ow]
				for tap := range g.kernel[0] {
					if r := o*g.strides[0] + tap*g.dilations[0] - g.begin[0]; r >= 0 && r < ih {
						f(row, rows[r*ow:(r+1)*ow], 1)
					}
				}
				done(o, row)
			}
		}
	})
}

// counts is, for each output position of dimension d, how many taps lie inside the input, or inside the padding too.
func (g window) counts(d int, padding bool) []int {
	lo, hi := 0, g.in[d]
	if padding {
		lo, hi = -g.begin[d], g.in[d]+g.end[d]
	}
	out := make([]int, g.out[d])
	for o := range out {
		for tap := range g.kernel[d] {
			if i := o*g.strides[d] + tap*g.dilations[d] - g.begin[d]; i >= lo && i < hi {
				out[o]++
			}
		}
	}
	return out
}

// prepareAveragePool: planes are folded row by row, other ranks window by window.
func prepareAveragePool(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	general, err := foldPool(averageFold)(n, p)
	if err != nil {
		return nil, err
	}
	padding := n.Int("count_include_pad", 0) != 0
	planes := floatForms(
		func(c *exec.Call) error { return averagePlanes[float32](c, w, padding) },
		func(c *exec.Call) error { return averagePlanes[float64](c, w, padding) })
	return func(c *exec.Call) error {
		if x := c.Input(0); x != nil && len(x.Shape) == 4 {
			return planes(c)
		}
		return general(c)
	}, nil
}

// averagePlanes divides the sum of each window by the number of its elements.
func averagePlanes[T float](c *exec.Call, w windowAttrs, padding bool) error {
	x := c.In[0]
	g, err := w.at(x.Shape[2:], nil)
	if err != nil {
		return err
	}
	y := c.New(x.Type, x.Shape[0], x.Shape[1], g.out[0], g.out[1])
	c.Out[0] = y
	if y.Len() == 0 { // its axes may be of any length
		return nil
	}
	rows, cols := g.counts(0, padding), g.counts(1, padding)
	poolPlanes(c, g, data[T](y), data[T](x), 0, addRow[T], func(o int, out []T) {
		for i, n := range cols {
			if n *= rows[o]; n > 0 {
				out[i] /= T(n)
			}
		}
	})
	return nil
}
