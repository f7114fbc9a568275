package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/obc-onnx/obc/passes"
)

// progress shows how far the passes of a compression are: a bar for each on a terminal, else a line when a pass begins, now
// and then while it runs, and when it is done.
type progress struct {
	app   *app
	every time.Duration // between two lines of a pass
	now   func() time.Time

	mu    sync.Mutex
	bars  *mpb.Progress // nil: lines
	steps map[string]*step
}

// step is one pass on its way.
type step struct {
	start, told time.Time
	bar         *mpb.Bar
	now         passes.Progress
	shown       atomic.Pointer[passes.Progress] // now, for the goroutine that draws
}

const lineInterval = 10 * time.Second

// follow starts to show progress and returns the function to tell it to; nil with --quiet.
func (a *app) follow() func(passes.Progress) {
	if a.quiet {
		return nil
	}
	a.progress = &progress{app: a, every: lineInterval, now: time.Now, steps: map[string]*step{}}
	if a.log == nil && width(a.err) > 0 {
		a.progress.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	}
	return a.progress.tell
}

// finishProgress says that all passes are done, and ends the display.
func (a *app) finishProgress() {
	if p := a.progress; p != nil {
		p.mu.Lock()
		for _, s := range p.steps {
			if s.bar != nil {
				s.shown.Store(&passes.Progress{})
				s.bar.SetCurrent(int64(s.now.Total))
				s.bar.SetTotal(int64(s.now.Total), true)
			}
		}
		p.mu.Unlock()
	}
	a.closeProgress()
}

// closeProgress takes the bars off the terminal's hands; what was drawn stays.
func (a *app) closeProgress() {
	p := a.progress
	if p == nil {
		return
	}
	a.progress = nil
	p.mu.Lock()
	bars := p.bars
	for _, s := range p.steps {
		if s.bar != nil {
			s.bar.Abort(false) // does nothing to a finished one
		}
	}
	p.steps, p.bars = nil, nil
	p.mu.Unlock()
	if bars != nil {
		bars.Wait()
	}
}

// progressWriter is where lines for the user go while bars may be drawn: above them.
func (a *app) progressWriter() io.Writer {
	if p := a.progress; p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.bars != nil {
			return p.bars
		}
	}
	return a.err
}

// tell takes one report; any goroutine may call it.
func (p *progress) tell(r passes.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps == nil {
		return // closed
	}
	s, now := p.steps[r.Pass], p.now()
	first := s == nil
	if first {
		s = &step{start: now, told: now}
		p.steps[r.Pass] = s
		if p.bars != nil {
			s.bar = p.newBar(r.Pass, s)
		}
	}
	if !first && r.Total != s.now.Total { // a part of the pass that counts in other units
		r = passes.Progress{Pass: r.Pass, Detail: fmt.Sprintf("%s (%d of %d)", r.Detail, r.Done, r.Total), Done: s.now.Done, Total: s.now.Total}
	}
	r.Done = max(r.Done, s.now.Done) // reports of several goroutines may come out of order
	finished := r.Done >= r.Total && (first || s.now.Done < s.now.Total)
	s.now = r
	s.shown.Store(&r)
	if s.bar != nil {
		s.bar.SetTotal(int64(r.Total), false)
		s.bar.SetCurrent(int64(r.Done))
		if finished {
			s.bar.SetTotal(int64(r.Total), true)
		}
		return
	}
	if first || finished || now.Sub(s.told) >= p.every {
		s.told = now
		p.line(s, now)
	}
}

func (p *progress) line(s *step, now time.Time) {
	r, left := s.now, remaining(s.start, now, s.now)
	if log := p.app.log; log != nil {
		log.Info("progress", slog.String("pass", r.Pass), slog.String("at", r.Detail), slog.Int("done", r.Done), slog.Int("total", r.Total), slog.Float64("seconds_left", left.Seconds()))
		return
	}
	text := fmt.Sprintf("obc: %s: %d of %d", r.Pass, r.Done, r.Total)
	if r.Detail != "" {
		text += ", " + r.Detail
	}
	if left > 0 {
		text += fmt.Sprintf(", %s left", left)
	}
	fmt.Fprintln(p.app.err, text)
}

func (p *progress) newBar(pass string, s *step) *mpb.Bar {
	// mpb asks for the text while it draws, which must not wait for tell: tell waits for mpb.
	at := decor.Any(func(decor.Statistics) string {
		r := s.shown.Load()
		if r == nil {
			return ""
		}
		if left := remaining(s.start, p.now(), *r); left > 0 {
			return fmt.Sprintf(" %s left  %s", left, r.Detail)
		}
		return " " + r.Detail
	})
	return p.bars.AddBar(0,
		mpb.PrependDecorators(decor.Name(pass, decor.WCSyncSpaceR), decor.CountersNoUnit("%d of %d", decor.WCSyncSpace)),
		mpb.AppendDecorators(at))
}

// remaining is how long a pass still takes at the speed it had so far; 0 when that is not known or it is done.
func remaining(start, now time.Time, r passes.Progress) time.Duration {
	spent := now.Sub(start)
	if r.Done <= 0 || r.Done >= r.Total || spent < time.Second {
		return 0
	}
	return (time.Duration(float64(spent) * float64(r.Total-r.Done) / float64(r.Done))).Round(time.Second)
}
