package exec

import (
	"errors"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// TestArena lends and takes back blocks at random: none overlaps another, the bytes add up, and in the end each chunk is whole again.
func TestArena(t *testing.T) {
	a := &arena{limit: 1 << 24}
	r := rand.New(rand.NewPCG(1, 2))
	var lent []block
	var bytes, peak int64
	for round := range 5000 {
		if len(lent) == 0 || r.IntN(5) < 3 && bytes < 1<<22 {
			n := int64(1 + r.IntN(1<<r.IntN(20)))
			b, err := a.get(n, false)
			if err != nil {
				t.Fatal(err)
			}
			if b.bytes() < n {
				t.Fatalf("asked for %d bytes, got %d", n, b.bytes())
			}
			for _, other := range lent {
				if from(b) < from(other)+other.bytes() && from(other) < from(b)+b.bytes() {
					t.Fatalf("round %d: a block overlaps another", round)
				}
			}
			lent, bytes = append(lent, b), bytes+b.bytes()
			peak = max(peak, bytes)
			continue
		}
		i := r.IntN(len(lent))
		bytes -= lent[i].bytes()
		a.put(lent[i])
		lent[i] = lent[len(lent)-1]
		lent = lent[:len(lent)-1]
		if a.live != bytes || a.peak != peak {
			t.Fatalf("round %d: live %d, peak %d, want %d and %d", round, a.live, a.peak, bytes, peak)
		}
	}
	for _, b := range lent {
		a.put(b)
	}
	for _, c := range a.chunks {
		if len(c.free) != 1 || c.free[0] != (span{0, len(c.words)}) {
			t.Errorf("a chunk of %d words has the free spans %v", len(c.words), c.free)
		}
	}
	if a.held > 3*peak {
		t.Errorf("%d bytes held for a peak of %d", a.held, peak)
	}
	var limit *LimitError
	if _, err := a.get(1<<25, false); !errors.As(err, &limit) {
		t.Errorf("beyond the limit: %v", err)
	}
	if b, err := a.get(100, true); err != nil || b.owner != nil || from(b)%8 != 0 {
		t.Errorf("memory of its own: %v, %v", b.owner, err)
	}
}

func from(b block) int64 { return int64(uintptr(unsafe.Pointer(&b.words[0]))) }
