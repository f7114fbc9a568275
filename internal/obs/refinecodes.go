package obs

import (
	"context"
	"fmt"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Effort is how far RefineCodes goes.
type Effort struct {
	Rounds     int  // of a row's descent at most; 0: until nothing is won
	KeepScales bool // only codes change
}

// Quick is the effort that is worth making always: most of what can be won, for about half the time of the exact solve.
var Quick = Effort{Rounds: 2}

// mostRounds bounds the rounds of a row's descent.
const mostRounds = 12

func (e Effort) rounds() int {
	if e.Rounds > 0 {
		return min(e.Rounds, mostRounds)
	}
	return mostRounds
}

// RefineCodes lowers the loss of a quantized result by coordinate descent: single codes, then pairs of codes, then the scales in closed form,
// again and again until nothing is won. Weights of mask (nil = none) stay zero. A scale that all rows share is refitted for all of them, and
// rows follow. Each round costs a few d^2 operations a row. Rows whose undamped loss would not fall stay as they are, but for a shared scale, where
// it is the layer's loss that must fall.
func RefineCodes(ctx context.Context, w Matrix, res *Result, p *Prepared, mask []bool, e Effort, o Options) (*Result, error) {
	return refineCodes(ctx, w, res, p, mask, 0, 0, e, o)
}

// refineCodes is RefineCodes in which, if m > 0, columns may also change places within an n:m pattern.
func refineCodes(ctx context.Context, w Matrix, res *Result, p *Prepared, mask []bool, n, m int, e Effort, o Options) (*Result, error) {
	if err := checkCodes(w, res, p, mask); err != nil {
		return nil, err
	}
	q := newQuadric(p)
	clean := p.clean(w)
	hw := q.times(clean, o)
	descend := func(from *Result) (*Result, error) {
		out := from.copyCodes(nil, p)
		hq := q.times(out.W, o)
		err := eachRow(ctx, w.Rows, o, func() *descent { return newDescent(q, out.Grid) }, func(s *descent, r int) error {
			s.n, s.m, s.whole = n, m, p.whole(max(m, 1))
			s.keepScales = e.KeepScales
			s.start(clean, out.Codes, out.Grid, mask, hw, hq, r)
			s.run(e.rounds())
			s.store(out, r)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return out.keepBetter(w, from, p), nil
	}
	out, err := descend(res.copyCodes(mask, p))
	if err != nil {
		return nil, err
	}
	if out.Grid.Spec.Granularity != PerTensor || e.KeepScales {
		return out, nil
	}
	for range e.rounds() { // the scale of all rows
		next := out.copyCodes(nil, p)
		if !next.refitShared(hw, q.times(next.W, o)) {
			break
		}
		if next, err = descend(next); err != nil {
			return nil, err
		}
		if !(next.TotalLoss() < out.TotalLoss()*(1-leastGain)) {
			break
		}
		out = next
	}
	return out, nil
}

// refitShared sets the one scale of all rows to the least squares for the codes, sum (v^T H w) / sum (v^T H v) with v = code - zero, given the
// products H w and H q, and the weights to match. It returns false if that is no scale.
func (r *Result) refitShared(hw, hq []float64) bool {
	old, a, b := float64(r.Grid.Scale[0]), 0.0, 0.0
	for i, v := range r.W.Data {
		a += float64(v) * hq[i] / old / old
		b += float64(v) * hw[i] / old
	}
	if !(a > 0) || !usable(b/a) {
		return false
	}
	r.Grid.Scale[0] = float32(b / a)
	for i, c := range r.Codes {
		r.W.Data[i] = r.Grid.Value(i/r.W.Cols, i%r.W.Cols, c)
	}
	return true
}

// times is X H, X rows x d.
func (q *quadric) times(x Matrix, o Options) []float64 {
	out := make([]float64, len(x.Data))
	wide := make([]float64, len(x.Data))
	for i, v := range x.Data {
		wide[i] = float64(v)
	}
	kernel.Dgemm(false, false, x.Rows, q.d, q.d, 1, wide, q.d, q.h, q.d, 0, out, q.d, o.threads())
	return out
}

func checkCodes(w Matrix, res *Result, p *Prepared, mask []bool) error {
	if err := checkRefine(w, res, p); err != nil {
		return err
	}
	if res.Grid == nil || len(res.Codes) != len(w.Data) {
		return fmt.Errorf("result to refine has %d codes, expected %d: it must come from a quantizing method", len(res.Codes), len(w.Data))
	}
	return checkGrid(w, res.Grid, mask)
}

// copyCodes is a copy of r to change, zero where mask is true and in dead columns.
func (r *Result) copyCodes(mask []bool, p *Prepared) *Result {
	g := *r.Grid
	g.Scale, g.Zero = append([]float32(nil), g.Scale...), append([]int16(nil), g.Zero...)
	out := &Result{W: r.W.Clone(), LeftDense: r.LeftDense, Codes: append([]int16(nil), r.Codes...), Grid: &g}
	for i := range out.W.Data {
		if row, c := i/p.D, i%p.D; p.Dead[c] || mask != nil && mask[i] {
			out.W.Data[i], out.Codes[i] = 0, g.Zero[g.Index(row, c)]
		}
	}
	return out
}

// store gives row r of out the state of s.
func (s *descent) store(out *Result, r int) {
	for c, v := range s.code {
		out.Codes[r*s.d+c] = int16(v)
		out.W.Data[r*s.d+c] = s.value(c)
	}
	if s.spec.Granularity != PerTensor {
		copy(out.Grid.Scale[r*len(s.scale):], s.scale)
		copy(out.Grid.Zero[r*len(s.zero):], s.zero)
	}
}

// keepBetter sets the losses of r, and gives rows whose loss did not fall below that of before the state that they had.
func (r *Result) keepBetter(w Matrix, before *Result, p *Prepared) *Result {
	old := Loss(w, before.W, p.H)
	r.Loss = Loss(w, r.W, p.H)
	n := r.Grid.Groups
	for i := range old {
		if r.Loss[i] < old[i] {
			continue
		}
		r.Loss[i] = old[i]
		copy(r.W.Row(i), before.W.Row(i))
		copy(r.Codes[i*w.Cols:(i+1)*w.Cols], before.Codes[i*w.Cols:])
		if r.Grid.Spec.Granularity != PerTensor {
			copy(r.Grid.Scale[i*n:(i+1)*n], before.Grid.Scale[i*n:])
			copy(r.Grid.Zero[i*n:(i+1)*n], before.Grid.Zero[i*n:])
		}
	}
	return r
}

// narrow is x in float32.
func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
