package obs

import (
	"math"

	"github.com/obc-onnx/obc/internal/kernel"
)

// descent lowers the loss 1/2 (q-w)^T H (q-w) of one row's grid values q = scale (code - zero) step by step. It keeps the gradient
// g = H (q-w) current, so that a step of column i by e costs nothing to rate and d multiply-adds to take:
//
//	loss changes by  e g_i + e^2 H_ii / 2,  then  g += e H[:,i]
//
// and two steps at once change it by both and e_i e_j H_ij more. Masked and dead columns stay at zero.
type descent struct {
	d    int
	h    []float64 // d x d, shared: damped
	h32  []float32 // the same in float32, shared
	spec GridSpec

	n, m   int // N:M pattern within which columns may change places; m = 0: none
	w      []float64
	fixed  []bool // columns that stay at zero
	dead   []bool
	scale  []float32
	zero   []int16
	lo, hi float32 // codes
	group  []int32 // by column: place in scale and zero
	code   []float32
	g      []float32

	up, down []float32 // loss of one step up and down, +Inf where the grid ends
	dw, hv   []float64 // scratch
}

func newDescent(p *Prepared, h []float64, h32 []float32, g *Grid) *descent {
	d := p.D
	lo, hi := g.Spec.Range()
	n := 1
	if g.Spec.Granularity == PerGroup {
		n = g.Groups
	}
	s := &descent{d: d, h: h, h32: h32, spec: g.Spec, dead: p.Dead, w: make([]float64, d), fixed: make([]bool, d), scale: make([]float32, n), zero: make([]int16, n), lo: float32(lo), hi: float32(hi),
		group: make([]int32, d), code: make([]float32, d), g: make([]float32, d), up: make([]float32, d), down: make([]float32, d), dw: make([]float64, d), hv: make([]float64, d)}
	for c := range s.group {
		if g.Spec.Granularity == PerGroup {
			s.group[c] = int32(c / g.Spec.Group)
		}
	}
	return s
}

// start takes row r of w, its codes on grid g and its mask (nil = none).
func (s *descent) start(p *Prepared, w Matrix, codes []int16, g *Grid, mask []bool, r int) {
	d := s.d
	for k := range s.scale {
		i := r*len(s.scale) + k
		if g.Spec.Granularity == PerTensor {
			i = 0
		}
		s.scale[k], s.zero[k] = g.Scale[i], g.Zero[i]
	}
	for c := range d {
		s.w[c] = float64(w.Data[r*d+c])
		s.fixed[c] = p.Dead[c] || mask != nil && mask[r*d+c]
		if p.Dead[c] {
			s.w[c] = 0
		}
		s.code[c] = float32(codes[r*d+c])
		if s.fixed[c] {
			s.code[c] = float32(s.zero[s.group[c]])
		}
	}
	s.refresh()
}

// value is the weight of column c.
func (s *descent) value(c int) float32 {
	k := s.group[c]
	return s.scale[k] * (s.code[c] - float32(s.zero[k]))
}

// refresh computes g afresh and returns the loss, both from float64 sums. d^2 multiply-adds.
func (s *descent) refresh() float64 {
	for c := range s.dw {
		s.dw[c] = float64(s.value(c)) - s.w[c]
	}
	clear(s.hv)
	for c, v := range s.dw {
		if v != 0 {
			axpy(v, s.h[c*s.d:(c+1)*s.d], s.hv)
		}
	}
	sum := 0.0
	for c, v := range s.hv {
		s.g[c] = float32(v)
		sum += v * s.dw[c]
	}
	return max(sum/2, 0)
}

// rate sets up and down for column c.
func (s *descent) rate(c int) {
	e := s.scale[s.group[c]]
	half := e * e * s.h32[c*s.d+c] / 2
	s.up[c], s.down[c] = half+e*s.g[c], half-e*s.g[c]
	if s.fixed[c] || s.code[c] >= s.hi {
		s.up[c] = float32(inf)
	}
	if s.fixed[c] || s.code[c] <= s.lo {
		s.down[c] = float32(inf)
	}
}

// step moves the code of column c by n.
func (s *descent) step(c int, n float32) {
	s.code[c] += n
	kernel.Axpy(n*s.scale[s.group[c]], s.h32[c*s.d:(c+1)*s.d], s.g)
}

// singles sweeps over the columns, each to its best code given the others, until a sweep changes nothing.
func (s *descent) singles() {
	for range 50 {
		changed := false
		for c := range s.d {
			hcc := s.h32[c*s.d+c]
			if s.fixed[c] || hcc <= 0 {
				continue
			}
			n := float32(math.RoundToEven(float64(-s.g[c] / (hcc * s.scale[s.group[c]]))))
			n = min(max(s.code[c]+n, s.lo), s.hi) - s.code[c]
			if n != 0 {
				s.step(c, n)
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// pairs sweeps once over the columns: each, up and down, with the step of another column that lowers the loss most together with it.
// 2 d^2 operations and d for each pair taken. It returns how many were.
func (s *descent) pairs() int {
	for c := range s.d {
		s.rate(c)
	}
	taken := 0
	for i := range s.d {
		if s.fixed[i] {
			continue
		}
		j, ni, nj, fall := s.partner(i)
		if j < 0 || !(fall > 1e-7*float32(math.Abs(float64(s.up[i]))+math.Abs(float64(s.down[i])))) {
			continue
		}
		s.step(i, ni)
		s.step(j, nj)
		for c := range s.d {
			s.rate(c)
		}
		taken++
	}
	return taken
}

// partner is the best pair of steps that has one of column i.
func (s *descent) partner(i int) (j int, ni, nj, fall float32) {
	row := s.h32[i*s.d : (i+1)*s.d]
	ei := s.scale[s.group[i]]
	up, down := s.up[:len(row)], s.down[:len(row)]
	bestUp, bestDown := float32(inf), float32(inf)
	ju, jd := -1, -1
	for c, h := range row {
		if c == i {
			continue
		}
		x := ei * s.scale[s.group[c]] * h
		if v := min(up[c]+x, down[c]-x); v < bestUp {
			bestUp, ju = v, c
		}
		if v := min(up[c]-x, down[c]+x); v < bestDown {
			bestDown, jd = v, c
		}
	}
	j, ni = ju, 1
	fall = -(bestUp + up[i])
	if f := -(bestDown + down[i]); f > fall {
		j, ni, fall = jd, -1, f
	}
	if j < 0 || !(fall > 0) {
		return -1, 0, 0, 0
	}
	x := ni * ei * s.scale[s.group[j]] * row[j]
	nj = 1
	if down[j]-x < up[j]+x {
		nj = -1
	}
	return j, ni, nj, fall
}

// refit sets the scales to the least squares for the codes: with v_k the part code-zero of group k, A s = b for A_kl = v_k^T H v_l,
// b_k = v_k^T H w. Scales that would not be positive, or a singular A, leave all as they are. d^2 multiply-adds.
func (s *descent) refit() bool {
	n := len(s.scale)
	a, b := make([]float64, n*n), make([]float64, n)
	v := s.dw
	for k := range n {
		for c := range v {
			v[c] = 0
			if int(s.group[c]) == k {
				v[c] = float64(s.code[c] - float32(s.zero[k]))
			}
		}
		clear(s.hv)
		for c, x := range v {
			if x != 0 {
				axpy(x, s.h[c*s.d:(c+1)*s.d], s.hv)
			}
		}
		b[k] = dot(s.hv, s.w)
		for c, x := range s.hv {
			l := s.group[c]
			a[k*n+int(l)] += x * float64(s.code[c]-float32(s.zero[l]))
		}
	}
	for k := range n {
		if a[k*n+k] == 0 { // a group of zeros only: any scale does
			a[k*n+k] = 1
			b[k] = float64(s.scale[k])
		}
	}
	if !solveDefinite(a, b, n) {
		return false
	}
	for _, x := range b {
		if !(x > leastRange) || x > math.MaxFloat32 {
			return false
		}
	}
	for k, x := range b {
		s.scale[k] = float32(x)
	}
	return true
}

// saved is what a descent can return to.
type saved struct {
	loss  float64
	scale []float32
	zero  []int16
	code  []float32
	fixed []bool
}

func (s *descent) save(to *saved, loss float64) {
	to.loss = loss
	to.scale = append(to.scale[:0], s.scale...)
	to.zero = append(to.zero[:0], s.zero...)
	to.code = append(to.code[:0], s.code...)
	to.fixed = append(to.fixed[:0], s.fixed...)
}

func (s *descent) load(from *saved) {
	copy(s.scale, from.scale)
	copy(s.zero, from.zero)
	copy(s.code, from.code)
	copy(s.fixed, from.fixed)
}

// leastGain is the share of the loss that a round of descent must win to be followed by another.
const leastGain = 1e-4

// run alternates sweeps over single codes and pairs with refits of the scales (unless they are shared with other rows) until a round wins
// less than leastGain, keeps the best state met, and returns its loss.
func (s *descent) run(rounds int) float64 {
	var best saved
	s.save(&best, s.refresh())
	for range rounds {
		before := best.loss
		s.singles()
		s.exchanges()
		s.pairs()
		s.singles()
		l := s.refresh()
		if l < best.loss {
			s.save(&best, l)
		}
		if s.spec.Granularity != PerTensor && s.refit() {
			if l = s.refresh(); l < best.loss {
				s.save(&best, l)
			}
		}
		if !(best.loss < before*(1-leastGain)) {
			break
		}
	}
	s.load(&best)
	s.refresh()
	return best.loss
}
