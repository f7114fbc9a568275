package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// gridLayout tells which scale serves which element of a tensor: one for all, one for each entry of an axis, or one for each
// block of entries along an axis.
type gridLayout struct {
	outer, n, inner int // the tensor's shape around the axis
	block           int // entries of the axis that share a scale
	blocked         bool
	single          bool
}

// layoutOf matches the shape of a scale with that of the tensor that it scales.
func layoutOf(shape, scale []int, axis, block int) (gridLayout, error) {
	if size(scale) == 1 && len(scale) <= 1 && block == 0 {
		return gridLayout{outer: 1, n: 1, inner: size(shape), block: 1, single: true}, nil
	}
	axis, err := axisIn(axis, len(shape))
	if err != nil {
		return gridLayout{}, err
	}
	outer, n, inner := around(shape, axis)
	l := gridLayout{outer: outer, n: n, inner: inner, block: 1}
	if block == 0 && len(scale) == 1 && scale[0] == n {
		return l, nil
	}
	if len(scale) != len(shape) {
		return l, fmt.Errorf("scale of shape %v does not fit data of shape %v along axis %d", scale, shape, axis)
	}
	l.blocked = true
	for i, d := range scale {
		if i != axis && d != shape[i] || d <= 0 {
			return l, fmt.Errorf("scale of shape %v does not fit data of shape %v: only axis %d may differ", scale, shape, axis)
		}
	}
	if l.block = block; block == 0 {
		l.block = (n + scale[axis] - 1) / scale[axis]
	}
	if l.block <= 0 || (n+l.block-1)/l.block != scale[axis] {
		return l, fmt.Errorf("scale of shape %v does not fit blocks of %d in data of shape %v along axis %d", scale, l.block, shape, axis)
	}
	return l, nil
}

// runs calls fn for runs of elements [lo, hi), none of them empty, that use the scales from at on, every step-th one (0 or 1).
func (l gridLayout) runs(fn func(lo, hi, at, step int)) {
	if l.n == 0 || l.inner == 0 {
		return
	}
	blocks := (l.n + l.block - 1) / l.block
	for o := range l.outer {
		base := o * l.n * l.inner
		switch {
		case !l.blocked && l.inner == 1:
			fn(base, base+l.n, 0, 1)
		case !l.blocked:
			for k := range l.n {
				fn(base+k*l.inner, base+(k+1)*l.inner, k, 0)
			}
		case l.inner == 1:
			for b := range blocks {
				fn(base+b*l.block, base+min((b+1)*l.block, l.n), o*blocks+b, 0)
			}
		default:
			for k := range l.n {
				fn(base+k*l.inner, base+(k+1)*l.inner, (o*blocks+k/l.block)*l.inner, 1)
			}
		}
	}
}

// eachRun is runs with a single large run cut for the threads.
func (l gridLayout) eachRun(c *exec.Call, fn func(lo, hi, at, step int)) {
	if l.single {
		c.Parallel(l.inner, 4, func(lo, hi int) { fn(lo, hi, 0, 0) })
		return
	}
	var list [][4]int
	l.runs(func(lo, hi, at, step int) { list = append(list, [4]int{lo, hi, at, step}) })
	c.Parallel(len(list), 4*max(l.inner, l.block), func(from, to int) {
		for _, r := range list[from:to] {
			fn(r[0], r[1], r[2], r[3])
		}
	})
}

// codeRange is the lowest and highest code of an integer type that tensors are quantized to.
func codeRange(t onnxio.DataType) (lo, hi float64, ok bool) {
	switch t {
	case onnxio.Uint2, onnxio.Uint4, onnxio.Uint8, onnxio.Uint16:
		return 0, float64(int(1)<<t.Bits() - 1), true
	case onnxio.Int2, onnxio.Int4, onnxio.Int8, onnxio.Int16, onnxio.Int32:
		half := float64(int(1) << (t.Bits() - 1))
		return -half, half - 1, true
	}
	return 0, 0, false
}

// zeros reads zero points as float64; n zeros when x is nil.
func zeroPoints(x *tensor, n int) ([]float64, error) {
	if x == nil {
		return make([]float64, n), nil
	}
	z, err := floats(x)
	if err == nil && len(z) != n {
		err = fmt.Errorf("%d zero points for %d scales", len(z), n)
	}
	return z, err
}

type quantizeAttrs struct {
	axis, block int
	to          onnxio.DataType
	cast        onnxio.CastOptions
}

// prepareQuantize: y = saturate(round(x / scale) + zero), halves to even.
func prepareQuantize(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := quantizeAttrs{
		axis: int(n.Int("axis", 1)), block: int(n.Int("block_size", 0)), to: onnxio.DataType(n.Int("output_dtype", 0)),
		cast: onnxio.CastOptions{NoSaturate: n.Int("saturate", 1) == 0},
	}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x, err := realInput(c, 0)
		if err != nil {
			return err
		}
		to := a.to
		if z := c.Input(2); z != nil {
			if to != onnxio.Undefined && to != z.Type {
				return fmt.Errorf("output_dtype is %v, but the zero point is %v", to, z.Type)
			}
			to = z.Type
		} else if to == onnxio.Undefined {
			to = onnxio.Uint8
		}
		l, err := layoutOf(x.Shape, c.In[1].Shape, a.axis, a.block)
		if err != nil {
			return err
		}
		scale, err := floats(c.In[1])
		if err != nil {
			return err
		}
		zero, err := zeroPoints(c.Input(2), len(scale))
		if err != nil {
			return err
		}
		if x.Type == onnxio.Float64 {
			return quantize[float64](c, x, l, scale, zero, to, a.cast)
		}
		return quantize[float32](c, x, l, scale, zero, to, a.cast)
	}, nil
}

// realInput is input i as float32 or float64.
func realInput(c *exec.Call, i int) (*tensor, error) {
	x := c.In[i]
	if x.Type == onnxio.Float32 || x.Type == onnxio.Float64 {
		return x, nil
	}
	return x.ConvertTo(onnxio.Float32)
}

func quantize[F float](c *exec.Call, x *tensor, l gridLayout, scale, zero []float64, to onnxio.DataType, cast onnxio.CastOptions) error {
	lo, hi, ok := codeRange(to)
	if !ok {
		return quantizeToFloat[F](c, x, l, scale, to, cast)
	}
	y := c.New(to, x.Shape...)
	in := data[F](x)
	switch out := y.Data.(type) {
	case []uint8:
		quantizeRuns(c, l, out, in, scale, zero, lo, hi)
	case []int8:
		quantizeRuns(c, l, out, in, scale, zero, lo, hi)
	case []uint16:
		quantizeRuns(c, l, out, in, scale, zero, lo, hi)
	case []int16:
		quantizeRuns(c, l, out, in, scale, zero, lo, hi)
	case []int32:
		quantizeRuns(c, l, out, in, scale, zero, lo, hi)
	}
	c.Out[0] = y
	return nil
}

func quantizeRuns[I integer, F float](c *exec.Call, l gridLayout, out []I, in []F, scale, zero []float64, lo, hi float64) {
	l.eachRun(c, func(from, to, at, step int) {
		x, y := in[from:to], out[from:to]
		s, z := F(scale[at]), zero[at]
		if step == 0 && quantizeVector(any(y), any(x), float64(s), z, hi-lo) {
			return
		}
		for i, v := range x {
			if step != 0 {
				s, z = F(scale[at+i]), zero[at+i]
			}
			q := math.RoundToEven(float64(v/s)) + z
			if !(q > lo) { // NaN too
				q = lo
			} else if q > hi {
				q = hi
			}
			y[i] = I(q)
		}
	})
}

// quantizeToFloat rounds x / scale to a float type of 8 or 4 bits, whose zero point is always 0.
func quantizeToFloat[F float](c *exec.Call, x *tensor, l gridLayout, scale []float64, to onnxio.DataType, cast onnxio.CastOptions) error {
	if !to.IsFloat() {
		return fmt.Errorf("cannot quantize to %v", to)
	}
	scaled := c.New(x.Type, x.Shape...)
	in, out := data[F](x), data[F](scaled)
	l.eachRun(c, func(from, to, at, step int) {
		for i := from; i < to; i++ {
			out[i] = in[i] / F(scale[at+(i-from)*step])
		}
	})
	y, err := scaled.Cast(to, cast)
	c.Out[0] = y
	return err
}

// prepareDequantize: y = (x - zero) * scale, in the type of the scale unless output_dtype says otherwise.
func prepareDequantize(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	axis, block, to := int(n.Int("axis", 1)), int(n.Int("block_size", 0)), onnxio.DataType(n.Int("output_dtype", 0))
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x := c.In[0]
		l, err := layoutOf(x.Shape, c.In[1].Shape, axis, block)
		if err != nil {
			return err
		}
		scale, err := floats(c.In[1])
		if err != nil {
			return err
		}
		zero, err := zeroPoints(c.Input(2), len(scale))
		if err != nil {
			return err
		}
		out := to
		if out == onnxio.Undefined {
			out = c.In[1].Type
		}
		if out == onnxio.Float64 || p.Float64 && out == onnxio.Float32 {
			return dequantize[float64](c, onnxio.Float64, l, scale, zero)
		}
		if err := dequantize[float32](c, onnxio.Float32, l, scale, zero); err != nil || out == onnxio.Float32 {
			return err
		}
		c.Out[0], err = c.Out[0].ConvertTo(out)
		return err
	}, nil
}

func dequantize[F float](c *exec.Call, t onnxio.DataType, l gridLayout, scale, zero []float64) error {
	x := c.In[0]
	y := c.New(t, x.Shape...)
	out := data[F](y)
	switch in := x.Data.(type) {
	case []uint8:
		if x.Type.IsFloat() {
			break
		}
		dequantizeRuns(c, l, out, in, scale, zero)
		c.Out[0] = y
		return nil
	case []int8:
		dequantizeRuns(c, l, out, in, scale, zero)
		c.Out[0] = y
		return nil
	}
	wide, err := x.ConvertTo(onnxio.Float64) // 16 and 32 bits, and the small float types
	if err != nil {
		return err
	}
	dequantizeRuns(c, l, out, wide.Float64s(), scale, zero)
	c.Out[0] = y
	return nil
}

func dequantizeRuns[I number, F float](c *exec.Call, l gridLayout, out []F, in []I, scale, zero []float64) {
	l.eachRun(c, func(from, to, at, step int) {
		x, y := in[from:to], out[from:to]
		s, z := F(scale[at]), F(zero[at])
		if step == 0 && dequantizeVector(any(y), any(x), float64(s), float64(z)) {
			return
		}
		for i, v := range x {
			if step != 0 {
				s, z = F(scale[at+i]), F(zero[at+i])
			}
			y[i] = (F(v) - z) * s
		}
	})
}

// dynamicQuantizeLinear finds the uint8 grid of its input: the range of x widened to hold 0, in 255 steps.
func dynamicQuantizeLinear(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	x, err := realInput(c, 0)
	if err != nil {
		return err
	}
	if x.Type == onnxio.Float64 {
		return dynamicQuantize[float64](c, x)
	}
	return dynamicQuantize[float32](c, x)
}

func dynamicQuantize[F float](c *exec.Call, x *tensor) error {
	scale, zero := dynamicGrid(data[F](x))
	st, zt := c.New(x.Type), c.New(onnxio.Uint8)
	data[F](st)[0], data[uint8](zt)[0] = scale, zero
	if err := quantize[F](c, x, gridLayout{outer: 1, n: 1, inner: x.Len(), block: 1, single: true}, []float64{float64(scale)}, []float64{float64(zero)}, onnxio.Uint8, onnxio.CastOptions{}); err != nil {
		return err
	}
	c.SetOut(1, st)
	c.SetOut(2, zt)
	return nil
}

func dynamicGrid[F float](x []F) (scale F, zero uint8) {
	var lo, hi F
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	if scale = (hi - lo) / 255; scale == 0 {
		return 1, 0
	}
	return scale, uint8(math.Max(0, math.Min(255, math.RoundToEven(float64(-lo/scale)))))
}

func inferQuantize(n *graph.Node) error {
	t := typeOf(n, 2)
	if n.In(2) == nil {
		if t = onnxio.DataType(n.Int("output_dtype", 0)); t == onnxio.Undefined {
			t = onnxio.Uint8
		}
	}
	n.SetOut(0, t, shapeOf(n, 0).Clone())
	return nil
}

func inferDequantize(n *graph.Node) error {
	t := onnxio.DataType(n.Int("output_dtype", 0))
	if t == onnxio.Undefined {
		t = typeOf(n, 1)
	}
	n.SetOut(0, t, shapeOf(n, 0).Clone())
	return nil
}

func inferDynamicQuantize(n *graph.Node) error {
	n.SetOut(0, onnxio.Uint8, shapeOf(n, 0).Clone())
	if len(n.Outputs) > 1 {
		n.SetOut(1, onnxio.Float32, graph.Shape{})
	}
	if len(n.Outputs) > 2 {
		n.SetOut(2, onnxio.Uint8, graph.Shape{})
	}
	return nil
}

func init() {
	for _, domain := range []string{"", "com.microsoft"} {
		since := 10
		if domain != "" {
			since = 1
		}
		exec.Register(
			exec.Op{Domain: domain, Name: "QuantizeLinear", Since: since, Infer: inferQuantize, Prepare: prepareQuantize, Native: true},
			exec.Op{Domain: domain, Name: "DequantizeLinear", Since: since, Infer: inferDequantize, Prepare: prepareDequantize, Native: true},
		)
	}
	exec.Register(exec.Op{Name: "DynamicQuantizeLinear", Since: 11, Infer: inferDynamicQuantize, Prepare: always(dynamicQuantizeLinear), Native: true})
}
