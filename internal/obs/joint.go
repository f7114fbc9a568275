package obs

import (
	"context"
	"math"
)

// QuantizeNM finds N:M mask, grid and codes together: the mask of NM refined by RefineNM, grid and codes on it as in QuantizeBest, and then
// a descent that besides codes and scales also exchanges a kept for a removed column inside groups, under the quantized loss.
func QuantizeNM(ctx context.Context, w Matrix, p *Prepared, n, m int, spec GridSpec, o Options) (*Result, error) {
	sparse, err := NM(ctx, w, p, n, m, o)
	if err != nil {
		return nil, err
	}
	if sparse, err = RefineNM(ctx, w, sparse, p, n, m, o); err != nil {
		return nil, err
	}
	mask := Zeros(sparse.W)
	q, err := quantizeOn(ctx, w, sparse.W, p, spec, mask, o)
	if err != nil {
		return nil, err
	}
	return refineCodes(ctx, w, q, p, mask, n, m, Effort{}, o)
}

// exchanges sweeps over the groups: in each, the kept column whose place a removed one may take at the greatest fall of the loss, until a
// sweep changes nothing. To rate one costs a few operations, to take it 2 d multiply-adds.
func (s *descent) exchanges() {
	if s.m == 0 {
		return
	}
	for range 50 {
		changed := false
		for lo := 0; lo < s.whole; lo += s.m {
			if q, r, code := s.bestExchange(lo); q >= 0 {
				s.step(q, float32(s.zero[s.group[q]])-s.code[q])
				s.step(r, code-s.code[r])
				s.fixed[q], s.fixed[r] = true, false
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// bestExchange is the exchange of kept column q for removed column r, which takes the given code, that lowers the loss most in the group
// at lo; q is -1 if none does. With e = -value(q) the step of q to zero and f the step of r to its best grid value after it,
//
//	loss changes by  e g_q + e^2 H_qq/2 + f (g_r + e H_qr) + f^2 H_rr/2
func (s *descent) bestExchange(lo int) (q, r int, code float32) {
	q = -1
	least := 0.0
	for a := lo; a < lo+s.m; a++ {
		if s.fixed[a] {
			continue
		}
		row := s.h[a*s.d : (a+1)*s.d]
		e := -float64(s.value(a))
		lost := e*s.g[a] + e*e*row[a]/2
		for b := lo; b < lo+s.m; b++ {
			hbb := s.h[b*s.d+b]
			if !s.fixed[b] || s.dead[b] || !(hbb > 0) {
				continue
			}
			gb := s.g[b] + e*row[b]
			k := s.group[b]
			c := float32(math.RoundToEven(-gb/(hbb*float64(s.scale[k])))) + float32(s.zero[k])
			c = min(max(c, s.lo), s.hi)
			f := float64(s.scale[k] * (c - float32(s.zero[k])))
			won := f*gb + f*f*hbb/2
			if v := lost + won; v < least && v < -1e-6*(lost-won) {
				q, r, code, least = a, b, c, v
			}
		}
	}
	return q, r, code
}
