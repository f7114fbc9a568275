package obs

import (
	"cmp"
	"slices"

	"github.com/obc-onnx/obc/internal/kernel"
)

// corePanel is the pivots that a core keeps in its panel before it applies them.
const corePanel = 48

// newCore makes an empty core for units of m columns, see focus.
func newCore(m int) *tableau {
	depth := corePanel + m
	return &tableau{k: kernel.ElimOf[float64](), isCore: true, m: m, depth: depth, limit: depth - m, sign: make([]float64, depth), coef: make([]float64, depth), work: newSmall(m)}
}

// focus makes c the part of s within the given columns, whole units in ascending order: pivots on them need no other entries of S. A core
// holds all of its S_0, so that a step costs n*t for n columns, and applying t steps t*n^2/2 in a matrix product. Setting up costs
// k*r^2 multiply-adds for the r removed ones among the columns. No pivot must have been taken in s.
func (s *tableau) focus(c *tableau, cols []int) {
	n := len(cols)
	c.resize(n)
	k := len(s.inK)
	var rows []int // of R: places in inR
	at := make([]int, n)
	for i, p := range cols {
		c.dead[i], c.kept[i], c.z[i] = s.dead[p], s.kept[p], s.z[p]
		switch {
		case s.dead[p]:
		case s.kept[p]:
			at[i] = s.slot[p]
		default:
			at[i] = len(rows)
			rows = append(rows, s.slot[p])
		}
	}
	r := len(rows)
	c.hrk, c.xt, c.mrr = resize(c.hrk, r*k), resize(c.xt, r*k), resize(c.mrr, r*r)
	for i, b := range rows {
		copy(c.hrk[i*k:], s.hrk[b*k:(b+1)*k])
		copy(c.xt[i*k:], s.xt[b*k:(b+1)*k])
	}
	clear(c.mrr)
	if r > 0 && k > 0 {
		kernel.Dgemm(false, true, r, r, k, 1, c.hrk, k, c.xt, k, 0, c.mrr, r, 1)
	}
	for i, p := range cols {
		if c.dead[i] {
			continue
		}
		for j, q := range cols[:min((i/tile+1)*tile, n)] { // whole tiles
			v := 0.0
			switch a, b := at[i], at[j]; {
			case c.dead[j]:
			case c.kept[i] && c.kept[j]:
				v = -s.c[a*k+b]
			case c.kept[i]:
				v = c.xt[b*k+a]
			case c.kept[j]:
				v = c.xt[a*k+b]
			default:
				v = s.h[p*s.d+q] - c.mrr[a*r+b]
			}
			c.tri[kernel.TriangleOrigin(c.ld, j/tile)+i*tile+j%tile] = v
		}
	}
	c.entries()
}

// resize makes s a core of n columns, all of whose numbers are to be set.
func (s *tableau) resize(n int) {
	ld := (n + tile - 1) / tile * tile
	s.d, s.ld, s.whole, s.t, s.won = n, ld, n, 0, 0
	s.dead, s.kept, s.moved = resize(s.dead, n), resize(s.kept, n), resize(s.moved, n)
	s.near = resize(s.near, n*s.m)
	for _, v := range []*[]float64{&s.u, &s.signed} {
		*v = resize(*v, s.depth*ld)
	}
	s.tri = resize(s.tri, kernel.TriangleSize(ld))
	for _, v := range []*[]float64{&s.diag, &s.z, &s.col, &s.none, &s.diagTry, &s.zTry} {
		*v = resize(*v, ld)
		clear(*v)
	}
	clear(s.tri)
	clear(s.moved)
}

// apply takes the panel of a core into S_0 and empties it.
func (s *tableau) apply() {
	for p, moved := range s.moved {
		if moved {
			s.erase(p)
		}
	}
	for q := 0; q < s.ld; q += tile {
		for t, sign := range s.sign[:s.t] {
			to := s.signed[q*s.depth+t*tile:][:tile]
			for i, v := range s.u[q*s.depth+t*tile:][:tile] {
				to[i] = sign * v
			}
		}
	}
	for q := 0; s.t > 0 && q < s.ld; q += tile {
		x := s.tri[kernel.TriangleOrigin(s.ld, q/tile)+q*tile:]
		s.k.Update(x, x, s.signed[q*s.depth:], s.u[q*s.depth:], s.depth, s.t, (s.ld-q)/tile)
	}
	clear(s.moved)
	s.t = 0
	s.entries()
}

// erase sets row and column p of the S_0 of a core to zero.
func (s *tableau) erase(p int) {
	for q := range p/tile + 1 {
		clear(s.tri[kernel.TriangleOrigin(s.ld, q)+p*tile:][:tile])
	}
	x := s.tri[kernel.TriangleOrigin(s.ld, p/tile)+p%tile:]
	for i := p / tile * tile; i < s.ld; i++ {
		x[i*tile] = 0
	}
}

// contested is the columns of the units that are most likely to change sides: the n kept ones that are cheapest and the 2n removed ones of greatest gain.
func (s *tableau) contested(n int) []int {
	type rated struct {
		unit int
		gain float64
	}
	var sides [2][]rated
	for b := range s.units() {
		if s.free(b) {
			i := 0
			if s.removed(b) {
				i = 1
			}
			sides[i] = append(sides[i], rated{b, s.unitGain(b)})
		}
	}
	var units []int
	for k, side := range sides {
		slices.SortStableFunc(side, func(a, b rated) int { return cmp.Compare(b.gain, a.gain) })
		for _, u := range side[:min(n*(k+1), len(side))] {
			units = append(units, u.unit)
		}
	}
	slices.Sort(units)
	var cols []int
	for _, b := range units {
		for i := b * s.m; i < (b+1)*s.m; i++ {
			cols = append(cols, i)
		}
	}
	return cols
}
