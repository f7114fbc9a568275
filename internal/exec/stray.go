package exec

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/obc-onnx/obc/onnxio"
)

// strays are tensors that a session does not lend from its arena and whose end it does not see: elements of sequences, results of
// subgraphs, small floats. They count as held until the garbage collector has found that nothing refers to them.
type strays struct {
	mu   sync.Mutex
	held int64 // bytes
	at   map[uintptr]stray
	last int64
}

type stray struct {
	bytes int64
	id    int64 // tells it from a later tensor at the same address
}

type strayKey struct {
	at uintptr
	id int64
}

// smallStray is the size in bytes below which a stray is not worth counting.
const smallStray = 1 << 10

// count counts n bytes of the heap from at on, which belong to one tensor.
func (s *Session) count(at unsafe.Pointer, n int64) {
	if n < smallStray || at == nil {
		return
	}
	if s.strays == nil {
		s.strays = &strays{} // apart from the session, which the cleanups must not keep alive
	}
	l := s.strays
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil {
		l.at = map[uintptr]stray{}
	}
	l.last++
	key := strayKey{uintptr(at), l.last}
	l.held += n - l.at[key.at].bytes // what was there before is gone, but that was not told yet
	l.at[key.at] = stray{n, key.id}
	runtime.AddCleanup((*byte)(at), l.lost, key)
}

// lost is told by the garbage collector that a stray is gone.
func (l *strays) lost(key strayKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.at[key.at]; ok && s.id == key.id {
		l.held -= s.bytes
		delete(l.at, key.at)
	}
}

func (l *strays) total() int64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// room fails when n bytes more would pass the memory limit, even after a garbage collection.
func (s *Session) room(n int64) error {
	for tries := 0; ; tries++ {
		held := s.arena.live + s.strays.total()
		if n <= s.arena.limit-held {
			return nil
		}
		if n > s.arena.limit-s.arena.live || tries == 4 {
			return &LimitError{Want: n, Held: held, Limit: s.arena.limit}
		}
		runtime.GC()
		time.Sleep(time.Duration(tries) * time.Millisecond) // cleanups run on their own
	}
}

// astray is detached for a tensor that stays within the run: it counts.
func (s *Session) astray(t *onnxio.Tensor) (*onnxio.Tensor, error) {
	if t == nil {
		return nil, nil
	}
	switch t.Data.(type) {
	case *Sequence, *Optional:
		return t, s.retain(t)
	}
	b := s.bufs[base(t)]
	if b == nil {
		return t, nil
	}
	n := b.block.bytes()
	if b.block.owner != nil {
		if err := s.room(n); err != nil {
			return nil, err
		}
	}
	d := s.detached(t)
	s.count(base(d), n)
	return d, nil
}

// adopt counts a tensor that was made without the arena: fresh memory of the heap, of this tensor alone.
func (c *Call) adopt(t *onnxio.Tensor) error {
	n := int64(t.Len()) * int64(elemSize(t.Type))
	if err := c.s.room(n); err != nil {
		err.(*LimitError).Shape = t.Shape
		return err
	}
	c.s.count(base(t), n)
	return nil
}
