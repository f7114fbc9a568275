package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestElimStep(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		testElimStep[float32](t)
		testElimStep[float64](t)
	})
}

func testElimStep[T Float](t *testing.T) {
	r, k := newRand(), ElimOf[T]()
	for tiles := 1; tiles <= 19; tiles++ {
		for _, steps := range []int{0, 1, 2, 15, 16, 17, 63} {
			n, depth := tiles*Tile, steps+1+tiles%3
			u := randomOf[T](r, tiles*depth*Tile)
			col, coef := randomOf[T](r, n), randomOf[T](r, steps+1)
			diag, w := randomOf[T](r, n), randomOf[T](r, n)
			inv, c := T(0.75), T(-1.5)
			wantU, wantDiag, wantW := clone(u), clone(diag), clone(w)
			for i := range n {
				v := float64(col[i])
				for s := range steps {
					v -= float64(u[i/Tile*depth*Tile+s*Tile+i%Tile]) * float64(coef[s])
				}
				v *= float64(inv)
				wantU[i/Tile*depth*Tile+steps*Tile+i%Tile] = T(v)
				wantDiag[i] = T(float64(diag[i]) - v*v)
				wantW[i] = T(float64(w[i]) - float64(c)*v)
			}
			k.Step(u, depth, steps, col, coef, inv, c, diag, w)
			name := fmt.Sprintf("%T tiles=%d steps=%d", inv, tiles, steps)
			nearAll(t, name+" u", u, wantU, 20)
			nearAll(t, name+" diag", diag, wantDiag, 400)
			nearAll(t, name+" w", w, wantW, 20)
		}
	}
}

func TestElimStepFour(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		testElimStepFour[float32](t)
		testElimStepFour[float64](t)
	})
}

// testElimStepFour holds four steps at once to four steps, exactly.
func testElimStepFour[T Float](t *testing.T) {
	r, k := newRand(), ElimOf[T]()
	for tiles := 1; tiles <= 7; tiles++ {
		for _, steps := range []int{0, 1, 2, 16, 61} {
			n, depth := tiles*Tile, steps+4+tiles%3
			u := randomOf[T](r, tiles*depth*Tile)
			col, coef := randomOf[T](r, 4*n), randomOf[T](r, 8+4*(steps+4))
			diag, w := randomOf[T](r, n), randomOf[T](r, n)
			wantU, wantDiag, wantW := clone(u), clone(diag), clone(w)
			for c := range 4 {
				one := make([]T, steps+c+1)
				for s := range steps + c {
					one[s] = coef[8+4*s+c]
				}
				k.Step(wantU, depth, steps+c, col[c*n:(c+1)*n], one, coef[c], coef[4+c], wantDiag, wantW)
			}
			k.StepFour(u, depth, steps, col, coef, diag, w)
			name := fmt.Sprintf("%T tiles=%d steps=%d", w[0], tiles, steps)
			nearAll(t, name+" u", u, wantU, 0)
			nearAll(t, name+" diag", diag, wantDiag, 0)
			nearAll(t, name+" w", w, wantW, 0)
		}
	}
}

// TestElimBlockFour holds four columns at once to each of them split and applied, exactly.
func TestElimBlockFour(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r, k := newRand(), ElimOf[float32]()
		if k.BlockFour == nil {
			t.Skip("pure Go splits and applies")
		}
		for groups := 1; groups <= 4; groups++ {
			for _, at := range []int{0, 1, 12} {
				depth := at + 4 + groups%2
				d, u := random(r, groups*10*Tile), random(r, groups*4*depth*Tile)
				want, row, x := clone(d), make([]float32, groups*4*Tile), make([]float32, groups*4*Tile)
				for s := at; s < at+4; s++ {
					for i := range row {
						row[i] = u[i/Tile*depth*Tile+s*Tile+i%Tile]
					}
					k.Split(x, row, 4)
					k.BlockStep(want, x, 4)
				}
				k.BlockFour(d, u, depth, at, groups)
				nearAll(t, fmt.Sprintf("groups=%d t=%d", groups, at), d, want, 0)
			}
		}
	})
}

func TestElimUpdate(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		testElimUpdate[float32](t)
		testElimUpdate[float64](t)
	})
}

func testElimUpdate[T Float](t *testing.T) {
	r, k := newRand(), ElimOf[T]()
	for tiles := 1; tiles <= 4; tiles++ {
		for _, steps := range []int{1, 2, 15, 16, 17, 64} {
			depth := steps + tiles%2
			u, uq, src := randomOf[T](r, tiles*depth*Tile), randomOf[T](r, steps*Tile), randomOf[T](r, tiles*Tile*Tile)
			want, dst := clone(src), make([]T, len(src))
			for i := range tiles * Tile {
				for j := range Tile {
					v := float64(src[i*Tile+j])
					for s := range steps {
						v -= float64(u[i/Tile*depth*Tile+s*Tile+i%Tile]) * float64(uq[s*Tile+j])
					}
					want[i*Tile+j] = T(v)
				}
			}
			k.Update(dst, src, u, uq, depth, steps, tiles)
			nearAll(t, fmt.Sprintf("%T tiles=%d steps=%d", u[0], tiles, steps), dst, want, 20)
			k.Update(src, src, u, uq, depth, steps, tiles)
			nearAll(t, fmt.Sprintf("%T tiles=%d steps=%d in place", u[0], tiles, steps), src, dst, 0)
		}
	}
}

func TestElimCheapest(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		testElimCheapest[float32](t)
		testElimCheapest[float64](t)
	})
}

// testElimCheapest holds every form to the pure Go form, exactly; weights are drawn from few values, so that costs are often equal.
func testElimCheapest[T Float](t *testing.T) {
	r, k, plain := newRand(), ElimOf[T](), genericElim[T]()
	inf := T(math.Inf(1))
	for tiles := 1; tiles <= 9; tiles++ {
		for trial := range 60 {
			n := tiles * Tile
			v := func(f func() T) []T {
				x := make([]T, n)
				for i := range x {
					x[i] = f()
				}
				return x
			}
			w := v(func() T { return T(r.IntN(40)-20) / 8 })
			diag := v(func() T { return T(1+r.IntN(3)) / 2 })
			pen := v(func() T {
				if r.IntN(10) < trial%11 {
					return inf
				}
				return 0
			})
			scale := v(func() T { return T(1+r.IntN(4)) / 8 })
			inv := make([]T, n)
			for i, s := range scale {
				inv[i] = 1 / s
			}
			lo, hi := v(func() T { return T(-r.IntN(9)) }), v(func() T { return T(r.IntN(9)) })
			if got, want := k.Cheapest(w, diag, pen), plain.Cheapest(w, diag, pen); got != want {
				t.Fatalf("%T tiles=%d: cheapest is %d, want %d", inf, tiles, got, want)
			}
			i, j, s := k.CheapestRounding(w, diag, pen, scale, inv, lo, hi)
			if a, b, c := plain.CheapestRounding(w, diag, pen, scale, inv, lo, hi); i != a || j != b || s != c {
				t.Fatalf("%T tiles=%d: cheapest rounding is %d, %d, %v, want %d, %d, %v", inf, tiles, i, j, s, a, b, c)
			}
		}
	}
}

func TestElimBlocks(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		testElimBlocks[float32](t)
		testElimBlocks[float64](t)
	})
}

// testElimBlocks rates blocks of random positive definite matrices, whose scores are known: with w = D x the score is x^T D x.
func testElimBlocks[T Float](t *testing.T) {
	r, k := newRand(), ElimOf[T]()
	for _, c := range []int{1, 2, 3, 4, 5, 8, 12, 16, 64} {
		for _, groups := range []int{1, 2, 5} {
			n, size := groups*Tile, c*(c+1)/2
			flat := make([]T, n*c)
			d, want := make([]T, n*size), make([]T, n)
			u := randomOf[T](r, n*c)
			for b := range n {
				x, full := randomOf[float64](r, c), make([]float64, c*c)
				for range c + 2 {
					for i, v := range randomOf[float64](r, c) {
						full[i*c+i] += v * v
					}
				}
				for i := range c {
					for j := range i {
						full[i*c+j] = r.NormFloat64() / 4
						full[j*c+i] = full[i*c+j]
					}
				}
				for i := range c {
					sum := 0.0
					for j := range c {
						sum += full[i*c+j] * x[j]
					}
					flat[b*c+i] = T(sum)
					want[b] += T(sum * x[i])
					for j := range i + 1 {
						d[(b/Tile*size+i*(i+1)/2+j)*Tile+b%Tile] = T(full[i*c+j])
					}
				}
			}
			name := fmt.Sprintf("%T c=%d groups=%d", flat[0], c, groups)
			w := make([]T, n*c)
			k.Split(w, flat, c)
			for i, v := range flat {
				if got := w[(i/c/Tile*c+i%c)*Tile+i/c%Tile]; got != v {
					t.Fatalf("%s: column %d of block %d is %v after Split, want %v", name, i%c, i/c, got, v)
				}
			}
			score, work := make([]T, n), make([]T, (size+c)*Tile)
			k.BlockScore(score, w, d, work, c)
			nearAll(t, name+" score", score, want, 50)
			stepped := clone(d)
			for b := range n {
				for i := range c {
					for j := range i + 1 {
						e := func(i int) float64 { return float64(u[(b/Tile*c+i)*Tile+b%Tile]) }
						stepped[(b/Tile*size+i*(i+1)/2+j)*Tile+b%Tile] -= T(e(i) * e(j))
					}
				}
			}
			k.BlockStep(d, u, c)
			nearAll(t, name+" step", d, stepped, 1)
		}
	}
}

// A matrix that is not positive definite scores NaN, and only its own lane does.
func TestElimBlockScoreNotDefinite(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		k := ElimOf[float32]()
		d, w := make([]float32, 3*Tile), make([]float32, 2*Tile)
		for i := range Tile {
			d[i], d[2*Tile+i], w[i] = 1, 1, 1
		}
		d[Tile+3] = 2 // [1 2; 2 1]
		score := make([]float32, Tile)
		k.BlockScore(score, w, d, make([]float32, 5*Tile), 2)
		for i, s := range score {
			if (i == 3) != (s != s) {
				t.Errorf("score %d is %v", i, s)
			}
		}
	})
}

func randomOf[T Float](r *rand.Rand, n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(r.NormFloat64())
	}
	return x
}

func clone[T any](x []T) []T { return append([]T(nil), x...) }

// nearAll allows the tolerance of T times scale times the size of the wanted number, or 1.
func nearAll[T Float](t *testing.T, what string, got, want []T, scale float64) {
	t.Helper()
	tol := 1e-13 * scale
	if _, ok := any(got).([]float32); ok {
		tol = 1e-6 * scale
	}
	for i := range want {
		near(t, what, i, float64(got[i]), float64(want[i]), tol*math.Max(1, math.Abs(float64(want[i]))))
	}
}

func TestTriangleColumns(t *testing.T) {
	r := newRand()
	const ld = 5 * Tile
	a, at := make([]float64, TriangleSize(ld)), func(i, j int) int { return TriangleOrigin(ld, j/Tile) + i*Tile + j%Tile }
	full := make([]float64, ld*ld)
	for i := range ld {
		for j := range i + 1 {
			v := r.Float64()
			full[i*ld+j], full[j*ld+i], a[at(i, j)] = v, v, v
			if i/Tile == j/Tile {
				a[at(j, i)] = v
			}
		}
	}
	for _, c := range []int{1, 2, 4, 7} {
		for p := 0; p+c <= ld; p++ {
			for n := roundUp(p+c, Tile); n <= ld; n += Tile {
				got := make([]float64, c*n)
				TriangleColumns(got, a, ld, p, c, n)
				for k := range c {
					nearAll(t, fmt.Sprintf("column %d of %d from %d", k, c, p), got[k*n:(k+1)*n], full[(p+k)*ld:][:n], 0)
				}
			}
		}
	}
}

// The depth of the panels changes an inverse by rounding only.
func TestSweepDepth(t *testing.T) {
	const n = 290
	r := newRand()
	h := make([]float64, n*n)
	SyrkAdd(h, n, random(r, 2*n*n), 2*n, n, 2)
	Mirror(h, n)
	want := clone(h)
	if err := CholInverse64(want, n, 1); err != nil {
		t.Fatal(err)
	}
	for _, depth := range []int{64, 128} {
		for _, threads := range []int{1, 3} {
			got := clone(h)
			if err := invertInPanels(got, n, depth, threads); err != nil {
				t.Fatal(err)
			}
			nearAll(t, fmt.Sprintf("depth %d, %d threads", depth, threads), got, want, 1e4)
		}
	}
}
