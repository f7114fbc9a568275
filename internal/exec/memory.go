package exec

import (
	"fmt"
	"slices"
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
	what := "what it collects"
	if e.Shape != nil {
		what = fmt.Sprintf("a tensor of shape %v", e.Shape)
	}
	return fmt.Sprintf("%s needs %d bytes, %d are in use and the memory limit is %d: raise the limit or lower the batch size", what, e.Want, e.Held, e.Limit)
}

// pool keeps the arenas of sessions that are closed for those that come.
type pool struct {
	mu    sync.Mutex
	limit int64
	peak  int64 // the most bytes that one session ever had lent
	idle  []*arena
}

func (p *pool) take() *arena {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		a := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return a
	}
	return &arena{limit: p.limit}
}

func (p *pool) giveBack(a *arena) {
	p.note(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, a)
}

// note keeps the peak.
func (p *pool) note(a *arena) {
	p.mu.Lock()
	p.peak = max(p.peak, a.peak)
	p.mu.Unlock()
}

// arena lends blocks that are cut out of larger chunks, so that what one tensor leaves serves others of any size. It belongs to one
// session, and with it to one goroutine.
type arena struct {
	limit      int64
	live, held int64 // bytes lent, and those of all chunks
	peak       int64 // the most that live ever was
	chunks     []*chunk
}

// chunk is a piece of memory with the spans of it that are free, by ascending place; neighbours are joined.
type chunk struct {
	words []uint64
	free  []span
}

type span struct{ at, n int }

// block is a lent part of a chunk; owner nil: memory of its own, which is not taken back.
type block struct {
	words []uint64
	owner *chunk
}

func (b block) bytes() int64 { return int64(len(b.words)) * 8 }

const (
	blockWords = 8       // blocks are cut at multiples of it: cache lines
	chunkWords = 1 << 15 // the smallest chunk, 256 kB: small tensors share it
)

// get lends a block of at least n bytes; alone: in memory of its own, for tensors that outlive the session. The contents are undefined.
func (a *arena) get(n int64, alone bool) (block, error) {
	if n > a.limit-a.live {
		return block{}, &LimitError{Want: n, Held: a.live, Limit: a.limit}
	}
	words := (int((n+7)/8) + blockWords - 1) / blockWords * blockWords
	var b block
	if alone {
		b = block{words: make([]uint64, words)}
	} else {
		c, i := a.fit(words)
		if c == nil {
			c, i = a.grow(words), 0
		}
		b = block{c.cut(i, words), c}
	}
	a.live += b.bytes()
	a.peak = max(a.peak, a.live)
	return b, nil
}

// fit finds the smallest free span that is large enough.
func (a *arena) fit(words int) (best *chunk, at int) {
	for _, c := range a.chunks {
		for i, s := range c.free {
			if s.n >= words && (best == nil || s.n < best.free[at].n) {
				best, at = c, i
			}
		}
	}
	return best, at
}

// grow adds a chunk. Chunks that nobody uses go before the whole would pass the limit.
func (a *arena) grow(words int) *chunk {
	n := max(words, chunkWords)
	a.chunks = slices.DeleteFunc(a.chunks, func(c *chunk) bool {
		idle := len(c.free) == 1 && c.free[0].n == len(c.words)
		if idle && a.held+int64(n)*8 > a.limit {
			a.held -= int64(len(c.words)) * 8
			return true
		}
		return false
	})
	c := &chunk{words: make([]uint64, n), free: []span{{0, n}}}
	a.chunks = append(a.chunks, c)
	a.held += int64(n) * 8
	return c
}

// cut takes words from the start of free span i.
func (c *chunk) cut(i, words int) []uint64 {
	s := &c.free[i]
	b := c.words[s.at : s.at+words : s.at+words]
	s.at, s.n = s.at+words, s.n-words
	if s.n == 0 {
		c.free = slices.Delete(c.free, i, i+1)
	}
	return b
}

// put takes a block back.
func (a *arena) put(b block) {
	a.live -= b.bytes()
	c := b.owner
	if c == nil || len(b.words) == 0 {
		return
	}
	at := int(uintptr(unsafe.Pointer(&b.words[0]))-uintptr(unsafe.Pointer(&c.words[0]))) / 8
	i, _ := slices.BinarySearchFunc(c.free, at, func(s span, at int) int { return s.at - at })
	c.free = slices.Insert(c.free, i, span{at, len(b.words)})
	if i+1 < len(c.free) && at+len(b.words) == c.free[i+1].at {
		c.free[i].n += c.free[i+1].n
		c.free = slices.Delete(c.free, i+1, i+2)
	}
	if i > 0 && c.free[i-1].at+c.free[i-1].n == at {
		c.free[i-1].n += c.free[i].n
		c.free = slices.Delete(c.free, i, i+1)
	}
}

// buffer is a lent block and the number of values of the running graph that lie in it.
type buffer struct {
	block block
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
