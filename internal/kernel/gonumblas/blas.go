// Package gonumblas offers the kernels of this module as a gonum BLAS, so that gonum's LAPACK and matrices run on them:
//
//	blas64.Use(gonumblas.Implementation{Threads: 2})
//	blas32.Use(gonumblas.Implementation{Threads: 2})
//
// Products (Sgemm, Dgemm), and of the level-3 routines that factorisations live on Dsyrk and Dtrsm, use the kernels; all others are
// gonum's own. Arguments are checked by gonum's rules: the wrong ones panic.
package gonumblas

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Implementation is a gonum BLAS. The zero value computes on one thread.
type Implementation struct {
	gonum.Implementation
	Threads int
}

var (
	_ blas.Float32Level3 = Implementation{}
	_ blas.Float64Level3 = Implementation{}
)

func transposed(t blas.Transpose) bool { return t != blas.NoTrans }

// Sgemm computes C = alpha A B + beta C; A is m x k and B k x n after the transpositions.
func (i Implementation) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m*n*k < small || !plain(tA, tB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc) {
		i.Implementation.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	kernel.Sgemm(transposed(tA), transposed(tB), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, i.Threads)
}

// Dgemm computes C = alpha A B + beta C; A is m x k and B k x n after the transpositions.
func (i Implementation) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if m*n*k < small || !plain(tA, tB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc) {
		i.Implementation.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	kernel.Dgemm(transposed(tA), transposed(tB), m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, i.Threads)
}

// small is the number of multiplications below which gonum's loops are as fast.
const small = 16 * 16 * 16

// plain tells whether the arguments are right and ask for a product; gonum's routine deals with all others.
func plain(tA, tB blas.Transpose, m, n, k, a, lda, b, ldb, c, ldc int) bool {
	ar, ac, br, bc := m, k, k, n
	if transposed(tA) {
		ar, ac = k, m
	}
	if transposed(tB) {
		br, bc = n, k
	}
	fits := func(rows, cols, length, ld int) bool { return ld >= max(1, cols) && length >= (rows-1)*ld+cols }
	known := func(t blas.Transpose) bool { return t == blas.NoTrans || t == blas.Trans || t == blas.ConjTrans }
	return known(tA) && known(tB) && m > 0 && n > 0 && k > 0 && fits(ar, ac, a, lda) && fits(br, bc, b, ldb) && fits(m, n, c, ldc)
}

// block is the size of the diagonal blocks that are left to gonum's routines: they cost a block'th of the whole.
const block = 64

// Dsyrk computes the triangle ul of C = alpha A A^T + beta C, or alpha A^T A + beta C with tA; C is n x n. Blocks beside the diagonal
// are products.
func (i Implementation) Dsyrk(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, beta float64, c []float64, ldc int) {
	rows, cols := n, k
	if transposed(tA) {
		rows, cols = k, n
	}
	if n <= block || k <= 0 || lda < max(1, cols) || len(a) < (rows-1)*lda+cols || ldc < n || len(c) < (n-1)*ldc+n || ul != blas.Upper && ul != blas.Lower {
		i.Implementation.Dsyrk(ul, tA, n, k, alpha, a, lda, beta, c, ldc)
		return
	}
	part := func(from int) []float64 { // A from row from on (column with tA)
		if transposed(tA) {
			return a[from:]
		}
		return a[from*lda:]
	}
	other := blas.Trans
	if transposed(tA) {
		other = blas.NoTrans
	}
	for j := 0; j < n; j += block {
		b := min(block, n-j)
		i.Implementation.Dsyrk(ul, tA, b, k, alpha, part(j), lda, beta, c[j*ldc+j:], ldc)
		if rest := n - j - b; rest > 0 && ul == blas.Upper {
			i.Dgemm(tA, other, b, rest, k, alpha, part(j), lda, part(j+b), lda, beta, c[j*ldc+j+b:], ldc)
		} else if rest > 0 {
			i.Dgemm(tA, other, rest, b, k, alpha, part(j+b), lda, part(j), lda, beta, c[(j+b)*ldc+j:], ldc)
		}
	}
}

// Dtrsm solves op(A) X = alpha B (side Left) or X op(A) = alpha B for X, which overwrites B (m x n); A is triangular. It halves A: the
// half that is known first updates the other by a product.
func (i Implementation) Dtrsm(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	size := n
	if s == blas.Left {
		size = m
	}
	if size <= block || m <= 0 || n <= 0 || lda < size || len(a) < (size-1)*lda+size || ldb < n || len(b) < (m-1)*ldb+n || ul != blas.Upper && ul != blas.Lower {
		i.Implementation.Dtrsm(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
		return
	}
	h := (size/2 + block - 1) / block * block
	// A = [A00 A01; A10 A11], of which one beside the diagonal is zero; op turns it over.
	low, corner := a[h*lda+h:], a[h:]
	if ul == blas.Lower {
		corner = a[h*lda:]
	}
	lower := (ul == blas.Lower) != transposed(tA)
	if s == blas.Left {
		top, bottom := b, b[h*ldb:]
		if lower { // first the top
			i.Dtrsm(s, ul, tA, d, h, n, alpha, a, lda, top, ldb)
			i.Dgemm(tA, blas.NoTrans, m-h, n, h, -1, corner, lda, top, ldb, alpha, bottom, ldb)
			i.Dtrsm(s, ul, tA, d, m-h, n, 1, low, lda, bottom, ldb)
			return
		}
		i.Dtrsm(s, ul, tA, d, m-h, n, alpha, low, lda, bottom, ldb)
		i.Dgemm(tA, blas.NoTrans, h, n, m-h, -1, corner, lda, bottom, ldb, alpha, top, ldb)
		i.Dtrsm(s, ul, tA, d, h, n, 1, a, lda, top, ldb)
		return
	}
	left, right := b, b[h:]
	if !lower { // first the left columns
		i.Dtrsm(s, ul, tA, d, m, h, alpha, a, lda, left, ldb)
		i.Dgemm(blas.NoTrans, tA, m, n-h, h, -1, left, ldb, corner, lda, alpha, right, ldb)
		i.Dtrsm(s, ul, tA, d, m, n-h, 1, low, lda, right, ldb)
		return
	}
	i.Dtrsm(s, ul, tA, d, m, n-h, alpha, low, lda, right, ldb)
	i.Dgemm(blas.NoTrans, tA, m, h, n-h, -1, right, ldb, corner, lda, alpha, left, ldb)
	i.Dtrsm(s, ul, tA, d, m, h, 1, a, lda, left, ldb)
}
