package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// everyForm runs f with each implementation that this machine can run.
func everyForm(t *testing.T, f func(t *testing.T)) {
	before := level
	defer use(before)
	for i := Generic; i <= detect(); i++ {
		use(i)
		t.Run(i.String(), f)
	}
}

func use(i ISA) { level, active = i, formsOf(i) }

// sizes around the block sizes of every micro-kernel.
var sizes = []int{0, 1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var nan = float32(math.NaN())

// padded returns a rows x cols matrix of leading dimension ld whose padding is NaN.
func padded(r *rand.Rand, rows, cols, ld int) []float32 {
	x := make([]float32, rows*ld)
	for i := range x {
		x[i] = nan
		if i%ld < cols {
			x[i] = float32(r.NormFloat64())
		}
	}
	return x
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// near fails unless got is want within tol; NaN equals NaN.
func near(t *testing.T, what string, i int, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) && !(math.IsNaN(got) && math.IsNaN(want)) && got != want {
		t.Fatalf("%s: element %d is %g, want %g (tolerance %g)", what, i, got, want, tol)
	}
}

// fastest times f again and again and reports the rate of the fastest run, which other load on the machine disturbs least.
func fastest(b *testing.B, flops int, f func()) {
	best := time.Duration(math.MaxInt64)
	f()
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(flops)/float64(best.Nanoseconds()), "GFLOP/s")
	b.ReportMetric(float64(best.Nanoseconds())/1e3, "best-us")
}
