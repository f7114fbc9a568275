package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// columnScales are sa*sb for n columns, rounded after each step.
func columnScales(n int, sb []float64, sa ...float64) ([]float32, error) {
	if len(sb) != 1 && len(sb) != n {
		return nil, fmt.Errorf("%d scales of B for %d columns", len(sb), n)
	}
	step := float32(1)
	for _, s := range sa {
		step *= float32(s)
	}
	scale := make([]float32, n)
	for j := range scale {
		scale[j] = step * float32(pick(sb, j))
	}
	return scale, nil
}

// matMulIntegerToFloat: inputs A, B, scale of A, scale of B, zero points of both, bias. packed, if any, is B.
func matMulIntegerToFloat(c *exec.Call, packed func() *kernel.IntMatrix) error {
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
	q, err := newProduct8(c, 0, 4, 1, 5, packed)
	if err != nil {
		return err
	}
	scale, err := columnScales(q.p.n, sb, sa)
	if err != nil {
		return err
	}
	var bias []float32
	if b := c.Input(6); b != nil {
		v, err := b.ToFloat32()
		if err != nil {
			return err
		}
		if bias = v.Float32s(); len(bias) != q.p.n {
			return fmt.Errorf("a bias of %d for %d columns", len(bias), q.p.n)
		}
	}
	y := c.New(onnxio.Float32, q.p.out...)
	q.floats(c, y.Float32s(), nil, scale, bias, nil)
	c.Out[0] = y
	return nil
}

func prepareMatMulIntegerToFloat(_ *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	packed := constIntMatrix(p, 1, 5, false)
	return func(c *exec.Call) error { return matMulIntegerToFloat(c, packed) }, nil
}

// prepareDynamicQuantizeMatMul quantizes A to uint8 by its own range: inputs A (floats), B (codes), scale and zero point of B, bias.
func prepareDynamicQuantizeMatMul(_ *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	packed := constIntMatrix(p, 1, 3, false)
	return func(c *exec.Call) error {
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
		return matMulIntegerToFloat(c, packed)
	}, nil
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
func prepareQGemm(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	alpha, trans := float64(n.Float("alpha", 1)), [2]bool{n.Int("transA", 0) != 0, n.Int("transB", 0) != 0}
	packed := constIntMatrix(p, 3, 5, trans[1])
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
			if trans[i] && (i == 0 || packed == nil) {
				m[i] = transposed(c, m[i], []int{1, 0})
			} else if trans[i] { // of the packed one only the shape is read
				m[i] = &tensor{Type: m[i].Type, Shape: []int{m[i].Shape[1], m[i].Shape[0]}, Data: m[i].Data}
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
		q, err := newProduct8(c, 0, 2, 1, 3, packed)
		c.In = given
		if err != nil {
			return err
		}
		return q.gemm(c, alpha, sa, sb)
	}, nil
}

// gemm finishes a QGemm.
func (q *product8) gemm(c *exec.Call, alpha, sa float64, sb []float64) error {
	n := q.p.n
	scale, err := columnScales(n, sb, alpha, sa)
	if err != nil {
		return err
	}
	bias, add := c.Input(6), []int32(nil)
	if bias != nil && bias.Type != onnxio.Int32 {
		return fmt.Errorf("the bias is %v, expected int32", bias.Type)
	}
	if bias != nil && bias.Len() == n && len(bias.Shape) > 0 && len(bias.Shape) < 3 && bias.Shape[len(bias.Shape)-1] == n {
		add = data[int32](bias)
	} else if bias != nil { // broadcast to the whole: one matrix of sums
		add = nil
		sums := q.sums(c)
		if err := addInts(sums, bias); err != nil {
			return err
		}
		if c.Input(7) != nil {
			return quantizeSums(c, sums, scale)
		}
		y := c.New(onnxio.Float32, sums.Shape...)
		for i, v := range data[int32](sums) {
			y.Float32s()[i] = float32(v) * scale[i%n]
		}
		c.Out[0] = y
		return nil
	}
	if c.Input(7) == nil {
		y := c.New(onnxio.Float32, q.p.out...)
		q.floats(c, y.Float32s(), add, scale, nil, nil)
		c.Out[0] = y
		return nil
	}
	sy, t, zy, err := outputGrid(c)
	if err != nil {
		return err
	}
	if !is8(t) {
		return fmt.Errorf("cannot write codes of type %v, expected int8 or uint8", t)
	}
	for j := range scale {
		scale[j] /= float32(sy)
	}
	q.codes(c, add, scale, t, zy)
	return nil
}

// outputGrid reads scale and zero point of a QGemm's codes, inputs 7 and 8.
func outputGrid(c *exec.Call) (scale float64, t onnxio.DataType, zero float64, err error) {
	if scale, err = scalar(c.In[7]); err != nil {
		return 0, t, 0, fmt.Errorf("scale of Y: %w", err)
	}
	t = onnxio.Uint8
	if z := c.Input(8); z != nil {
		t = z.Type
		if zero, err = scalar(z); err != nil {
			return 0, t, 0, fmt.Errorf("zero point of Y: %w", err)
		}
	}
	return scale, t, zero, nil
}

// quantizeSums writes the codes of a QGemm from its sums.
func quantizeSums(c *exec.Call, sums *tensor, scale []float32) error {
	sy, t, zy, err := outputGrid(c)
	if err != nil {
		return err
	}
	return requantize(c, sums, t, func(i int) (float64, float64) { return float64(scale[i%len(scale)] / float32(sy)), zy })
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
		exec.Op{Domain: microsoft, Name: "MatMulIntegerToFloat", Since: 1, Infer: inferMatMul(onnxio.Float32), Prepare: prepareMatMulIntegerToFloat, Native: true},
		exec.Op{Domain: microsoft, Name: "DynamicQuantizeMatMul", Since: 1, Infer: inferMatMul(onnxio.Float32), Prepare: prepareDynamicQuantizeMatMul, Native: true},
		exec.Op{Domain: microsoft, Name: "QGemm", Since: 1, Infer: inferQGemm, Prepare: prepareQGemm, Native: true},
	)
}
