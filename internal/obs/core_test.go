package obs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestCore follows pivots of a core, beyond the depth of its panel, and compares it with the definition of the whole tableau.
func TestCore(t *testing.T) {
	for _, c := range []struct{ d, m, dead, units, steps int }{{1, 1, 0, 1, 3}, {16, 1, 0, 9, 20}, {33, 1, 6, 17, 80}, {34, 3, 0, 6, 120}, {72, 4, 5, 12, 130}, {72, 8, 0, 9, 60}} {
		t.Run(fmt.Sprintf("d=%d,m=%d,dead=%d", c.d, c.m, c.dead), func(t *testing.T) {
			w, h := layer(uint64(c.d), 1, c.d, c.dead)
			p := prepared(t, h, c.d)
			rng := rand.New(rand.NewPCG(2, uint64(c.d)))
			kept := make([]bool, c.d)
			for i := range kept {
				kept[i] = i/c.m%2 == 0
			}
			all, s := newTableau(p, p.damped(), c.m, false), newCore(c.m)
			if !all.start(w.Data, kept) {
				t.Fatal("the kept columns' Hessian is not definite")
			}
			cols := all.contested((c.units + 2) / 3)
			all.focus(s, cols)
			before := all.loss()
			for i := range c.steps {
				if j := rng.IntN(len(cols)); !s.dead[j] && !s.pivot(j) {
					t.Fatalf("pivot %d failed", i)
				}
				for i, p := range cols {
					all.kept[p] = s.kept[i]
				}
				want, z := plainTableau(t, all.h, all.w0, all.kept, all.dead)
				near := func(name string, got, want float64) {
					t.Helper()
					if !(math.Abs(got-want) <= 1e-6*(1+math.Abs(want))) {
						t.Fatalf("after pivot %d: %s is %v, by definition %v", i, name, got, want)
					}
				}
				loss := 0.0
				for p, v := range z {
					if !all.kept[p] {
						loss -= all.w0[p] * v / 2
					}
				}
				near("loss", before-s.won, loss)
				for i, p := range cols {
					if s.dead[i] {
						continue
					}
					near("z", s.z[i], z[p])
					for j, q := range cols {
						if i/c.m == j/c.m && !s.dead[j] {
							near(fmt.Sprintf("S(%d, %d)", p, q), s.entry(i, j), want[p*c.d+q])
						}
					}
				}
			}
		})
	}
}
