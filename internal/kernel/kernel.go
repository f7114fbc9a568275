// Package kernel holds the numerical kernels of obc on plain slices: matrix products, symmetric updates, convolutions,
// elementwise functions and the inner steps of the layer solver. It knows neither ONNX nor graphs.
//
// Matrices are row-major with an explicit leading dimension ("ld": elements from one row to the next). Every kernel has a
// pure Go form, which is the reference for the tests; on amd64 AVX2+FMA or AVX-512 forms are chosen at start by what
// the processor and the operating system offer. The environment variable OBC_KERNEL=generic|avx2|avx512 forces one (a form
// that this machine cannot run is ignored); the build tag noasm leaves the assembly out.
//
//	kernel.Sgemm(false, true, m, n, k, 1, x, k, w, k, 0, y, n, threads) // y = x w^T
//
// Results depend neither on the number of threads nor on how the work was split: each element is computed by one
// goroutine in one fixed order. Forms differ among each other by rounding, except where a comment says "equal bits".
//
// Slices that are too short are programmer errors and panic, as index expressions do.
package kernel

import "os"

// ISA names the instruction set that the kernels use.
type ISA int

const (
	Generic ISA = iota // pure Go
	AVX2               // AVX2 and FMA, 256 bits
	AVX512             // AVX-512 F, DQ, BW and VL, 512 bits
)

func (i ISA) String() string {
	return [...]string{"generic", "avx2", "avx512"}[i]
}

// Active returns the instruction set in use.
func Active() ISA { return level }

// level is the instruction set in use; tests switch it.
var level = choose(os.Getenv("OBC_KERNEL"))

// choose returns the form asked for by name if this machine runs it, else the best one that it runs.
func choose(name string) ISA {
	best := detect()
	for i := Generic; i <= best; i++ {
		if i.String() == name {
			return i
		}
	}
	return best
}

//go:generate go -C _gen run . -dir ..
