package obs

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// layer is a random problem whose columns are correlated; every dead-th column, if dead > 0, has no input.
func layer(seed uint64, rows, d, dead int) (Matrix, []float64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := NewMatrix(rows, d)
	for i := range w.Data {
		w.Data[i] = float32(rng.NormFloat64())
	}
	h := make([]float64, d*d)
	x := make([]float64, d)
	for range 3*d + 5 {
		common := rng.NormFloat64()
		for i := range x {
			x[i] = rng.NormFloat64() + common*float64(i%3)
			if dead > 0 && i%dead == 1 {
				x[i] = 0
			}
			if i > 0 && i%5 == 0 {
				x[i] += x[i-1]
			}
			if dead > 0 && i%dead == 1 {
				x[i] = 0
			}
		}
		for i, a := range x {
			for j, b := range x {
				h[i*d+j] += a * b / float64(d)
			}
		}
	}
	return w, h
}

func prepared(t testing.TB, h []float64, d int) *Prepared {
	t.Helper()
	p, err := Prepare(h, d, 1e-3)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t testing.TB, r *Result, err error) *Result {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// refineShapes is rows and columns around the tile of the kernels; every dead-th column is dead.
var refineShapes = []struct{ rows, d, dead int }{{1, 1, 0}, {2, 4, 0}, {3, 9, 0}, {3, 15, 4}, {2, 16, 0}, {2, 17, 0}, {4, 32, 7}, {3, 48, 0}, {2, 65, 9}}

// TestRefineFalls checks of every refinement that no row's loss rises, that the pattern stays, that pruned weights are the least squares of
// their mask and quantized ones on their grid, and that threads do not matter.
func TestRefineFalls(t *testing.T) {
	ctx := context.Background()
	for _, s := range refineShapes {
		w, h := layer(uint64(s.d), s.rows, s.d, s.dead)
		p := prepared(t, h, s.d)
		for name, run := range map[string]func(o Options) (before, after *Result){
			"2:4": func(o Options) (*Result, *Result) {
				r := must2(t)(NM(ctx, w, p, 2, 4, o))
				return r, must2(t)(RefineNM(ctx, w, r, p, 2, 4, o))
			},
			"1:3 of magnitudes": func(o Options) (*Result, *Result) {
				r := must2(t)(MagnitudeNM(w, p, 1, 3))
				return r, must2(t)(RefineNM(ctx, w, r, p, 1, 3, o))
			},
			"unstructured": func(o Options) (*Result, *Result) {
				r := must2(t)(Unstructured(ctx, w, p, 0.6, o))
				return r, must2(t)(RefineMask(ctx, w, r, p, 1, o))
			},
			"unstructured of magnitudes": func(o Options) (*Result, *Result) {
				r := must2(t)(MagnitudeUnstructured(w, p, 0.5))
				return r, must2(t)(RefineMask(ctx, w, r, p, 1, o))
			},
			"block-4": func(o Options) (*Result, *Result) {
				r := must2(t)(Blocks(ctx, w, p, 4, 0.5, o))
				return r, must2(t)(RefineMask(ctx, w, r, p, 4, o))
			},
			"block-3": func(o Options) (*Result, *Result) {
				r := must2(t)(Blocks(ctx, w, p, 3, 0.8, o))
				return r, must2(t)(RefineMask(ctx, w, r, p, 3, o))
			},
		} {
			t.Run(fmt.Sprintf("%s/%dx%d", name, s.rows, s.d), func(t *testing.T) {
				before, after := run(Options{Threads: 1})
				checkFalls(t, w, before, after, p)
				checkLeastSquares(t, w, after, p)
				c := 1
				fmt.Sscanf(name, "block-%d", &c)
				if a, b := removedUnits(before.W, c), removedUnits(after.W, c); a > b {
					t.Errorf("%d blocks are removed, %d after refinement", a, b)
				}
				if _, again := run(Options{Threads: 3}); !slices.Equal(again.W.Data, after.W.Data) {
					t.Error("3 threads give other weights than 1")
				}
			})
		}
	}
}

func must2(t testing.TB) func(r *Result, err error) *Result {
	return func(r *Result, err error) *Result {
		t.Helper()
		return must(t, r, err)
	}
}

// removedUnits counts the blocks of c columns that are all zero.
func removedUnits(m Matrix, c int) int {
	n := 0
	for r := range m.Rows {
		k := keptUnits(m.Row(r), c, m.Cols-m.Cols%c)
		for i := 0; i+c <= len(k); i += c {
			if !k[i] {
				n++
			}
		}
	}
	return n
}

func zeros(m Matrix) int {
	n := 0
	for _, z := range Zeros(m) {
		if z {
			n++
		}
	}
	return n
}

// checkFalls holds the sum of losses, and what is reported of them, to the loss before.
func checkFalls(t *testing.T, w Matrix, before, after *Result, p *Prepared) {
	t.Helper()
	b, a := Loss(w, before.W, p.H), Loss(w, after.W, p.H)
	if total(a) > total(b)*(1+1e-12) {
		t.Errorf("layer loss rose from %v to %v", total(b), total(a))
	}
	for r := range a {
		if math.Abs(a[r]-after.Loss[r]) > 1e-9*(a[r]+1e-12) {
			t.Errorf("row %d: loss %v reported as %v", r, a[r], after.Loss[r])
		}
	}
}

// checkLeastSquares compares the weights of a pruned result with the closed form on its mask.
func checkLeastSquares(t *testing.T, w Matrix, r *Result, p *Prepared) {
	t.Helper()
	best := must2(t)(LeastSquares(context.Background(), w, Zeros(r.W), p, Options{}))
	for row, l := range r.Loss {
		if l > best.Loss[row]*(1+1e-3)+1e-9 {
			t.Errorf("row %d: loss %v, least squares of its mask %v", row, l, best.Loss[row])
		}
	}
}

// TestRefineNMFindsExchanges compares with all masks: no exchange of a refined mask may be left that lowers the loss, and no
// mask may be better than the best.
func TestRefineNMFindsExchanges(t *testing.T) {
	ctx, o := context.Background(), Options{}
	sum, n := 0.0, 0
	for seed := range uint64(20) {
		w, h := layer(seed, 2, 12, 0)
		p, err := Prepare(h, 12, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := must2(t)(RefineNM(ctx, w, must2(t)(NM(ctx, w, p, 2, 4, o)), p, 2, 4, o))
		mask := Zeros(r.W)
		for a := range mask {
			for b := range mask {
				if a/4 == b/4 && mask[a] && !mask[b] {
					mask[a], mask[b] = false, true
					other := must2(t)(LeastSquares(ctx, w, mask, p, o))
					if row := a / 12; other.Loss[row] < r.Loss[row]*(1-1e-6) {
						t.Errorf("seed %d: exchanging columns %d and %d of row %d lowers the loss from %v to %v", seed, a%12, b%12, row, r.Loss[row], other.Loss[row])
					}
					mask[a], mask[b] = true, false
				}
			}
		}
		best := bestNM(t, w, p)
		for row, l := range r.Loss {
			if l < best[row]*(1-1e-6) {
				t.Errorf("seed %d, row %d: loss %v is below that of the best mask, %v", seed, row, l, best[row])
			}
			sum, n = sum+l/best[row], n+1
		}
	}
	if mean := sum / float64(n); mean > 1.005 {
		t.Errorf("refined 2:4 masks lose %.4f times what the best masks do, expected at most 1.005", mean)
	} else {
		t.Logf("refined 2:4 masks lose %.4f times what the best masks do", mean)
	}
}

// bestNM is the least loss of each row over all 2:4 masks of 12 columns.
func bestNM(t *testing.T, w Matrix, p *Prepared) []float64 {
	t.Helper()
	pairs := [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}
	best := make([]float64, w.Rows)
	for r := range best {
		best[r] = math.Inf(1)
	}
	for i := range 216 {
		mask := make([]bool, len(w.Data))
		for r := range w.Rows {
			for g, k := range []int{i % 6, i / 6 % 6, i / 36} {
				mask[r*12+g*4+pairs[k][0]], mask[r*12+g*4+pairs[k][1]] = true, true
			}
		}
		for r, l := range must2(t)(LeastSquares(context.Background(), w, mask, p, Options{})).Loss {
			best[r] = min(best[r], l)
		}
	}
	return best
}
