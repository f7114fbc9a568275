package obs

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
)

// hardProblems are Hessians that lose digits: each with its samples, and the damping to use.
func hardProblems(d int) map[string]struct {
	pr      problem
	damping float64
} {
	r := rand.New(rand.NewPCG(7, 7))
	gauss := func(n, d int) []float64 {
		x := make([]float64, n*d)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		return x
	}
	layer := func(h []float64) problem {
		pr := problem{w: NewMatrix(4, d), h: h}
		for i := range pr.w.Data {
			pr.w.Data[i] = float32(r.NormFloat64())
		}
		return pr
	}
	few := layer(hessian(gauss(d/4, d), d/4, d))
	twins := gauss(4*d, d)
	for s := range 4 * d {
		for j := range d / 4 {
			twins[s*d+d-1-j] = twins[s*d+j]
		}
	}
	relu := gauss(4*d, d)
	for s := range 4 * d {
		for j := range d {
			v := &relu[s*d+j]
			*v = math.Max(0, *v)
			if j%7 == 0 || j%5 == 0 && s%(2*d) != j {
				*v = 0 // dead, and alive in two samples of all
			}
		}
	}
	type hard = struct {
		pr      problem
		damping float64
	}
	return map[string]hard{
		"fewer samples than columns":                {few, 0},
		"fewer samples than columns, damped":        {few, 0.01},
		"fewer samples than columns, damped little": {few, 2.6e-4}, // float32, near the threshold
		"duplicated channels":                       {layer(hessian(twins, 4*d, d)), 0},
		"duplicated channels, damped":               {layer(hessian(twins, 4*d, d)), 0.01},
		"dead ReLU channels":                        {layer(hessian(relu, 4*d, d)), 0},
		"dead ReLU channels, damped":                {layer(hessian(relu, 4*d, d)), 0.01},
		"condition 1e8":                             {layer(spectrum(r, d, 1e8)), 0},
		"condition 1e4":                             {layer(spectrum(r, d, 1e4)), 0},
		"condition 3e3, long diagonal":              {layer(scaled(spectrum(r, d, 3e3))), 0},
	}
}

// spectrum is Q diag(1 .. 1/cond) Q^T with a random orthogonal Q.
func spectrum(r *rand.Rand, d int, cond float64) []float64 {
	q := make([][]float64, d)
	for i := range q {
		q[i] = make([]float64, d)
		for j := range d {
			q[i][j] = r.NormFloat64()
		}
		for range 2 {
			for _, p := range q[:i] {
				dot := 0.0
				for k := range d {
					dot += p[k] * q[i][k]
				}
				for k := range d {
					q[i][k] -= dot * p[k]
				}
			}
		}
		norm := 0.0
		for _, v := range q[i] {
			norm += v * v
		}
		for k := range d {
			q[i][k] /= math.Sqrt(norm)
		}
	}
	h := make([]float64, d*d)
	for k := range d {
		l := math.Pow(cond, -float64(k)/float64(d-1))
		for i := range d {
			for j := range d {
				h[i*d+j] += l * q[k][i] * q[k][j]
			}
		}
	}
	return h
}

// scaled spreads the columns over six powers of ten.
func scaled(h []float64) []float64 {
	d := int(math.Sqrt(float64(len(h))))
	for i := range d {
		for j := range d {
			h[i*d+j] *= math.Pow(10, 3*float64((i*7)%d+(j*7)%d)/float64(d))
		}
	}
	return h
}

// plainLosses are the layer losses of the plain float64 form under the same greedy rules.
func plainLosses(pr problem, p *Prepared, g *Grid, shares []float64) map[string]float64 {
	d, rows := pr.w.Cols, pr.w.Rows
	out := map[string]float64{}
	add := func(name string, row int, e *plain) {
		m := NewMatrix(1, d)
		for i, v := range e.w {
			m.Data[i] = float32(v)
		}
		out[name] += total(Loss(Matrix{1, d, pr.w.Row(row)}, m, pr.h))
	}
	for r := range rows {
		e := newPlain(pr.w.Row(r), p)
		e.nm(2, 4)
		add("24", r, e)
		e = newPlain(pr.w.Row(r), p)
		e.obq(g, r, nil)
		add("quant", r, e)
	}
	for name, c := range map[string]int{"unstr": 1, "block4": 4} {
		costs := &Trace{Rows: rows, Cols: d, C: c, Steps: d / c, Cost: make([]float64, rows*(d/c))}
		states := make([][]*plain, rows)
		for r := range rows {
			e := newPlain(pr.w.Row(r), p)
			e.trace(c, func(_ int, cost float64) {
				costs.Cost[r*costs.Steps+len(states[r])] = cost
				states[r] = append(states[r], &plain{w: append([]float64(nil), e.w...)})
			})
		}
		for _, s := range shares {
			for r, n := range costs.Counts(s) {
				e := newPlain(pr.w.Row(r), p)
				if n > 0 {
					e = states[r][n-1]
				}
				add(levelName(name, s), r, e)
			}
		}
	}
	return out
}

func levelName(method string, share float64) string { return method + string(rune('0'+int(share*10))) }

func engineLosses(t *testing.T, pr problem, p *Prepared, g *Grid, shares []float64) map[string]float64 {
	ctx, out := context.Background(), map[string]float64{}
	keep := func(name string, r *Result, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = r.TotalLoss()
	}
	r, err := NM(ctx, pr.w, p, 2, 4, Options{})
	keep("24", r, err)
	r, err = Quantize(ctx, pr.w, p, g, nil, Options{})
	keep("quant", r, err)
	for _, s := range shares {
		r, err = Unstructured(ctx, pr.w, p, s, Options{})
		keep(levelName("unstr", s), r, err)
		r, err = Blocks(ctx, pr.w, p, 4, s, Options{})
		keep(levelName("block4", s), r, err)
	}
	return out
}

// On Hessians that lose digits the layer loss is still that of the plain float64 form.
func TestIllConditioned(t *testing.T) {
	d := 96
	for name, hard := range hardProblems(d) {
		t.Run(name, func(t *testing.T) {
			p := mustPrepare(t, hard.pr, hard.damping)
			g, err := FitGrid(p.clean(hard.pr.w), GridSpec{Bits: 4, Search: Shrink})
			if err != nil {
				t.Fatal(err)
			}
			shares := []float64{0.3, 0.5, 0.9}
			want := plainLosses(hard.pr, p, g, shares)
			base := total(Loss(hard.pr.w, NewMatrix(hard.pr.w.Rows, d), hard.pr.h))
			for m, got := range engineLosses(t, hard.pr, p, g, shares) {
				if !(math.Abs(got-want[m]) <= 1e-3*want[m]+1e-9*base) {
					t.Errorf("%s: layer loss %.6g, plain form %.6g: ratio %.5f", m, got, want[m], got/want[m])
				}
			}
			t.Logf("damping %g, raised %d, inflation %.3g", p.Damping, p.Raised, p.Inflate)
		})
	}
}
