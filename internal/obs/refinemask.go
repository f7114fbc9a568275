package obs

import (
	"context"
	"fmt"
	"math"
	"sort"
)

// RefineMask lowers the loss of a result that was pruned in blocks of c columns (1 = unstructured) and keeps the number of removed blocks.
// In each row a removed block is brought back and a kept one removed in its place while that lowers the loss; then the row is taken a few
// blocks up and down, and rows exchange blocks: one gains a block where another loses one, as long as the sum of losses falls.
// Weights are the least squares of their mask. Rows whose undamped loss would not fall at their count stay as they are.
func RefineMask(ctx context.Context, w Matrix, res *Result, p *Prepared, c int, o Options) (*Result, error) {
	if c < 1 || c > mostC {
		return nil, fmt.Errorf("block size is %d, expected 1 to %d", c, mostC)
	}
	if err := checkRefine(w, res, p); err != nil {
		return nil, err
	}
	h := p.damped()
	ladders := make([]*ladder, w.Rows)
	loss := Loss(w, res.W, p.H)
	err := eachRow(ctx, w.Rows, o, func() *tableau { return newTableau(p, h, c) }, func(s *tableau, row int) error {
		l := newLadder(w.Row(row), res.W.Row(row), loss[row], p)
		ladders[row] = l
		if s.start(w.Row(row), keptUnits(res.W.Row(row), c)) {
			_ = s.exchange() && l.climb(s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	share(ladders)
	out := NewMatrix(w.Rows, w.Cols)
	for r, l := range ladders {
		loss[r] = l.write(out.Row(r))
	}
	return &Result{W: out, Loss: loss, LeftDense: w.Cols % c}, nil
}

// keptUnits marks the columns of blocks that are not all zero, and those behind the last whole block.
func keptUnits(x []float32, c int) []bool {
	kept := make([]bool, len(x))
	for lo := 0; lo < len(x); lo += c {
		hi := min(lo+c, len(x))
		any := hi-lo < c
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
			if s.t+2*s.m > s.depth && !s.rebuild() {
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
	return units
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

// ladder is the best weights found for a row at several counts of kept units around where it began.
type ladder struct {
	w, zero []float32 // the dense row; nothing
	p       *Prepared
	at      int // the rung in use
	rungs   []rung
	base    int // rung of the count that the row began with
}

// rung is the row with base+i units; loss is +Inf if none was found.
type rung struct {
	x    []float32
	loss float64
}

func newLadder(w, x []float32, loss float64, p *Prepared) *ladder {
	return &ladder{w: w, p: p, rungs: []rung{{append([]float32(nil), x...), loss}}}
}

// reach is how many units a row may gain or lose in one refinement.
func reach(units int) int { return min(2+units/24, 24) }

// climb fills the ladder: up from where s is, down to as far below, and back.
func (l *ladder) climb(s *tableau) bool {
	n := reach(s.units())
	rungs := make([]rung, 2*n+1)
	for i := range rungs {
		rungs[i].loss = math.Inf(1)
	}
	rungs[n] = l.rungs[0]
	l.rungs, l.at, l.base = rungs, n, n
	l.record(s, n)
	at := n
	for _, leg := range []struct {
		removed bool
		to      int
	}{{true, 2 * n}, {false, 0}, {true, n}} {
		for at != leg.to {
			b, _ := s.extreme(leg.removed, -1)
			if b < 0 {
				break
			}
			if !s.flip(b) || !s.settle(b) {
				return false
			}
			if leg.removed {
				at++
			} else {
				at--
			}
			l.record(s, at)
		}
	}
	return true
}

// settle exchanges the best pair found by removing first, after unit last changed sides.
func (s *tableau) settle(last int) bool { return true }

// record keeps the weights of s at a rung if they are the best there.
func (l *ladder) record(s *tableau, at int) {
	if !(s.loss() < l.rungs[at].loss*(1+1e-3)) {
		return
	}
	x := NewMatrix(1, s.d)
	s.weights(x.Data)
	if v := Loss(Matrix{1, s.d, l.w}, x, l.p.H)[0]; v < l.rungs[at].loss {
		l.rungs[at] = rung{x.Data, v}
	}
}

// fall is what the loss falls by from the rung in use to the one delta higher; -Inf if there is none.
func (l *ladder) fall(delta int) float64 {
	i := l.at + delta
	if i < 0 || i >= len(l.rungs) || math.IsInf(l.rungs[i].loss, 1) {
		return math.Inf(-1)
	}
	return l.rungs[l.at].loss - l.rungs[i].loss
}

// share moves units between rows, from the row that loses least to the one that gains most, while the sum of losses falls.
func share(ls []*ladder) {
	for {
		up, down := -1, -1
		for i, l := range ls {
			if up < 0 || l.fall(1) > ls[up].fall(1) {
				up = i
			}
		}
		for i, l := range ls {
			if i != up && (down < 0 || l.fall(-1) > ls[down].fall(-1)) {
				down = i
			}
		}
		if down < 0 || !(ls[up].fall(1)+ls[down].fall(-1) > 0) {
			return
		}
		ls[up].at++
		ls[down].at--
	}
}

// write copies the row of the rung in use, and returns its loss.
func (l *ladder) write(dst []float32) float64 {
	copy(dst, l.rungs[l.at].x)
	return l.rungs[l.at].loss
}
