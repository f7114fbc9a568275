package obs

import "math"

// ladder is the best masks found for a row at several counts of kept units around the count that it begins a round with.
type ladder struct {
	kept  []bool // columns kept in the beginning
	count int    // the units it has more than before the first round
	cols  []int  // the columns that the core holds, in which masks differ
	rungs []rung // odd in number; the middle one is that of the beginning
	at    int    // the rung in use
	still bool   // the last round left the mask as it was
}

// rung is the mask of a row with at-base units more than it began with: the columns kept among those of the core, nil for the mask of the
// beginning; loss, damped, is +Inf if none was found.
type rung struct {
	kept []bool
	loss float64
}

// newLadder has n rungs to either side of a row that keeps the given columns at a loss.
func newLadder(kept []bool, loss float64, n int) *ladder {
	l := &ladder{kept: kept, rungs: make([]rung, 2*n+1), at: n}
	for i := range l.rungs {
		l.rungs[i].loss = math.Inf(1)
	}
	l.rungs[n].loss = loss
	return l
}

// settle makes the rung in use the beginning of the next round. A row whose mask stays keeps its rungs: it would find the same again.
func (l *ladder) settle() {
	l.still = true
	for i, k := range l.rungs[l.at].kept {
		if c := l.cols[i]; l.kept[c] != k {
			l.kept[c], l.still = k, false
		}
	}
	if l.still {
		return
	}
	l.count += l.at - l.base()
	loss := l.loss()
	for i := range l.rungs {
		l.rungs[i].loss = math.Inf(1)
	}
	l.at = l.base()
	l.rungs[l.at] = rung{loss: loss}
}

// loss is that of the rung in use.
func (l *ladder) loss() float64 { return l.rungs[l.at].loss }

func (l *ladder) base() int { return len(l.rungs) / 2 }

// reach is how many units a row may gain or lose in one refinement.
func reach(units int) int { return min(2+units/24, 40) }

// amplitudes is how far a row oscillates, as shares of its reach: fast at first, fine in the end. More rounds of these few win more than more of them in a round,
// where the columns that take part stay the same.
var amplitudes = []float64{1, 0.5, 0.25, 0.1}

// climb fills the ladder by oscillations of core s, which starts at the middle rung and the given loss.
func (l *ladder) climb(s *tableau, loss float64) {
	n := l.base()
	l.record(s, n, loss)
	at := n
	for _, a := range amplitudes {
		h := int(math.Round(a * float64(n)))
		for _, to := range []int{n + h, n - h} {
			if at = l.walk(s, at, to, loss); at < 0 {
				return
			}
		}
	}
	if at = l.walk(s, at, n, loss); at == n && s.exchange(leastFall*loss) {
		l.record(s, at, loss)
	}
}

// walk takes s from rung at to rung to, unit by unit, and returns the rung where it ended, -1 if a step failed.
func (l *ladder) walk(s *tableau, at, to int, loss float64) int {
	for at != to {
		b, _ := s.extreme(at < to)
		if b < 0 {
			return at
		}
		if !s.flip(b) {
			return -1
		}
		if at < to {
			at++
		} else {
			at--
		}
		l.record(s, at, loss)
	}
	return at
}

// record keeps the mask of core s, which began at the given loss, at a rung if it is the best there.
func (l *ladder) record(s *tableau, at int, loss float64) {
	r := &l.rungs[at]
	if v := loss - s.won; v < r.loss {
		r.loss = v
		r.kept = append(r.kept[:0], s.kept...)
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
