package obs

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"

	"github.com/obc-onnx/obc/internal/kernel"
)

const (
	tile = kernel.Tile
	// deepest is the most columns that a panel holds.
	deepest = 64
)

var inf = math.Inf(1)

// number is the arithmetic of an engine.
type number interface{ float32 | float64 }

// depthFor is how many columns are eliminated before the matrix of n columns is updated: the step over the panel costs
// n*depth/2 multiply-adds, the update reads and writes n^2/2 numbers every depth steps.
func depthFor(n int) int {
	switch {
	case n < 192:
		return 16
	case n < 640:
		return 32
	}
	return deepest
}

// rule is what tells one method from another: which column goes next and what value it takes.
type rule[T number] interface {
	// start begins a row; the engine has been reset. Columns that may not be chosen get e.pen = +Inf.
	start(e *engine[T], row int)
	// choose is the first position of the next unit and the value its columns take; -1 ends the row.
	choose(e *engine[T]) (p int, value T)
	// eliminated follows the elimination of the unit from position p on; it is the panel's columns from e.t-e.unit on.
	eliminated(e *engine[T], p int)
	// moved tells that the column at position from is now at position to.
	moved(to, from int)
}

// engine eliminates the columns of one row after the other by a pivoted Cholesky factorisation of the inverse Hessian. With
// A = Hinv over the surviving columns at the start of a panel and U the columns eliminated since, column p is now
//
//	a = A[:,p] - U U[p,:]^T;   u = a/sqrt(a_p);   w -= u (w_p - value)/sqrt(a_p);   diag -= u^2
//
// and every depthFor(n) columns A -= U U^T, in tiles of its lower triangle, after survivors from the end were moved into the places of
// eliminated columns. So a whole row costs d^3/6 multiply-adds that are limited by arithmetic, not by memory.
type engine[T number] struct {
	k      kernel.Elim[T]
	base   *tiled[T] // where every row starts, shared and read-only
	own    []T       // A after the first update, laid out as base
	a      []T       // A: base.data until the first update, then own
	u      []T       // panel, see package kernel; whole groups of blocks of four may be read
	unit   int       // columns that move together
	keep   []T       // columns on the move, deepest x ld
	moving []move

	n, t   int // surviving columns when the panel began; columns eliminated since
	depth  int // panel columns until the next update
	stride int // rows from one tile of the panel to the next: one more than depth, so that tiles fall on different lines of the cache
	col    []T // columns of a unit
	coef   []T
	four   fourSteps[T]
	quads  bool // units of four columns stay side by side within a tile

	// By position; padded to whole tiles with pen = +Inf.
	w, diag, pen []T
	at           []int32 // the matrix column at each position
	// By matrix column.
	pos  []int32
	gone []bool
	out  []T // the values that eliminated columns took
}

// tiled is a symmetric matrix in the layout of package kernel: its lower triangle, tile column after tile column.
type tiled[T number] struct {
	p     *Prepared
	d, ld int
	rest  int // columns moved to the front because they do not fill a unit
	unit  int
	order []int32 // the matrix column at each position
	data  []T
	diag  []T
}

// newTiled lays out Hinv for units of c columns. Columns behind the last full unit come first, so that units stay whole when they move.
func newTiled[T number](p *Prepared, c int) *tiled[T] {
	d := p.D
	m := &tiled[T]{p: p, d: d, ld: (d + tile - 1) / tile * tile, rest: d - p.whole(c), unit: c}
	for i := d - m.rest; i < d; i++ {
		m.order = append(m.order, int32(i))
	}
	for i := range d - m.rest {
		m.order = append(m.order, int32(i))
	}
	m.data, m.diag = kernel.Slab[T](kernel.TriangleSize(m.ld)), make([]T, m.ld)
	clear(m.data)
	kernel.Parallel(runtime.GOMAXPROCS(0), m.ld/tile, func(lo, hi int) {
		for i := lo * tile; i < min(hi*tile, d); i++ {
			row := p.Hinv[int(m.order[i])*d:][:d]
			m.diag[i] = T(row[m.order[i]])
			for q := range i/tile + 1 {
				dst := m.data[m.index(i, q*tile):]
				for k, c := range m.order[q*tile : min(q*tile+tile, d)] {
					dst[k] = T(row[c])
				}
			}
		}
	})
	return m
}

// index is the place of element (i, j), for i >= j - j%tile.
func (m *tiled[T]) index(i, j int) int { return kernel.TriangleOrigin(m.ld, j/tile) + i*tile + j%tile }

func newEngine[T number](base *tiled[T]) *engine[T] {
	ld := base.ld
	v := func(n int) []T { return make([]T, n) }
	const group = 4 * tile // kernels on blocks of four read whole groups of them
	return &engine[T]{k: kernel.ElimOf[T](), base: base, own: kernel.Slab[T](kernel.TriangleSize(ld)), u: kernel.Slab[T]((deepest + 1) * (ld + 3*tile)), unit: base.unit, quads: base.unit == 4 && base.rest%4 == 0, keep: kernel.Slab[T](deepest * ld), col: v(ld * base.unit), coef: v(deepest),
		w: v((ld + group - 1) / group * group)[:ld], diag: v(ld), pen: v(ld), at: make([]int32, ld), pos: make([]int32, base.d), gone: make([]bool, base.d), out: v(base.d)}
}

// release gives the memory back to the next engine.
func (e *engine[T]) release() {
	for _, s := range [][]T{e.own, e.u, e.keep} {
		kernel.ReleaseSlab(s)
	}
}

// padded is the count of positions that kernels work on.
func (e *engine[T]) padded() int { return (e.n + tile - 1) / tile * tile }

// run eliminates the columns of a row with weights w as r says; each, if not nil, sees every elimination of a unit with its cost, the sum of
// diff^2/(2 diag), and stops the row by returning false. The weights are then in e.weights. The error is errDigits.
func (e *engine[T]) run(w []float32, row int, r rule[T], each func(p int, cost float64) bool) error {
	e.reset(w)
	r.start(e, row)
	for e.n > 0 {
		p, value := r.choose(e)
		if p < 0 {
			return nil
		}
		cost, err := e.eliminateUnit(p, value)
		if err != nil {
			return err
		}
		r.eliminated(e, p)
		if each != nil && !each(p, cost) {
			return nil
		}
		if e.t == e.depth {
			e.update(r)
		}
	}
	return nil
}

// errDigits says that a diagonal element of the inverse Hessian was rounded to something that is not positive.
var errDigits = errors.New("elimination of columns lost its digits: raise the damping")

// inPrecision solves in float32 where that serves, else, or when float32 has lost its digits after all, in float64.
func inPrecision[R any](p *Prepared, single, double func() (R, error)) (R, error) {
	if !p.double() {
		if r, err := single(); !errors.Is(err, errDigits) {
			return r, err
		}
	}
	return double()
}

func (e *engine[T]) reset(w []float32) {
	m := e.base
	e.a, e.n, e.t = m.data, m.d, 0
	e.setDepth()
	copy(e.diag, m.diag)
	for i := m.d; i < m.ld; i++ {
		e.w[i], e.diag[i], e.pen[i] = 0, 1, T(inf)
	}
	for i, c := range m.order {
		e.w[i], e.pen[i] = T(w[c]), 0
		e.at[i], e.pos[c] = c, int32(i)
		e.gone[c] = false
	}
}

// panelDepth is depthFor in whole units of c columns.
func panelDepth(n, c int) int { return max(depthFor(n)/c, 1) * c }

func (e *engine[T]) setDepth() {
	e.depth = panelDepth(e.n, e.unit)
	e.stride = e.depth + 1
}

// eliminateUnit gives the columns of the unit from position p on their value, and tells the sum of their costs.
func (e *engine[T]) eliminateUnit(p int, value T) (cost float64, err error) {
	n := e.padded()
	e.columns(e.col, n, p, n)
	if e.unit == 4 {
		cost, err = e.stepFour(p, n, value)
	} else {
		cost, err = e.steps(p, n, value)
	}
	for i := p; i < p+e.unit; i++ {
		c := e.at[i]
		e.w[i], e.pen[i], e.gone[c], e.out[c] = value, T(inf), true, value
	}
	return cost, err
}

// steps moves the weights and appends the columns of the unit from position p on to the panel, one after the other.
func (e *engine[T]) steps(p, n int, value T) (cost float64, err error) {
	for k := range e.unit {
		inv, c, rise, err := pivot(e.diag[p+k], e.w[p+k], value)
		if err != nil {
			return 0, err
		}
		e.k.Step(e.u, e.stride, e.t, e.col[k*n:(k+1)*n], e.panelRow(p+k, e.t), inv, c, e.diag, e.w)
		e.t++
		cost += rise
	}
	return cost, nil
}

// pivot is what the step of a column needs, and its cost.
func pivot[T number](diag, w, value T) (inv, c T, cost float64, err error) {
	d := float64(diag)
	if !(d > 0) || math.IsInf(d, 1) {
		return 0, 0, 0, errDigits
	}
	diff, root := float64(w)-float64(value), 1/math.Sqrt(d)
	return T(root), T(diff * root), diff * diff / d / 2, nil
}

// panelRow is the first t elements of row p of the panel; one more may be read.
func (e *engine[T]) panelRow(p, t int) []T {
	up := e.u[p/tile*e.stride*tile+p%tile:]
	for s := range t {
		e.coef[s] = up[s*tile]
	}
	return e.coef
}

// fourSteps is the room of stepFour.
type fourSteps[T number] struct {
	coef    [8 + 4*deepest]T
	diag, w [2 * tile]T
}

// stepFour is steps for a unit of four columns, all at once: the rows of the panel that are the unit's own come first and yield the coefficients
// for all others.
func (e *engine[T]) stepFour(p, n int, value T) (cost float64, err error) {
	f := &e.four
	lo, hi := p/tile*tile, (p+3)/tile*tile+tile
	diag, w := f.diag[:hi-lo], f.w[:hi-lo]
	copy(diag, e.diag[lo:hi])
	copy(w, e.w[lo:hi])
	for k := range 4 {
		inv, c, rise, err := pivot(diag[p+k-lo], w[p+k-lo], value)
		if err != nil {
			return 0, err
		}
		row := e.panelRow(p+k, e.t+k)
		f.coef[k], f.coef[4+k] = inv, c
		for s, v := range row[:e.t+k] {
			f.coef[8+4*s+k] = v
		}
		if k < 3 {
			e.k.Step(e.u[lo*e.stride:], e.stride, e.t+k, e.col[k*n+lo:k*n+hi], row, inv, c, diag, w)
		}
		cost += rise
	}
	e.k.StepFour(e.u, e.stride, e.t, e.col[:4*n], f.coef[:], e.diag, e.w)
	e.t += 4
	return cost, nil
}

// columns copies the first n elements of the columns of the unit from position p on, ldd apart.
func (e *engine[T]) columns(dst []T, ldd, p, n int) {
	if e.quads && e.k.GetFour != nil {
		e.k.GetFour(dst, ldd, e.a, e.base.ld, p, n)
		return
	}
	kernel.TriangleColumns(dst, e.a, e.base.ld, p, e.unit, n)
}

// quadTiles is how many tile columns are updated at a time where columns move by fours: they stay in the second cache.
const quadTiles = 8

// update ends the panel: A -= U U^T over the survivors, which move to positions 0 .. n-t-1. base is shared: the first update copies it to own.
func (e *engine[T]) update(r rule[T]) {
	n := e.n - e.t
	moves := e.moves(n)
	e.takeColumns(moves, n)
	first := &e.a[0] == &e.base.data[0]
	e.a = e.own
	fours := e.quads && e.k.PutFour != nil
	step := 1
	if fours {
		step = quadTiles
	}
	tiles := (n + tile - 1) / tile
	for q := 0; q < tiles; q += step {
		end := min(q+step, tiles)
		if first {
			e.copyTiles(q, end, tiles)
		}
		if fours {
			for k := 0; k < len(moves); k += 4 {
				e.k.PutFour(e.a, e.base.ld, moves[k].to, tiles*tile, e.keep[k*e.base.ld:], e.base.ld, q, end)
			}
		} else {
			e.putColumns(moves, q, n)
		}
		e.subtract(q, end, tiles)
	}
	for _, m := range moves {
		r.moved(m.to, m.from)
	}
	for i := n; i < e.padded(); i++ {
		e.pen[i] = T(inf)
	}
	e.n, e.t = n, 0
	e.setDepth()
}

// copyTiles copies the first tiles rows of tiles of tile columns from..to-1 from base to own.
func (e *engine[T]) copyTiles(from, to, tiles int) {
	for q := from; q < to; q++ {
		i, n := e.base.index(q*tile, q*tile), (tiles-q)*tile*tile
		copy(e.own[i:i+n], e.base.data[i:])
	}
}

// subtract does A -= U U^T on tile columns from..to-1 of tiles.
func (e *engine[T]) subtract(from, to, tiles int) {
	for q := from; q < to; q++ {
		i := e.base.index(q*tile, q*tile)
		u := e.u[q*e.stride*tile:]
		e.k.Update(e.a[i:], e.a[i:], u, u, e.stride, e.t, tiles-q)
	}
}

type move struct{ to, from int }

// moves pairs eliminated positions below n with survivors from n on, moves all that is kept by position, and tells.
func (e *engine[T]) moves(n int) []move {
	ms := e.moving[:0]
	to := 0
	for from := n; from < e.n; from++ {
		if e.gone[e.at[from]] {
			continue
		}
		for !e.gone[e.at[to]] {
			to++
		}
		ms = append(ms, move{to, from})
		e.w[to], e.diag[to], e.pen[to], e.at[to] = e.w[from], e.diag[from], e.pen[from], e.at[from]
		e.pos[e.at[to]] = int32(to)
	}
	e.moving = ms
	e.moveRows(ms)
	return ms
}

// moveRows moves rows of the panel.
func (e *engine[T]) moveRows(ms []move) {
	row := func(p int) []T { return e.u[p/tile*e.stride*tile+p%tile:] }
	if e.quads {
		for k := 0; k < len(ms); k += 4 {
			to, from := row(ms[k].to), row(ms[k].from)
			for s := 0; s < e.t*tile; s += tile {
				*(*[4]T)(to[s:]) = *(*[4]T)(from[s:])
			}
		}
		return
	}
	for _, m := range ms {
		to, from := row(m.to), row(m.from)
		for s := 0; s < e.t*tile; s += tile {
			to[s] = from[s]
		}
	}
}

// takeColumns copies the columns that move, in their order after all moves, to keep.
func (e *engine[T]) takeColumns(ms []move, n int) {
	ld := e.base.ld
	if e.quads && e.k.GetFour != nil {
		for k := 0; k < len(ms); k += 4 {
			e.k.GetFour(e.keep[k*ld:], ld, e.a, ld, ms[k].from, (n+tile-1)/tile*tile)
		}
		e.takeQuads(ms)
		return
	}
	for i := 0; i < n; i += tile {
		a := e.a[kernel.TriangleOrigin(ld, i/tile):]
		for k, m := range ms {
			v := *(*[tile]T)(a[m.from*tile:])
			*(*[tile]T)(e.keep[k*ld+i:]) = v
		}
	}
	if e.quads {
		e.takeQuads(ms)
		return
	}
	for j, o := range ms { // o.from ascends
		column := e.a[kernel.TriangleOrigin(ld, o.from/tile)+o.from%tile:]
		x := e.keep[j*ld : (j+1)*ld]
		for k, m := range ms[j:] {
			v := column[m.from*tile]
			x[m.to], e.keep[(j+k)*ld+o.to] = v, v
		}
	}
}

// takeQuads copies what columns that move have in rows that move: squares of four by four, as units of four columns stay whole and within a tile.
func (e *engine[T]) takeQuads(ms []move) {
	ld := e.base.ld
	for j := 0; j < len(ms); j += 4 {
		o := ms[j]
		column := e.a[kernel.TriangleOrigin(ld, o.from/tile)+o.from%tile:]
		x, y, z, w := e.keep[j*ld:][:ld], e.keep[(j+1)*ld:][:ld], e.keep[(j+2)*ld:][:ld], e.keep[(j+3)*ld:][:ld]
		for k := j; k < len(ms); k++ {
			m := ms[k]
			v := *(*[4]T)(column[m.from*tile:])
			x[m.to], y[m.to], z[m.to], w[m.to] = v[0], v[1], v[2], v[3]
			*(*[4]T)(e.keep[k*ld+o.to:]) = v
		}
	}
}

// putColumns writes what takeColumns kept to tile column q: as rows of later tiles and as lanes of its own.
func (e *engine[T]) putColumns(ms []move, q, n int) {
	ld := e.base.ld
	a := e.a[kernel.TriangleOrigin(ld, q):]
	for k := 0; k < len(ms); k++ {
		m := ms[k]
		if m.to < q*tile {
			continue
		}
		x := e.keep[k*ld : (k+1)*ld]
		v := *(*[tile]T)(x[q*tile:])
		*(*[tile]T)(a[m.to*tile:]) = v
		if m.to/tile != q {
			continue
		}
		lane := a[m.to%tile:]
		if at := m.to%tile - k%4; e.unit == 4 && at >= 0 && at <= tile-4 { // the four columns of a unit stay side by side, here in one tile
			if k%4 == 0 {
				y, z, w := e.keep[(k+1)*ld:][:n], e.keep[(k+2)*ld:][:n], e.keep[(k+3)*ld:][:n]
				for i := q * tile; i < n; i++ {
					*(*[4]T)(lane[i*tile:]) = [4]T{x[i], y[i], z[i], w[i]}
				}
			}
			continue
		}
		for i := q * tile; i < n; i++ {
			lane[i*tile] = x[i]
		}
	}
}

// weights writes the row as it is now to dst.
func (e *engine[T]) weights(dst []float32) {
	for c, gone := range e.gone {
		if gone {
			dst[c] = float32(e.out[c])
		} else {
			dst[c] = float32(e.w[e.pos[c]])
		}
	}
}

// eachEngine calls work for every row, each worker with an engine and a rule of its own, on units of c columns.
func eachEngine[T number](ctx context.Context, w Matrix, p *Prepared, c int, o Options, fresh func() rule[T], work func(e *engine[T], r rule[T], x []float32, row int) error) error {
	type worker struct {
		e *engine[T]
		r rule[T]
		x []float32
	}
	base := newTiled[T](p, c)
	var mu sync.Mutex
	var engines []*engine[T]
	err := eachRow(ctx, w.Rows, o, func() *worker {
		e := newEngine(base)
		mu.Lock()
		engines = append(engines, e)
		mu.Unlock()
		return &worker{e, fresh(), make([]float32, w.Cols)}
	}, func(k *worker, row int) error {
		p.start(w, row, k.x)
		return work(k.e, k.r, k.x, row)
	})
	for _, e := range engines {
		e.release()
	}
	kernel.ReleaseSlab(base.data)
	return err
}

// solveRows eliminates in every row what the rule says, and returns the weights.
func solveRows[T number](ctx context.Context, w Matrix, p *Prepared, o Options, fresh func() rule[T]) (Matrix, error) {
	out := NewMatrix(w.Rows, w.Cols)
	err := eachEngine(ctx, w, p, 1, o, fresh, func(e *engine[T], r rule[T], x []float32, row int) error {
		err := e.run(x, row, r, nil)
		e.weights(out.Row(row))
		return err
	})
	return out, err
}
