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

// CholInverse64 overwrites the symmetric positive definite n x n matrix a (reading its lower triangle) with its inverse, both
// triangles. Errors are those of Cholesky64. n^3/2 multiply-adds.
func CholInverse64(a []float64, n, threads int) error {
	t := tri{a, n, threads}
	if err := t.factor(n, 0); err != nil {
		return err
	}
	t.invert(n)
	t.square(n)
	for i := range n {
		for j := range i {
			a[j*n+i] = a[i*n+j]
		}
	}
	return nil
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

// update adds B^T B to the lower triangle of t (n x n), B k x n.
func (t tri) update(b tri, n, k int) {
	if n <= 4*cholBase {
		t.product(n, n, k, 1, b, true, b, false)
		return
	}
	h := half(n)
	t.update(b, h, k)
	t.at(h, 0).product(n-h, h, k, 1, b.at(0, h), true, b, false)
	t.at(h, h).update(b.at(0, h), n-h, k)
}

// invert replaces the lower triangular L by its inverse: M21 = -M22 L21 M11.
func (t tri) invert(n int) {
	if n <= cholBase {
		t.invertBase(n)
		return
	}
	h := half(n)
	t.invert(h)
	t.at(h, h).invert(n - h)
	m21 := t.at(h, 0)
	m21.timesRight(t, n-h, h)
	m21.timesLeft(t.at(h, h), n-h, h, false)
	for i := range n - h {
		for j := range h {
			m21.a[i*t.ld+j] = -m21.a[i*t.ld+j]
		}
	}
}

func (t tri) invertBase(n int) {
	for j := range n {
		t.a[j*t.ld+j] = 1 / t.a[j*t.ld+j]
		for i := j + 1; i < n; i++ {
			var s float64
			for k := j; k < i; k++ {
				s += t.a[i*t.ld+k] * t.a[k*t.ld+j]
			}
			t.a[i*t.ld+j] = -s / t.a[i*t.ld+i]
		}
	}
}

// timesRight computes B = B M in place, B m x n, M n x n lower triangular.
func (t tri) timesRight(m tri, rows, n int) {
	if n <= cholBase {
		full, out := m.lower(n), make([]float64, rows*n)
		Dgemm(false, false, rows, n, n, 1, t.a, t.ld, full, n, 0, out, n, t.threads)
		t.store(out, rows, n)
		return
	}
	h := half(n)
	t.timesRight(m, rows, h)
	t.product(rows, h, n-h, 1, t.at(0, h), false, m.at(h, 0), false)
	t.at(0, h).timesRight(m.at(h, h), rows, n-h)
}

// timesLeft computes B = M B or, with trans, M^T B in place, B n x cols, M n x n lower triangular.
func (t tri) timesLeft(m tri, n, cols int, trans bool) {
	if n <= cholBase {
		full, out := m.lower(n), make([]float64, n*cols)
		Dgemm(trans, false, n, cols, n, 1, full, n, t.a, t.ld, 0, out, cols, t.threads)
		t.store(out, n, cols)
		return
	}
	h := half(n)
	low := t.at(h, 0)
	if trans {
		t.timesLeft(m, h, cols, true)
		t.product(h, cols, n-h, 1, m.at(h, 0), true, low, false)
		low.timesLeft(m.at(h, h), n-h, cols, true)
		return
	}
	low.timesLeft(m.at(h, h), n-h, cols, false)
	low.product(n-h, cols, h, 1, m.at(h, 0), false, t, false)
	t.timesLeft(m, h, cols, false)
}

// lower returns the lower triangle of t, n x n, with zeros above.
func (t tri) lower(n int) []float64 {
	full := make([]float64, n*n)
	for i := range n {
		copy(full[i*n:i*n+i+1], t.a[i*t.ld:])
	}
	return full
}

func (t tri) store(src []float64, rows, cols int) {
	for i := range rows {
		copy(t.a[i*t.ld:i*t.ld+cols], src[i*cols:])
	}
}

// square replaces the lower triangular M by the lower triangle of M^T M.
func (t tri) square(n int) {
	if n <= cholBase {
		full, out := t.lower(n), make([]float64, n*n)
		Dgemm(true, false, n, n, n, 1, full, n, full, n, 0, out, n, 1)
		for i := range n {
			copy(t.a[i*t.ld:i*t.ld+i+1], out[i*n:])
		}
		return
	}
	h := half(n)
	m21 := t.at(h, 0)
	t.square(h)
	t.update(m21, h, n-h)
	m21.timesLeft(t.at(h, h), n-h, h, true)
	t.at(h, h).square(n - h)
}
