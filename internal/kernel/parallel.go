package kernel

import "sync"

// Parallel calls fn on the parts of [0, n) that result from cutting it into at most threads parts of nearly equal
// length, each in its own goroutine, and returns when all are done. With threads <= 1 fn(0, n) runs in the caller; for n <= 0 fn
// is not called. fn must not care how the range is cut.
func Parallel(threads, n int, fn func(lo, hi int)) {
	parallelStep(threads, n, 1, fn)
}

// parallelStep is Parallel with inner cuts at multiples of step only.
func parallelStep(threads, n, step int, fn func(lo, hi int)) {
	if n <= 0 {
		return
	}
	units := (n + step - 1) / step
	threads = min(threads, units)
	if threads <= 1 {
		fn(0, n)
		return
	}
	var wg sync.WaitGroup
	for t := 1; t < threads; t++ {
		lo, hi := t*units/threads*step, min((t+1)*units/threads*step, n)
		wg.Go(func() { fn(lo, hi) })
	}
	fn(0, min(units/threads*step, n))
	wg.Wait()
}
