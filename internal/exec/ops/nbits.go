package ops

import (
	"fmt"
	"sync"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// nbits is com.microsoft MatMulNBits: y = x B^T + bias with B (N x K) in codes of 2, 4 or 8 bits, packed from the low bits
// up, and one scale and zero point for each block of K.
type nbits struct {
	n, k, bits, block, blocks int
}

func newNBits(n *graph.Node) (nbits, error) {
	b := nbits{n: int(n.Int("N", 0)), k: int(n.Int("K", 0)), bits: int(n.Int("bits", 4)), block: int(n.Int("block_size", 0))}
	if b.n <= 0 || b.k <= 0 || b.block < 16 || b.block&(b.block-1) != 0 || b.n > 1<<30 || b.k > 1<<30 || b.block > 1<<20 {
		return b, fmt.Errorf("sizes N = %d, K = %d, block_size = %d: expected positive sizes and blocks of a power of two from 16 on", b.n, b.k, b.block)
	}
	if b.bits != 2 && b.bits != 4 && b.bits != 8 {
		return b, fmt.Errorf("bits is %d, expected 2, 4 or 8", b.bits)
	}
	b.blocks = (b.k + b.block - 1) / b.block
	return b, nil
}

// unpack is B as codes, one a byte, N x blocks*block_size.
func (b nbits) unpack(codes *tensor) ([]uint8, error) {
	raw, ok := codes.Data.([]uint8)
	if !ok || len(raw) != b.n*b.blocks*b.block*b.bits/8 {
		return nil, fmt.Errorf("codes are %v, expected uint8 of %d x %d x %d", codes, b.n, b.blocks, b.block*b.bits/8)
	}
	if b.bits == 8 {
		return raw, nil
	}
	per, mask := 8/b.bits, uint8(1<<b.bits-1)
	out := make([]uint8, len(raw)*per)
	for i, v := range raw {
		for k := range per {
			out[i*per+k] = v >> (k * b.bits) & mask
		}
	}
	return out, nil
}

// grid is scale and zero point of each block.
func (b nbits) grid(scale, zero *tensor) (s, z []float32, err error) {
	wide, err := floats(scale)
	if err != nil {
		return nil, nil, err
	}
	if len(wide) != b.n*b.blocks {
		return nil, nil, fmt.Errorf("%d scales, expected %d x %d", len(wide), b.n, b.blocks)
	}
	s = make([]float32, len(wide))
	for i, v := range wide {
		s[i] = float32(v)
	}
	z, err = b.zeros(zero)
	return s, z, err
}

// dequantize is B as float32, N x K row-major.
func (b nbits) dequantize(codes, scale, zero, groups *tensor) ([]float32, error) {
	raw, err := b.unpack(codes)
	if err != nil {
		return nil, err
	}
	group, err := b.groups(groups)
	if err != nil {
		return nil, err
	}
	s, z, err := b.grid(scale, zero)
	if err != nil {
		return nil, err
	}
	out := make([]float32, b.n*b.k)
	for r := range b.n {
		for c := range b.k {
			g := r*b.blocks + group[c]
			out[r*b.k+c] = (float32(raw[r*b.blocks*b.block+c]) - z[g]) * s[g]
		}
	}
	return out, nil
}

// groups is the block whose scale and zero point serve each column: neighbours, or what g_idx says for reordered columns.
func (b nbits) groups(x *tensor) ([]int, error) {
	if x == nil || x.Len() == 0 {
		g := make([]int, b.k)
		for c := range g {
			g[c] = c / b.block
		}
		return g, nil
	}
	g, err := indices(x, b.blocks)
	if err == nil && len(g) < b.k {
		err = fmt.Errorf("%d entries for %d columns", len(g), b.k)
	}
	if err != nil {
		return nil, fmt.Errorf("input g_idx: %w", err)
	}
	return g, nil
}

// zeros are the zero points: the middle code without input, else packed like the codes, or floats.
func (b nbits) zeros(x *tensor) ([]float32, error) {
	z := make([]float32, b.n*b.blocks)
	if x == nil {
		for i := range z {
			z[i] = float32(int(1) << (b.bits - 1))
		}
		return z, nil
	}
	raw, packed := x.Data.([]uint8)
	if !packed || x.Type != onnxio.Uint8 {
		f, err := floats(x)
		if err != nil || len(f) != len(z) {
			return nil, fmt.Errorf("zero points are %v, expected %d x %d", x, b.n, b.blocks)
		}
		for i, v := range f {
			z[i] = float32(v)
		}
		return z, nil
	}
	stride := (b.blocks*b.bits + 7) / 8
	if len(raw) != b.n*stride {
		return nil, fmt.Errorf("zero points are %v, expected uint8 of %d x %d", x, b.n, stride)
	}
	per, mask := 8/b.bits, uint8(1<<b.bits-1)
	for r := range b.n {
		for c := range b.blocks {
			z[r*b.blocks+c] = float32(raw[r*stride+c/per] >> (c % per * b.bits) & mask)
		}
	}
	return z, nil
}

// decodeRows is up to how many rows are multiplied by the codes as they are; more are worth the weights in float32.
const decodeRows = 4

// nbitsProduct multiplies rows by such a matrix.
type nbitsProduct struct {
	codes *kernel.NBits          // nil: columns are reordered, or B is not constant
	ints  bool                   // rows are rounded to 8 bits, block by block
	plain func() *kernel.PackedB // B as float32
}

// run sets y (rows x N) to x times B and applies e.
func (m *nbitsProduct) run(rows int, x, y []float32, e *kernel.Epilogue, threads int) {
	switch {
	case m.codes != nil && m.ints:
		m.codes.Ints(rows, x, y, e, threads)
	case m.codes != nil && rows <= decodeRows:
		m.codes.Floats(rows, x, y, e, threads)
	default:
		b := m.plain()
		kernel.SgemmPackedB(false, rows, x, b.K, b, y, b.N, e, threads)
	}
}

// prepareNBits: with accuracy_level 4 the rows of x are rounded to 8 bits, as ONNX Runtime does.
func prepareNBits(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	b, err := newNBits(n)
	if err != nil {
		return nil, err
	}
	pack := func(w []float32, err error) (*kernel.PackedB, error) {
		if err != nil {
			return nil, err
		}
		return kernel.PackB(true, b.k, b.n, w, b.k), nil
	}
	var fixed *nbitsProduct
	if codes, scale, zero, groups := p.Const(1), p.Const(2), p.Const(3), p.Const(4); codes != nil && scale != nil && (n.In(3) == nil || zero != nil) && (n.In(4) == nil || groups != nil) {
		if fixed, err = b.product(codes, scale, zero, groups); err != nil {
			return nil, err
		}
		fixed.ints = n.Int("accuracy_level", 0) == 4 && !p.Float64
	}
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		if fixed != nil {
			return b.multiply(c, fixed)
		}
		w, err := pack(b.dequantize(c.In[1], c.In[2], c.Input(3), c.Input(4)))
		if err != nil {
			return err
		}
		return b.multiply(c, &nbitsProduct{plain: func() *kernel.PackedB { return w }})
	}, nil
}

// product checks the constants and lays them out.
func (b nbits) product(codes, scale, zero, groups *tensor) (*nbitsProduct, error) {
	raw, err := b.unpack(codes)
	if err != nil {
		return nil, err
	}
	s, z, err := b.grid(scale, zero)
	if err != nil {
		return nil, err
	}
	if _, err := b.groups(groups); err != nil {
		return nil, err
	}
	m := &nbitsProduct{plain: sync.OnceValue(func() *kernel.PackedB {
		w, err := b.dequantize(codes, scale, zero, groups)
		if err != nil {
			panic(err) // all of it was checked
		}
		return kernel.PackB(true, b.k, b.n, w, b.k)
	})}
	if groups == nil || groups.Len() == 0 {
		m.codes = kernel.PackNBits(b.n, b.k, b.block, b.bits == 8, raw, s, z)
	}
	return m, nil
}

func (b nbits) multiply(c *exec.Call, w *nbitsProduct) error {
	x, err := c.In[0].ToFloat32()
	if err != nil {
		return err
	}
	rank := len(x.Shape)
	if rank == 0 || x.Shape[rank-1] != b.k {
		return fmt.Errorf("input of shape %v does not end in K = %d", x.Shape, b.k)
	}
	rows := size(x.Shape[:rank-1])
	y := c.New(onnxio.Float32, append(append([]int{}, x.Shape[:rank-1]...), b.n)...)
	e := kernel.Bias(nil, nil)
	if bias := c.Input(5); bias != nil {
		v, err := bias.ToFloat32()
		if err != nil || v.Len() != b.n {
			return fmt.Errorf("bias is %v, expected %d elements", bias, b.n)
		}
		e.Col = v.Float32s()
	}
	if rows > 0 {
		w.run(rows, x.Float32s(), y.Float32s(), e, c.Threads)
	}
	if c.In[0].Type == onnxio.Float64 {
		y, err = y.ConvertTo(onnxio.Float64)
	} else if y.Type != c.In[0].Type {
		y, err = y.ConvertTo(c.In[0].Type)
	}
	c.Out[0] = y
	return err
}

func inferNBits(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	if len(s) > 0 {
		s[len(s)-1] = graph.D(n.Int("N", 0))
	}
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: microsoft, Name: "MatMulNBits", Since: 1, Infer: inferNBits, Prepare: prepareNBits, Native: true})
}
