package kernel

import "math"

// BlockScore rates the removal of whole blocks of c weights: score[k] = w_B^T (Hinv_BB)^-1 w_B for each of n = len(score)
// blocks, by a Cholesky factorisation of c x c. Blocks lie side by side: element e of block k is w[e*n+k], and entry
// (e, f), e >= f, of its part of the inverse Hessian is diag[(e*(e+1)/2+f)*n+k]. So one MulSub of length n per entry keeps
// diag current after an elimination: diag(e,f) -= u_e*u_f. A block whose matrix is not positive definite scores NaN or
// Inf. work is overwritten and holds at least BlockWork(c) elements.
func BlockScore(score []float32, c int, w, diag, work []float32) {
	n := len(score)
	for k := 0; k < n; k += blockLanes {
		lanes := min(blockLanes, n-k)
		blockScoreLanes(score[k:k+lanes], n, k, c, w, diag, work)
	}
}

// blockLanes is how many blocks are rated together: enough to amortise a call, few enough for the first-level cache.
const blockLanes = 64

// BlockWork returns the length of BlockScore's scratch for blocks of c.
func BlockWork(c int) int { return blockLanes * (c*(c+1)/2 + c + 1) }

// blockScoreLanes rates blocks [k, k+len(score)), all lanes in step: L = chol(D), y = L^-1 w, score = y^T y.
func blockScoreLanes(score []float32, n, k, c int, w, diag, work []float32) {
	lanes := len(score)
	lane := func(i int) []float32 { return work[i*blockLanes : i*blockLanes+lanes] }
	entry := func(e, f int) []float32 { return lane(e*(e+1)/2 + f) }
	y := func(e int) []float32 { return lane(c*(c+1)/2 + e) }
	clear(score)
	for e := range c {
		copy(y(e), w[e*n+k:])
		for f := range e + 1 {
			l := entry(e, f)
			copy(l, diag[(e*(e+1)/2+f)*n+k:])
			for g := range f {
				MulSub(l, entry(e, g), entry(f, g))
			}
			if f < e {
				Mul(l, l, entry(f, f)) // the diagonal holds reciprocals
				MulSub(y(e), l, y(f))
			}
		}
		d := entry(e, e)
		for i, v := range d {
			d[i] = float32(1 / math.Sqrt(float64(v)))
		}
		Mul(y(e), y(e), d)
		tmp := lane(c*(c+1)/2 + c)
		Mul(tmp, y(e), y(e))
		Add(score, score, tmp)
	}
}
