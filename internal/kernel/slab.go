package kernel

import (
	"math/bits"
	"strings"
	"sync"
	"unsafe"
)

// Slabs are large pieces of memory that are used again, since fresh pages cost more than what is written to them: about 3 us each on
// virtual machines, as much as 20,000 multiply-adds.

// slabs holds what was given back, by class of size, for float32 and float64.
var slabs [2][24 * slabSteps]sync.Pool

const (
	// slabSteps is the classes of size to each power of two.
	slabSteps = 32
	// leastSlab and mostSlab are the sizes in bytes between which memory is used again.
	leastSlab, mostSlab = 1 << 12, 1 << 28
)

// slabClass is the class that holds n numbers, and how many its pieces have.
func slabClass(n int) (class, size int) {
	if n <= 2*slabSteps {
		return n, n
	}
	shift := bits.Len(uint(n-1)) - bits.Len(slabSteps)
	steps := (n-1)>>shift + 1 // slabSteps+1 .. 2*slabSteps
	return shift*slabSteps + steps, steps << shift
}

func slabKind[T Float]() (kind, bytes int) {
	var zero T
	if unsafe.Sizeof(zero) == 4 {
		return 0, 4
	}
	return 1, 8
}

// SlabSize is how many numbers a slab of n takes.
func SlabSize(n int) int {
	_, size := slabClass(n)
	return size
}

// Slab returns n numbers that hold anything. ReleaseSlab takes them back for later use; memory that is not given back is simply collected.
func Slab[T Float](n int) []T {
	kind, bytes := slabKind[T]()
	if n*bytes < leastSlab || n*bytes > mostSlab {
		return newSlab[T](n)
	}
	class, size := slabClass(n)
	if s, ok := slabs[kind][class].Get().(*[]T); ok {
		return (*s)[:n]
	}
	return newSlab[T](size)[:n]
}

// ReleaseSlab gives back what Slab returned, of which nobody must hold any part.
func ReleaseSlab[T Float](s []T) {
	kind, bytes := slabKind[T]()
	if n := cap(s); n*bytes >= leastSlab && n*bytes <= mostSlab {
		if class, size := slabClass(n); size == n {
			s = s[:n]
			slabs[kind][class].Put(&s)
		}
	}
}

// Zeros is make([]T, n) in large pages where the system has them: for matrices that live long.
func Zeros[T Float](n int) []T {
	s := make([]T, n)
	inLargePages(s)
	return s
}

// newSlab is n numbers that hold anything. make would clear what the collector has freed, on one thread: a fifth of the time that the
// Hessian of a 3x3 convolution of 512 channels takes, which writes all of it anyway. The one part of Go's library that leaves this out is
// strings.Builder; nobody else holds its bytes.
func newSlab[T Float](n int) []T {
	_, bytes := slabKind[T]()
	if n*bytes < leastSlab {
		return make([]T, n)
	}
	var b strings.Builder
	b.Grow(n * bytes)
	b.WriteByte(0)
	s := unsafe.Slice((*T)(unsafe.Pointer(unsafe.StringData(b.String()))), n)
	inLargePages(s)
	return s
}

func inLargePages[T Float](s []T) {
	if len(s) > 0 {
		adviseHuge(unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*int(unsafe.Sizeof(s[0]))))
	}
}
