package obs

import (
	"math"
)

// The unit of a pruned mask is a block of m consecutive columns that are kept or removed together; columns behind the last whole unit stay kept.
// A unit's gain is what the loss falls by when it changes sides: the sum of the gains of its columns, one pivot after the other,
//
//	1/2 z_B^T (S_BB)^-1 z_B, negative for a kept unit
//
// with dead columns left out.

// units is how many there are.
func (s *tableau) units() int { return s.whole / s.m }

// removed tells whether unit b is removed; free whether it may change sides: it has a column that is not dead.
func (s *tableau) removed(b int) bool {
	for i := b * s.m; i < (b+1)*s.m; i++ {
		if s.kept[i] {
			return false
		}
	}
	return true
}

func (s *tableau) free(b int) bool {
	for i := b * s.m; i < (b+1)*s.m; i++ {
		if !s.dead[i] {
			return true
		}
	}
	return false
}

// unitGain is the gain of unit b.
func (s *tableau) unitGain(b int) float64 {
	if s.m == 1 {
		return s.gain(b)
	}
	n := s.unitBlock(b)
	return s.work.gain(n)
}

// unitBlock copies S_BB and z_B of the columns of unit b that are not dead to work, and returns how many they are. A kept unit has only columns
// that are kept; a column that happens to be zero in a kept unit is kept as well.
func (s *tableau) unitBlock(b int) int {
	n, m := 0, s.m
	for i := b * m; i < (b+1)*m; i++ {
		if s.dead[i] {
			continue
		}
		k := 0
		for j := range m {
			if !s.dead[b*m+j] {
				s.work.a[n*m+k] = s.entry(i, b*m+j)
				k++
			}
		}
		s.work.z[n] = s.z[i]
		s.work.at[n] = i
		n++
	}
	return n
}

// small is a c x c block with its part of z.
type small struct {
	m    int
	a, z []float64
	at   []int
}

func newSmall(m int) *small {
	return &small{m: m, a: make([]float64, m*m), z: make([]float64, m), at: make([]int, m)}
}

// gain is 1/2 z^T A^-1 z of the leading n x n block, by elimination in place; A is definite, of either sign. +-Inf stands for a block that is not.
func (b *small) gain(n int) float64 {
	sum := 0.0
	sign := math.Copysign(1, b.a[0])
	for p := range n {
		pp := b.a[p*b.m+p]
		if !(pp*sign > 0) {
			return -math.Inf(1)
		}
		sum += b.z[p] * b.z[p] / pp
		for i := p + 1; i < n; i++ {
			f := b.a[i*b.m+p] / pp
			b.z[i] -= f * b.z[p]
			for j := p + 1; j < n; j++ {
				b.a[i*b.m+j] -= f * b.a[p*b.m+j]
			}
		}
	}
	return sum / 2
}

// trial puts the columns of removed unit b into the panel without taking the step, so that gainBeside can tell what follows for kept units;
// it returns how many they are.
func (s *tableau) trial(b int) int {
	n := 0
	copy(s.zTry, s.z)
	copy(s.diagTry, s.diag)
	for p := b * s.m; p < (b+1)*s.m; p++ {
		if s.dead[p] {
			continue
		}
		pp := s.diagTry[p]
		sign := math.Copysign(1, pp)
		inv := 1 / math.Sqrt(math.Abs(pp))
		s.baseColumn(p)
		coef := s.coefficients(p, s.t+n)
		s.k.Step(s.u, s.depth, s.t+n, s.col, coef, inv, s.zTry[p]*sign*inv, s.diagTry, s.zTry)
		s.sign[s.t+n] = sign
		n++
	}
	return n
}

// gainBeside is unitGain of unit q after the trial of n columns.
func (s *tableau) gainBeside(q, n int) float64 {
	m := s.m
	if m == 1 {
		return s.zTry[q] * s.zTry[q] / s.diagTry[q] / 2
	}
	k := s.unitBlock(q)
	for a := range k {
		i := s.work.at[a]
		s.work.z[a] = s.zTry[i]
		ui := s.u[i/tile*s.depth*tile+i%tile:]
		for b := range a + 1 {
			j := s.work.at[b]
			uj := s.u[j/tile*s.depth*tile+j%tile:]
			for t := s.t; t < s.t+n; t++ {
				s.work.a[a*m+b] -= s.sign[t] * ui[t*tile] * uj[t*tile]
			}
			s.work.a[b*m+a] = s.work.a[a*m+b]
		}
	}
	return s.work.gain(k)
}

// flip moves unit b to the other side.
func (s *tableau) flip(b int) bool {
	if s.t+s.m > s.limit && !s.rebuild() {
		return false
	}
	for p := b * s.m; p < (b+1)*s.m; p++ {
		if s.dead[p] {
			s.kept[p] = !s.kept[p]
		} else if !s.pivot(p) {
			return false
		}
	}
	return true
}

// extreme is the unit of greatest gain among those on one side; -1 if none has a finite gain.
func (s *tableau) extreme(removed bool) (unit int, gain float64) {
	unit, gain = -1, math.Inf(-1)
	for b := range s.units() {
		if !s.free(b) || s.removed(b) != removed {
			continue
		}
		if g := s.unitGain(b); g > gain {
			unit, gain = b, g
		}
	}
	return unit, gain
}
