package kernel

import (
	"fmt"
	"math"
)

// cholBase is the size of the diagonal blocks that are worked on element by element; everything else is Dgemm.
const cholBase = 32

// tri is a square or rectangular part of a float64 matrix, with the goroutines to use on it.
type tri struct {
	a       []float64
	ld      int
	threads int
}

func (x tri) at(i, j int) tri { return tri{x.a[i*x.ld+j:], x.ld, x.threads} }

// Cholesky64 overwrites the lower triangle of the symmetric n x n matrix a (of which it reads only that) with the factor L, A = L L^T.
// If A is not positive definite an error names the row of the first pivot that is not positive, and a is spoilt. n^3/6 multiply-adds.
func Cholesky64(a []float64, n, threads int) error {
	return tri{a, n, threads}.factor(n, 0)
}

// half splits n at a multiple of the base size.
func half(n int) int { return max(cholBase, n/2/cholBase*cholBase) }

// factor computes L in place: L11 = chol(A11), L21 = A21 L11^-T, L22 = chol(A22 - L21 L21^T). row is that of the first pivot.
func (t tri) factor(n, row int) error {
	if n <= cholBase {
		return t.factorBase(n, row)
	}
	h := half(n)
	if err := t.factor(h, row); err != nil {
		return err
	}
	l21 := t.at(h, 0)
	l21.solveRight(t, n-h, h)
	t.at(h, h).downdate(l21, n-h, h)
	return t.at(h, h).factor(n-h, row+h)
}

func (t tri) factorBase(n, row int) error {
	for j := range n {
		rj := t.a[j*t.ld : j*t.ld+j+1]
		d := rj[j] - dotOf(rj[:j], rj[:j])
		if !(d > 0) || math.IsInf(d, 1) {
			return fmt.Errorf("matrix is not positive definite: pivot %d is %g", row+j, d)
		}
		d = math.Sqrt(d)
		rj[j] = d
		for i := j + 1; i < n; i++ {
			ri := t.a[i*t.ld : i*t.ld+j+1]
			ri[j] = (ri[j] - dotOf(ri[:j], rj[:j])) / d
		}
	}
	return nil
}

// solveRight computes B = B L^-T in place for B m x n and L n x n lower triangular.
func (t tri) solveRight(l tri, m, n int) {
	if n <= cholBase {
		Parallel(t.workers(m*n*n), m, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				b := t.a[i*t.ld : i*t.ld+n]
				for j := range b {
					lj := l.a[j*l.ld : j*l.ld+j+1]
					b[j] = (b[j] - dotOf(lj[:j], b[:j])) / lj[j]
				}
			}
		})
		return
	}
	h := half(n)
	t.solveRight(l, m, h)
	t.at(0, h).product(m, n-h, h, -1, t, false, l.at(h, 0), true)
	t.at(0, h).solveRight(l.at(h, h), m, n-h)
}

// workers returns the goroutines worth starting for that many multiplications.
func (t tri) workers(work int) int {
	if work < smallProduct {
		return 1
	}
	return t.threads
}

// product adds alpha op(A) op(B) to t (m x n).
func (t tri) product(m, n, k int, alpha float64, a tri, transA bool, b tri, transB bool) {
	Dgemm(transA, transB, m, n, k, alpha, a.a, a.ld, b.a, b.ld, 1, t.a, t.ld, t.threads)
}

// downdate subtracts B B^T from the lower triangle of t (n x n), B n x k.
func (t tri) downdate(b tri, n, k int) {
	if n <= 4*cholBase {
		t.product(n, n, k, -1, b, false, b, true)
		return
	}
	h := half(n)
	t.downdate(b, h, k)
	t.at(h, 0).product(n-h, h, k, -1, b.at(h, 0), false, b, true)
	t.at(h, h).downdate(b.at(h, 0), n-h, k)
}
