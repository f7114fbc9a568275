package obs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/internal/kernel"
)

// plainTableau is S and z of a kept set, each from its definition.
func plainTableau(t *testing.T, h, w []float64, kept, dead []bool) (s, z []float64) {
	t.Helper()
	d := len(w)
	var in, out []int
	for i := range d {
		if kept[i] && !dead[i] {
			in = append(in, i)
		} else if !dead[i] {
			out = append(out, i)
		}
	}
	k := len(in)
	c := gather(nil, h, d, in, in)
	if k > 0 {
		if err := kernel.CholInverse64(c, k, 1); err != nil {
			t.Fatal(err)
		}
	}
	s, z = make([]float64, d*d), make([]float64, d)
	for a, i := range in {
		for b, j := range in {
			s[i*d+j] = -c[a*k+b]
		}
		for _, j := range out {
			x := 0.0
			for b, l := range in {
				x += c[a*k+b] * h[l*d+j]
			}
			s[i*d+j], s[j*d+i] = x, x
		}
	}
	for _, i := range out {
		for _, j := range out {
			s[i*d+j] = h[i*d+j]
			for _, l := range in {
				s[i*d+j] -= h[i*d+l] * s[l*d+j]
			}
		}
	}
	for _, i := range in {
		z[i] = -w[i]
		for _, j := range out {
			z[i] -= s[i*d+j] * w[j]
		}
	}
	for _, i := range out {
		for _, j := range out {
			z[i] -= s[i*d+j] * w[j]
		}
	}
	return s, z
}

// TestTableau follows pivots, back and forth and beyond the depth of the panel, and compares all that a tableau keeps with its definition.
func TestTableau(t *testing.T) {
	for _, c := range []struct{ d, m, dead, steps int }{{1, 1, 0, 3}, {2, 2, 0, 5}, {15, 4, 0, 30}, {16, 1, 0, 40}, {17, 4, 5, 40}, {33, 3, 0, 80}, {40, 8, 7, 120}} {
		t.Run(fmt.Sprintf("d=%d,m=%d,dead=%d", c.d, c.m, c.dead), func(t *testing.T) {
			w, h := layer(uint64(c.d), 1, c.d, c.dead)
			p := prepared(t, h, c.d)
			rng := rand.New(rand.NewPCG(1, uint64(c.d)))
			kept := make([]bool, c.d)
			for i := range kept {
				kept[i] = rng.IntN(2) == 0
			}
			s := newTableau(p, p.damped(), c.m, true)
			if !s.start(w.Data, kept) {
				t.Fatal("the kept columns' Hessian is not definite")
			}
			compareTableau(t, s, "at the start")
			for i := range c.steps {
				if j := rng.IntN(c.d); !p.Dead[j] {
					if !s.pivot(j) {
						t.Fatal("setting up anew failed")
					}
					compareTableau(t, s, fmt.Sprintf("after pivot %d", i))
				}
			}
		})
	}
}

func compareTableau(t *testing.T, s *tableau, when string) {
	t.Helper()
	d := s.d
	want, z := plainTableau(t, s.h, s.w0, s.kept, s.dead)
	near := func(name string, i, j int, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-6*(1+math.Abs(want))) {
			t.Fatalf("%s: %s(%d, %d) is %v, by definition %v", when, name, i, j, got, want)
		}
	}
	loss := 0.0
	for i := range d {
		if s.dead[i] {
			continue
		}
		near("z", i, 0, s.z[i], z[i])
		near("diag", i, i, s.diag[i], want[i*d+i])
		lo := i - i%s.m
		for j := lo; j < min(lo+s.m, d); j++ {
			if !s.dead[j] {
				near("near", i, j, s.entry(i, j), want[i*d+j])
			}
		}
		s.baseColumn(i)
		for j := range d {
			if s.dead[j] {
				continue
			}
			v := s.col[j]
			for k, f := range s.coefficients(i, s.t)[:s.t] {
				v -= f * s.u[j/tile*s.depth*tile+k*tile+j%tile]
			}
			near("S", i, j, v, want[i*d+j])
		}
		if !s.kept[i] {
			loss -= s.w0[i] * z[i] / 2
		}
	}
	near("loss", 0, 0, s.loss(), loss)
}
