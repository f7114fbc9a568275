package passes

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// storedWeight is how the codes of a layer lie in the file.
type storedWeight struct {
	kind     onnxio.DataType // element type of the codes
	shape    []int
	codes    []int16 // in the file's order
	axis     int     // of the scales, or of their blocks
	block    int     // entries of axis that share a scale; 0: one scale an entry, or one in all
	scale    []float32
	zero     []int16
	scaleFor []int // shape of scale and zero: empty for one in all

	bits   int          // that the codes use
	beside bool         // the activations are quantized too
	turned bool         // Gemm's transB was taken away: the weight is stored as columns x rows
	nbits  *nbitsLayout // MatMulNBits, not DequantizeLinear
}

// String is what the report calls it: "int4", or "int8 (3 bits)".
func (t *storedWeight) String() string {
	name := t.kind.String()
	if t.nbits != nil {
		name = fmt.Sprintf("MatMulNBits %d bit", t.nbits.bits)
	} else if t.kind.Bits() == t.bits {
		return name
	}
	return fmt.Sprintf("%s (%d bits)", name, t.bits)
}

// opset is the version of the default operator set that has DequantizeLinear in this form.
func (t *storedWeight) opset() int {
	switch {
	case t.nbits != nil:
		return 0
	case t.kind == onnxio.Int2 || t.kind == onnxio.Uint2:
		return 25
	case t.kind == onnxio.Int4 || t.kind == onnxio.Uint4 || t.block > 0:
		return 21
	case len(t.scaleFor) > 0:
		return 13
	}
	return 10
}

// storage lays out the layer's codes. nil, without an error, means that they have no such form and are written as float.
func (w *writer) storage(l *LayerState) (*storedWeight, error) {
	t := &storedWeight{bits: l.Solution.Grids[0].Spec.Bits, beside: l.Input != nil}
	if err := flatten(l); err != nil {
		return nil, err
	}
	if w.Recipe.Form == "matmulnbits" {
		if n, why := newNBitsLayout(l); n != nil {
			t.nbits = n
			return t, nil
		} else {
			w.note("%v: written with DequantizeLinear, MatMulNBits cannot hold it: %s", l, why)
		}
	}
	// As a product of x with columns x rows, runtimes read the codes as they are; Gemm with transB they dequantize at each run.
	t.turned = l.Kind == graph.Gemm && l.WeightIndex() == 1 && l.Nodes[0].Int("transB", 0) != 0 && !t.beside
	if !t.place(l) {
		w.note("%v: its groups of %d columns cross the edges of kernel positions, for which DequantizeLinear has no form: written as float", l, l.Solution.Grids[0].Spec.Group)
		return nil, nil
	}
	low := w.Recipe.Container == "exact" || w.Recipe.Container == "auto" && !t.beside && l.Kind >= graph.Gemm
	if t.block > 0 && l.Kind == graph.MatMul && quantizedInput(l) {
		low = true // see blocksFail
	}
	if !low || !t.contain(t.bits) {
		t.contain(8)
		return t, w.reachableFor(t)
	}
	if t.kind.Bits() == 2 {
		if w.Recipe.Container == "auto" {
			t.repack(l, 4) // 2-bit types are too new for most runtimes
		} else if why := againstTwoBits(l); why != "" {
			w.note("%v: stored in 4 bits, for ONNX Runtime 1.32 %s", l, why)
			t.repack(l, 4)
		}
	}
	if t.kind.Bits() < 8 && w.Recipe.Container == "auto" {
		if err := w.reachable(t.opset()); err != nil {
			w.note("%v: stored in int8, for %v needs operator set %d: %v", l, t.kind, t.opset(), err)
			t.repack(l, 8)
		}
	}
	return t, w.reachableFor(t)
}

// repack brings codes that were placed and contained before into a type of at least bits.
func (t *storedWeight) repack(l *LayerState, bits int) {
	t.place(l)
	t.contain(bits)
}

// againstTwoBits says what ONNX Runtime does with the layer's weight in a 2-bit type; empty when it reads it well.
func againstTwoBits(l *LayerState) string {
	switch {
	case quantizedInput(l):
		return "refuses 2-bit weights beside quantized inputs"
	case l.Kind >= graph.Gemm && l.Rows%4 != 0:
		return fmt.Sprintf("reads 2-bit weights of %d outputs, which 4 does not divide, wrongly", l.Rows)
	}
	return ""
}

// quantizedInput reports whether the layer's input is quantized, by this recipe or in the model before.
func quantizedInput(l *LayerState) bool {
	if l.Input != nil {
		return true
	}
	for _, n := range l.Nodes {
		if p := l.Layer.Input(n).Producer; p != nil && p.Op() == "DequantizeLinear" {
			return true
		}
	}
	return false
}

// flatten makes a matrix of a MatMul's weight with axes of length 1 before its rows and columns, where its inputs have as many
// axes themselves: runtimes take scales by column for matrices only.
func flatten(l *LayerState) error {
	shape := l.WeightShape()
	if l.Kind != graph.MatMul || l.WeightIndex() != 1 || len(shape) <= 2 || len(l.Solution.W) != shape[len(shape)-2]*shape[len(shape)-1] {
		return nil
	}
	for _, n := range l.Nodes {
		if len(l.Layer.Input(n).Shape) < len(shape) {
			return nil
		}
	}
	t, err := onnxio.TensorOf(graph.ToFileLayout(l.Layer, l.Solution.W), shape[len(shape)-2:]...).ConvertTo(l.Weight.Type)
	if err != nil {
		return err
	}
	return l.SetWeight(t)
}

// reachableFor explains what can be done when the model cannot be brought to the operator set that the form needs.
func (w *writer) reachableFor(t *storedWeight) error {
	if err := w.reachable(t.opset()); err != nil {
		return fmt.Errorf("weights in %v need operator set %d: %w; write float weights (form: float), or export the model anew", t, t.opset(), err)
	}
	return nil
}

// place brings codes, scales and zero points into the file's order; codes are counted from the lowest one of the grid. false
// means that DequantizeLinear has no form for the groups of the grid.
func (t *storedWeight) place(l *LayerState) bool {
	grids := l.Solution.Grids
	spec := grids[0].Spec
	lo, _ := spec.Range()
	codes := make([]int16, len(l.Solution.Codes))
	for i, c := range l.Solution.Codes {
		codes[i] = c - int16(lo)
	}
	t.shape = l.WeightShape()
	t.codes = t.turn(l, graph.ToFileLayout(l.Layer, codes))
	if t.turned {
		t.shape = []int{l.Cols, l.Rows}
	}
	size := l.Cols // columns that share a scale
	if spec.Granularity == obs.PerGroup {
		size = blockSize(l.Layer, spec.Group)
	}
	if size == 0 {
		return false
	}
	scale, zero := perBlock(l, size)
	for i := range zero {
		zero[i] -= int16(lo)
	}
	if size < l.Cols || l.Kind == graph.ConvTranspose && l.Groups > 1 {
		t.blocked(l, scale, zero, size)
		return true
	}
	t.block, t.axis, t.scale, t.zero, t.scaleFor = 0, max(l.ChannelAxis(), 0), scale, zero, []int{len(scale)}
	if t.turned {
		t.axis = 1
	}
	if same(scale) && same(zero) && (spec.Granularity == obs.PerTensor || len(scale) == 1) {
		t.axis, t.scale, t.zero, t.scaleFor = 0, scale[:1], zero[:1], nil
	}
	return true
}

// blocked lays out one scale for each block of size columns.
func (t *storedWeight) blocked(l *LayerState, scale []float32, zero []int16, size int) {
	t.block, t.axis = size, l.InputAxis()
	if size == l.Cols { // ConvTranspose in groups: all input channels of a group
		t.block = l.ChannelsIn
		scale, zero = repeat(scale, l.Cols/l.ChannelsIn), repeat(zero, l.Cols/l.ChannelsIn)
	}
	t.scale, _ = graph.BlocksToFileLayout(l.Layer, scale, t.block)
	t.zero, _ = graph.BlocksToFileLayout(l.Layer, zero, t.block)
	t.scaleFor = append([]int{}, l.WeightShape()...)
	blocks := (l.ChannelsIn + t.block - 1) / t.block
	if l.Kind == graph.ConvTranspose {
		blocks *= l.Groups
	}
	t.scaleFor[t.axis] = blocks
	if t.turned {
		t.axis, t.scaleFor = 0, []int{blocks, l.Rows}
		t.scale, t.zero = transposed(t.scale, l.Rows, blocks), transposed(t.zero, l.Rows, blocks)
	}
}

// turn transposes the stored weight of a Gemm whose transB goes.
func (t *storedWeight) turn(l *LayerState, codes []int16) []int16 {
	if !t.turned {
		return codes
	}
	return transposed(codes, l.Rows, l.Cols)
}

// blockSize is how many consecutive input channels can share a scale where the grid has one for each group of columns: the
// group itself, or the largest part of it that divides both it and the input channels, if that is worth a scale; 0 if none.
func blockSize(l *graph.Layer, group int) int {
	if l.Cols == l.ChannelsIn || l.ChannelsIn%group == 0 {
		return min(group, l.Cols)
	}
	const leastBlock = 8
	a, b := group, l.ChannelsIn
	for b != 0 {
		a, b = b, a%b
	}
	if a < leastBlock {
		return 0
	}
	return a
}

// perBlock is the scale and zero point of each block of size columns, for all rows of all groups.
func perBlock(l *LayerState, size int) (scale []float32, zero []int16) {
	for g := range l.Groups {
		grid := l.Solution.Grids[g]
		for r := range l.Rows {
			for c := 0; c < l.Cols; c += size {
				i := grid.Index(r, c)
				scale, zero = append(scale, grid.Scale[i]), append(zero, grid.Zero[i])
			}
		}
	}
	return scale, zero
}

// contain picks the smallest element type of at least bits that holds the codes: a signed one with zero point 0 where the codes
// fit when the zero point is taken off, else an unsigned one with zero points. false means that 8 bits are needed.
func (t *storedWeight) contain(bits int) bool {
	for _, c := range []struct{ signed, unsigned onnxio.DataType }{{onnxio.Int2, onnxio.Uint2}, {onnxio.Int4, onnxio.Uint4}, {onnxio.Int8, onnxio.Uint8}} {
		width := c.signed.Bits()
		if width < bits {
			continue
		}
		if t.centred(1 << (width - 1)) {
			t.kind = c.signed
			return true
		}
		if t.bits <= width {
			t.kind = c.unsigned
			return true
		}
	}
	return false
}

// centred takes the zero points off the codes, if they then lie in [-half, half).
func (t *storedWeight) centred(half int16) bool {
	off := make([]int16, len(t.codes))
	for i, c := range t.codes {
		off[i] = c - t.zero[t.scaleIndex(i)]
		if off[i] < -half || off[i] >= half {
			return false
		}
	}
	t.codes, t.zero = off, make([]int16, len(t.zero))
	return true
}

// scaleIndex is the scale of element i.
func (t *storedWeight) scaleIndex(i int) int {
	if len(t.scale) == 1 {
		return 0
	}
	inner := 1
	for _, d := range t.shape[t.axis+1:] {
		inner *= d
	}
	n := t.shape[t.axis]
	if t.block == 0 {
		return i / inner % n
	}
	return (i/inner/n*t.scaleFor[t.axis]+i/inner%n/t.block)*inner + i%inner
}

func repeat[T any](x []T, times int) []T {
	out := make([]T, 0, len(x)*times)
	for _, v := range x {
		for range times {
			out = append(out, v)
		}
	}
	return out
}

func transposed[T any](x []T, rows, cols int) []T {
	out := make([]T, len(x))
	for r := range rows {
		for c := range cols {
			out[c*rows+r] = x[r*cols+c]
		}
	}
	return out
}

func same[T comparable](x []T) bool {
	for _, v := range x {
		if v != x[0] {
			return false
		}
	}
	return true
}
