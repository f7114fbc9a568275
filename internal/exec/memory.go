package exec

import (
	"fmt"
	"sort"
	"sync"
	"unsafe"

	"github.com/obc-onnx/obc/onnxio"
)

// LimitError says that a run would hold more memory than Options.MemoryLimit allows.
type LimitError struct {
	Want, Held, Limit int64 // bytes; Want < 0 when the shape does not even fit in an int
	Shape             []int
}

func (e *LimitError) Error() string {
	if e.Want < 0 {
		return fmt.Sprintf("a tensor of shape %v is impossible", e.Shape)
	}
	return fmt.Sprintf("a tensor of shape %v needs %d bytes, %d are in use and the memory limit is %d: raise the limit or lower the batch size",
		e.Shape, e.Want, e.Held, e.Limit)
}

// pool lends blocks of memory and takes them back. It is shared by the sessions of an executor.
type pool struct {
	mu         sync.Mutex
	limit      int64
	live, idle int64      // bytes lent and bytes waiting
	peak       int64      // the most that live ever was
	free       [][]uint64 // by ascending length
}

// get lends a block of at least n bytes. The contents are undefined.
func (p *pool) get(n int64) ([]uint64, error) {
	words := int((n + 7) / 8)
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.free), func(i int) bool { return len(p.free[i]) >= words })
	if i < len(p.free) && len(p.free[i]) <= words+words/4+64 {
		b := p.free[i]
		p.free = append(p.free[:i], p.free[i+1:]...)
		p.idle -= int64(len(b)) * 8
		p.charge(int64(len(b)) * 8)
		return b, nil
	}
	if p.live+n > p.limit {
		return nil, &LimitError{Want: n, Held: p.live, Limit: p.limit}
	}
	for len(p.free) > 0 && p.live+p.idle+n > max(p.peak, p.limit/2) {
		last := len(p.free) - 1 // give the largest back to the garbage collector
		p.idle -= int64(len(p.free[last])) * 8
		p.free = p.free[:last]
	}
	p.charge(int64(words) * 8)
	return make([]uint64, words), nil
}

func (p *pool) charge(n int64) {
	p.live += n
	p.peak = max(p.peak, p.live)
}

// put takes a block back.
func (p *pool) put(b []uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live -= int64(len(b)) * 8
	p.idle += int64(len(b)) * 8
	i := sort.Search(len(p.free), func(i int) bool { return len(p.free[i]) >= len(b) })
	p.free = append(p.free, nil)
	copy(p.free[i+1:], p.free[i:])
	p.free[i] = b
}

// drop forgets a lent block: its new owner keeps it.
func (p *pool) drop(n int64) {
	p.mu.Lock()
	p.live -= n
	p.mu.Unlock()
}

// buffer is a lent block and the number of values of the running graph that lie in it.
type buffer struct {
	block []uint64
	refs  int
}

// elemSize is the size in bytes of one element in a Tensor's Data, 0 for strings.
func elemSize(t onnxio.DataType) int {
	switch t {
	case onnxio.String, onnxio.Undefined:
		return 0
	case onnxio.Float16, onnxio.BFloat16, onnxio.Int16, onnxio.Uint16:
		return 2
	case onnxio.Float32, onnxio.Int32, onnxio.Uint32:
		return 4
	case onnxio.Float64, onnxio.Int64, onnxio.Uint64, onnxio.Complex64:
		return 8
	case onnxio.Complex128:
		return 16
	}
	return 1
}

// overlay makes a tensor whose n elements lie in block.
func overlay(t onnxio.DataType, shape []int, n int, block []uint64) *onnxio.Tensor {
	x := &onnxio.Tensor{Type: t, Shape: append([]int{}, shape...)}
	p := unsafe.Pointer(unsafe.SliceData(block))
	switch t {
	case onnxio.Float32:
		x.Data = unsafe.Slice((*float32)(p), n)
	case onnxio.Float64:
		x.Data = unsafe.Slice((*float64)(p), n)
	case onnxio.Int8, onnxio.Int4, onnxio.Int2:
		x.Data = unsafe.Slice((*int8)(p), n)
	case onnxio.Int16:
		x.Data = unsafe.Slice((*int16)(p), n)
	case onnxio.Int32:
		x.Data = unsafe.Slice((*int32)(p), n)
	case onnxio.Int64:
		x.Data = unsafe.Slice((*int64)(p), n)
	case onnxio.Uint16, onnxio.Float16, onnxio.BFloat16:
		x.Data = unsafe.Slice((*uint16)(p), n)
	case onnxio.Uint32:
		x.Data = unsafe.Slice((*uint32)(p), n)
	case onnxio.Uint64:
		x.Data = unsafe.Slice((*uint64)(p), n)
	case onnxio.Bool:
		x.Data = unsafe.Slice((*bool)(p), n)
	case onnxio.Complex64:
		x.Data = unsafe.Slice((*complex64)(p), n)
	case onnxio.Complex128:
		x.Data = unsafe.Slice((*complex128)(p), n)
	default:
		x.Data = unsafe.Slice((*uint8)(p), n)
	}
	return x
}

// base is the address of a tensor's first element, nil for an empty tensor, strings and values that are no tensors.
func base(x *onnxio.Tensor) unsafe.Pointer {
	switch d := x.Data.(type) {
	case []float32:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []float64:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []int8:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []int16:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []int32:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []int64:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []uint8:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []uint16:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []uint32:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []uint64:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []bool:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []complex64:
		return unsafe.Pointer(unsafe.SliceData(d))
	case []complex128:
		return unsafe.Pointer(unsafe.SliceData(d))
	}
	return nil
}
