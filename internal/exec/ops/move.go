package ops

import (
	"unsafe"

	"github.com/obc-onnx/obc/onnxio"
)

// Operators that move elements do not care what they mean. mover copies elements of any type between two tensors.
type mover struct {
	dst, src   []byte
	dstS, srcS []string // instead, for strings
	size       int
}

// newMover moves elements of src's type.
func newMover(dst, src *tensor) mover {
	if src.Type == onnxio.String {
		return mover{dstS: data[string](dst), srcS: data[string](src), size: 1}
	}
	d, n := bytesOf(dst)
	s, _ := bytesOf(src)
	return mover{dst: d, src: s, size: n}
}

// move copies n elements from element s of the source to element d of the destination.
func (m mover) move(d, s, n int) {
	if m.dstS != nil {
		copy(m.dstS[d:d+n], m.srcS[s:s+n])
		return
	}
	copy(m.dst[d*m.size:(d+n)*m.size], m.src[s*m.size:(s+n)*m.size])
}

// bytesOf is the storage of a tensor that holds no strings, and the size of an element.
func bytesOf(x *tensor) ([]byte, int) {
	switch d := x.Data.(type) {
	case []float32:
		return asBytes(d), 4
	case []float64:
		return asBytes(d), 8
	case []int8:
		return asBytes(d), 1
	case []int16:
		return asBytes(d), 2
	case []int32:
		return asBytes(d), 4
	case []int64:
		return asBytes(d), 8
	case []uint8:
		return d, 1
	case []uint16:
		return asBytes(d), 2
	case []uint32:
		return asBytes(d), 4
	case []uint64:
		return asBytes(d), 8
	case []bool:
		return asBytes(d), 1
	case []complex64:
		return asBytes(d), 8
	case []complex128:
		return asBytes(d), 16
	}
	return nil, 1
}

func asBytes[T any](d []T) []byte {
	if len(d) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(d))), len(d)*int(unsafe.Sizeof(d[0])))
}

// raw views the storage of a tensor that holds no strings as elements of another type of the same size.
func raw[T any](x *tensor) []T {
	b, _ := bytesOf(x)
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

// permuted runs the instance of a strided copy that fits the element size: dst[i] = src[base + what the strides give].
func permuted(dst, src *tensor, base int, l loop, parallel func(n, cost int, fn func(lo, hi int))) {
	if src.Type == onnxio.String {
		strided(data[string](dst), data[string](src), base, l, parallel)
		return
	}
	switch _, n := bytesOf(src); n {
	case 1:
		strided(raw[uint8](dst), raw[uint8](src), base, l, parallel)
	case 2:
		strided(raw[uint16](dst), raw[uint16](src), base, l, parallel)
	case 4:
		strided(raw[uint32](dst), raw[uint32](src), base, l, parallel)
	case 8:
		strided(raw[uint64](dst), raw[uint64](src), base, l, parallel)
	default:
		strided(raw[complex128](dst), raw[complex128](src), base, l, parallel)
	}
}

// strided copies src, walked from base on with operand 1's strides, to dst, walked with operand 0's, which are row-major.
func strided[T any](dst, src []T, base int, l loop, parallel func(n, cost int, fn func(lo, hi int))) {
	if len(dst) == 0 {
		return
	}
	rows, n := l.rows()
	step := l.inner(1)
	parallel(rows, n, func(lo, hi int) {
		l.each(lo, hi, func(_ int, off []int) {
			d, s := dst[off[0]:off[0]+n], base+off[1]
			switch step {
			case 1:
				copy(d, src[s:s+n])
			case 0:
				v := src[s]
				for i := range d {
					d[i] = v
				}
			default:
				for i := range d {
					d[i] = src[s]
					s += step
				}
			}
		})
	})
}
