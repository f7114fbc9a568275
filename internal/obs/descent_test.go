package obs

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
)

var refineSpecs = []GridSpec{
	{Bits: 4, Search: Shrink},
	{Bits: 3, Symmetric: true, Signed: true, Narrow: true},
	{Bits: 2, Search: Shrink, Granularity: PerGroup, Group: 8},
	{Bits: 4, Granularity: PerTensor},
	{Bits: 8, Symmetric: true},
}

// TestRefineCodesFalls checks that no loss rises, that weights are those of codes and grid, that masks hold, and that threads do not matter.
func TestRefineCodesFalls(t *testing.T) {
	ctx := context.Background()
	for _, s := range refineShapes {
		for i, spec := range refineSpecs {
			t.Run(fmt.Sprintf("%dx%d/spec %d", s.rows, s.d, i), func(t *testing.T) {
				w, h := layer(uint64(s.d), s.rows, s.d, s.dead)
				p := prepared(t, h, s.d)
				mask := make([]bool, len(w.Data))
				for i := range mask {
					mask[i] = i%3 == 1
				}
				g, err := FitGrid(p.clean(w), spec)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range [][]bool{nil, mask} {
					before := must2(t)(Quantize(ctx, w, p, g, m, Options{}))
					after := must2(t)(RefineCodes(ctx, w, before, p, m, Effort{}, Options{Threads: 1}))
					checkFalls(t, w, before, after, p)
					if spec.Granularity != PerTensor {
						checkRows(t, w, before, after, p)
					}
					checkOnGrid(t, after, m, p)
					kept := must2(t)(RefineCodes(ctx, w, before, p, m, Effort{KeepScales: true}, Options{}))
					checkFalls(t, w, before, kept, p)
					if !slices.Equal(kept.Grid.Scale, g.Scale) || !slices.Equal(kept.Grid.Zero, g.Zero) {
						t.Error("scales to keep have changed")
					}
					checkOnGrid(t, kept, m, p)
					fast := must2(t)(GPTQ(ctx, w, p, g, m, true, Options{}))
					checkFalls(t, w, fast, must2(t)(RefineCodes(ctx, w, fast, p, m, Quick, Options{})), p)
					best := must2(t)(QuantizeBest(ctx, w, p, spec, m, Options{Threads: 1}))
					checkOnGrid(t, best, m, p)
					if spec.Granularity != PerTensor {
						checkRows(t, w, before, best, p)
					}
					checkFalls(t, w, before, best, p)
					again := must2(t)(QuantizeBest(ctx, w, p, spec, m, Options{Threads: 3}))
					if !slices.Equal(best.Codes, again.Codes) || !slices.Equal(best.Grid.Scale, again.Grid.Scale) {
						t.Error("3 threads give another result than 1")
					}
				}
			})
		}
	}
}

// checkRows holds every row's loss to that before.
func checkRows(t *testing.T, w Matrix, before, after *Result, p *Prepared) {
	t.Helper()
	a := Loss(w, after.W, p.H)
	for r, b := range Loss(w, before.W, p.H) {
		if a[r] > b*(1+1e-12) {
			t.Errorf("row %d: loss rose from %v to %v", r, b, a[r])
		}
	}
}

// checkOnGrid compares weights with codes, codes with their range, and masked and dead weights with zero.
func checkOnGrid(t *testing.T, r *Result, mask []bool, p *Prepared) {
	t.Helper()
	lo, hi := r.Grid.Spec.Range()
	for i, v := range r.W.Data {
		row, col := i/r.W.Cols, i%r.W.Cols
		if c := int(r.Codes[i]); c < lo || c > hi {
			t.Fatalf("code of row %d, column %d is %d, expected %d to %d", row, col, c, lo, hi)
		}
		if got := r.Grid.Value(row, col, r.Codes[i]); got != v {
			t.Fatalf("weight of row %d, column %d is %v, its code stands for %v", row, col, v, got)
		}
		if v != 0 && (p.Dead[col] || mask != nil && mask[i]) {
			t.Fatalf("weight of row %d, column %d is %v, expected zero", row, col, v)
		}
	}
}

// TestQuantizeNM checks pattern, grid and loss of joint N:M and quantization against the same steps one after the other.
func TestQuantizeNM(t *testing.T) {
	ctx, o := context.Background(), Options{}
	for _, s := range refineShapes {
		w, h := layer(uint64(s.d), s.rows, s.d, s.dead)
		p := prepared(t, h, s.d)
		spec := GridSpec{Bits: 4, Search: Shrink}
		sparse := must2(t)(NM(ctx, w, p, 2, 4, o))
		g, err := FitGrid(sparse.W, spec)
		if err != nil {
			t.Fatal(err)
		}
		plain := must2(t)(Quantize(ctx, w, p, g, Zeros(sparse.W), o))
		joint := must2(t)(QuantizeNM(ctx, w, p, 2, 4, spec, o))
		checkOnGrid(t, joint, nil, p)
		for i := 0; i < len(w.Data); i++ {
			row, col := i/s.d, i%s.d
			if col%4 == 0 && col+4 <= s.d {
				if n := 4 - zeros(Matrix{1, 4, joint.W.Row(row)[col : col+4]}); n > 2 {
					t.Errorf("%d x %d: group at column %d of row %d has %d weights, expected at most 2", s.rows, s.d, col, row, n)
				}
			}
		}
		if a, b := joint.TotalLoss(), plain.TotalLoss(); a > b*1.02+1e-9 {
			t.Errorf("%d x %d: joint loss %v, one after the other %v", s.rows, s.d, a, b)
		}
	}
}

// TestQuantizeBestNearOptimum compares with all codes of a small row on the grid that was found.
func TestQuantizeBestNearOptimum(t *testing.T) {
	ctx, sum, n := context.Background(), 0.0, 0
	const d = 6
	for seed := range uint64(12) {
		w, h := layer(seed, 2, d, 0)
		p := prepared(t, h, d)
		r := must2(t)(QuantizeBest(ctx, w, p, GridSpec{Bits: 2, Search: Shrink}, nil, Options{}))
		x := NewMatrix(1, d)
		for row, l := range r.Loss {
			best := math.Inf(1)
			for i := range 1 << (2 * d) {
				for c := range d {
					x.Data[c] = r.Grid.Value(row, c, int16(i>>(2*c)&3))
				}
				best = min(best, Loss(Matrix{1, d, w.Row(row)}, x, p.H)[0])
			}
			if l < best*(1-1e-9) {
				t.Errorf("seed %d, row %d: loss %v is below that of the best codes, %v", seed, row, l, best)
			}
			sum, n = sum+l/best, n+1
		}
	}
	if mean := sum / float64(n); mean > 1.05 {
		t.Errorf("codes lose %.3f times what the best codes do, expected at most 1.05", mean)
	} else {
		t.Logf("codes lose %.4f times what the best codes do", mean)
	}
}

// TestLeastSquares checks the normal equations: no gradient on kept columns.
func TestLeastSquares(t *testing.T) {
	for _, s := range refineShapes {
		w, h := layer(uint64(s.d), s.rows, s.d, s.dead)
		p := prepared(t, h, s.d)
		mask := make([]bool, len(w.Data))
		for i := range mask {
			mask[i] = i%4 == 2 || i%7 == 0
		}
		r := must2(t)(LeastSquares(context.Background(), w, mask, p, Options{}))
		hd := p.damped()
		for i, m := range mask {
			row, c := i/s.d, i%s.d
			if m {
				if r.W.Data[i] != 0 {
					t.Errorf("masked weight is %v", r.W.Data[i])
				}
				continue
			}
			g := 0.0
			for j := range s.d {
				if !p.Dead[j] {
					g += hd[c*s.d+j] * (float64(r.W.Row(row)[j]) - float64(w.Row(row)[j]))
				}
			}
			if !p.Dead[c] && math.Abs(g) > 1e-4*hd[c*s.d+c] {
				t.Errorf("%d x %d: gradient at row %d, column %d is %v", s.rows, s.d, row, c, g)
			}
		}
	}
}
