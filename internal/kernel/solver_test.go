package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSymColumnAndDowndate(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range append(sizes, 100, 130, 800) {
			for _, b := range []int{0, 1, 7, 32} {
				if b > n || n == 800 && b != 7 {
					continue
				}
				lda, ldu := n+3, n+1
				a, u := padded(r, n, n, lda), padded(r, b, n, ldu)
				for i := range n { // only the upper triangle may be read
					for j := range i {
						a[i*lda+j] = nan
					}
				}
				gone := r.Perm(n)[:b]
				keep := survivors(n, gone)
				k := len(keep)
				ldd := max(1, k)
				dst := make([]float32, k*ldd)
				for i := range dst {
					dst[i] = 7
				}
				SymDowndate(dst, ldd, a, lda, keep, u, ldu, b)
				inPlace := append([]float32(nil), a...)
				SymDowndate(inPlace, lda, inPlace, lda, keep, u, ldu, b)
				col := make([]float32, k)
				for j := range k {
					SymColumn(col, dst, ldd, k, j)
					for i := range k {
						p, q := int(keep[min(i, j)]), int(keep[max(i, j)])
						want, size := float64(a[p*lda+q]), math.Abs(float64(a[p*lda+q]))
						for s := range b {
							x := float64(u[s*ldu+p]) * float64(u[s*ldu+q])
							want -= x
							size += math.Abs(x)
						}
						name := fmt.Sprintf("n=%d b=%d column %d", n, b, j)
						near(t, name, i, float64(col[i]), want, 1e-6*(size+1e-30))
						if i > j && dst[i*ldd+j] != 7 {
							t.Fatalf("%s: lower triangle written at row %d", name, i)
						}
						if i <= j && inPlace[i*lda+j] != dst[i*ldd+j] {
							t.Fatalf("%s: in place %g, out of place %g", name, inPlace[i*lda+j], dst[i*ldd+j])
						}
					}
				}
			}
		}
	})
}

func survivors(n int, gone []int) (keep []int32) {
	dead := make([]bool, n)
	for _, p := range gone {
		dead[p] = true
	}
	for i := range n {
		if !dead[i] {
			keep = append(keep, int32(i))
		}
	}
	return keep
}

func TestPanelStep(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range append(sizes, 100) {
			for _, steps := range []int{0, 1, 2, 3, 4, 5, 31} {
				ldu := n + 2
				u := padded(r, steps+1, n, ldu)
				col, coef, diag, w := random(r, n), random(r, steps), random(r, n), random(r, n)
				d0, w0 := append([]float32(nil), diag...), append([]float32(nil), w...)
				const inv, c = 0.7, -1.3
				PanelStep(u, ldu, steps, col, coef, inv, c, diag, w)
				for i := range n {
					want, size := float64(col[i]), math.Abs(float64(col[i]))
					for s, f := range coef {
						want -= float64(u[s*ldu+i]) * float64(f)
						size += math.Abs(float64(u[s*ldu+i]) * float64(f))
					}
					v := u[steps*ldu+i]
					name := fmt.Sprintf("n=%d steps=%d", n, steps)
					near(t, name, i, float64(v), want*inv, 1e-6*size)
					if diag[i] != d0[i]-float32(v*v) || w[i] != w0[i]-float32(c*v) {
						t.Fatalf("%s: diag %g, w %g at %d", name, diag[i], w[i], i)
					}
				}
				for i := n; i < ldu; i++ {
					if v := u[steps*ldu+i]; v == v {
						t.Fatalf("n=%d steps=%d: padding overwritten", n, steps)
					}
				}
			}
		}
	})
}

// scoreInputs returns weights with many ties and a mask that leaves some out.
func scoreInputs(r *rand.Rand, n int) (w, diag, mask, scale, zero []float32) {
	w, diag, mask = make([]float32, n), make([]float32, n), make([]float32, n)
	scale, zero = make([]float32, n), make([]float32, n)
	for i := range n {
		w[i] = float32(r.IntN(41)-20) / 8
		diag[i] = float32(1+r.IntN(3)) / 2
		scale[i] = float32(1+r.IntN(3)) / 3
		zero[i] = float32(r.IntN(8))
		switch r.IntN(6) {
		case 0:
			mask[i] = float32(math.Inf(1))
		case 1:
			mask[i], diag[i] = float32(math.Inf(1)), 0
		}
	}
	return
}

func TestScoresEqualGeneric(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for round := range 40 {
			for _, n := range append(sizes, 100, 1152) {
				w, diag, mask, scale, zero := scoreInputs(r, n)
				if round == 0 {
					for i := range mask {
						mask[i] = float32(math.Inf(1))
					}
				}
				i, s := ArgminScore(w, diag, mask)
				gi, gs := argminScoreGeneric(w, diag, mask)
				if i != gi || s != gs {
					t.Fatalf("n=%d: argmin %d (%g), want %d (%g)", n, i, s, gi, gs)
				}
				a, b, c, d := QuantScore(w, diag, mask, scale, zero, 15)
				ga, gb, gc, gd := quantScoreGeneric(w, diag, mask, scale, zero, 15)
				if a != ga || b != gb || c != gc || d != gd {
					t.Fatalf("n=%d: quant %d (%g) %d (%g), want %d (%g) %d (%g)", n, a, b, c, d, ga, gb, gc, gd)
				}
			}
		}
	})
}

func TestScoresByHand(t *testing.T) {
	inf := float32(math.Inf(1))
	w := []float32{3, -1, 1, 0.1}
	i, s := ArgminScore(w, []float32{1, 1, 1, 1}, []float32{0, 0, 0, inf})
	if i != 1 || s != 1 {
		t.Errorf("got %d, %g; want the first of the tie at 1", i, s)
	}
	one := []float32{1, 1, 1, 1}
	// Codes 0..3, zero point 1: values -1..2. Errors: 3-2=1, 0, 0, masked; the first outlier is 3.
	a, b, c, d := QuantScore(w, one, []float32{0, 0, 0, inf}, one, one, 3)
	if a != 1 || b != 0 || c != 0 || d != 1 {
		t.Errorf("got %d, %g, %d, %g", a, b, c, d)
	}
}

func TestBlockScore(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, c := range []int{1, 2, 4, 8} {
			for _, n := range []int{0, 1, 5, 64, 65, 100} {
				w, score := random(r, c*n), make([]float32, n)
				diag := make([]float32, c*(c+1)/2*n)
				want := make([]float64, n)
				for k := range n {
					// D = G G^T + I; w^T D^-1 w by Cholesky64.
					g, d := random(r, c*c), make([]float64, c*c)
					for e := range c {
						for f := range c {
							for q := range c {
								d[e*c+f] += float64(g[e*c+q]) * float64(g[f*c+q])
							}
							if e == f {
								d[e*c+f]++
							}
							if f <= e {
								diag[(e*(e+1)/2+f)*n+k] = float32(d[e*c+f])
							}
						}
					}
					if err := CholInverse64(d, c, 1); err != nil {
						t.Fatal(err)
					}
					for e := range c {
						for f := range c {
							want[k] += float64(w[e*n+k]) * d[e*c+f] * float64(w[f*n+k])
						}
					}
				}
				BlockScore(score, c, w, diag, make([]float32, BlockWork(c)))
				for k := range n {
					near(t, fmt.Sprintf("c=%d n=%d", c, n), k, float64(score[k]), want[k], 1e-4*(want[k]+1))
				}
			}
		}
	})
}

// BenchmarkElimination is a whole trace of one row: the work that internal/obs does.
func BenchmarkElimination(b *testing.B) {
	r := newRand()
	for _, d := range []int{288, 576, 1152, 2304} {
		h := make([]float64, d*d)
		x := random(r, 2*d*d)
		SyrkAdd(h, d, x, 2*d, d, 2)
		Mirror(h, d)
		if err := CholInverse64(h, d, 2); err != nil {
			b.Fatal(err)
		}
		hinv := make([]float32, d*d)
		for i, v := range h {
			hinv[i] = float32(v * float64(d))
		}
		w := random(r, d)
		b.Run(fmt.Sprintf("d=%d", d), func(b *testing.B) {
			work := make([]float32, d*d)
			for b.Loop() {
				eliminate(hinv, work, append([]float32(nil), w...), d, 64)
			}
			n := float64(d)
			b.ReportMetric(n*n*n/3*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

// eliminate removes all weights in the order of their cost and returns the order.
func eliminate(hinv, work, w []float32, d, block int) (order []int) {
	a, n := hinv, d
	pos := make([]int, d)
	diag, mask := make([]float32, d), make([]float32, d)
	for i := range pos {
		pos[i], diag[i] = i, hinv[i*d+i]
	}
	u, col, coef := make([]float32, block*d), make([]float32, d), make([]float32, block)
	for n > 0 {
		clear(mask[:n])
		t := 0
		for ; t < min(block, n); t++ {
			p, _ := ArgminScore(w[:n], diag[:n], mask[:n])
			order = append(order, pos[p])
			for s := range t {
				coef[s] = u[s*d+p]
			}
			SymColumn(col[:n], a, d, n, p)
			inv := float32(1 / math.Sqrt(float64(diag[p])))
			PanelStep(u, d, t, col[:n], coef, inv, w[p]*inv, diag[:n], w[:n])
			w[p], mask[p] = 0, float32(math.Inf(1))
		}
		var keep []int32
		for i, m := range mask[:n] {
			if m == 0 {
				k := len(keep)
				pos[k], diag[k], w[k] = pos[i], diag[i], w[i]
				keep = append(keep, int32(i))
			}
		}
		SymDowndate(work, d, a, d, keep, u, d, t)
		a, n = work, len(keep)
	}
	return order
}
