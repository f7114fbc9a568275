package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Parallel calls fn on the parts of [0, n) that result from cutting it into at most threads parts of nearly equal
// length, on as many goroutines, and returns when all are done. With threads <= 1 fn(0, n) runs in the caller; for n <= 0 fn
// is not called. fn must not care how the range is cut, nor wait for another part. A panic in a part is one of the caller, after all
// parts have ended.
func Parallel(threads, n int, fn func(lo, hi int)) {
	parallelStep(threads, n, 1, fn)
}

// parallelStep is Parallel with inner cuts at multiples of step only.
func parallelStep(threads, n, step int, fn func(lo, hi int)) {
	parallelParts(threads, threads, n, step, fn)
}

// parallelParts is parallelStep with up to so many parts, from which each of the goroutines takes the next one when it is free.
func parallelParts(threads, parts, n, step int, fn func(lo, hi int)) {
	if n <= 0 {
		return
	}
	units := (n + step - 1) / step
	parts = min(parts, units)
	threads = min(threads, parts)
	if threads <= 1 {
		fn(0, n)
		return
	}
	j := &job{fn: fn, n: n, step: step, units: units, parts: int32(parts)}
	j.left.Store(j.parts)
	j.done.Add(parts)
	j.offer(threads - 1)
	start := time.Now()
	if j.work() < parts {
		alone.end()
	} else if alone.tooLong(time.Since(start)) {
		leaveCore()
	}
	j.wait()
	helpers.board.CompareAndSwap(j, nil)
}

// Wake calls as many helpers as Parallel with that many threads wants, if they are not waiting already: the caller can do
// something else while the operating system wakes their threads up, which takes longer than a short product.
func Wake(threads int) {
	if threads > 1 && helpers.waiting.Load() == 0 {
		(&job{}).offer(threads - 1)
	}
}

// A job is a range that is being worked on. Whoever is there takes the next part: the caller never waits for a helper that has not
// come yet, and a helper that comes too late finds nothing to do.
//
// Handing a part to a helper that waits costs some 100 ns, one cache line from core to core. A goroutine of its own for each part
// costs up to 50 us where its thread sleeps, more than whole layers take.
type job struct {
	fn             func(lo, hi int)
	n, step, units int
	parts          int32
	next           atomic.Int32 // the first part that nobody has taken
	left           atomic.Int32 // parts that are not done
	done           sync.WaitGroup
	panicked       atomic.Pointer[any]
}

// work does parts until all are taken, and returns how many it did.
func (j *job) work() (did int) {
	for j.next.Load() < j.parts {
		if t := j.next.Add(1) - 1; t < j.parts {
			j.part(int(t))
			did++
		}
	}
	return did
}

func (j *job) part(t int) {
	defer func() {
		if r := recover(); r != nil {
			j.panicked.Store(&r)
		}
		j.left.Add(-1)
		j.done.Done()
	}()
	parts := int(j.parts)
	j.fn(t*j.units/parts*j.step, min((t+1)*j.units/parts*j.step, j.n))
}

// wait returns when all parts are done, which helpers are working on.
func (j *job) wait() {
	for p := (patience{}); j.left.Load() > 0 && !p.over(); {
	}
	j.done.Wait()
	if r := j.panicked.Load(); r != nil {
		panic(*r)
	}
}

// offer gives the job to up to n helpers: first those that wait, then new ones. Helpers that are still busy, often with the last
// instructions of the job before, find it on the board.
func (j *job) offer(n int) {
	for i := range helpers.slots {
		if n == 0 || helpers.waiting.Load() == 0 {
			break
		}
		if helpers.slots[i].job.CompareAndSwap(vacant, j) {
			helpers.waiting.Add(-1)
			n--
		}
	}
	if n > 0 {
		if j.parts > 0 {
			helpers.board.Store(j)
		}
		j.hire(n)
	}
}

// hire starts up to n helpers, but no more than there are other cores: one that has no core of its own would come too late.
func (j *job) hire(n int) {
	for most := int32(runtime.GOMAXPROCS(0) - 1); n > 0; n-- {
		if helpers.alive.Add(1) > most {
			helpers.alive.Add(-1)
			return
		}
		go j.help(thisCore())
	}
}

// help works on the job and on those that come within the helper's patience, on another core than the caller's.
func (j *job) help(caller int) {
	defer helpers.alive.Add(-1)
	if caller >= 0 && thisCore() == caller {
		leaveCore()
	}
	for ; j != nil; j = nextJob() {
		j.work()
	}
}

// alone tells callers for how long no helper has come. Linux on a virtual machine often wakes a helper's thread on the
// core of the thread that woke it, though another is idle: the host, which gives idle cores away, makes it look taken. There
// the helper waits for the caller's time slice to end, and the two keep changing places for many milliseconds, slower than one alone. So who
// finds itself where it ought not to be leaves: the helper as soon as it runs, or the caller whose helper does not come.
var alone loneliness

// loneliness adds up the nanoseconds of jobs, one after the other, whose caller did all parts itself, and how many are too many.
type loneliness struct{ spent, limit atomic.Int64 }

// end notes that a helper came.
func (l *loneliness) end() {
	if l.spent.Load() != 0 || l.limit.Load() != 0 {
		l.spent.Store(0)
		l.limit.Store(0)
	}
}

// tooLong notes a job done alone, and tells whether to do something about it: less and less often where that is in vain.
func (l *loneliness) tooLong(d time.Duration) bool {
	limit := max(l.limit.Load(), int64(waitTime))
	if l.spent.Add(int64(d)) < limit {
		return false
	}
	l.spent.Store(0)
	l.limit.Store(min(2*limit, int64(longestWait)))
	return true
}

// helpers are the goroutines that wait for jobs, each at a slot. Outside of Parallel there are none but for the moment that
// patience lasts, so there is nothing to start or to close.
var helpers struct {
	alive, waiting atomic.Int32
	board          atomic.Pointer[job] // the latest job for which too few were waiting; nil when it is done
	_              [6]uint64
	slots          [64]slot
}

// slot holds nil when it is free, vacant when a helper waits there, or the job that the helper is given.
type slot struct {
	job atomic.Pointer[job]
	_   [7]uint64 // a cache line each
}

var vacant = new(job)

// nextJob waits for a job; nil when none comes, or when as many helpers as there is room for wait already.
func nextJob() *job {
	for i := range helpers.slots[:min(len(helpers.slots), runtime.GOMAXPROCS(0)-1)] {
		s := &helpers.slots[i].job
		if !s.CompareAndSwap(nil, vacant) {
			continue
		}
		helpers.waiting.Add(1)
		for p := (patience{}); s.Load() == vacant && posted() == nil && !p.over(); {
		}
		if s.CompareAndSwap(vacant, nil) { // nobody came
			helpers.waiting.Add(-1)
			return posted()
		}
		return s.Swap(nil)
	}
	return nil
}

// posted is the job on the board, if it has parts that nobody has taken.
func posted() *job {
	if j := helpers.board.Load(); j != nil && j.next.Load() < j.parts {
		return j
	}
	return nil
}

// patience counts how long somebody has been waiting.
type patience struct {
	rounds int
	start  time.Time
}

const (
	// waitTime is how long a helper keeps its core to itself waiting for the next job: longer than what single-threaded steps of a model take.
	waitTime = 100 * time.Microsecond
	// longestWait is how long a caller works alone, at most, before it looks for another core once more.
	longestWait = 100 * time.Millisecond
	// yieldRounds is how many looks lie between two offers of the core to other goroutines, some microseconds.
	yieldRounds = 64
)

// over pauses and tells whether it is time to give up.
func (p *patience) over() bool {
	pause()
	if p.rounds++; p.rounds%yieldRounds != 0 {
		return false
	}
	if p.start.IsZero() {
		p.start = time.Now()
		return false
	}
	runtime.Gosched()
	return time.Since(p.start) > waitTime
}
