package obs

import (
	"context"
	"math"
	"regexp"
	"testing"
)

// sweepAll is the whole S and z of a tableau, all of it current: the plain form.
type sweepAll struct {
	d    int
	s, z []float64
	w    []float64
	kept []bool
}

func newSweepAll(h []float64, w []float32, kept, dead []bool) *sweepAll {
	d := len(w)
	x := &sweepAll{d: d, s: append([]float64(nil), h...), z: make([]float64, d), w: make([]float64, d), kept: make([]bool, d)}
	for i, v := range w {
		if !dead[i] {
			x.w[i] = float64(v)
		}
	}
	for i := range d {
		x.z[i] = -dot(h[i*d:(i+1)*d], x.w)
	}
	for i, k := range kept {
		if k && !dead[i] {
			x.pivot(i)
		}
	}
	return x
}

func (x *sweepAll) pivot(p int) {
	u := append([]float64(nil), x.s[p*x.d:(p+1)*x.d]...)
	pp, zp := u[p], x.z[p]
	e := math.Copysign(1, pp)
	for i, v := range u {
		if i != p && v != 0 {
			axpy(-v/pp, u, x.s[i*x.d:(i+1)*x.d])
			x.z[i] -= v / pp * zp
		}
	}
	for i, v := range u {
		x.s[p*x.d+i], x.s[i*x.d+p] = e*v/pp, e*v/pp
	}
	x.s[p*x.d+p], x.z[p] = -1/pp, e*zp/pp
	x.kept[p] = !x.kept[p]
}

func (x *sweepAll) loss() float64 {
	sum := 0.0
	for i, k := range x.kept {
		if !k {
			sum -= x.w[i] * x.z[i] / 2
		}
	}
	return sum
}

// extreme is the block of c columns of greatest gain on one side that may change sides at this step.
func (x *sweepAll) extreme(c, step int, kept bool, until []int, dead []bool, work *small) int {
	best, at := math.Inf(-1), -1
	for b := range x.d / c {
		n := 0
		for i := b * c; i < (b+1)*c; i++ {
			if !dead[i] {
				work.at[n] = i
				n++
			}
		}
		if n == 0 || x.kept[work.at[0]] != kept || until[b] > step {
			continue
		}
		for i, p := range work.at[:n] {
			work.z[i] = x.z[p]
			for j, q := range work.at[:n] {
				work.a[i*c+j] = x.s[p*x.d+q]
			}
		}
		if g := work.gain(n); g > best {
			best, at = g, b
		}
	}
	return at
}

// search brings the best block back and removes the cheapest, again and again, none that moved within some steps, and is the least loss met: a plain
// tabu search, to see how far a row's mask is from what much longer work would find.
func (x *sweepAll) search(c, steps int, dead []bool) float64 {
	best := x.loss()
	until, work := make([]int, x.d/c), newSmall(c)
	for step := range steps {
		for _, kept := range []bool{false, true} {
			b := x.extreme(c, step, kept, until, dead, work)
			if b < 0 {
				return best
			}
			for i := b * c; i < (b+1)*c; i++ {
				if !dead[i] {
					x.pivot(i)
				}
			}
			until[b] = step + 1 + (4+step%3)/min(c, 2)
		}
		best = min(best, x.loss())
	}
	return best
}

// TestMaskBound tells how much of the loss a far longer search, at each row's own count, takes off refined masks: with -full, on some rows.
// The loss reported must be that of the plain form.
func TestMaskBound(t *testing.T) {
	if !*full {
		t.Skip("half a minute of work; run it with -full")
	}
	ctx, o := context.Background(), Options{}
	for _, name := range []string{"fm_conv_288", "eff_head_320", "minilm_attn_384", "eff_project_480"} {
		if !regexp.MustCompile(*only).MatchString(name) {
			continue
		}
		pr := readProblem(t, name)
		p, err := Prepare(pr.h, pr.w.Cols, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []struct {
			c, steps int
			share    float64
		}{{1, 2000, 0.9}, {4, 500, 0.7}, {4, 500, 0.9}} {
			r := must2(t)(Blocks(ctx, pr.w, p, m.c, m.share, o))
			r = must2(t)(RefineMask(ctx, pr.w, r, p, m.c, o))
			ours, least := 0.0, 0.0
			for row := 0; row < pr.w.Rows; row += 16 {
				x := newSweepAll(p.damped(), pr.w.Row(row), keptUnits(r.W.Row(row), m.c, p.whole(m.c)), p.Dead)
				if l := x.loss(); math.Abs(l-r.Loss[row]) > 1e-5*l {
					t.Errorf("%s, block %d, share %v, row %d: loss %v reported, %v by the plain form", name, m.c, m.share, row, r.Loss[row], l)
				}
				ours += r.Loss[row]
				least += x.search(m.c, m.steps, p.Dead)
			}
			t.Logf("%s, block %d, share %v: %d steps from the refined masks of 4 rows leave %.4f of their loss", name, m.c, m.share, m.steps, least/ours)
			if least < 0.95*ours {
				t.Errorf("%s, block %d, share %v: a longer search lowers the loss from %v to %v", name, m.c, m.share, ours, least)
			}
		}
	}
}
