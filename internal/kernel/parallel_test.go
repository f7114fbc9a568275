package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParallel(t *testing.T) {
	for _, threads := range []int{0, 1, 2, 3, 8} {
		for _, n := range sizes {
			seen := make([]int, n)
			Parallel(threads, n, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					seen[i]++
				}
			})
			for i, c := range seen {
				if c != 1 {
					t.Fatalf("threads %d, n %d: index %d visited %d times", threads, n, i, c)
				}
			}
		}
	}
}

// Parallel from many goroutines at once, inside of itself, and with more threads than cores.
func TestParallelCrowded(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 50
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range rounds {
				var sum atomic.Int64
				Parallel(1+i%9, 40, func(lo, hi int) {
					Parallel(3, hi-lo, func(from, to int) { sum.Add(int64(to - from)) })
				})
				if sum.Load() != 40 {
					t.Errorf("round %d: %d of 40 visited", i, sum.Load())
				}
			}
		})
	}
	wg.Wait()
}

// A panic of any part is the caller's, after the other parts have ended.
func TestParallelPanics(t *testing.T) {
	for part := range 4 {
		var ended atomic.Int32
		func() {
			defer func() {
				if r := recover(); r != part {
					t.Errorf("part %d: recovered %v", part, r)
				}
			}()
			Parallel(4, 4, func(lo, _ int) {
				if lo == part {
					panic(part)
				}
				time.Sleep(time.Millisecond)
				ended.Add(1)
			})
		}()
		if ended.Load() != 3 {
			t.Errorf("part %d: %d of 3 other parts had ended", part, ended.Load())
		}
	}
}

// A helper that is busy when a job is offered comes when it is free: a model's layers follow each other faster than it returns to its slot.
func TestBusyHelperComes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one helper at most
	for range 20 {
		busy, release, done := make(chan bool), make(chan bool), make(chan bool)
		go func() {
			Parallel(2, 2, func(_, _ int) { busy <- true; <-release })
			close(done)
		}()
		<-busy
		<-busy // both parts have begun, one of them in the helper
		var once sync.Once
		both := make(chan bool, 2)
		Parallel(2, 2, func(_, _ int) {
			once.Do(func() { close(release) })
			both <- true
			for start := time.Now(); len(both) < 2; {
				if time.Since(start) > 10*time.Second {
					t.Error("nobody came for the other part")
					return
				}
				time.Sleep(10 * time.Microsecond)
			}
		})
		<-done
	}
}

// Helpers go when nothing comes for them.
func TestHelpersLeave(t *testing.T) {
	before := runtime.NumGoroutine()
	Wake(8)
	Parallel(8, 8, func(_, _ int) { time.Sleep(time.Millisecond) })
	for range 1000 {
		if helpers.waiting.Load() == 0 && helpers.alive.Load() == 0 && runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if w, a, n := helpers.waiting.Load(), helpers.alive.Load(), runtime.NumGoroutine(); w != 0 || a != 0 || n > before {
		t.Errorf("%d helpers wait, %d live, %d goroutines where %d were", w, a, n, before)
	}
	if helpers.board.Load() != nil {
		t.Error("a job is left on the board")
	}
	for i := range helpers.slots {
		if helpers.slots[i].job.Load() != nil {
			t.Errorf("slot %d is taken", i)
		}
	}
}

// BenchmarkParallel measures what handing a part to a helper costs.
func BenchmarkParallel(b *testing.B) {
	for b.Loop() {
		Parallel(2, 2, func(_, _ int) {})
	}
}
