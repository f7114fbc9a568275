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

// packIntConv packs an 8-bit weight; nil when it is of no such type.
func packIntConv(s kernel.ConvShape, w *tensor, zero []int32) *kernel.IntConv {
	switch d := w.Data.(type) {
	case []uint8:
		return kernel.PackIntConv(s, d, zero)
	case []int8:
		return kernel.PackIntConv(s, d, zero)
	}
	return nil
}

// constIntConv packs a constant weight at the first run; nil where the weight or its zero points are not constant.
func constIntConv(p *exec.Prep, a convAttrs, w, wZero int) func() *kernel.IntConv {
	t, zero := p.Const(w), p.Const(wZero)
	if t == nil || p.Given(wZero) && zero == nil || len(t.Shape) < 3 || len(t.Shape) > 4 || t.Len() == 0 {
		return nil
	}
	shape := append([]int{1, t.Shape[1] * a.group}, t.Shape[2:]...)
	s, err := a.shape(&tensor{Shape: shape}, t, nil)
	z, zerr := zeroList(zero)
	if err != nil || zerr != nil || s.depthwise || len(z) > 1 && len(z) != t.Shape[0] {
		return nil
	}
	return sync.OnceValue(func() *kernel.IntConv { return packIntConv(s.planar(), t, z) })
}

// exactTaps is the largest number of products of 8-bit integers whose float32 sum is exact: 255*255*taps < 2^24.
const exactTaps = 256

// convVector is convSums where a kernel has a form for it; ok is false elsewhere.
func convVector(c *exec.Call, s convShape, x, xZero, w, wZero *tensor, packed func() *kernel.IntConv) (y *tensor, ok bool, err error) {
	if len(x.Shape) != 3 && len(x.Shape) != 4 || s.depthwise && s.taps > exactTaps || c.Ctx.Err() != nil {
		return nil, false, nil
	}
	zx, err := zeroList(xZero)
	if err != nil {
		return nil, false, err
	}
	zw, err := zeroList(wZero)
	if err != nil {
		return nil, false, err
	}
	if len(zw) > 1 && len(zw) != w.Shape[0] {
		return nil, false, nil // convSums says why
	}
	zero := int32(0)
	if len(zx) == 1 {
		zero = zx[0]
	}
	y = c.New(onnxio.Int32, append([]int{s.batch, s.group * s.cout}, s.out...)...)
	if y.Len() == 0 {
		return y, true, nil
	}
	ks := s.planar()
	if s.depthwise {
		return y, depthwiseSums(c, ks, s, y, x, w, zero, zw), nil
	}
	weight := (*kernel.IntConv)(nil)
	if packed != nil {
		weight = packed()
	} else {
		weight = packIntConv(ks, w, zw)
	}
	pairs := data[int32](c.New(onnxio.Int32, s.batch*s.group*kernel.PairLen(s.cin), s.inPix))
	switch d := x.Data.(type) {
	case []uint8:
		kernel.PairChannels(pairs, ks, s.batch, d, zero, c.Threads)
	case []int8:
		kernel.PairChannels(pairs, ks, s.batch, d, zero, c.Threads)
	default:
		return nil, false, nil
	}
	if weight == nil {
		return nil, false, nil
	}
	weight.Run(ks, s.batch, pairs, data[int32](y), c.Threads)
	return y, true, nil
}

// depthwiseSums computes in float32, whose sums are exact for so few products.
func depthwiseSums(c *exec.Call, ks kernel.ConvShape, s convShape, y, x, w *tensor, zx int32, zw []int32) bool {
	fx, fw := c.Scratch(x.Len()), c.Scratch(w.Len())
	zeros := zw
	if len(zeros) == 0 {
		zeros = []int32{0}
	}
	if !lessZero(fx, x, []int32{zx}) || !lessZero(fw, w, zeros) {
		return false
	}
	sums := c.Scratch(y.Len())
	kernel.Depthwise(ks, s.batch, fx, fw, sums, nil, c.Threads)
	out := data[int32](y)
	c.Parallel(len(out), 1, func(lo, hi int) {
		for i, v := range sums[lo:hi] {
			out[lo+i] = int32(v)
		}
	})
	return true
}

// lessZero sets dst to the elements of an 8-bit tensor less the zero points of len(zero) equal parts.
func lessZero(dst []float32, x *tensor, zero []int32) bool {
	per := len(dst) / len(zero)
	switch d := x.Data.(type) {
	case []uint8:
		for i, z := range zero {
			minus(dst[i*per:(i+1)*per], d[i*per:], z)
		}
	case []int8:
		for i, z := range zero {
			minus(dst[i*per:(i+1)*per], d[i*per:], z)
		}
	default:
		return false
	}
	return true
}

func minus[T kernel.Byte](dst []float32, x []T, zero int32) {
	for i := range dst {
		dst[i] = float32(int32(x[i]) - zero)
	}
}

// pairRows and pairCols are the matrices of an 8-bit tensor as pairs along the rows and columns.
func pairRows(c *exec.Call, x *tensor, m, k int, zero []int32) ([]int32, error) {
	if err := checkZeros(x, zero, m); err != nil {
		return nil, err
	}
	count := x.Len() / max(1, m*k)
	h := kernel.PairLen(k)
	out := data[int32](c.New(onnxio.Int32, count*m, h))
	c.Parallel(count, 2*m*k, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			switch d := x.Data.(type) {
			case []uint8:
				kernel.PairRows(out[i*m*h:(i+1)*m*h], d[i*m*k:(i+1)*m*k], m, k, zero)
			case []int8:
				kernel.PairRows(out[i*m*h:(i+1)*m*h], d[i*m*k:(i+1)*m*k], m, k, zero)
			}
		}
	})
	return out, nil
}

func pairCols(c *exec.Call, x *tensor, k, n int, zero []int32) ([]int32, error) {
	if err := checkZeros(x, zero, n); err != nil {
		return nil, err
	}
	count := x.Len() / max(1, k*n)
	h := kernel.PairLen(k)
	out := data[int32](c.New(onnxio.Int32, count*h, n))
	c.Parallel(count, 2*k*n, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			switch d := x.Data.(type) {
			case []uint8:
				kernel.PairCols(out[i*h*n:(i+1)*h*n], d[i*k*n:(i+1)*k*n], k, n, zero)
			case []int8:
				kernel.PairCols(out[i*h*n:(i+1)*h*n], d[i*k*n:(i+1)*k*n], k, n, zero)
			}
		}
	})
	return out, nil
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

// requantRows writes codes from sums in rows of n elements with a factor each and one zero point; false for other types than 8 bits.
func requantRows(c *exec.Call, y *tensor, sums []int32, n int, zero int32, factor func(row int) float64) bool {
	rows := len(sums) / max(n, 1)
	switch out := y.Data.(type) {
	case []uint8:
		c.Parallel(rows, n, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				kernel.Requant(out[i*n:(i+1)*n], sums[i*n:(i+1)*n], float32(factor(i)), zero)
			}
		})
	case []int8:
		c.Parallel(rows, n, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				kernel.Requant(out[i*n:(i+1)*n], sums[i*n:(i+1)*n], float32(factor(i)), zero)
			}
		})
	default:
		return false
	}
	return true
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
