package exec

import "github.com/obc-onnx/obc/internal/kernel"

// grain is the number of simple element operations below which a second goroutine costs more than it brings.
const grain = 1 << 14

// Parallel calls fn on parts of [0, n), on several goroutines when the whole work (n items of cost element operations
// each) is worth it. A panic in any part becomes the kernel's error. fn must not care how the range is cut, nor wait for another part,
// and must not allocate through the Call.
func (c *Call) Parallel(n, cost int, fn func(lo, hi int)) {
	threads := c.Threads
	if w := n * max(cost, 1) / grain; w < threads { // an overflow only loses the second thread
		threads = w
	}
	kernel.Parallel(threads, n, fn)
}
