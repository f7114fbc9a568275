package obs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
)

// RefineMask lowers the loss of a result that was pruned in blocks of c columns (1 = unstructured) and keeps the number of removed blocks.
// Each row oscillates: some blocks are brought back, each the one of greatest gain, then as many and more are removed, each the cheapest, and so
// on with falling amplitude around the count that the row has; then single exchanges follow until none lowers the loss. Only the blocks that are
// likely to change sides take part. The best mask met at each count is kept, and rows exchange blocks: one gains a block where another loses one,
// as long as the sum of losses falls. Then all begins again from there, for some rounds. Weights are the least squares of their mask. The layer
// loss does not rise, that of single rows may.
func RefineMask(ctx context.Context, w Matrix, res *Result, p *Prepared, c int, o Options) (*Result, error) {
	if c < 1 || c > mostC {
		return nil, fmt.Errorf("block size is %d, expected 1 to %d", c, mostC)
	}
	if err := checkRefine(w, res, p); err != nil {
		return nil, err
	}
	best := &Result{W: res.W.Clone(), Loss: Loss(w, res.W, p.H), LeftDense: w.Cols - p.whole(c)}
	h := p.damped()
	rows := make([]*ladder, w.Rows)
	for r := range rows {
		x := res.W.Row(r)
		rows[r] = newLadder(keptUnits(x, c, p.whole(c)), best.Loss[r]+p.penalty(w.Row(r), x), reach(p.whole(c)/c))
	}
	for range maskRounds {
		fall, err := climbAll(ctx, w, p, h, c, rows, o)
		if err != nil {
			return nil, err
		}
		if !(fall > leastRound) {
			break
		}
	}
	mask := make([]bool, w.Rows*w.Cols)
	for r, l := range rows {
		for i, k := range l.kept {
			mask[r*w.Cols+i] = !k
		}
	}
	out, err := LeastSquares(ctx, w, mask, p, o)
	if errors.Is(err, errSingular) {
		return best, nil
	}
	if err != nil {
		return nil, err
	}
	for r, l := range rows { // what is lost to rounding, or by damping
		if l.count == 0 && !(out.Loss[r] < best.Loss[r]) {
			out.Loss[r] = best.Loss[r]
			copy(out.W.Row(r), res.W.Row(r))
		}
	}
	if !(out.TotalLoss() < best.TotalLoss()) {
		return best, nil
	}
	out.LeftDense = best.LeftDense
	return out, nil
}

// penalty is what damping adds to the loss of weights x for a row w: ridge/2 |w-x|^2.
func (p *Prepared) penalty(w, x []float32) float64 {
	sum := 0.0
	for i, v := range w {
		if d := float64(v) - float64(x[i]); !p.Dead[i] {
			sum += d * d
		}
	}
	return p.ridge() / 2 * sum
}

// climbAll is one round of RefineMask: it changes the masks of all rows, and returns the share by which their damped loss fell.
func climbAll(ctx context.Context, w Matrix, p *Prepared, h []float64, c int, rows []*ladder, o Options) (float64, error) {
	before := 0.0
	for _, l := range rows {
		before += l.loss()
	}
	type state struct{ all, core *tableau }
	err := eachRow(ctx, w.Rows, o, func() state { return state{newTableau(p, h, c, false), newCore(c)} }, func(s state, row int) error {
		l := rows[row]
		if l.still {
			return nil
		}
		if s.all.start(w.Row(row), l.kept) {
			l.cols = s.all.contested(3*l.base() + 4)
			s.all.focus(s.core, l.cols)
			l.climb(s.core, s.all.loss())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	share(rows)
	after := 0.0
	for _, l := range rows {
		after += l.loss()
		l.settle()
	}
	return 1 - after/before, nil
}

// Rounds of RefineMask, and the share of the loss that one must win to be followed by another.
const (
	maskRounds = 6
	leastRound = 1e-3
)

// keptUnits marks the columns of blocks that are not all zero, and those behind the last whole block.
func keptUnits(x []float32, c, whole int) []bool {
	kept := make([]bool, len(x))
	for lo := 0; lo < len(x); lo += c {
		hi := min(lo+c, len(x))
		any := lo >= whole
		for _, v := range x[lo:hi] {
			any = any || v != 0
		}
		for i := lo; i < hi; i++ {
			kept[i] = any
		}
	}
	return kept
}

// exchange brings removed units back, each for a kept one, until no pair lowers the loss: candidates by falling gain, each with the kept
// unit that is then cheapest to remove, taken if the loss falls by more than least.
func (s *tableau) exchange(least float64) bool {
	for again := true; again; {
		again = false
		for _, r := range s.candidates(least) {
			if s.t+s.m > s.limit && !s.rebuild() {
				return false
			}
			if !(s.unitGain(r) > least) {
				continue
			}
			q, fall := s.partner(r)
			if q < 0 || !(fall > least) {
				continue
			}
			if !s.flip(r) || !s.flip(q) {
				return false
			}
			again = true
		}
	}
	return true
}

// mostCandidates bounds the units that an exchange looks at: those after it, of small gain, hardly ever find a partner.
const mostCandidates = 48

// candidates is the removed units whose gain is above least, greatest first.
func (s *tableau) candidates(least float64) []int {
	var units []int
	gain := make([]float64, s.units())
	for b := range gain {
		if s.free(b) && s.removed(b) {
			if gain[b] = s.unitGain(b); gain[b] > least {
				units = append(units, b)
			}
		}
	}
	sort.SliceStable(units, func(i, j int) bool { return gain[units[i]] > gain[units[j]] })
	return units[:min(len(units), mostCandidates)]
}

// partner is the kept unit whose removal after bringing r back costs least, and what the loss then falls by in all.
func (s *tableau) partner(r int) (q int, fall float64) {
	gain := s.unitGain(r)
	n := s.trial(r)
	q, fall = -1, math.Inf(-1)
	for b := range s.units() {
		if s.removed(b) || !s.free(b) {
			continue
		}
		if f := gain + s.gainBeside(b, n); f > fall {
			q, fall = b, f
		}
	}
	return q, fall
}
