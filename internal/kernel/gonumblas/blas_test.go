package gonumblas

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"
	"gonum.org/v1/gonum/mat"
)

func random(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

func near(t *testing.T, what string, got, want []float64, tol float64) {
	t.Helper()
	for i, v := range want {
		if math.Abs(got[i]-v) > tol*(1+math.Abs(v)) {
			t.Fatalf("%s: element %d is %g, gonum has %g", what, i, got[i], v)
		}
	}
}

// TestLevel3 compares each routine with gonum's own.
func TestLevel3(t *testing.T) {
	ours, theirs := Implementation{Threads: 2}, gonum.Implementation{}
	r := rand.New(rand.NewPCG(1, 2))
	trans := []blas.Transpose{blas.NoTrans, blas.Trans, blas.ConjTrans}
	for _, n := range []int{1, 7, 63, 64, 65, 130, 200} {
		for _, k := range []int{1, 40, 150} {
			ld := max(n, k) + 3
			for _, tA := range trans {
				for _, tB := range trans {
					a, b, c := random(r, ld*ld), random(r, ld*ld), random(r, ld*ld)
					want := append([]float64{}, c...)
					ours.Dgemm(tA, tB, n, k, n, 0.5, a, ld, b, ld, -1, c, ld)
					theirs.Dgemm(tA, tB, n, k, n, 0.5, a, ld, b, ld, -1, want, ld)
					near(t, fmt.Sprint("gemm ", n, k, tA, tB), c, want, 1e-11)
					f := func(x []float64) []float32 {
						y := make([]float32, len(x))
						for i, v := range x {
							y[i] = float32(v)
						}
						return y
					}
					c32, w32 := f(c), f(c)
					ours.Sgemm(tA, tB, n, k, n, 0.5, f(a), ld, f(b), ld, -1, c32, ld)
					theirs.Sgemm(tA, tB, n, k, n, 0.5, f(a), ld, f(b), ld, -1, w32, ld)
					for i, v := range w32 {
						if math.Abs(float64(c32[i]-v)) > 1e-4*float64(n) {
							t.Fatalf("sgemm: %g, gonum has %g", c32[i], v)
						}
					}
				}
				for _, ul := range []blas.Uplo{blas.Upper, blas.Lower} {
					a, c := random(r, ld*ld), random(r, ld*ld)
					want := append([]float64{}, c...)
					ours.Dsyrk(ul, tA, n, k, 0.5, a, ld, -1, c, ld)
					theirs.Dsyrk(ul, tA, n, k, 0.5, a, ld, -1, want, ld)
					near(t, fmt.Sprint("syrk ", n, k, tA, ul), c, want, 1e-11)
					for _, side := range []blas.Side{blas.Left, blas.Right} {
						for _, d := range []blas.Diag{blas.Unit, blas.NonUnit} {
							for i := range a {
								a[i] *= 0.01
							}
							for i := range ld {
								a[i*ld+i] = 2
							}
							b := random(r, ld*ld)
							want := append([]float64{}, b...)
							m, cols := n, k
							if side == blas.Right {
								m, cols = k, n
							}
							ours.Dtrsm(side, ul, tA, d, m, cols, 1.5, a, ld, b, ld)
							theirs.Dtrsm(side, ul, tA, d, m, cols, 1.5, a, ld, want, ld)
							near(t, fmt.Sprint("trsm ", n, k, side, ul, tA, d), b, want, 1e-10)
						}
					}
				}
			}
		}
	}
}

// TestWrongArguments leaves the complaint to gonum.
func TestWrongArguments(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a matrix that is too short is accepted")
		}
	}()
	Implementation{}.Dgemm(blas.NoTrans, blas.NoTrans, 100, 100, 100, 1, make([]float64, 10), 100, make([]float64, 10000), 100, 0, make([]float64, 10000), 100)
}

// TestCholesky runs gonum's LAPACK on the kernels: the residual of a factorisation.
func TestCholesky(t *testing.T) {
	blas64.Use(Implementation{Threads: 2})
	defer blas64.Use(gonum.Implementation{})
	const n = 300
	x := mat.NewDense(n, n, random(rand.New(rand.NewPCG(3, 4)), n*n))
	var s mat.Dense
	s.Mul(x, x.T())
	sym := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range n {
			sym.SetSym(i, j, s.At(i, j))
		}
		sym.SetSym(i, i, s.At(i, i)+n)
	}
	var c mat.Cholesky
	if !c.Factorize(sym) {
		t.Fatal("not positive definite")
	}
	back := new(mat.SymDense)
	c.ToSym(back)
	for i := range n {
		for j := range n {
			if math.Abs(back.At(i, j)-sym.At(i, j)) > 1e-9*n {
				t.Fatalf("L L^T differs at %d, %d: %g, want %g", i, j, back.At(i, j), sym.At(i, j))
			}
		}
	}
}

func BenchmarkDgemm(b *testing.B) {
	const n = 512
	x := random(rand.New(rand.NewPCG(1, 2)), n*n)
	y := make([]float64, n*n)
	for b.Loop() {
		Implementation{Threads: 1}.Dgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, x, n, x, n, 0, y, n)
	}
}
