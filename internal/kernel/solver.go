package kernel

import "math"

// The kernels of this file are the inner steps of the elimination in internal/obs, in its pivoted Cholesky form. Of a
// symmetric matrix A (n x n, the current inverse Hessian of the surviving columns at the start of a block) only the upper triangle is
// stored, a[i*lda+j] with i <= j. A panel U holds the eliminated columns of the block as rows: element i of column t is
// u[t*ldu+i]. For each elimination of p, with t columns in the panel:
//
//	SymColumn(col, a, lda, n, p)                              // column p of A
//	coef[s] = u[s*ldu+p], s < t                               // row p of U
//	inv = 1/sqrt(diag[p]); c = (w[p]-value)*inv
//	PanelStep(u, ldu, t, col, coef, inv, c, diag, w)          // appends column t, updates diag and w
//	w[p] = value; mask[p] = +Inf
//
// and when the panel is full, SymDowndate starts the next block on the surviving rows and columns.

// SymColumn sets dst[i] to element (i, p) of the symmetric n x n matrix whose upper triangle is a.
func SymColumn(dst, a []float32, lda, n, p int) {
	copy(dst[p:n], a[p*lda+p:p*lda+n])
	for i := range dst[:p] {
		dst[i] = a[i*lda+p]
	}
}

// PanelStep computes, for all i < n = len(col),
//
//	v = (col[i] - sum_{s<t} u[s*ldu+i]*coef[s]) * inv
//	u[t*ldu+i] = v;  diag[i] -= v*v;  w[i] -= c*v
//
// The sum is taken in ascending s and may use fused multiply-adds; the last two products are rounded before they are subtracted.
func PanelStep(u []float32, ldu, t int, col, coef []float32, inv, c float32, diag, w []float32) {
	n := len(col)
	if n == 0 {
		return
	}
	_ = u[t*ldu+n-1]
	active.panelStep(u, ldu, t, col, coef[:t], inv, c, diag[:n], w[:n])
}

// ArgminScore returns the index and value of the smallest w[i]^2/diag[i] + mask[i], over len(w); the lowest index wins a
// tie. mask is 0 for a candidate and +Inf otherwise. Scores that are NaN or +Inf are never chosen; -1, +Inf is returned if there is
// no other. Equal bits in every form.
func ArgminScore(w, diag, mask []float32) (index int, score float32) {
	return active.argminScore(w, diag[:len(w)], mask[:len(w)])
}

// QuantScore rates the rounding of each weight to its grid. With q = clamp(round_half_even(w/scale)+zero, 0, maxq) and
// e = w - (q-zero)*scale it returns the first index of the smallest e^2/diag + mask, as ArgminScore does, and the first index of
// the largest |e|/scale - mask and its value: beyond 0.5 that weight is an outlier. (-1, +Inf) and (-1, -Inf) if there is none.
// Equal bits in every form.
func QuantScore(w, diag, mask, scale, zero []float32, maxq float32) (index int, score float32, outlier int, steps float32) {
	n := len(w)
	return active.quantScore(w, diag[:n], mask[:n], scale[:n], zero[:n], maxq)
}

func panelStepGeneric(u []float32, ldu, t int, col, coef []float32, inv, c float32, diag, w []float32) {
	n := len(col)
	out := u[t*ldu : t*ldu+n]
	copy(out, col)
	for s, f := range coef {
		for i, v := range u[s*ldu : s*ldu+n] {
			out[i] -= v * f
		}
	}
	for i := range out {
		v := out[i] * inv
		out[i] = v
		diag[i] -= float32(v * v)
		w[i] -= float32(c * v)
	}
}

func argminScoreGeneric(w, diag, mask []float32) (int, float32) {
	best, at := float32(math.Inf(1)), -1
	for i, v := range w {
		if s := float32(v*v)/diag[i] + mask[i]; s < best {
			best, at = s, i
		}
	}
	return at, best
}

func quantScoreGeneric(w, diag, mask, scale, zero []float32, maxq float32) (int, float32, int, float32) {
	best, at := float32(math.Inf(1)), -1
	far, out := float32(math.Inf(-1)), -1
	for i, v := range w {
		s, z := scale[i], zero[i]
		q := float32(math.RoundToEven(float64(v/s))) + z
		if q < 0 {
			q = 0
		}
		if q > maxq {
			q = maxq
		}
		e := v - float32((q-z)*s)
		if c := float32(e*e)/diag[i] + mask[i]; c < best {
			best, at = c, i
		}
		if r := float32(math.Abs(float64(e)))/s - mask[i]; r > far {
			far, out = r, i
		}
	}
	return at, best, out, far
}
