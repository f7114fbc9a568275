package obs

import (
	"context"
	"fmt"
	"math"
	"sort"
)

// RefineMask lowers the loss of a result that was pruned in blocks of c columns (1 = unstructured) and keeps the number of removed blocks.
// Each row oscillates: some blocks are brought back, each the one of greatest gain, then as many and more are removed, each the cheapest, and so
// on with falling amplitude around the count that the row has; in the end, single exchanges follow until none lowers the loss. The best mask
// met at each count is kept, and rows exchange blocks: one gains a block where another loses one, as long as the sum of losses falls.
// Weights are the least squares of their mask. The layer loss does not rise, that of single rows may.
func RefineMask(ctx context.Context, w Matrix, res *Result, p *Prepared, c int, o Options) (*Result, error) {
	if c < 1 || c > mostC {
		return nil, fmt.Errorf("block size is %d, expected 1 to %d", c, mostC)
	}
	if err := checkRefine(w, res, p); err != nil {
		return nil, err
	}
	h := p.damped()
	ladders := make([]*ladder, w.Rows)
	before := Loss(w, res.W, p.H)
	err := eachRow(ctx, w.Rows, o, func() *tableau { return newTableau(p, h, c) }, func(s *tableau, row int) error {
		l := newLadder(res.W.Row(row), before[row], reach(p.whole(c)/c))
		ladders[row] = l
		if s.start(w.Row(row), keptUnits(res.W.Row(row), c, p.whole(c))) {
			l.climb(s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	share(ladders)
	out := NewMatrix(w.Rows, w.Cols)
	for r, l := range ladders {
		copy(out.Row(r), l.rungs[l.at].x)
	}
	loss := Loss(w, out, p.H)
	for r, l := range ladders { // the ladders' losses are those of float64 weights, and lose digits near zero
		if l.at == l.base() && !(loss[r] <= before[r]) {
			loss[r] = before[r]
			copy(out.Row(r), res.W.Row(r))
		}
	}
	if !(sumOf(loss) <= sumOf(before)) {
		out, loss = res.W.Clone(), before
	}
	return &Result{W: out, Loss: loss, LeftDense: w.Cols - p.whole(c)}, nil
}

func sumOf(x []float64) float64 { return (&Result{Loss: x}).TotalLoss() }

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
// unit that is then cheapest to remove.
func (s *tableau) exchange() bool {
	least := leastFall * s.loss()
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
