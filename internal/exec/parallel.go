package exec

import "sync"

// grain is the number of simple element operations below which a second goroutine costs more than it brings.
const grain = 1 << 14

// Parallel calls fn on parts of [0, n), each in its own goroutine, when the whole work (n items of cost element operations
// each) is worth it. A panic in any part becomes the kernel's error. fn must not care how the range is cut and must not
// allocate through the Call.
func (c *Call) Parallel(n, cost int, fn func(lo, hi int)) {
	threads := c.Threads
	if w := n * max(cost, 1) / grain; w < threads { // an overflow only loses the second thread
		threads = w
	}
	threads = min(threads, n)
	if threads <= 1 {
		if n > 0 {
			fn(0, n)
		}
		return
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var caught any
	for t := range threads {
		lo, hi := t*n/threads, (t+1)*n/threads
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					mu.Lock()
					caught = r
					mu.Unlock()
				}
			}()
			fn(lo, hi)
		}()
	}
	wg.Wait()
	if caught != nil {
		panic(caught)
	}
}
