package obs

import (
	"math"

	"github.com/obc-onnx/obc/internal/kernel"
)

// tableau tells, for one row with kept columns K and removed columns R, what it costs to remove a kept column or to bring a removed one
// back, and takes such steps. It is the principal pivot transform (sweep) of the Hessian H, damped, on K, with the least-squares weights w of
// K and the gradient g = H (w - w0) as one more column:
//
//	S = [ -C    X ]    C = (H_KK)^-1   X = C H_KR                z = [ -w_K ]
//	    [ X^T   M ]    M = H_RR - H_RK C H_KR                        [  g_R ]
//
// A pivot on p moves it to the other side, with e = sign(S_pp), +1 for p in R:
//
//	S_ij -= S_ip S_pj / S_pp;  S_ip = e S_ip / S_pp;  S_pp = -1/S_pp;  z_i -= S_ip z_p / S_pp;  z_p = e z_p / S_pp
//
// and changes the loss by -z_p^2/(2 S_pp): the same formula both ways. Pivots are kept as a panel of columns, S = S_0 - sum_t s_t u_t u_t^T, and
// never applied to S_0: a step with t columns in the panel costs d*t multiply-adds. Setting up costs k^3/2 + k^2 r multiply-adds for k = |K|, r = |R|, and
// r^2 k/2 more with M, without which there is no pivot: then the tableau rates units and is the ground for a core (see focus).
//
// The diagonal of S and its entries within units of m consecutive columns are kept current.
type tableau struct {
	k        kernel.Elim[float64]
	d, ld, m int
	whole    int       // columns that are in units
	h        []float64 // d x d, shared: damped
	dead     []bool
	w0       []float64
	kept     []bool

	// S_0
	inK, inR []int     // columns of K and R when the panel began
	slot     []int     // place in inK or inR; -1 for dead columns
	baseK    []bool    // in K when the panel began
	c        []float64 // k x k
	xt       []float64 // r x k: X^T
	hrk      []float64 // r x k
	pivots   bool      // M is computed, which pivots need
	mrr      []float64 // r x r: M
	moved    []bool    // columns that were pivoted on: their base column is zero
	isCore   bool      // S_0 is tri instead of all this, see focus
	tri      []float64 // a triangle of tiles, see package kernel
	signed   []float64 // scratch: the panel's columns with their signs

	// panel, in the layout of package kernel
	depth, t int
	limit    int // of t
	u        []float64
	sign     []float64
	coef     []float64

	diag, z []float64 // by column, padded
	won     float64   // what the loss has fallen by in all pivots since it was set to zero
	near    []float64 // d x m: S(i, j) at i*m + j%m for j < i of the same unit
	col     []float64 // scratch, padded
	none    []float64 // scratch for a kernel argument that is not needed

	diagTry, zTry []float64 // after a trial
	marked        []bool    // see mark
	markedZ       []float64
	work          *small
}

// A tableau is set up anew after so many pivots that the panel has cost about as much as that does, but no sooner than leastPivots and no later
// than mostPivots.
const (
	leastPivots = 64
	mostPivots  = 512
)

// patience is the number of pivots after which setting up anew pays: a panel of t columns has cost d t^2/2 multiply-adds, one of which takes as long as
// 2.5 of the matrix products for X and M, and 0.8 of the inversion.
func (s *tableau) patience(k, r float64) int {
	setup := k * (0.6*k*k + 0.4*k*r + 0.2*r*r)
	return min(max(int(math.Sqrt(2*setup/float64(s.d))), leastPivots), s.depth-s.m)
}

// newTableau keeps entries within units of m columns current. pivots tells whether there will be any.
func newTableau(p *Prepared, h []float64, m int, pivots bool) *tableau {
	d := p.D
	ld := (d + tile - 1) / tile * tile
	v := func(n int) []float64 { return make([]float64, n) }
	depth := m
	if pivots {
		depth += min(mostPivots, d+16)
	}
	return &tableau{k: kernel.ElimOf[float64](), pivots: pivots, d: d, ld: ld, m: m, whole: p.whole(m), h: h, dead: p.Dead, w0: v(d), kept: make([]bool, d), slot: make([]int, d),
		baseK: make([]bool, d), moved: make([]bool, d), depth: depth, u: v(depth * ld), sign: v(depth), coef: v(depth), diag: v(ld), z: v(ld), near: v(d * m), col: v(ld), none: v(ld),
		marked: make([]bool, d), markedZ: v(ld), work: newSmall(m)}
}

// ridge is what damping adds to the diagonal of H.
func (p *Prepared) ridge() float64 {
	mean := 0.0
	for i := range p.D {
		mean += p.H[i*p.D+i] / float64(p.D)
	}
	return p.Damping * mean
}

// damped is the H that Prepare inverted, but for dead columns.
func (p *Prepared) damped() []float64 {
	ridge := p.ridge()
	if ridge == 0 {
		return p.H
	}
	h := append([]float64(nil), p.H...)
	for i := range p.D {
		h[i*p.D+i] += ridge
	}
	return h
}

// start sets the tableau up for weights w and the columns that kept holds; dead columns belong to neither side. It returns false if
// H_KK is not positive definite.
func (s *tableau) start(w []float32, kept []bool) bool {
	for i, v := range w {
		s.w0[i] = float64(v)
		if s.dead[i] {
			s.w0[i] = 0
		}
	}
	copy(s.kept, kept)
	return s.rebuild()
}

// rebuild computes S_0 for the columns kept now and empties the panel.
func (s *tableau) rebuild() bool {
	if s.isCore {
		s.apply()
		return true
	}
	s.inK, s.inR, s.t = s.inK[:0], s.inR[:0], 0
	for i := range s.d {
		s.moved[i], s.baseK[i] = false, s.kept[i] && !s.dead[i]
		switch {
		case s.dead[i]:
			s.slot[i] = -1
		case s.kept[i]:
			s.slot[i] = len(s.inK)
			s.inK = append(s.inK, i)
		default:
			s.slot[i] = len(s.inR)
			s.inR = append(s.inR, i)
		}
	}
	k, r := len(s.inK), len(s.inR)
	s.c = gather(s.c, s.h, s.d, s.inK, s.inK)
	s.hrk = gather(s.hrk, s.h, s.d, s.inR, s.inK)
	if k > 0 && kernel.CholInverse64(s.c, k, 1) != nil {
		return false
	}
	s.xt = resize(s.xt, r*k)
	if k > 0 && r > 0 {
		kernel.Dgemm(false, false, r, k, k, 1, s.hrk, k, s.c, k, 0, s.xt, k, 1)
	}
	if s.pivots {
		s.complement()
	}
	s.limit = s.patience(float64(k), float64(r))
	s.solution()
	s.entries()
	return true
}

// complement computes M, a strip of rows at a time up to the diagonal, and mirrors it.
func (s *tableau) complement() {
	const strip = 64
	k, r := len(s.inK), len(s.inR)
	s.mrr = gather(s.mrr, s.h, s.d, s.inR, s.inR)
	for lo := 0; k > 0 && lo < r; lo += strip {
		hi := min(lo+strip, r)
		kernel.Dgemm(false, true, hi-lo, hi, k, -1, s.hrk[lo*k:], k, s.xt, k, 1, s.mrr[lo*r:], r, 1)
		for i := lo; i < hi; i++ {
			for j := range i {
				s.mrr[j*r+i] = s.mrr[i*r+j]
			}
		}
	}
}

// solution sets z: w_K = w0_K + X w0_R and g_R = H_RK (w_K - w0_K) - H_RR w0_R.
func (s *tableau) solution() {
	k := len(s.inK)
	for i := range s.z {
		s.z[i] = 0
	}
	dw := make([]float64, k)
	for b, r := range s.inR {
		axpy(s.w0[r], s.xt[b*k:(b+1)*k], dw)
	}
	for a, q := range s.inK {
		s.z[q] = -(s.w0[q] + dw[a])
	}
	for i, v := range s.w0 {
		s.col[i] = v
		if s.kept[i] {
			s.col[i] = 0
		}
	}
	for b, r := range s.inR {
		s.z[r] = dot(s.hrk[b*k:(b+1)*k], dw) - dot(s.h[r*s.d:(r+1)*s.d], s.col)
	}
}

// entries sets diag and near from S_0.
func (s *tableau) entries() {
	clear(s.none)
	for i := range s.diag {
		s.diag[i] = 1
	}
	for i := range s.d {
		lo := i - i%s.m
		for j := lo; j < i; j++ {
			s.near[i*s.m+j-lo] = s.base(i, j)
		}
		if !s.dead[i] {
			s.diag[i] = s.base(i, i)
		}
	}
}

// base is S_0(i, j).
func (s *tableau) base(i, j int) float64 {
	if s.isCore {
		return s.tri[kernel.TriangleOrigin(s.ld, min(i, j)/tile)+max(i, j)*tile+min(i, j)%tile]
	}
	a, b, k := s.slot[i], s.slot[j], len(s.inK)
	switch {
	case a < 0 || b < 0:
		return 0
	case s.baseK[i] && s.baseK[j]:
		return -s.c[a*k+b]
	case s.baseK[i]:
		return s.xt[b*k+a]
	case s.baseK[j]:
		return s.xt[a*k+b]
	case s.pivots:
		return s.mrr[a*len(s.inR)+b]
	}
	return s.h[i*s.d+j] - dot(s.hrk[a*k:(a+1)*k], s.xt[b*k:(b+1)*k])
}

// baseColumn writes column p of S_0, without the rows of columns that were pivoted on, to s.col.
func (s *tableau) baseColumn(p int) {
	clear(s.col)
	if s.moved[p] || s.dead[p] {
		return
	}
	if s.isCore {
		kernel.TriangleColumn(s.col, s.tri, s.ld, p)
	} else {
		s.joinColumn(s.slot[p], s.baseK[p])
	}
	for i, m := range s.moved {
		if m {
			s.col[i] = 0
		}
	}
}

// joinColumn writes column a of [-C X] or [X^T M] to s.col.
func (s *tableau) joinColumn(a int, inK bool) {
	k, r := len(s.inK), len(s.inR)
	if inK {
		for i, q := range s.inK {
			s.col[q] = -s.c[a*k+i]
		}
		for i, q := range s.inR {
			s.col[q] = s.xt[i*k+a]
		}
		return
	}
	for i, v := range s.xt[a*k : (a+1)*k] {
		s.col[s.inK[i]] = v
	}
	for i, v := range s.mrr[a*r : (a+1)*r] {
		s.col[s.inR[i]] = v
	}
}

// coefficients sets coef to s_t u_t[p] for the first n columns of the panel.
func (s *tableau) coefficients(p, n int) []float64 {
	u := s.u[p/tile*s.depth*tile+p%tile:]
	for t := range n {
		s.coef[t] = s.sign[t] * u[t*tile]
	}
	return s.coef
}

// gain is how much the loss falls when column p changes sides: z_p^2/(2 S_pp), negative for a kept column.
func (s *tableau) gain(p int) float64 { return s.z[p] * s.z[p] / s.diag[p] / 2 }

// pivot moves column p to the other side. It returns false if the panel was full and setting up anew failed.
func (s *tableau) pivot(p int) bool {
	if s.t >= s.limit && !s.rebuild() {
		return false
	}
	pp := s.diag[p]
	sign := math.Copysign(1, pp)
	inv := 1 / math.Sqrt(math.Abs(pp))
	s.baseColumn(p)
	zp := s.z[p]
	s.won += zp * zp / pp / 2
	s.k.Step(s.u, s.depth, s.t, s.col, s.coefficients(p, s.t), inv, zp*sign*inv, s.none, s.z)
	up := s.u[p/tile*s.depth*tile+p%tile:]
	for t := range s.t {
		up[t*tile] = 0
	}
	up[s.t*tile] = 0 // for now: column p is set below
	s.spread(sign)
	up[s.t*tile] = -sign * inv
	s.sign[s.t] = sign
	s.z[p], s.diag[p] = sign*zp/pp, -1/pp
	lo := p - p%s.m
	for o := lo; o < min(lo+s.m, s.d); o++ {
		s.near[max(p, o)*s.m+min(p, o)-lo] *= sign / pp
	}
	s.t++
	s.moved[p] = true
	s.kept[p] = !s.kept[p]
	return true
}

// spread takes the newest panel column into diag and near.
func (s *tableau) spread(sign float64) {
	m, v := s.m, s.col[:s.d]
	for i := 0; i < s.d; i += tile {
		copy(v[i:], s.u[i*s.depth+s.t*tile:][:tile])
	}
	for i, x := range v {
		s.diag[i] -= sign * x * x
	}
	if m == 1 {
		return
	}
	for lo := 0; lo < s.d; lo += m {
		unit := v[lo:min(lo+m, s.d)]
		for i, x := range unit {
			x *= sign
			row := s.near[(lo+i)*m:][:i]
			for j, y := range unit[:len(row)] {
				row[j] -= x * y
			}
		}
	}
}

// entry is S(i, j) for columns of one unit.
func (s *tableau) entry(i, j int) float64 {
	if i == j {
		return s.diag[i]
	}
	return s.near[max(i, j)*s.m+min(i, j)%s.m]
}

// weights writes the least-squares weights of the kept columns to dst, zero elsewhere.
func (s *tableau) weights(dst []float32) {
	for i := range dst {
		dst[i] = 0
		if s.kept[i] && !s.dead[i] {
			dst[i] = float32(-s.z[i])
		}
	}
}

// gather copies h[rows, cols] of a matrix with d columns to dst.
func gather(dst, h []float64, d int, rows, cols []int) []float64 {
	dst = resize(dst, len(rows)*len(cols))
	for a, r := range rows {
		src, out := h[r*d:(r+1)*d], dst[a*len(cols):(a+1)*len(cols)]
		for b, c := range cols {
			out[b] = src[c]
		}
	}
	return dst
}

func resize[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}

func axpy(alpha float64, x, y []float64) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += alpha * v
	}
}

func dot(x, y []float64) float64 {
	var a, b, c, d float64
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a += x[i] * y[i]
		b += x[i+1] * y[i+1]
		c += x[i+2] * y[i+2]
		d += x[i+3] * y[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i] * y[i]
	}
	return a + b + c + d
}
