package main

import (
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"sync/atomic"
)

const (
	// gcPercent is how far the heap may grow beyond what is alive. Models and activations are few large pieces without pointers, which
	// cost the collector nothing, so memory is worth more than fewer collections.
	gcPercent = 30
	// mostGarbage bounds that growth in bytes, for heaps so large that gcPercent would allow more.
	mostGarbage = 64 << 20
	// solverGarbage is what commands that solve many small layers may leave in any case: a collection takes as long as a layer.
	solverGarbage = 16 << 20
	// mostPercent bounds the percentage for small heaps; the runtime takes it from 4 MiB at least.
	mostPercent = 400
	// leastPercent keeps the collector from running all the time.
	leastPercent = 4
)

// solving is set by commands that solve layers.
var solving atomic.Bool

// boundGarbage keeps memory that is no longer used small, unless the user has said how (GOGC): gcPercent of what is alive, and no
// more than mostGarbage, which is looked at again after each collection.
func boundGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	w := &afterCollection{percent: gcPercent, live: []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	runtime.SetFinalizer(w, (*afterCollection).adjust)
}

// afterCollection is garbage itself, so that its finalizer runs after the next collection.
type afterCollection struct {
	percent int
	live    []runtimemetrics.Sample
}

func (w *afterCollection) adjust() {
	runtimemetrics.Read(w.live)
	if p := percentFor(w.live[0].Value.Uint64(), solving.Load()); p != w.percent {
		w.percent = p
		debug.SetGCPercent(p)
	}
	runtime.SetFinalizer(w, (*afterCollection).adjust)
}

// percentFor is the percentage for a heap of so many bytes alive.
func percentFor(live uint64, solving bool) int {
	p := max(leastPercent, min(gcPercent, mostGarbage*100/max(live, 1)))
	if solving {
		p = max(p, min(mostPercent, solverGarbage*100/max(live, 1)))
	}
	return int(p)
}
