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
	*quadric
	spec GridSpec

	keepScales bool
	n, m       int // N:M pattern within which columns may change places; m = 0: none
	whole      int // columns that are in groups of m
	w          []float64
	hw         []float64 // H w
	fixed      []bool    // columns that stay at zero
	scale      []float32
	zero       []int16
	lo, hi     float32 // codes
	group      []int32 // by column: place in scale and zero
	code       []float32
	g          []float64

	// For pairs, by column: the step, and the loss of one up and down with its sign turned, -Inf where the grid ends.
	edge, up, down []float32
	x, y           []float32 // scratch
	hv, v          []float64 // scratch
}

// quadric is what all descents of a layer share.
type quadric struct {
	d        int
	h        []float64 // d x d: damped
	h32      []float32 // the same in float32
	farthest []float32 // by column: greatest |H_ij|, j != i
	dead     []bool
}

func newQuadric(p *Prepared) *quadric {
	d := p.D
	s := &quadric{d: d, h: p.damped(), farthest: make([]float32, d), dead: p.Dead}
	s.h32 = narrow(s.h)
	for i := range d {
		for j, v := range s.h32[i*d : (i+1)*d] {
			if v = max(v, -v); j != i && v > s.farthest[i] {
				s.farthest[i] = v
			}
		}
	}
	return s
}

func newDescent(q *quadric, g *Grid) *descent {
	d := q.d
	lo, hi := g.Spec.Range()
	n := 1
	if g.Spec.Granularity == PerGroup {
		n = g.Groups
	}
	f := func() []float32 { return make([]float32, d) }
	s := &descent{quadric: q, spec: g.Spec, w: make([]float64, d), fixed: make([]bool, d), scale: make([]float32, n), zero: make([]int16, n), lo: float32(lo), hi: float32(hi),
		group: make([]int32, d), code: f(), g: make([]float64, d), edge: f(), up: f(), down: f(), x: f(), y: f(), hv: make([]float64, d), v: make([]float64, d)}
	for c := range s.group {
		if g.Spec.Granularity == PerGroup {
			s.group[c] = int32(c / g.Spec.Group)
		}
	}
	return s
}

// start takes row r of w, its codes on grid g, its mask (nil = none), and the products H w and H q.
func (s *descent) start(w Matrix, codes []int16, g *Grid, mask []bool, hw, hq []float64, r int) {
	d := s.d
	for k := range s.scale {
		i := r*len(s.scale) + k
		if g.Spec.Granularity == PerTensor {
			i = 0
		}
		s.scale[k], s.zero[k] = g.Scale[i], g.Zero[i]
	}
	s.hw = hw[r*d : (r+1)*d]
	for c := range d {
		s.w[c] = float64(w.Data[r*d+c])
		s.fixed[c] = s.dead[c] || mask != nil && mask[r*d+c]
		s.code[c] = float32(codes[r*d+c])
		if s.fixed[c] {
			s.code[c] = float32(s.zero[s.group[c]])
		}
		s.g[c] = hq[r*d+c] - s.hw[c]
	}
}

// value is the weight of column c.
func (s *descent) value(c int) float32 {
	k := s.group[c]
	return s.scale[k] * (s.code[c] - float32(s.zero[k]))
}

// loss is 1/2 (q-w)^T g.
func (s *descent) loss() float64 {
	sum := 0.0
	for c, g := range s.g {
		sum += (float64(s.value(c)) - s.w[c]) * g
	}
	return max(sum/2, 0)
}

// refresh computes g for the codes and scales as they are. d^2 multiply-adds.
func (s *descent) refresh() {
	for c, x := range s.hw {
		s.g[c] = -x
	}
	for c := range s.d {
		if v := s.value(c); v != 0 {
			axpy(float64(v), s.h[c*s.d:(c+1)*s.d], s.g)
		}
	}
}

// step moves the code of column c by n.
func (s *descent) step(c int, n float32) {
	before := s.value(c)
	s.code[c] += n
	axpy(float64(s.value(c))-float64(before), s.h[c*s.d:(c+1)*s.d], s.g)
}

// singles sweeps over the columns, each to its best code given the others, until a sweep changes nothing.
func (s *descent) singles() {
	for range mostSweeps {
		changed := false
		for c := range s.d {
			hcc := s.h[c*s.d+c]
			if s.fixed[c] || hcc <= 0 {
				continue
			}
			n := float32(math.RoundToEven(-s.g[c] / (hcc * float64(s.scale[s.group[c]]))))
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

// mostSweeps bounds the sweeps of one kind, of which a few do.
const mostSweeps = 50

// rate sets edge, up and down for column c.
func (s *descent) rate(c int) {
	e := s.scale[s.group[c]]
	half, slope := float64(e)*float64(e)*s.h[c*s.d+c]/2, float64(e)*s.g[c]
	s.edge[c], s.up[c], s.down[c] = e, float32(-half-slope), float32(-half+slope)
	if s.fixed[c] || s.code[c] >= s.hi {
		s.up[c] = float32(-inf)
	}
	if s.fixed[c] || s.code[c] <= s.lo {
		s.down[c] = float32(-inf)
	}
}

// pairs sweeps once over the columns: each, up and down, with the step of another column that lowers the loss most together with it. About 8 d^2
// operations in vectors, less those of columns whose own step costs more than any other could win, and d for each pair taken.
func (s *descent) pairs() {
	largest := float32(0)
	for c := range s.d {
		s.rate(c)
		largest = max(largest, s.edge[c])
	}
	for i := range s.d {
		if s.fixed[i] || max(s.up[i], s.down[i])+s.edge[i]*largest*s.farthest[i] <= 0 {
			continue
		}
		if ni, j, nj := s.partner(i); j >= 0 {
			s.step(i, ni)
			s.step(j, nj)
			for c := range s.d {
				s.rate(c)
			}
		}
	}
}

// partner is the step of column j that lowers the loss most together with step ni of column i; j is -1 if none does.
func (s *descent) partner(i int) (ni float32, j int, nj float32) {
	row := s.h32[i*s.d : (i+1)*s.d]
	if len(s.scale) == 1 {
		kernel.Affine(s.x, row, s.edge[i]*s.edge[i], 0)
	} else {
		kernel.Mul(s.x, row, s.edge)
		kernel.Scale(s.edge[i], s.x)
	}
	ui, di := s.up[i], s.down[i]
	s.up[i], s.down[i] = float32(-inf), float32(-inf)
	best := float32(0)
	for _, c := range []struct {
		ni, own, nj float32
		other       []float32
		join        func(dst, x, y []float32)
	}{{1, ui, 1, s.up, kernel.Sub}, {1, ui, -1, s.down, kernel.Add}, {-1, di, 1, s.up, kernel.Add}, {-1, di, -1, s.down, kernel.Sub}} {
		c.join(s.y, c.other, s.x)
		v := kernel.Max(s.y)
		// What float32 cannot tell from nothing is not taken.
		if fall := v + c.own; fall > best && fall > 1e-6*max(v, -v) {
			best, ni, nj = fall, c.ni, c.nj
			j = index(s.y, v)
		}
	}
	s.up[i], s.down[i] = ui, di
	if best == 0 {
		return 0, -1, 0
	}
	return ni, j, nj
}

// index is the first place of v in x.
func index(x []float32, v float32) int {
	for i, y := range x {
		if y == v {
			return i
		}
	}
	return -1
}

// refit sets the scales to the least squares for the codes: with v_k the part code-zero of group k, A s = b for A_kl = v_k^T H v_l,
// b_k = v_k^T H w. Scales that would not be positive, or a singular A, leave all as they are, and false is returned. With one scale H v is
// (g + H w)/scale and costs d; with more, d^2 multiply-adds.
func (s *descent) refit() bool {
	n := len(s.scale)
	if n == 1 {
		return s.refitOne()
	}
	a, b := make([]float64, n*n), make([]float64, n)
	for c := range s.v {
		s.v[c] = float64(s.code[c] - float32(s.zero[s.group[c]]))
	}
	for k := range n {
		clear(s.hv)
		for c, x := range s.v {
			if int(s.group[c]) == k && x != 0 {
				axpy(x, s.h[c*s.d:(c+1)*s.d], s.hv)
				b[k] += x * s.hw[c]
			}
		}
		for c, x := range s.hv {
			a[k*n+int(s.group[c])] += x * s.v[c]
		}
		if a[k*n+k] == 0 { // a group of zeros only: any scale does
			a[k*n+k], b[k] = 1, float64(s.scale[k])
		}
	}
	if !solveDefinite(a, b, n) {
		return false
	}
	for _, x := range b {
		if !usable(x) {
			return false
		}
	}
	for k, x := range b {
		s.scale[k] = float32(x)
	}
	s.refresh()
	return true
}

func (s *descent) refitOne() bool {
	old := float64(s.scale[0])
	a, b := 0.0, 0.0
	for c, x := range s.code {
		v := float64(x - float32(s.zero[0]))
		a += v * (s.g[c] + s.hw[c]) / old
		b += v * s.hw[c]
	}
	if !(a > 0) || !usable(b/a) {
		return false
	}
	s.scale[0] = float32(b / a)
	ratio := float64(s.scale[0]) / old
	for c, hw := range s.hw {
		s.g[c] = (s.g[c]+hw)*ratio - hw
	}
	return true
}

// usable tells whether x will do as a scale.
func usable(x float64) bool { return x > leastRange && x < math.MaxFloat32 }

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

// run alternates sweeps over single codes, exchanges and pairs with refits of the scales (unless they are shared with other rows) until a
// round wins less than leastGain, and keeps the best state met.
func (s *descent) run(rounds int) {
	var best saved
	s.save(&best, s.loss())
	for range rounds {
		before := best.loss
		s.singles()
		s.exchanges()
		s.pairs()
		s.singles()
		if l := s.loss(); l < best.loss {
			s.save(&best, l)
		}
		if s.spec.Granularity != PerTensor && !s.keepScales && s.refit() {
			if l := s.loss(); l < best.loss {
				s.save(&best, l)
			}
		}
		if !(best.loss < before*(1-leastGain)) {
			break
		}
	}
	s.load(&best)
}
