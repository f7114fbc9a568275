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
	for range e.base.d / g.m {
		g.gone = append(g.gone, 0)
	}
	for c := len(g.gone) * g.m; c < e.base.d; c++ {
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

// blocks removes the block B of c columns of least 1/2 w_B^T ([Hinv]_BB)^-1 w_B, column by column.
type blocks[T number] struct {
	c     int
	d     []T // unit-major lower triangles of [Hinv]_BB, c*(c+1)/2 each
	rest  int // positions before the first unit
	block int // position of the block that goes; its columns from here on are open
	left  int // columns of it still to go
	row   []T
}

func (b *blocks[T]) start(e *engine[T], row int) {
	m := e.base
	b.rest, b.left, b.d, b.row = m.rest, 0, b.d[:0], make([]T, b.c)
	for p := m.rest; p < m.d; p += b.c {
		for i := range b.c {
			for j := range i + 1 {
				hi, lo := p+i, p+j
				b.d = append(b.d, m.data[m.index(hi, lo)])
			}
		}
	}
	for p := range b.rest {
		e.pen[p] = T(inf)
	}
}

func (b *blocks[T]) size() int { return b.c * (b.c + 1) / 2 }

func (b *blocks[T]) choose(e *engine[T]) (int, T) {
	if b.left == 0 {
		best := math.Inf(1)
		for p, d := b.rest, b.d; p < e.n; p, d = p+b.c, d[b.size():] {
			if e.pen[p] == 0 {
				if s := b.cost(e.w[p:p+b.c], d); s < best {
					best, b.block, b.left = s, p, b.c
				}
			}
		}
		if b.left == 0 {
			return -1, 0
		}
	}
	b.left--
	return b.block + b.c - 1 - b.left, 0
}

// cost is |y|^2 for D = L L^T, L y = w.
func (b *blocks[T]) cost(w []T, d []T) float64 {
	var l [64 * 65 / 2]float64
	var y [64]float64
	sum, k := 0.0, 0
	for i := range w {
		yi := float64(w[i])
		kj := 0
		for j := range i + 1 {
			s := float64(d[k+j])
			for x := range j {
				s -= l[k+x] * l[kj+x]
			}
			if j < i {
				l[k+j] = s * l[kj+j] // the diagonal of l holds reciprocals
				yi -= l[k+j] * y[j]
			} else {
				l[k+j] = 1 / math.Sqrt(s)
			}
			kj += j + 1
		}
		y[i] = yi * l[k+i]
		sum += y[i] * y[i]
		k += i + 1
	}
	return sum
}

func (b *blocks[T]) eliminated(e *engine[T], p int) {
	u, d := e.u[(e.t-1)*tile:], b.d
	for lo := b.rest; lo < e.n; lo += b.c {
		k := 0
		for i := range b.c {
			b.row[i] = u[(lo+i)/tile*deepest*tile+(lo+i)%tile]
			for j := range i + 1 {
				d[k] -= b.row[i] * b.row[j]
				k++
			}
		}
		d = d[k:]
	}
}

func (b *blocks[T]) moved(to, from int) {
	if (to-b.rest)%b.c == 0 {
		n := b.size()
		copy(b.d[(to-b.rest)/b.c*n:][:n], b.d[(from-b.rest)/b.c*n:][:n])
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
