package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/obc-onnx/obc/passes"
)

// TestProgressLines follows two passes by a clock that moves five seconds a report.
func TestProgressLines(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	tell := a.follow()
	clock := time.Unix(0, 0)
	a.progress.now = func() time.Time { clock = clock.Add(5 * time.Second); return clock }
	for i := 0; i <= 8; i++ {
		tell(passes.Progress{Pass: "solve", Detail: "layer1", Done: i, Total: 8})
	}
	tell(passes.Progress{Pass: "solve", Detail: "late", Done: 3, Total: 8})
	tell(passes.Progress{Pass: "write", Total: 1})
	tell(passes.Progress{Pass: "write", Detail: "tensors", Done: 40, Total: 40})
	tell(passes.Progress{Pass: "write", Detail: "tensors", Done: 20, Total: 50})
	a.closeProgress()
	tell(passes.Progress{Pass: "write", Done: 1, Total: 1}) // too late: must do nothing
	want := `obc: solve: 0 of 8, layer1
obc: solve: 2 of 8, layer1, 30s left
obc: solve: 4 of 8, layer1, 20s left
obc: solve: 6 of 8, layer1, 10s left
obc: solve: 8 of 8, layer1
obc: write: 0 of 1
obc: write: 0 of 1, tensors (20 of 50)
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestProgressQuiet(t *testing.T) {
	a := &app{quiet: true}
	if a.follow() != nil {
		t.Error("--quiet follows the passes")
	}
	a.closeProgress()
}

// TestProgressBars draws bars from several goroutines, one of them for a pass that is cut off, with notes in between.
func TestProgressBars(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	tell := a.follow()
	a.progress.bars = mpb.New(mpb.WithOutput(&out), mpb.WithAutoRefresh(), mpb.WithRefreshRate(5*time.Millisecond))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				tell(passes.Progress{Pass: "calibrate", Detail: "batch", Done: 25*g + i, Total: 100})
				tell(passes.Progress{Pass: "solve", Detail: "conv_7", Done: i, Total: 1000})
			}
		})
	}
	wg.Wait()
	tell(passes.Progress{Pass: "calibrate", Done: 100, Total: 100})
	a.note("the damping was raised")
	time.Sleep(20 * time.Millisecond)
	a.closeProgress()
	for _, want := range []string{"calibrate", "100 of 100", "conv_7", "of 1000", "note: the damping was raised"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}
