package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// floatForms makes the two forms of a kernel for real numbers.
func floatForms(f32, f64 func(c *exec.Call) error) exec.Kernel {
	return by(0, typed{onnxio.Float32: f32, onnxio.Float64: f64})
}

// channelAffine computes y = x*scale[ch] + shift[ch] for x of [N C rest...].
func channelAffine[T float](c *exec.Call, x *tensor, scale, shift []float64) *tensor {
	y := c.Reuse(0, x.Type, x.Shape...)
	channels := len(scale)
	inner := 1
	if len(x.Shape) > 2 {
		inner = size(x.Shape[2:])
	}
	xd, yd := data[T](x), data[T](y)
	c.Parallel(len(xd)/max(inner, 1), inner, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			s, t := T(scale[u%channels]), T(shift[u%channels])
			d := yd[u*inner:][:inner]
			for i, v := range xd[u*inner:][:inner] {
				d[i] = v*s + t
			}
		}
	})
	return y
}

// batchNorm: y = (x - mean)/sqrt(var + eps) * scale + b with the running statistics, or with those of the batch in training mode.
func prepareBatchNorm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	eps, momentum := float64(n.Float("epsilon", 1e-5)), float64(n.Float("momentum", 0.9))
	training := n.Int("training_mode", 0) != 0
	return func(c *exec.Call) error {
		if err := need(c, 5); err != nil {
			return err
		}
		x := c.In[0]
		if len(x.Shape) < 1 {
			return fmt.Errorf("input has shape %v, expected [N C ...]", x.Shape)
		}
		channels := 1
		if len(x.Shape) > 1 {
			channels = x.Shape[1]
		}
		var p [4][]float64
		for i := range p {
			var err error
			if p[i], err = floats(c.In[i+1]); err != nil {
				return err
			}
			if len(p[i]) != channels {
				return fmt.Errorf("input %d has shape %v, expected [%d]", i+1, c.In[i+1].Shape, channels)
			}
		}
		mean, variance := p[2], p[3]
		if training {
			m, v, err := channelMoments(x, channels)
			if err != nil {
				return err
			}
			for i, s := range [][2][]float64{{mean, m}, {variance, v}} {
				run := make([]float64, channels)
				for k := range run {
					run[k] = s[0][k]*momentum + s[1][k]*(1-momentum)
				}
				t, err := onnxio.TensorOf(run, channels).ConvertTo(c.InType(i + 3))
				if err != nil {
					return err
				}
				c.KeepType(i + 1)
				c.SetOut(i+1, t)
			}
			mean, variance = m, v
		}
		scale, shift := make([]float64, channels), make([]float64, channels)
		for k := range scale {
			scale[k] = p[0][k] / math.Sqrt(variance[k]+eps)
			shift[k] = p[1][k] - mean[k]*scale[k]
		}
		switch x.Type {
		case onnxio.Float32:
			c.Out[0] = channelAffine[float32](c, x, scale, shift)
		case onnxio.Float64:
			c.Out[0] = channelAffine[float64](c, x, scale, shift)
		default:
			return typeError(0, x)
		}
		return nil
	}, nil
}

// channelMoments is the mean and the variance over all but axis 1.
func channelMoments(x *tensor, channels int) (mean, variance []float64, err error) {
	d, err := floats(x)
	if err != nil {
		return nil, nil, err
	}
	mean, variance = make([]float64, channels), make([]float64, channels)
	inner := 1
	if len(x.Shape) > 2 {
		inner = size(x.Shape[2:])
	}
	count := float64(len(d)) / float64(channels)
	for i, v := range d {
		mean[i/inner%channels] += v / count
	}
	for i, v := range d {
		k := i / inner % channels
		variance[k] += (v - mean[k]) * (v - mean[k]) / count
	}
	return mean, variance, nil
}

// normRows normalizes rows of n elements: y = (x - mean)/sqrt(var + eps), without the mean when rms is set. affine finishes a row.
func normRows[T float](c *exec.Call, y, x []T, n int, eps float64, rms bool, stats func(row int, mean, inv float64), affine func(row int, d []T)) {
	if n == 0 {
		return
	}
	c.Parallel(len(x)/n, 4*n, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			in, out := x[r*n:(r+1)*n], y[r*n:(r+1)*n]
			var mean, sq float64
			if !rms {
				for _, v := range in {
					mean += float64(v)
				}
				mean /= float64(n)
			}
			for _, v := range in {
				e := float64(v) - mean
				sq += e * e
			}
			inv := 1 / math.Sqrt(sq/float64(n)+eps)
			for i, v := range in {
				out[i] = T((float64(v) - mean) * inv)
			}
			if stats != nil {
				stats(r, mean, inv)
			}
			affine(r, out)
		}
	})
}

// tail is scale or bias of a normalization over the last dimensions, spread to the full normalized shape if need be.
func tail[T float](x *tensor, shape []int) ([]T, error) {
	if x == nil {
		return nil, nil
	}
	if x.Len() == size(shape) {
		return data[T](x), nil
	}
	out, err := broadcast(x.Shape, shape)
	if err != nil || size(out) != size(shape) {
		return nil, fmt.Errorf("scale or bias has shape %v, which does not broadcast to %v", x.Shape, shape)
	}
	y := make([]T, size(shape))
	strided(y, data[T](x), 0, newLoop(shape, stridesOf(shape), spread(x.Shape, shape)), func(n, _ int, fn func(lo, hi int)) { fn(0, n) })
	return y, nil
}

// layerNorm normalizes over the dimensions from axis on. With rms the mean is not subtracted.
func layerNorm[T float](c *exec.Call, axis int, eps float64, rms bool) error {
	x := c.In[0]
	axis, err := axisIn(axis, len(x.Shape))
	if err != nil {
		return err
	}
	scale, err := tail[T](c.Input(1), x.Shape[axis:])
	if err != nil {
		return err
	}
	bias, err := tail[T](c.Input(2), x.Shape[axis:])
	if err != nil {
		return err
	}
	n := size(x.Shape[axis:])
	y := c.New(x.Type, x.Shape...)
	if f, ok := any(scale).([]float32); ok && scale != nil && n > 0 && !c.OutWanted(1) && !c.OutWanted(2) {
		c.Out[0] = y
		xd, yd, b := data[float32](x), data[float32](y), any(bias).([]float32)
		c.Parallel(len(xd)/n, 4*n, func(lo, hi int) {
			if in, out := xd[lo*n:hi*n], yd[lo*n:hi*n]; rms {
				kernel.RMSNorm(out, in, f, hi-lo, n, float32(eps))
			} else {
				kernel.LayerNorm(out, in, f, b, hi-lo, n, float32(eps))
			}
		})
		return nil
	}
	var stats func(row int, mean, inv float64)
	if c.OutWanted(1) || c.OutWanted(2) {
		shape := append([]int{}, x.Shape...)
		for i := axis; i < len(shape); i++ {
			shape[i] = 1
		}
		mean, inv := onnxio.NewTensor(onnxio.Float32, shape...), onnxio.NewTensor(onnxio.Float32, shape...)
		stats = func(row int, m, i float64) {
			mean.Float32s()[row], inv.Float32s()[row] = float32(m), float32(i)
		}
		c.KeepType(1)
		c.KeepType(2)
		if rms {
			c.SetOut(1, inv)
		} else {
			c.SetOut(1, mean)
			c.SetOut(2, inv)
		}
	}
	normRows(c, data[T](y), data[T](x), n, eps, rms, stats, func(_ int, d []T) {
		switch {
		case scale != nil && bias != nil:
			for i := range d {
				d[i] = d[i]*scale[i] + bias[i]
			}
		case scale != nil:
			for i := range d {
				d[i] *= scale[i]
			}
		}
	})
	c.Out[0] = y
	return nil
}

func prepareLayerNorm(rms bool) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		axis, eps := int(n.Int("axis", -1)), float64(n.Float("epsilon", 1e-5))
		k := floatForms(
			func(c *exec.Call) error { return layerNorm[float32](c, axis, eps, rms) },
			func(c *exec.Call) error { return layerNorm[float64](c, axis, eps, rms) })
		if n.Op() == "RMSNormalization" {
			return alike(k, []int{0, 1}, 1), nil // the result has the type of the scale
		}
		return func(c *exec.Call) error {
			for i := 1; i < min(3, len(c.In)); i++ { // a float16 input may come with float32 scales
				if x := c.In[i]; x != nil && c.In[0] != nil && x.Type != c.In[0].Type {
					return fmt.Errorf("input %d is %v, but input 0 is %v", i, x.Type, c.In[0].Type)
				}
			}
			return k(c)
		}, nil
	}
}

func inferRMSNorm(n *graph.Node) error {
	if err := inferLayerNorm(n); err != nil {
		return err
	}
	n.SetOut(0, typeOf(n, 1), shapeOf(n, 0))
	return nil
}

func inferLayerNorm(n *graph.Node) error {
	s := shapeOf(n, 0)
	n.SetOut(0, typeOf(n, 0), s)
	if s == nil {
		return nil
	}
	axis, err := axisIn(int(n.Int("axis", -1)), len(s))
	if err != nil {
		return err
	}
	stat := s.Clone()
	for i := axis; i < len(stat); i++ {
		stat[i] = graph.D(1)
	}
	n.SetOut(1, onnxio.Float32, stat)
	n.SetOut(2, onnxio.Float32, stat)
	return nil
}

// groupNorm normalizes each of groups parts of the channels of an image; InstanceNormalization has one group a channel. Scale
// and bias are per channel, or per group in version 18 of GroupNormalization.
func groupNorm[T float](c *exec.Call, groups int, eps float64) error {
	x := c.In[0]
	if len(x.Shape) < 2 {
		return fmt.Errorf("input has shape %v, expected [N C ...]", x.Shape)
	}
	channels := x.Shape[1]
	if groups == 0 {
		groups = channels
	}
	if groups <= 0 || channels%groups != 0 {
		return fmt.Errorf("%d channels do not divide into %d groups", channels, groups)
	}
	scale, bias := data[T](c.In[1]), data[T](c.In[2])
	if len(scale) != len(bias) || len(scale) != channels && len(scale) != groups {
		return fmt.Errorf("scale and bias have shapes %v and %v, expected [%d]", c.In[1].Shape, c.In[2].Shape, channels)
	}
	inner := size(x.Shape[2:])
	per := channels / groups
	y := c.New(x.Type, x.Shape...)
	normRows(c, data[T](y), data[T](x), per*inner, eps, false, nil, func(row int, d []T) {
		for k := range per {
			p := row%groups*per + k
			if len(scale) == groups && groups != channels {
				p = row % groups
			}
			s, b := scale[p], bias[p]
			for i := k * inner; i < (k+1)*inner; i++ {
				d[i] = d[i]*s + b
			}
		}
	})
	c.Out[0] = y
	return nil
}

func prepareGroupNorm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	groups, eps := int(n.Int("num_groups", 0)), float64(n.Float("epsilon", 1e-5))
	k := floatForms(
		func(c *exec.Call) error { return groupNorm[float32](c, groups, eps) },
		func(c *exec.Call) error { return groupNorm[float64](c, groups, eps) })
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

// prepareMVN: (x - mean)/sqrt(var + 1e-9) over axes.
func prepareMVN(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr := asInts(n.Ints("axes"))
	if attr == nil {
		attr = []int{0, 2, 3}
	}
	return floatForms(
		func(c *exec.Call) error { return meanVariance[float32](c, attr) },
		func(c *exec.Call) error { return meanVariance[float64](c, attr) }), nil
}

func meanVariance[T float](c *exec.Call, attr []int) error {
	x := c.In[0]
	axes, err := axesIn(attr, len(x.Shape))
	if err != nil {
		return err
	}
	y := c.New(x.Type, x.Shape...)
	xd, yd := data[T](x), data[T](y)
	r := planReduce(x.Shape, axes, true)
	r.run(c, func(_, base int) {
		var sum, sq float64
		each := func(fn func(at int)) {
			r.runs(base, func(at, n, step int) {
				for range n {
					fn(at)
					at += step
				}
			})
		}
		each(func(at int) { sum += float64(xd[at]); sq += float64(xd[at]) * float64(xd[at]) })
		mean := sum / float64(r.count)
		dev := math.Sqrt(sq/float64(r.count)-mean*mean) + 1e-9
		each(func(at int) { yd[at] = T((float64(xd[at]) - mean) / dev) })
	})
	c.Out[0] = y
	return nil
}

func prepareLpNorm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, p := int(n.Int("axis", -1)), int(n.Int("p", 2))
	if p != 1 && p != 2 {
		return nil, fmt.Errorf("attribute p is %d, expected 1 or 2", p)
	}
	return floatForms(
		func(c *exec.Call) error { return lpNorm[float32](c, attr, p) },
		func(c *exec.Call) error { return lpNorm[float64](c, attr, p) }), nil
}

func lpNorm[T float](c *exec.Call, attr, p int) error {
	x := c.In[0]
	axis, err := axisIn(attr, len(x.Shape))
	if err != nil {
		return err
	}
	y := c.New(x.Type, x.Shape...)
	xd, yd := data[T](x), data[T](y)
	r := planReduce(x.Shape, []int{axis}, true)
	r.run(c, func(_, base int) {
		var sum float64
		r.runs(base, func(at, n, step int) {
			for i := range n {
				v := math.Abs(float64(xd[at+i*step]))
				if p == 2 {
					v *= v
				}
				sum += v
			}
			if p == 2 {
				sum = math.Sqrt(sum)
			}
			for i := range n {
				v := float64(xd[at+i*step])
				if sum != 0 {
					v /= sum
				}
				yd[at+i*step] = T(v)
			}
		})
	})
	c.Out[0] = y
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "BatchNormalization", Since: 1, Infer: inferBatchNorm, Prepare: prepareBatchNorm},
		exec.Op{Name: "LayerNormalization", Since: 1, Infer: inferLayerNorm, Prepare: prepareLayerNorm(false)},
		exec.Op{Name: "RMSNormalization", Since: 23, Infer: inferRMSNorm, Prepare: prepareLayerNorm(true), Native: true},
		exec.Op{Name: "SimplifiedLayerNormalization", Since: 1, Infer: inferLayerNorm, Prepare: prepareLayerNorm(true)},
		exec.Op{Name: "InstanceNormalization", Since: 1, Infer: sameAs(0), Prepare: prepareGroupNorm},
		exec.Op{Name: "GroupNormalization", Since: 18, Infer: sameAs(0), Prepare: prepareGroupNorm},
		exec.Op{Name: "MeanVarianceNormalization", Since: 9, Infer: sameAs(0), Prepare: prepareMVN},
		exec.Op{Name: "LpNormalization", Since: 1, Infer: sameAs(0), Prepare: prepareLpNorm},
	)
}

func inferBatchNorm(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), shapeOf(n, 0))
	for i := 1; i < len(n.Outputs); i++ {
		n.SetOut(i, typeOf(n, min(i+2, 4)), shapeOf(n, 3))
	}
	return nil
}
