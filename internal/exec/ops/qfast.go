package ops

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// The forms of 8-bit convolutions and products that have integer kernels.

func is8(t onnxio.DataType) bool { return t == onnxio.Int8 || t == onnxio.Uint8 }

// zeroList is a tensor of zero points as a list; nil for none.
func zeroList(zero *tensor) ([]int32, error) {
	if zero == nil {
		return nil, nil
	}
	z, err := zero.ConvertTo(onnxio.Int32)
	if err != nil {
		return nil, err
	}
	return data[int32](z), nil
}

// intConv is a constant weight of 8-bit integers in the kernels' form.
type intConv interface {
	Sums(s kernel.ConvShape, n int, x kernel.Codes, y []int32, threads int)
	Codes(s kernel.ConvShape, n int, x, y kernel.Codes, r *kernel.Rounding, threads int)
}

// codesFrom is an 8-bit tensor for the kernels; ok is false for other types.
func codesFrom(x *tensor, zero int32) (k kernel.Codes, ok bool) {
	switch d := x.Data.(type) {
	case []uint8:
		return kernel.CodesOf(d, zero), x.Type == onnxio.Uint8
	case []int8:
		return kernel.CodesOf(d, zero), x.Type == onnxio.Int8
	}
	return k, false
}

// packIntConv packs an 8-bit weight; nil when it is of no such type, or the sums of a depthwise convolution may be too large.
func packIntConv(s convShape, w *tensor, zero []int32) intConv {
	if w.Type == onnxio.Uint8 {
		return packIntConvOf(s, data[uint8](w), zero)
	}
	if w.Type == onnxio.Int8 {
		return packIntConvOf(s, data[int8](w), zero)
	}
	return nil
}

func packIntConvOf[T kernel.Byte](s convShape, w []T, zero []int32) intConv {
	if !s.depthwise {
		return kernel.PackIntConv(s.planar(), w, zero)
	}
	if d := kernel.PackIntDepthwise(s.planar(), w, zero); d.Exact() {
		return d
	}
	return nil
}

// constIntConv packs a constant weight at the first run; nil where the weight or its zero points are not constant.
func constIntConv(p *exec.Prep, a convAttrs, w, wZero int) func() intConv {
	t, zero := p.Const(w), p.Const(wZero)
	if t == nil || p.Given(wZero) && zero == nil || len(t.Shape) < 3 || len(t.Shape) > 4 || t.Len() == 0 {
		return nil
	}
	shape := append([]int{1, t.Shape[1] * a.group}, t.Shape[2:]...)
	s, err := a.shape(&tensor{Shape: shape}, t, nil)
	z, zerr := zeroList(zero)
	if err != nil || zerr != nil || len(z) > 1 && len(z) != t.Shape[0] {
		return nil
	}
	return sync.OnceValue(func() intConv { return packIntConv(s, t, z) })
}

// convForm is a convolution for the integer kernels; ok is false where they have no form for it.
func convForm(c *exec.Call, s convShape, x, xZero, w, wZero *tensor, packed func() intConv) (k intConv, codes kernel.Codes, ok bool, err error) {
	if len(x.Shape) != 3 && len(x.Shape) != 4 || c.Ctx.Err() != nil || w.Len() == 0 {
		return nil, codes, false, nil
	}
	zx, err := zeroList(xZero)
	if err != nil {
		return nil, codes, false, err
	}
	zw, err := zeroList(wZero)
	if err != nil || len(zw) > 1 && len(zw) != w.Shape[0] || len(zx) > 1 {
		return nil, codes, false, err // convSums says why
	}
	zero := int32(0)
	if len(zx) == 1 {
		zero = zx[0]
	}
	if codes, ok = codesFrom(x, zero); !ok {
		return nil, codes, false, nil
	}
	if packed != nil {
		k = packed()
	} else {
		k = packIntConv(s, w, zw)
	}
	return k, codes, k != nil, nil
}

// convVector is convSums where a kernel has a form for it; ok is false elsewhere.
func convVector(c *exec.Call, s convShape, x, xZero, w, wZero *tensor, packed func() intConv) (y *tensor, ok bool, err error) {
	k, codes, ok, err := convForm(c, s, x, xZero, w, wZero, packed)
	if !ok || err != nil {
		return nil, false, err
	}
	y = c.New(onnxio.Int32, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	if y.Len() > 0 {
		k.Sums(s.planar(), s.batch, codes, data[int32](y), c.Threads)
	}
	return y, true, nil
}

// convCodes is a QLinearConv where a kernel has a form for it; done is false elsewhere.
func convCodes(c *exec.Call, a convAttrs, r convRounding, packed func() intConv) (done bool, err error) {
	x, bias := c.In[0], c.Input(8)
	if r.zero != math.Trunc(r.zero) || c.In[2].Len() != 1 {
		return false, nil
	}
	s, err := a.shape(x, c.In[3], bias)
	if err != nil {
		return false, err
	}
	k, codes, ok, err := convForm(c, s, x, c.In[2], c.In[3], c.In[5], packed)
	if !ok || err != nil {
		return false, err
	}
	round := &kernel.Rounding{Factor: r.factor}
	if bias != nil {
		round.Bias = data[int32](bias)
	}
	if !is8(c.In[7].Type) {
		return false, nil
	}
	y := c.New(c.In[7].Type, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	c.Out[0] = y
	if y.Len() > 0 {
		to, _ := codesFrom(y, int32(r.zero))
		k.Codes(s.planar(), s.batch, codes, to, round, c.Threads)
	}
	return true, nil
}

// intMatrix lays out an 8-bit right operand k x n.
func intMatrix(x *tensor, k, n int, from int, zero []int32) *kernel.IntMatrix {
	if x.Type == onnxio.Int8 {
		return kernel.PackIntMatrix(k, n, data[int8](x)[from:from+k*n], zero)
	}
	return kernel.PackIntMatrix(k, n, data[uint8](x)[from:from+k*n], zero)
}

// checkZeros checks an 8-bit operand and the number of its zero points: none, one, or n.
func checkZeros(x *tensor, zero []int32, n int) error {
	if !is8(x.Type) {
		return fmt.Errorf("element type %v given where int8 or uint8 is expected", x.Type)
	}
	if len(zero) > 1 && len(zero) != n {
		return fmt.Errorf("%d zero points for data of shape %v", len(zero), x.Shape)
	}
	return nil
}

// quantizeVector writes 8-bit codes of float32 by the vector kernel; false for other types, grids of fewer codes and odd zero points.
func quantizeVector(y, x any, scale, zero, width float64) bool {
	in, ok := x.([]float32)
	if !ok || width != 255 || zero != math.Trunc(zero) || math.Abs(zero) > 255 {
		return false
	}
	switch out := y.(type) {
	case []uint8:
		kernel.Quantize(out, in, float32(scale), int32(zero))
	case []int8:
		kernel.Quantize(out, in, float32(scale), int32(zero))
	default:
		return false
	}
	return true
}

// dequantizeVector is the reverse of quantizeVector.
func dequantizeVector(y, x any, scale, zero float64) bool {
	out, ok := y.([]float32)
	if !ok || zero != math.Trunc(zero) || math.Abs(zero) > 255 {
		return false
	}
	switch in := x.(type) {
	case []uint8:
		kernel.Dequantize(out, in, float32(scale), int32(zero))
	case []int8:
		kernel.Dequantize(out, in, float32(scale), int32(zero))
	default:
		return false
	}
	return true
}

// codes writes raw bytes of a grid's codes for values in its steps.
func (g byteGrid) codes(dst []byte, steps []float32) {
	if g.typ == onnxio.Int8 {
		kernel.Quantize(unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)), steps, 1, int32(g.zero))
		return
	}
	kernel.Quantize(dst, steps, 1, int32(g.zero))
}
