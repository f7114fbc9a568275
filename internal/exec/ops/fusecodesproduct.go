package ops

import (
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// codesProduct is a MatMul or Gemm of codes by constant codes.
type codesProduct struct {
	gemm   bool
	x, w   *codesIn
	packed func() *kernel.IntMatrix
	add    []int32   // a bias in steps of the sums
	scale  []float32 // by column: of the sums
}

// newCodesProduct looks at the operands of n; nil when they are not such codes. b is a bias in steps of the sums.
func newCodesProduct(n *graph.Node, p *exec.Prep) (m *codesProduct, b *codesIn) {
	m = &codesProduct{gemm: n.Op() == "Gemm"}
	trans := m.gemm && n.Int("transB", 0) != 0
	axis := 1
	if trans {
		axis = 0
	}
	m.x, m.w = codesOf(p, n, 0), codesAlong(p, n, 1, axis)
	if !m.x.whole() || m.w == nil || m.w.fixed == nil || len(m.w.fixed.Shape) != 2 ||
		m.gemm && (n.Float("alpha", 1) != 1 || n.Float("beta", 1) != 1 || n.Int("transA", 0) != 0) {
		return nil, nil
	}
	if m.packed = constIntMatrix(p.Of(m.w.node), 0, 2, trans); m.packed == nil {
		return nil, nil
	}
	_, cols := columnsOf(m.w.fixed, trans)
	sw, err := floats(m.w.scales)
	if err != nil {
		return nil, nil
	}
	if m.scale, err = columnScales(cols, sw, float64(m.x.scales.Float32s()[0])); err != nil {
		return nil, nil
	}
	if m.gemm && n.In(2) != nil {
		if b = codesOf(p, n, 2); biasOfSums(b, m.x, m.w, cols) {
			m.add = data[int32](b.fixed)
		} else {
			b = nil
		}
	}
	return m, b
}

// plan is the product of this call's input; it fails with ErrApart when the shapes are not those of the fusion.
func (m *codesProduct) plan(c *exec.Call) (*product8, error) {
	x := c.In[0]
	if x == nil || !is8(x.Type) || x.Type != m.x.zeros.Type || len(x.Shape) < 2 || m.gemm && len(x.Shape) != 2 {
		return nil, exec.ErrApart
	}
	b := m.packed()
	p, err := planMatMul(x.Shape, []int{b.K, b.N})
	if err != nil {
		return nil, exec.ErrApart // the nodes say why
	}
	zero, err := zeroList(m.x.zeros)
	if err != nil {
		return nil, err
	}
	q := &product8{p: p, za: zero, b: []*kernel.IntMatrix{b}}
	q.a, _ = codesFrom(x, 0)
	return q, nil
}

// fuseProductOfCodes: DequantizeLinear of codes, MatMul or Gemm by constant codes, and a QuantizeLinear, as a QLinearMatMul or QGemm; or
// what may follow a product in float, on its exact sums, as MatMulIntegerToFloat.
func fuseProductOfCodes(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	m, b := newCodesProduct(n, p)
	if m == nil {
		return nil, nil
	}
	k := newChain(n)
	if n.In(2) == nil || b != nil {
		if q := k.quantizer(p); q != nil {
			return m.toCodes(k, b, q, p)
		}
	}
	k = newChain(n)
	if m.gemm && n.In(2) != nil && b == nil {
		c := k.constant(p, n, 2)
		if c == nil || c.Type != onnxio.Float32 || c.Len() != len(m.scale) || len(c.Shape) == 0 || c.Shape[len(c.Shape)-1] != len(m.scale) {
			return nil, nil
		}
		k.bias = c
	} else if !m.gemm {
		k.takeBias(p, len(m.scale))
	}
	if !k.takeGelu(p) {
		k.takeAdd(p)
		k.takeLimits(p)
	}
	return &exec.Fusion{Nodes: append(mine(m.x, m.w, b), k.all()...), Inputs: []*graph.Value{m.x.codes, k.add}, Kernel: func(c *exec.Call) error {
		q, err := m.plan(c)
		if err != nil {
			return err
		}
		e, bias := k.epilogue(), []float32(nil)
		if k.bias != nil {
			if len(k.bias.Shape) > len(q.p.out) {
				return exec.ErrApart
			}
			bias = k.bias.Float32s()
		}
		if k.add != nil {
			if c.In[1] == nil || c.In[1].Type != onnxio.Float32 || !slices.Equal(c.In[1].Shape, q.p.out) {
				return exec.ErrApart
			}
			e.Add = c.In[1].Float32s()
		}
		y := c.New(onnxio.Float32, q.p.out...)
		c.Out[0] = y
		q.floats(c, y.Float32s(), m.add, m.scale, bias, e)
		return nil
	}}, nil
}

// toCodes ends in the QuantizeLinear q.
func (m *codesProduct) toCodes(k *chain, b *codesIn, q *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	zero, err := scalar(p.Of(q).Const(2))
	if err != nil {
		return nil, err
	}
	t, step := p.Of(q).Const(2).Type, p.Of(q).Const(1).Float32s()[0]
	factor := make([]float32, len(m.scale))
	for j, s := range m.scale {
		factor[j] = s / step
	}
	return &exec.Fusion{Nodes: append(mine(m.x, m.w, b), k.nodes...), Inputs: []*graph.Value{m.x.codes}, Kernel: func(c *exec.Call) error {
		q, err := m.plan(c)
		if err != nil {
			return err
		}
		q.codes(c, m.add, factor, t, zero)
		return nil
	}}, nil
}

func init() {
	exec.RegisterFusion("MatMul", fuseProductOfCodes) // before those in float
	exec.RegisterFusion("MatMul", fuseWeightCodes)
	exec.RegisterFusion("MatMul", fuseProduct)
	exec.RegisterFusion("Gemm", fuseProductOfCodes)
	exec.RegisterFusion("Gemm", fuseWeightCodes)
	exec.RegisterFusion("Gemm", fuseProduct)
}
