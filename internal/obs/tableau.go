package obs

import (
	"math"
	"slices"

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
// never applied to S_0, of which C and X are stored and M is computed column by column, or all at once; a step with t columns in the panel costs d*t
// multiply-adds, and d*k more if p is in R. Setting up costs k^3/2 + k^2 r multiply-adds for k = |K|, r = |R|, and r^2 k/2 more with M.
//
// The diagonal of S and its entries within units of m consecutive columns are kept current.
type tableau struct {
	k        kernel.Elim[float64]
	d, ld, m int
	whole    int       // columns that are in units
	h        []float64 // d x d, shared: damped
	ridge    float64   // what damping adds to the diagonal
	dead     []bool
	w0       []float64
	kept     []bool

	// S_0
	inK, inR []int               // columns of K and R when the panel began
	slot     []int               // place in inK or inR; -1 for dead columns
	baseK    []bool              // in K when the panel began
	c        []float64           // k x k
	xt       []float64           // r x k: X^T
	hrk      []float64           // r x k
	moved    []bool              // columns that were pivoted on: their base column is zero
	gathered []int               // the columns whose H_RK X are in products
	products []float64           // a row of |R| for each
	x        []float64           // scratch
	all      bool                // M is computed at once: worth it where most of its columns are asked for
	mrr      []float64           // r x r: M, if all
	likely   func(c int) float64 // rates how soon column c of R may be brought back; nothing above 0: not soon
	rating   []float64

	// panel, in the layout of package kernel
	depth, t int
	limit    int // of t
	u        []float64
	sign     []float64
	coef     []float64

	diag, z []float64 // by column, padded
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
	setup := k * k * (0.6*k + 0.4*r)
	if s.all {
		setup += 0.2 * k * r * r
	}
	return min(max(int(math.Sqrt(2*setup/float64(s.d))), leastPivots), s.depth-s.m)
}

// newTableau keeps entries within units of m columns current.
func newTableau(p *Prepared, h []float64, m int) *tableau {
	d := p.D
	ld := (d + tile - 1) / tile * tile
	v := func(n int) []float64 { return make([]float64, n) }
	depth := min(mostPivots, d+16) + m
	s := &tableau{k: kernel.ElimOf[float64](), d: d, ld: ld, m: m, whole: p.whole(m), h: h, ridge: p.ridge(), dead: p.Dead, w0: v(d), kept: make([]bool, d), slot: make([]int, d), baseK: make([]bool, d),
		moved: make([]bool, d), depth: depth, u: v(depth * ld), sign: v(depth), coef: v(depth), diag: v(ld), z: v(ld), near: v(d * m), col: v(ld), none: v(ld),
		diagTry: v(ld), zTry: v(ld), marked: make([]bool, d), markedZ: v(ld), work: newSmall(m), rating: v(d)}
	s.likely = s.gain
	return s
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
	if s.all {
		s.complement()
	}
	s.limit = s.patience(float64(k), float64(r))
	s.gathered = s.gathered[:0]
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
	for b, r := range s.inR {
		g := dot(s.hrk[b*k:(b+1)*k], dw)
		row := s.h[r*s.d : (r+1)*s.d]
		for _, j := range s.inR {
			g -= row[j] * s.w0[j]
		}
		s.z[r] = g
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
		if s.slot[i] >= 0 {
			s.diag[i] = s.base(i, i)
		}
	}
}

// base is S_0(i, j).
func (s *tableau) base(i, j int) float64 {
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
	case s.all:
		return s.mrr[a*len(s.inR)+b]
	}
	return s.h[i*s.d+j] - dot(s.hrk[a*k:(a+1)*k], s.xt[b*k:(b+1)*k])
}

// baseColumn writes column p of S_0, without the rows of columns that were pivoted on, to s.col; with only set, just its rows in K.
func (s *tableau) baseColumn(p int, only bool) {
	clear(s.col)
	a, k := s.slot[p], len(s.inK)
	if s.moved[p] || a < 0 {
		return
	}
	if s.baseK[p] {
		for i, q := range s.inK {
			s.col[q] = -s.c[a*k+i]
		}
		for i, r := range s.inR {
			s.col[r] = s.xt[i*k+a]
		}
	} else {
		x := s.xt[a*k : (a+1)*k]
		for i, q := range s.inK {
			s.col[q] = x[i]
		}
		switch {
		case only:
		case s.all:
			for i, v := range s.mrr[a*len(s.inR) : (a+1)*len(s.inR)] {
				s.col[s.inR[i]] = v
			}
		default:
			row := s.h[p*s.d : (p+1)*s.d]
			y, step := s.explained(p)
			for i, r := range s.inR {
				s.col[r] = row[r] - y[i*step]
			}
		}
	}
	for i, m := range s.moved {
		if m {
			s.col[i] = 0
		}
	}
}

// explained is H_RK X_Kp for column p of R, element i at [i*step]. It is computed for several columns at once, those that likely rates highest, as they
// may be asked for next: a matrix product is many times faster than a dot product after the other.
func (s *tableau) explained(p int) (x []float64, step int) {
	if i := slices.Index(s.gathered, p); i >= 0 {
		return s.products[i:], len(s.gathered)
	}
	r, k := len(s.inR), len(s.inK)
	s.gathered = append(s.gathered[:0], p)
	for _, c := range s.inR {
		s.rating[c] = -1
		if !s.moved[c] && c != p {
			s.rating[c] = s.likely(c)
		}
	}
	for len(s.gathered) < min(batch, r) {
		best, at := 0.0, -1
		for _, c := range s.inR {
			if s.rating[c] > best {
				best, at = s.rating[c], c
			}
		}
		if at < 0 {
			break
		}
		s.gathered = append(s.gathered, at)
		s.rating[at] = -1
	}
	n := len(s.gathered)
	s.x = resize(s.x, n*k)
	for i, c := range s.gathered {
		copy(s.x[i*k:(i+1)*k], s.xt[s.slot[c]*k:(s.slot[c]+1)*k])
	}
	s.products = resize(s.products, n*r)
	if k == 0 {
		clear(s.products)
	} else {
		kernel.Dgemm(false, true, r, n, k, 1, s.hrk, k, s.x, k, 0, s.products, n, 1)
	}
	return s.products, n
}

// batch is how many columns explained computes at once.
const batch = 16

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
	s.baseColumn(p, false)
	zp := s.z[p]
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
