package passes

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// nbitsLayout is the weight as com.microsoft MatMulNBits reads it: rows x blocks x block codes of the given bits, packed from
// the low bits up, each row padded to whole blocks, with one scale and zero point a block.
type nbitsLayout struct {
	bits, block, blocks int
}

const (
	leastNBitsBlock = 16
	mostNBitsBlock  = 1 << 20
)

// newNBitsLayout is nil where the operator cannot hold the layer, and why says so.
func newNBitsLayout(l *LayerState) (layout *nbitsLayout, why string) {
	spec := l.Solution.Grids[0].Spec
	switch {
	case l.Kind != graph.MatMul && l.Kind != graph.Gemm:
		return nil, "it is no matrix product"
	case l.WeightIndex() != 1 || len(l.WeightShape()) != 2:
		return nil, "its weight is not the right operand, or no matrix"
	case l.Weight.Type != onnxio.Float32:
		return nil, fmt.Sprintf("its weight is %v", l.Weight.Type)
	}
	for _, n := range l.Nodes {
		if l.Kind == graph.Gemm && (n.Int("transA", 0) != 0 || n.Float("alpha", 1) != 1 || n.Float("beta", 1) != 1 && n.In(2) != nil) {
			return nil, "it has transA, alpha or beta"
		}
		if n.In(2) != nil {
			if s := n.In(2).Shape; len(s) != 1 || s[0] != graph.D(int64(l.Rows)) {
				return nil, fmt.Sprintf("its bias has shape %v", s)
			}
		}
	}
	t := &nbitsLayout{bits: 8, block: leastNBitsBlock}
	if spec.Bits <= 4 {
		t.bits = 4
	}
	width := l.Cols
	if spec.Granularity == obs.PerGroup {
		width = spec.Group
	}
	for t.block < width {
		t.block *= 2
	}
	if spec.Granularity == obs.PerGroup && t.block != width {
		for t.block = leastNBitsBlock; width%(2*t.block) == 0; {
			t.block *= 2
		}
		if width%t.block != 0 {
			return nil, fmt.Sprintf("its groups of %d columns are no multiple of %d", width, leastNBitsBlock)
		}
	}
	if t.block > mostNBitsBlock {
		return nil, fmt.Sprintf("its %d columns are too many for one block", l.Cols)
	}
	t.blocks = (l.Cols + t.block - 1) / t.block
	return t, ""
}

// matMulNBits turns the layer's nodes into MatMulNBits.
func (w *writer) matMulNBits(l *LayerState, t *storedWeight) error {
	codes, scale, zero := t.nbits.pack(l)
	n := t.nbits
	w.importSet("com.microsoft", 1)
	b := onnxio.TensorOf(codes, l.Rows, n.blocks, n.block*n.bits/8)
	if err := l.SetWeight(b); err != nil { // takes away the views before it, and keeps the weight of other readers
		return err
	}
	v := l.Weight
	g, name := v.Graph, v.Name
	q := g.AddInit(name+"_quantized", b)
	s := g.AddInit(name+"_scale", onnxio.TensorOf(scale, l.Rows*n.blocks))
	z := g.AddInit(name+"_zero_point", onnxio.TensorOf(zero, len(zero)))
	quantizedBy(q, s, z)
	for _, node := range l.Nodes {
		bias := node.In(2)
		for _, a := range []string{"transA", "transB", "alpha", "beta"} {
			node.DelAttr(a)
		}
		node.Proto.OpType, node.Proto.Domain = proto.String("MatMulNBits"), proto.String("com.microsoft")
		node.SetInt("K", int64(l.Cols))
		node.SetInt("N", int64(l.Rows))
		node.SetInt("bits", int64(n.bits))
		node.SetInt("block_size", int64(n.block))
		node.SetInput(1, q)
		node.SetInput(2, s)
		node.SetInput(3, z)
		if bias != nil {
			node.SetInput(5, bias)
		}
	}
	return g.Undefine(v)
}

// pack gives codes, scales and zero points in the operator's layout. The codes count from the grid's lowest one.
func (t *nbitsLayout) pack(l *LayerState) (codes []uint8, scale []float32, zero []uint8) {
	grid := l.Solution.Grids[0]
	lo, _ := grid.Spec.Range()
	per := 8 / t.bits
	stride := t.blocks * t.block / per
	zeroStride := (t.blocks + per - 1) / per
	codes, zero = make([]uint8, l.Rows*stride), make([]uint8, l.Rows*zeroStride)
	for r := range l.Rows {
		for b := range t.blocks {
			i := grid.Index(r, min(b*t.block, l.Cols-1))
			scale = append(scale, grid.Scale[i])
			zero[r*zeroStride+b/per] |= uint8(int(grid.Zero[i])-lo) << (b % per * t.bits)
		}
		for c := range t.blocks * t.block {
			code := int(grid.Zero[grid.Index(r, min(c, l.Cols-1))]) - lo // padding stands for 0
			if c < l.Cols {
				code = int(l.Solution.Codes[r*l.Cols+c]) - lo
			}
			codes[r*stride+c/per] |= uint8(code) << (c % per * t.bits)
		}
	}
	return codes, scale, zero
}
