package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// centredRows is an 8-bit weight as int32 with the zero point of its row (first axis), or the only one, taken off.
func centredRows(w, zero *tensor) ([]int32, error) {
	if zero == nil || zero.Len() == 1 {
		return centred(w, zero, false)
	}
	if len(w.Shape) == 0 || zero.Len() != w.Shape[0] {
		return nil, fmt.Errorf("%d zero points for a weight of shape %v", zero.Len(), w.Shape)
	}
	return centred(&tensor{Type: w.Type, Shape: []int{w.Shape[0], w.Len() / max(w.Shape[0], 1)}, Data: w.Data}, zero, true)
}

// convSums is the convolution of 8-bit inputs x and w without their zero points, with sums in int32. The padding counts as the
// zero point of x. packed, if any, is w for the integer kernels.
func convSums(c *exec.Call, a convAttrs, x, xZero, w, wZero, b *tensor, packed func() intConv) (*tensor, error) {
	s, err := a.shape(x, w, b)
	if err != nil {
		return nil, err
	}
	if xZero != nil && xZero.Len() != 1 {
		return nil, fmt.Errorf("the input has %d zero points, expected one", xZero.Len())
	}
	if y, ok, err := convVector(c, s, x, xZero, w, wZero, packed); ok || err != nil {
		return y, err
	}
	xv, err := centred(x, xZero, false)
	if err != nil {
		return nil, err
	}
	wv, err := centredRows(w, wZero)
	if err != nil {
		return nil, err
	}
	y := c.Zeros(onnxio.Int32, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	if y.Len() == 0 {
		return y, nil
	}
	out := data[int32](y)
	col := data[int32](c.New(onnxio.Int32, s.unfolded, s.outPix))
	for u := range s.batch * s.group {
		unfold(col, xv[u*s.cin*s.inPix:][:s.cin*s.inPix], s)
		c.Parallel(s.cout, s.unfolded*s.outPix, func(lo, hi int) {
			at := u%s.group*s.cout + lo
			intProduct(out[(u*s.cout+lo)*s.outPix:(u*s.cout+hi)*s.outPix], wv[at*s.unfolded:(at+hi-lo)*s.unfolded], col, hi-lo, s.outPix, s.unfolded)
		})
		if err := c.Ctx.Err(); err != nil {
			return nil, err
		}
	}
	return y, nil
}

func prepareConvInteger(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	a := convAttrs{w, int(n.Int("group", 1))}
	packed := constIntConv(p, a, 1, 3)
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		var err error
		c.Out[0], err = convSums(c, a, c.In[0], c.Input(2), c.In[1], c.Input(3), nil, packed)
		return err
	}, nil
}

// prepareQLinearConv: y = saturate(round(((x - zx) * (w - zw) + b) sx sw / sy) + zy), sw and zw one a tensor or one a channel.
func prepareQLinearConv(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	a := convAttrs{w, int(n.Int("group", 1))}
	return qlinearConv(a, constIntConv(p, a, 3, 5)), nil
}

// qlinearConv is the kernel of QLinearConv; packed, if any, is the weight for the integer kernels.
func qlinearConv(a convAttrs, packed func() intConv) exec.Kernel {
	return func(c *exec.Call) error {
		if err := need(c, 8); err != nil {
			return err
		}
		bias := c.Input(8)
		if bias != nil && bias.Type != onnxio.Int32 {
			return typeError(8, bias)
		}
		r, err := readRounding(c)
		if err != nil {
			return err
		}
		if done, err := convCodes(c, a, r, packed); done || err != nil {
			return err
		}
		sums, err := convSums(c, a, c.In[0], c.In[2], c.In[3], c.In[5], bias, packed)
		if err != nil {
			return err
		}
		if bias != nil {
			addBias(c, data[int32](sums), data[int32](bias), sums.Shape)
		}
		inner, channels := max(size(sums.Shape[2:]), 1), sums.Shape[1]
		return requantize(c, sums, c.In[7].Type, func(i int) (float64, float64) { return float64(r.factor[i/inner%channels]), r.zero })
	}
}

// addBias adds bias[ch] to all elements of channel ch of y [N C ...].
func addBias(c *exec.Call, y, bias []int32, shape []int) {
	inner := size(shape[2:])
	c.Parallel(shape[0]*shape[1], inner, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b := bias[i%shape[1]]
			for k := range y[i*inner : (i+1)*inner] {
				y[i*inner+k] += b
			}
		}
	})
}

// rescale is sx sw / sy in float32, rounded after each step as ONNX Runtime does: another last bit moves sums next to the middle of two
// codes, which a deep network shows.
func rescale(sx, sw, sy float64) float64 { return float64(float32(sx) * float32(sw) / float32(sy)) }

// convRounding is how a QLinearConv makes codes: a factor for each output channel, and the zero point.
type convRounding struct {
	factor []float32
	zero   float64
}

// readRounding reads the scales and the zero point of the output.
func readRounding(c *exec.Call) (r convRounding, err error) {
	sx, err := scalar(c.In[1])
	if err != nil {
		return r, fmt.Errorf("scale of the input: %w", err)
	}
	sy, err := scalar(c.In[6])
	if err != nil {
		return r, fmt.Errorf("scale of the output: %w", err)
	}
	if r.zero, err = scalar(c.In[7]); err != nil {
		return r, fmt.Errorf("zero point of the output: %w", err)
	}
	sw, err := floats(c.In[4])
	if err != nil {
		return r, err
	}
	if len(c.In[3].Shape) == 0 {
		return r, fmt.Errorf("the weight is a scalar")
	}
	channels := c.In[3].Shape[0]
	if len(sw) != 1 && len(sw) != channels {
		return r, fmt.Errorf("%d scales for a weight of %d channels", len(sw), channels)
	}
	r.factor = make([]float32, channels)
	for i := range r.factor {
		r.factor[i] = float32(rescale(sx, pick(sw, i), sy))
	}
	return r, nil
}

// inferQConv: as Conv, with data input x and weight input w.
func inferQConv(x, w int, t onnxio.DataType, like int) graph.InferRule {
	return func(n *graph.Node) error {
		out := t
		if like >= 0 {
			out = typeOf(n, like)
		}
		s, err := convDims(n, shapeOf(n, x), shapeOf(n, w))
		n.SetOut(0, out, s)
		return err
	}
}

func init() {
	exec.Register(
		exec.Op{Name: "ConvInteger", Since: 10, Infer: inferQConv(0, 1, onnxio.Int32, -1), Prepare: prepareConvInteger, Native: true},
		exec.Op{Name: "QLinearConv", Since: 10, Infer: inferQConv(0, 3, onnxio.Undefined, 7), Prepare: prepareQLinearConv, Native: true},
	)
}
