package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// naive computes alpha op(a) op(b) + beta c in float64, and the sum of absolute products, which scales the rounding error.
func naive(transA, transB bool, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) (want, size []float64) {
	want, size = make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			var s, abs float64
			for p := range k {
				x, y := a[i*lda*btoi(!transA)+p*btoi(!transA)+p*lda*btoi(transA)+i*btoi(transA)], b[p*ldb*btoi(!transB)+j*btoi(!transB)+j*ldb*btoi(transB)+p*btoi(transB)]
				s += x * y
				abs += math.Abs(x * y)
			}
			want[i*n+j], size[i*n+j] = alpha*s, math.Abs(alpha)*abs
			if beta != 0 {
				want[i*n+j] += beta * c[i*ldc+j]
				size[i*n+j] += math.Abs(beta * c[i*ldc+j])
			}
		}
	}
	return want, size
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// dims swaps rows and columns of a matrix that is stored transposed.
func dims(trans bool, rows, cols int) (int, int) {
	if trans {
		return cols, rows
	}
	return rows, cols
}

type gemmCase struct{ m, n, k int }

func gemmCases() []gemmCase {
	var cs []gemmCase
	for _, s := range sizes {
		cs = append(cs, gemmCase{s, 17, 5}, gemmCase{7, s, 9}, gemmCase{6, 16, s}, gemmCase{s, s, s}, gemmCase{1, s, 40}, gemmCase{s, 1, 40})
	}
	return append(cs, gemmCase{150, 70, 300}, gemmCase{13, 150, 520}, gemmCase{200, 20, 257}, gemmCase{100, 600, 100}, gemmCase{70, 52, 400})
}

func TestSgemm(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, s := range gemmCases() {
			for mode := range 4 {
				transA, transB := mode&1 > 0, mode&2 > 0
				ar, ac := dims(transA, s.m, s.k)
				br, bc := dims(transB, s.k, s.n)
				lda, ldb, ldc := ac+3, bc+2, s.n+5
				a, b := padded(r, ar, ac, lda), padded(r, br, bc, ldb)
				for _, f := range [][2]float32{{1, 0}, {1, 1}, {-0.5, 2}, {0, 3}} {
					c := padded(r, s.m, s.n, ldc)
					want, size := naive(transA, transB, s.m, s.n, s.k, float64(f[0]), widen(a), lda, widen(b), ldb, float64(f[1]), widen(c), ldc)
					if f[1] == 0 {
						for i := range c {
							c[i] = nan
						}
					}
					one := slices.Clone(c)
					Sgemm(transA, transB, s.m, s.n, s.k, f[0], a, lda, b, ldb, f[1], c, ldc, 1)
					name := fmt.Sprintf("%+v A^T %v B^T %v alpha, beta %v", s, transA, transB, f)
					for i := range s.m {
						for j := range ldc {
							if j < s.n {
								near(t, name, i*s.n+j, float64(c[i*ldc+j]), want[i*s.n+j], 1e-6*(size[i*s.n+j]+1e-30))
							} else if c[i*ldc+j] == c[i*ldc+j] {
								t.Fatalf("%s: padding of row %d overwritten", name, i)
							}
						}
					}
					Sgemm(transA, transB, s.m, s.n, s.k, f[0], a, lda, b, ldb, f[1], one, ldc, 3)
					sameBits(t, name+" three threads", one, c)
				}
			}
		}
	})
}

func sameBits(t *testing.T, name string, a, b []float32) {
	t.Helper()
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) && (a[i] == a[i] || b[i] == b[i]) {
			t.Fatalf("%s: element %d is %g and %g", name, i, a[i], b[i])
		}
	}
}

func TestDgemm(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, s := range gemmCases() {
			for mode := range 4 {
				transA, transB := mode&1 > 0, mode&2 > 0
				ar, ac := dims(transA, s.m, s.k)
				br, bc := dims(transB, s.k, s.n)
				lda, ldb, ldc := ac+3, bc+2, s.n+5
				a, b, c := widen(padded(r, ar, ac, lda)), widen(padded(r, br, bc, ldb)), widen(padded(r, s.m, s.n, ldc))
				want, size := naive(transA, transB, s.m, s.n, s.k, 1.5, a, lda, b, ldb, -1, c, ldc)
				Dgemm(transA, transB, s.m, s.n, s.k, 1.5, a, lda, b, ldb, -1, c, ldc, 2)
				for i := range want {
					near(t, fmt.Sprintf("%+v A^T %v B^T %v", s, transA, transB), i, c[i/s.n*ldc+i%s.n], want[i], 1e-14*size[i])
				}
			}
		}
	})
}

func TestPackedWithEpilogue(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, s := range gemmCases() {
			for mode := range 4 {
				trans, left := mode&1 > 0, mode&2 > 0
				a, b := random(r, s.m*s.k), random(r, s.k*s.n)
				lda, ldb := s.k, s.n
				e := &Epilogue{Row: random(r, s.m), Col: random(r, s.n), Add: padded(r, s.m, s.n, s.n+3), Lo: -1, Hi: 2,
					Then: func(row []float32) { Scale(2, row) }}
				ldc := s.n + 3
				c := make([]float32, s.m*ldc)
				if left {
					if trans {
						lda = s.m
					}
					SgemmPackedA(PackA(trans, s.m, s.k, a, max(1, lda)), false, s.n, b, max(1, ldb), c, ldc, e, 2)
				} else {
					if trans {
						ldb = s.k
					}
					SgemmPackedB(false, s.m, a, max(1, lda), PackB(trans, s.k, s.n, b, max(1, ldb)), c, ldc, e, 2)
				}
				want, size := naive(trans && left, trans && !left, s.m, s.n, s.k, 1, widen(a), lda, widen(b), ldb, 0, nil, 0)
				for i := range want {
					at := i/s.n*ldc + i%s.n
					w := 2 * min(2, max(-1, want[i]+float64(e.Row[i/s.n])+float64(e.Col[i%s.n])+float64(e.Add[at])))
					near(t, fmt.Sprintf("%+v transposed %v left %v", s, trans, left), i, float64(c[at]), w, 2e-6*(size[i]+5))
				}
			}
		}
	})
}

func TestEpilogueKeepsNaN(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		a, b, c := []float32{nan, 1}, make([]float32, 20), make([]float32, 40)
		SgemmPackedB(false, 2, a, 1, PackB(false, 1, 20, b, 20), c, 20, &Epilogue{Lo: 0, Hi: 1}, 1)
		for i, v := range c {
			if (v != v) != (i < 20) {
				t.Fatalf("element %d is %g", i, v)
			}
		}
	})
}

func BenchmarkSgemm(b *testing.B) {
	r := newRand()
	for _, s := range []gemmCase{{512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}, {16, 1024, 1024}, {1024, 16, 1024}, {64, 2048, 2048}, {2048, 64, 2048}, {1, 2048, 2048}} {
		x, y, c := random(r, s.m*s.k), random(r, s.k*s.n), make([]float32, s.m*s.n)
		for threads := 1; threads <= 2; threads++ {
			b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/threads=%d", s.m, s.n, s.k, threads), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Sgemm(false, false, s.m, s.n, s.k, 1, x, s.k, y, s.n, 0, c, s.n, threads)
				}
				b.ReportMetric(2*float64(s.m*s.n*s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
