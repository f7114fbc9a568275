package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// scaledSums turns int32 sums [.. n] into floats: y = sums * sa * sb[col] + bias[col].
func scaledSums(c *exec.Call, sums *tensor, sa float64, sb, bias []float64) (*tensor, error) {
	n := 1
	if len(sums.Shape) > 0 {
		n = sums.Shape[len(sums.Shape)-1]
	}
	if len(sb) != 1 && len(sb) != n || bias != nil && len(bias) != n {
		return nil, fmt.Errorf("%d scales and a bias of %d for %d columns", len(sb), len(bias), n)
	}
	y := c.New(onnxio.Float32, sums.Shape...)
	in, out := data[int32](sums), y.Float32s()
	c.Parallel(len(in), 4, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			v := float64(in[i]) * sa * pick(sb, i%n)
			if bias != nil {
				v += bias[i%n]
			}
			out[i] = float32(v)
		}
	})
	return y, nil
}

// matMulIntegerToFloat: inputs A, B, scale of A, scale of B, zero points of both, bias.
func matMulIntegerToFloat(c *exec.Call) error {
	if err := need(c, 4); err != nil {
		return err
	}
	sa, err := scalar(c.In[2])
	if err != nil {
		return fmt.Errorf("scale of A: %w", err)
	}
	sb, err := floats(c.In[3])
	if err != nil {
		return err
	}
	bias, err := floats(c.Input(6))
	if err != nil {
		return err
	}
	sums, _, err := productOf(c, 0, 4, 1, 5)
	if err != nil {
		return err
	}
	c.Out[0], err = scaledSums(c, sums, sa, sb, bias)
	return err
}

// dynamicQuantizeMatMul quantizes A to uint8 by its own range: inputs A (floats), B (codes), scale and zero point of B, bias.
func dynamicQuantizeMatMul(c *exec.Call) error {
	if err := need(c, 3); err != nil {
		return err
	}
	x, err := c.In[0].ToFloat32()
	if err != nil {
		return err
	}
	codes, scale, zero, err := dynamicCodes(c, x)
	if err != nil {
		return err
	}
	b, sb, zb, bias := c.In[1], c.In[2], c.Input(3), c.Input(4)
	c.KeepInputs()
	c.In = []*tensor{codes, b, scale, sb, zero, zb, bias}
	return matMulIntegerToFloat(c)
}

// dynamicCodes is DynamicQuantizeLinear: codes, scale and zero point.
func dynamicCodes(c *exec.Call, x *tensor) (codes, scale, zero *tensor, err error) {
	s, z := dynamicGrid(x.Float32s())
	all := gridLayout{outer: 1, n: 1, inner: x.Len(), block: 1, single: true}
	if err := quantize[float32](c, x, all, []float64{float64(s)}, []float64{float64(z)}, onnxio.Uint8, onnxio.CastOptions{}); err != nil {
		return nil, nil, nil, err
	}
	return c.Out[0], onnxio.TensorOf([]float32{s}), onnxio.TensorOf([]uint8{z}), nil
}

// prepareQGemm: Y = alpha sa sb (A' - za)(B' - zb) + C, C in int32 with the scale alpha sa sb; floats, or codes when inputs 7 and 8
// give scale and zero point of Y. The scale and the zero point of B may be one for each column.
func prepareQGemm(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	alpha, trans := float64(n.Float("alpha", 1)), [2]bool{n.Int("transA", 0) != 0, n.Int("transB", 0) != 0}
	return func(c *exec.Call) error {
		if err := need(c, 6); err != nil {
			return err
		}
		var m [2]*tensor
		for i := range m {
			m[i] = c.In[3*i]
			if len(m[i].Shape) != 2 {
				return fmt.Errorf("input %d has shape %v, expected a matrix", 3*i, m[i].Shape)
			}
			if trans[i] {
				m[i] = transposed(c, m[i], []int{1, 0})
			}
		}
		sa, err := scalar(c.In[1])
		if err != nil {
			return fmt.Errorf("scale of A: %w", err)
		}
		sb, err := floats(c.In[4])
		if err != nil {
			return err
		}
		given := c.In
		c.KeepInputs()
		c.In = []*tensor{m[0], m[1], given[2], given[5]}
		sums, _, err := productOf(c, 0, 2, 1, 3)
		c.In = given
		if err != nil {
			return err
		}
		if bias := c.Input(6); bias != nil {
			if err := addInts(sums, bias); err != nil {
				return err
			}
		}
		if c.Input(7) == nil {
			c.Out[0], err = scaledSums(c, sums, alpha*sa, sb, nil)
			return err
		}
		return quantizeSums(c, sums, alpha*sa, sb)
	}, nil
}

// quantizeSums writes the codes of a QGemm, whose inputs 7 and 8 are scale and zero point.
func quantizeSums(c *exec.Call, sums *tensor, sa float64, sb []float64) error {
	sy, err := scalar(c.In[7])
	if err != nil {
		return fmt.Errorf("scale of Y: %w", err)
	}
	t, zy := onnxio.Uint8, 0.0
	if z := c.Input(8); z != nil {
		t = z.Type
		if zy, err = scalar(z); err != nil {
			return fmt.Errorf("zero point of Y: %w", err)
		}
	}
	n := sums.Shape[1]
	if len(sb) != 1 && len(sb) != n {
		return fmt.Errorf("%d scales of B for %d columns", len(sb), n)
	}
	return requantize(c, sums, t, func(i int) (float64, float64) { return sa * pick(sb, i%n) / sy, zy })
}

// addInts adds b, broadcast, to y; both are int32.
func addInts(y, b *tensor) error {
	if b.Type != onnxio.Int32 {
		return fmt.Errorf("the bias is %v, expected int32", b.Type)
	}
	shape, err := broadcast(y.Shape, b.Shape)
	if err != nil || size(shape) != y.Len() {
		return fmt.Errorf("bias of shape %v does not broadcast to %v", b.Shape, y.Shape)
	}
	out, in := data[int32](y), data[int32](b)
	l := newLoop(y.Shape, stridesOf(y.Shape), spread(b.Shape, y.Shape))
	rows, n := l.rows()
	step := l.inner(1)
	l.each(0, rows, func(_ int, off []int) {
		for i := range n {
			out[off[0]+i] += in[off[1]+i*step]
		}
	})
	return nil
}

func inferQGemm(n *graph.Node) error {
	out := graph.UnknownShape(2)
	if a := shapeOf(n, 0); len(a) == 2 {
		out[0] = a[flag(n, "transA")]
	}
	if b := shapeOf(n, 3); len(b) == 2 {
		out[1] = b[1-flag(n, "transB")]
	}
	t := onnxio.Float32
	if n.In(7) != nil {
		if t = typeOf(n, 8); t == onnxio.Undefined {
			t = onnxio.Uint8
		}
	}
	n.SetOut(0, t, out)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Domain: microsoft, Name: "MatMulIntegerToFloat", Since: 1, Infer: inferMatMul(onnxio.Float32), Prepare: always(matMulIntegerToFloat), Native: true},
		exec.Op{Domain: microsoft, Name: "DynamicQuantizeMatMul", Since: 1, Infer: inferMatMul(onnxio.Float32), Prepare: always(dynamicQuantizeMatMul), Native: true},
		exec.Op{Domain: microsoft, Name: "QGemm", Since: 1, Infer: inferQGemm, Prepare: prepareQGemm, Native: true},
	)
}
