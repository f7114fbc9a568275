package kernel

import (
	"math/bits"
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
func Zeros[T Float](n int) []T { return newSlab[T](n) }

func newSlab[T Float](n int) []T {
	s := make([]T, n)
	if n > 0 {
		adviseHuge(unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), n*int(unsafe.Sizeof(s[0]))))
	}
	return s
}
