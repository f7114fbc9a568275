package ops

import (
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// weightCodes is a constant matrix K x N stored in codes of 2, 4 or 8 bits behind a DequantizeLinear.
type weightCodes struct {
	node  *graph.Node
	k, n  int
	block int // rows that share a scale, or the 32 of ONNX Runtime where all of a column do
	wide  bool
	codes []uint8   // N x blocks*block
	scale []float32 // N x blocks
	zero  []float32
}

// plainBlock is the block of rows for which ONNX Runtime rounds the other operand when a column has one scale.
const plainBlock = 32

// weightCodesOf looks at input 1 of n; nil when it is not such a matrix with one scale, one a column, or one for each block of at least 16
// rows, a power of two.
func weightCodesOf(p *exec.Prep, n *graph.Node) *weightCodes {
	v := n.In(1)
	if v == nil || v.Producer == nil || v.Producer.Op() != "DequantizeLinear" || v.Producer.Domain() != "" || v.Producer.Graph != n.Graph || v.IsOutput || len(v.Uses) != 1 {
		return nil
	}
	d := v.Producer
	q := p.Of(d)
	codes, scale, zero := q.Const(0), q.Const(1), q.Const(2)
	if codes == nil || len(codes.Shape) != 2 || codes.Len() == 0 || scale == nil || scale.Type != onnxio.Float32 || d.In(2) != nil && zero == nil ||
		d.Int("output_dtype", 0) != 0 && onnxio.DataType(d.Int("output_dtype", 0)) != onnxio.Float32 {
		return nil
	}
	lowest := 0.0
	switch codes.Type {
	case onnxio.Int2, onnxio.Int4, onnxio.Int8:
		lowest, _, _ = codeRange(codes.Type)
	case onnxio.Uint2, onnxio.Uint4, onnxio.Uint8:
	default:
		return nil
	}
	w := &weightCodes{node: d, k: codes.Shape[0], n: codes.Shape[1], block: int(d.Int("block_size", 0)), wide: codes.Type.Bits() == 8}
	axis := d.Int("axis", 1)
	switch {
	case w.block > 0 && (axis != 0 && axis != -2 || w.block < 16 || w.block&(w.block-1) != 0):
		return nil
	case w.block == 0 && scale.Len() != 1 && (axis != 1 && axis != -1 || len(scale.Shape) != 1 || scale.Len() != w.n):
		return nil
	}
	if !w.unpack(codes, scale, zero, lowest) {
		return nil
	}
	return w
}

// unpack brings codes, scales and zero points into rows of columns, the codes counted from the lowest one.
func (w *weightCodes) unpack(codes, scale, zero *tensor, lowest float64) bool {
	wide, err := codes.ConvertTo(onnxio.Int32)
	if err != nil {
		return false
	}
	zeros, err := zeroPoints(zero, scale.Len())
	if err != nil {
		return false
	}
	rows := w.k // that share a scale
	if w.block > 0 {
		rows = w.block
	} else {
		w.block = plainBlock
	}
	blocks := (w.k + w.block - 1) / w.block
	if scale.Len() != 1 && scale.Len() != w.n*((w.k+rows-1)/rows) {
		return false
	}
	w.codes, w.scale, w.zero = make([]uint8, w.n*blocks*w.block), make([]float32, w.n*blocks), make([]float32, w.n*blocks)
	from, scales := data[int32](wide), scale.Float32s()
	for j := range w.n {
		for i := range w.k {
			w.codes[j*blocks*w.block+i] = uint8(from[i*w.n+j] - int32(lowest))
		}
		for b := range blocks {
			at := b * w.block / rows * w.n
			if at += j; len(scales) == 1 {
				at = 0
			}
			w.scale[j*blocks+b], w.zero[j*blocks+b] = scales[at], float32(zeros[at]-lowest)
		}
	}
	return true
}

// staysFloat reports whether ONNX Runtime 1.32 multiplies by the decoded weights: where limits follow the product whose result one node reads, it
// looks for a QuantizeLinear there. A bias that k has taken belongs to the product where that is a matrix, which becomes a Gemm.
func staysFloat(n *graph.Node, k *chain) bool {
	last := n
	if n.Op() == "MatMul" && k.bias != nil && len(shapeOf(n, 0)) == 2 {
		last = k.last()
	}
	if len(last.Out(0).Uses) != 1 {
		return false
	}
	limits := last.Out(0).Uses[0].Node
	if limits.Domain() != "" || limits.Op() != "Relu" && limits.Op() != "Clip" || limits.Graph != n.Graph {
		return false
	}
	y := limits.Out(0)
	return !y.IsOutput && len(y.Uses) == 1
}

// fuseWeightCodes: a product with weights in codes, and what follows it, on the codes: with the rows of the other operand rounded to 8 bits,
// block by block. ONNX Runtime makes MatMulNBits at accuracy level 4 of the same nodes, unless the other operand comes from codes of 8 bits.
func fuseWeightCodes(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	if n.Op() == "Gemm" && (n.Float("alpha", 1) != 1 || n.Float("beta", 1) != 1 || n.Int("transA", 0) != 0 || n.Int("transB", 0) != 0) {
		return nil, nil
	}
	w := weightCodesOf(p, n)
	if w == nil || codesOf(p, n, 0).whole() {
		return nil, nil
	}
	k := newChain(n)
	if n.Op() == "Gemm" {
		c := k.constant(p, n, 2)
		if n.In(2) != nil && (c == nil || c.Type != onnxio.Float32 || c.Len() != w.n || len(c.Shape) == 0 || c.Shape[len(c.Shape)-1] != w.n) {
			return nil, nil
		}
		k.bias = c
	} else {
		k.takeBias(p, w.n)
	}
	if staysFloat(n, k) {
		return nil, nil
	}
	if !k.takeGelu(p) {
		if k.takeAdd(p); n.Op() == "MatMul" && k.bias == nil && k.add != nil && len(shapeOf(n, 0)) == 2 && len(k.add.Shape) == 2 {
			return nil, nil // ONNX Runtime makes a Gemm of it, whose C is not constant
		}
		k.takeLimits(p)
	}
	packed := kernel.PackNBits(w.n, w.k, w.block, w.wide, w.codes, w.scale, w.zero)
	gemm, cols, depth := n.Op() == "Gemm", w.n, w.k
	return &exec.Fusion{Nodes: append([]*graph.Node{w.node}, k.all()...), Inputs: []*graph.Value{n.In(0), k.add}, Kernel: func(c *exec.Call) error {
		x := c.In[0]
		if x == nil || x.Type != onnxio.Float32 || len(x.Shape) < 2 || gemm && len(x.Shape) != 2 || x.Shape[len(x.Shape)-1] != depth {
			return exec.ErrApart
		}
		shape := append(slices.Clone(x.Shape[:len(x.Shape)-1]), cols)
		e := k.epilogue()
		if k.bias != nil {
			if len(k.bias.Shape) > len(shape) {
				return exec.ErrApart
			}
			e.Col = k.bias.Float32s()
		}
		if k.add != nil {
			if c.In[1] == nil || c.In[1].Type != onnxio.Float32 || !slices.Equal(c.In[1].Shape, shape) {
				return exec.ErrApart
			}
			e.Add = c.In[1].Float32s()
		}
		y := c.New(onnxio.Float32, shape...)
		c.Out[0] = y
		if y.Len() > 0 {
			packed.Ints(y.Len()/cols, x.Float32s(), y.Float32s(), e, c.Threads)
		}
		return nil
	}}, nil
}
