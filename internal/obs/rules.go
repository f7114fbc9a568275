package obs

import (
	"math"
)

// unstructured removes the column of least w^2/diag, each time, until none is left.
type unstructured[T number] struct{}

func (unstructured[T]) start(e *engine[T], row int) {}
func (unstructured[T]) choose(e *engine[T]) (int, T) {
	return e.cheapest(), 0
}
func (unstructured[T]) eliminated(e *engine[T], p int) {}
func (unstructured[T]) moved(to, from int)             {}

// cheapest is the open position of least w^2/diag, -1 if none is open.
func (e *engine[T]) cheapest() int {
	n := e.padded()
	return e.k.Cheapest(e.w[:n], e.diag[:n], e.pen[:n])
}

// groups is N:M: the cheapest column among groups of m that have lost less than m-n.
type groups[T number] struct {
	unstructured[T]
	n, m int
	gone []int // by group
}

func (g *groups[T]) start(e *engine[T], row int) {
	g.gone = g.gone[:0]
	whole := e.base.p.whole(g.m)
	for range whole / g.m {
		g.gone = append(g.gone, 0)
	}
	for c := whole; c < e.base.d; c++ {
		e.pen[e.pos[c]] = T(inf)
	}
}

func (g *groups[T]) eliminated(e *engine[T], p int) {
	k := int(e.at[p]) / g.m
	g.gone[k]++
	if g.gone[k] < g.m-g.n {
		return
	}
	for c := k * g.m; c < (k+1)*g.m; c++ {
		if !e.gone[c] {
			e.pen[e.pos[c]] = T(inf)
		}
	}
}

// blocks removes the block B of c columns of least 1/2 w_B^T ([Hinv]_BB)^-1 w_B.
type blocks[T number] struct {
	c     int
	base  []T // d at the start of every row
	d     []T // lower triangles of [Hinv]_BB, c*(c+1)/2 each, in groups of tile blocks: see kernel.Elim
	rest  int // positions before the first unit
	row   []T // a vector over positions
	split []T // row from the first unit on, in groups
	score []T
	work  []T
	pen   []T // by block: +Inf for those that are gone
}

// size is the entries of a triangle.
func (b *blocks[T]) size() int { return b.c * (b.c + 1) / 2 }

// entry is the place in d of the first entry of the block at position p; the next ones follow a tile apart.
func (b *blocks[T]) entry(p int) int {
	k := (p - b.rest) / b.c
	return k/tile*b.size()*tile + k%tile
}

func (b *blocks[T]) start(e *engine[T], row int) {
	if b.base == nil {
		b.prepare(e.base)
	}
	copy(b.d, b.base)
	for k := range b.pen {
		b.pen[k] = T(inf)
	}
	clear(b.pen[:(e.n-b.rest)/b.c])
	for p := range b.rest {
		e.pen[p] = T(inf)
	}
}

// prepare takes the triangles out of m.
func (b *blocks[T]) prepare(m *tiled[T]) {
	b.rest = m.rest
	groups := (m.d/b.c + tile - 1) / tile
	b.pen = make([]T, groups*tile)
	n := groups * b.size() * tile
	b.base, b.d = make([]T, n), make([]T, n)
	b.split, b.score = make([]T, groups*b.c*tile), make([]T, groups*tile)
	b.work, b.row = make([]T, (b.size()+b.c)*tile), make([]T, b.rest+len(b.split)+m.ld)
	for p := m.rest; p < m.d; p += b.c {
		at := b.entry(p)
		for i := range b.c {
			for j := range i + 1 {
				b.base[at] = m.data[m.index(p+i, p+j)]
				at += tile
			}
		}
	}
}

// splitRow lays b.row out in groups, as many as e has blocks for.
func (b *blocks[T]) splitRow(e *engine[T]) []T {
	n := ((e.n-b.rest)/b.c + tile - 1) / tile * tile * b.c
	e.k.Split(b.split[:n], b.row[b.rest:b.rest+n], b.c)
	return b.split[:n]
}

func (b *blocks[T]) choose(e *engine[T]) (int, T) {
	if e.n-b.rest < b.c {
		return -1, 0
	}
	if b.c == 4 && b.rest == 0 && e.k.CheapestFour != nil {
		n := (e.n/4 + tile - 1) / tile * tile
		if k := e.k.CheapestFour(e.w[:4*n], b.d, b.pen[:n]); k >= 0 {
			return 4 * k, 0
		}
		return -1, 0
	}
	copy(b.row, e.w[:e.n])
	w := b.splitRow(e)
	e.k.BlockScore(b.score, w, b.d, b.work, b.c)
	best, at := T(inf), -1
	for k, s := range b.score[:(e.n-b.rest)/b.c] {
		if p := b.rest + k*b.c; s < best && b.pen[k] == 0 {
			best, at = s, p
		}
	}
	return at, 0
}

func (b *blocks[T]) eliminated(e *engine[T], p int) {
	b.pen[(p-b.rest)/b.c] = T(inf)
	if b.c == 4 && b.rest == 0 && e.k.BlockFour != nil {
		e.k.BlockFour(b.d, e.u, e.stride, e.t-4, (e.n/4+tile-1)/tile)
		return
	}
	for t := e.t - b.c; t < e.t; t++ {
		for i := 0; i < e.n; i += tile {
			v := *(*[tile]T)(e.u[i*e.stride+t*tile:])
			*(*[tile]T)(b.row[i:]) = v
		}
		e.k.BlockStep(b.d, b.splitRow(e), b.c)
	}
}

func (b *blocks[T]) moved(to, from int) {
	if (to-b.rest)%b.c == 0 {
		i, j := (to-b.rest)/b.c, (from-b.rest)/b.c
		b.pen[i], b.pen[j] = b.pen[j], T(inf)
		t, f := b.entry(to), b.entry(from)
		for range b.size() {
			b.d[t] = b.d[f]
			t, f = t+tile, f+tile
		}
	}
}

// rounding is OBQ: the column that is cheapest to round, unless some rounding error exceeds half a step: then the largest.
type rounding[T number] struct {
	g                  *Grid
	mask               []bool // all rows; nil = none
	masked             []int  // columns of this row to remove first
	scale, inv, lo, hi []T
}

// beyondHalf is a rounding error, in steps, that only a weight outside of the grid can have.
const beyondHalf = 0.5001

func (q *rounding[T]) start(e *engine[T], row int) {
	ld := len(e.w)
	if q.scale == nil {
		q.scale, q.inv, q.lo, q.hi = make([]T, ld), make([]T, ld), make([]T, ld), make([]T, ld)
	}
	lo, hi := q.g.Spec.Range()
	for i := range ld {
		q.scale[i], q.inv[i], q.lo[i], q.hi[i] = 1, 1, 0, 0
	}
	q.masked = q.masked[:0]
	for i, c := range e.base.order {
		k := q.g.Index(row, int(c))
		q.scale[i], q.lo[i], q.hi[i] = T(q.g.Scale[k]), T(lo-int(q.g.Zero[k])), T(hi-int(q.g.Zero[k]))
		q.inv[i] = 1 / q.scale[i]
		if q.mask != nil && q.mask[row*e.base.d+int(c)] {
			q.masked = append(q.masked, int(c))
		}
	}
}

func (q *rounding[T]) choose(e *engine[T]) (int, T) {
	if len(q.masked) > 0 {
		c := q.masked[0]
		q.masked = q.masked[1:]
		return int(e.pos[c]), 0
	}
	n := e.padded()
	p, far, steps := e.k.CheapestRounding(e.w[:n], e.diag[:n], e.pen[:n], q.scale, q.inv, q.lo, q.hi)
	if steps > beyondHalf {
		p = far
	}
	if p < 0 {
		return -1, 0
	}
	code := min(max(T(math.RoundToEven(float64(e.w[p]*q.inv[p]))), q.lo[p]), q.hi[p])
	return p, q.scale[p] * code
}

func (q *rounding[T]) eliminated(e *engine[T], p int) {}
func (q *rounding[T]) moved(to, from int) {
	q.scale[to], q.inv[to], q.lo[to], q.hi[to] = q.scale[from], q.inv[from], q.lo[from], q.hi[from]
}
