package kernel

import "sync"

// Sgemm computes C = alpha op(A) op(B) + beta C in float32, with op(A) m x k, op(B) k x n and C m x n. With transA the
// slice a holds A^T (k x m), with transB b holds B^T (n x k). With beta = 0 C need not be initialised (NaN is overwritten). At
// most threads goroutines work; one product of fewer than about 10^5 multiplications runs in the caller.
func Sgemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int, threads int) {
	g := product[float32]{t: tiling32(), m: m, n: n, k: k, alpha: alpha, beta: beta, c: c, ldc: ldc,
		a: dense[float32]{a, lda, transA}, b: dense[float32]{b, ldb, transB}}
	g.run(threads)
}

// Dgemm is Sgemm in float64.
func Dgemm(transA, transB bool, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int, threads int) {
	g := product[float64]{t: tiling64(), m: m, n: n, k: k, alpha: alpha, beta: beta, c: c, ldc: ldc,
		a: dense[float64]{a, lda, transA}, b: dense[float64]{b, ldb, transB}}
	g.run(threads)
}

// SgemmPackedB computes C = A B with B packed by PackB, then the epilogue (nil: none); A is m x k or, with transA, its transpose.
func SgemmPackedB(transA bool, m int, a []float32, lda int, b *PackedB, c []float32, ldc int, e *Epilogue, threads int) {
	g := product[float32]{t: b.t, m: m, n: b.N, k: b.K, alpha: 1, c: c, ldc: ldc,
		a: dense[float32]{a, lda, transA}, packedB: b.data, e: e}
	g.run(threads)
}

// SgemmPackedA computes C = A B with A packed by PackA, then the epilogue (nil: none); B is k x n or, with transB, its transpose.
func SgemmPackedA(a *PackedA, transB bool, n int, b []float32, ldb int, c []float32, ldc int, e *Epilogue, threads int) {
	g := product[float32]{t: a.t, m: a.M, n: n, k: a.K, alpha: 1, c: c, ldc: ldc,
		packedA: a.data, b: dense[float32]{b, ldb, transB}, e: e}
	g.run(threads)
}

// product is one matrix product being computed. Each operand is either dense, or packed beforehand, or (B only) an
// image that is unfolded while it is packed.
type product[T Float] struct {
	t                *tiling[T]
	m, n, k          int
	alpha, beta      T
	a, b             dense[T]
	packedA, packedB []T
	image            *unfold
	c                []T
	ldc              int
	above            int // rows of C that are not there: c begins with row above
	e                *Epilogue
	bits             bool // the elements are no numbers: pairs of int16, see pair
	loose            bool // what lies right of the last column, up to a whole vector, may be read and overwritten
}

// dense is a matrix in memory; with trans the slice holds its transpose.
type dense[T Float] struct {
	data  []T
	ld    int
	trans bool
}

// smallProduct is the number of multiplications below which a second goroutine costs more than it brings (2 us).
const smallProduct = 1 << 17

func (g *product[T]) run(threads int) {
	if g.m <= 0 || g.n <= 0 {
		return
	}
	if g.k <= 0 || g.alpha == 0 {
		g.empty()
		return
	}
	if g.vector(threads) {
		return
	}
	if g.m*g.n*g.k < smallProduct {
		threads = 1
	}
	if threads <= 1 || g.sharesColumns(threads) {
		parallelStep(threads, g.n, g.t.nr, func(lo, hi int) { g.region(0, g.m, lo, hi) })
	} else {
		parallelStep(threads, g.m, g.t.mr, func(lo, hi int) { g.region(lo, hi, 0, g.n) })
	}
}

// sharesColumns tells that threads, if it is worth while to have several, better share the columns of C than the rows.
func (g *product[T]) sharesColumns(threads int) bool {
	return threads > 1 && g.m*g.n*g.k >= smallProduct && !g.expands() && (g.n/g.t.nr >= g.m/g.t.mr || g.n >= 64*threads)
}

// expands tells that C, a layer's output, has many more rows than B, its input: channels that a convolution adds. The threads then
// share the rows, although each has to read all of B: the depthwise convolution that usually comes next shares its channels in the same
// way and finds them in its own core's cache. Fetching the half that the other core wrote takes longer than that convolution.
func (g *product[T]) expands() bool {
	return g.packedA != nil && g.m >= 2*g.k && g.m >= 8*g.t.mr
}

// empty computes C = beta C and the epilogue: there is no product to add.
func (g *product[T]) empty() {
	for i := range g.m {
		scaleBy(g.c[i*g.ldc:i*g.ldc+g.n], g.beta)
	}
	g.finish()
}

// finish applies the epilogue to all of C.
func (g *product[T]) finish() {
	if g.e == nil {
		return
	}
	var t tail
	for i := range g.m {
		g.e.at(&t, i, 0, g.ldc)
		t.apply32(any(g.c[i*g.ldc:i*g.ldc+g.n]).([]float32), 0)
	}
	if g.e.Then != nil {
		g.e.then(any(g.c).([]float32), g.ldc, 0, g.m, 0, g.n)
	}
}

// scaleBy multiplies c by beta; zero overwrites whatever is there.
func scaleBy[T Float](c []T, beta T) {
	if beta == 0 {
		clear(c)
	} else if beta != 1 {
		for i := range c {
			c[i] *= beta
		}
	}
}

// scratch is the memory that one goroutine of a product works in.
type scratch[T Float] struct {
	a, b []T
	tile []T
	tail tail
}

var (
	scratch32 = sync.Pool{New: func() any { return new(scratch[float32]) }}
	scratch64 = sync.Pool{New: func() any { return new(scratch[float64]) }}
)

// borrow takes a scratch from the pool for T; giveBack returns it.
func borrow[T Float]() *scratch[T] {
	var zero T
	if _, ok := any(zero).(float32); ok {
		return scratch32.Get().(*scratch[T])
	}
	return scratch64.Get().(*scratch[T])
}

func (s *scratch[T]) giveBack() {
	if _, ok := any(s).(*scratch[float32]); ok {
		scratch32.Put(s)
	} else {
		scratch64.Put(s)
	}
}

// grow returns s with length n, keeping no contents.
func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	return (*s)[:n]
}

// operand is a packed or directly read block: element (i, p) of A is at
// data[i*rs+p*cs], row p of B at data[p*rs]; panels follow each other by step.
type operand[T Float] struct {
	data   []T
	rs, cs int
	step   int  // elements from one panel of mr rows (nr columns) to the next
	packed bool // of A: full panels of mr rows, with packSlack elements behind the last
	last   []T  // a last panel narrower than nr, if it lies elsewhere, in rows of nr
}

// region computes rows [i0, i1) and columns [j0, j1) of C. Cuts between regions lie at multiples of mr and nr.
func (g *product[T]) region(i0, i1, j0, j1 int) {
	t, s := g.t, borrow[T]()
	defer s.giveBack()
	if g.beta != 0 && g.beta != 1 {
		for i := i0; i < i1; i++ {
			scaleBy(g.c[i*g.ldc+j0:i*g.ldc+j1], g.beta)
		}
	}
	directA := g.alpha == 1 && j1-j0 <= 3*t.nr
	directB := g.readsB(i1 - i0)
	for jc := j0; jc < j1; jc += t.nc {
		nb := min(t.nc, j1-jc)
		for pc := 0; pc < g.k; pc += t.kc {
			kb := min(t.kc, g.k-pc)
			bv := g.blockB(s, directB, pc, kb, jc, nb)
			for ic := i0; ic < i1; ic += t.mc {
				mb := min(t.mc, i1-ic)
				av := g.blockA(s, directA, pc, kb, ic, mb)
				g.macro(s, av, bv, pc, kb, ic, mb, jc, nb)
				if pc+kb == g.k && g.e != nil && g.e.Then != nil {
					g.e.then(any(g.c).([]float32), g.ldc, ic, mb, jc, nb)
				}
			}
		}
	}
}

// readsB tells whether so many rows of C are computed from B where it lies: packing it costs more than it saves. An image under a
// pointwise convolution is always read so where a panel of it would not fit into the first-level cache, packed or not; else if its rows
// begin with cache lines, so that packing would not make a panel smaller, and not 2 KiB apart, so that they do not displace each other.
func (g *product[T]) readsB(rows int) bool {
	switch t, ld := g.t, g.b.ld; {
	case g.loose:
		return true
	case g.b.trans || g.packedB != nil || g.image != nil:
		return false
	case rows <= 4*t.mr:
		return true
	case g.packedA == nil:
		return false
	case 4*t.kc*t.nr > firstLevelCache:
		return true
	default:
		return ld%16 == 0 && ld%512 != 0 || ld%4 == 0 && ld%16 != 0 && rows <= 24*t.mr
	}
}

// firstLevelCache is how many bytes the first-level cache of common processors holds.
const firstLevelCache = 32 << 10

// blockA returns rows [i, i+mb), columns [p, p+kb) of A for the micro-kernel.
func (g *product[T]) blockA(s *scratch[T], direct bool, p, kb, i, mb int) operand[T] {
	mr := g.t.mr
	switch {
	case g.packedA != nil:
		return operand[T]{data: g.packedA[p*roundUp(g.m, mr)+i*kb:], rs: 1, cs: mr, step: mr * kb, packed: true}
	case direct && g.a.trans:
		return operand[T]{data: g.a.data[p*g.a.ld+i:], rs: 1, cs: g.a.ld, step: mr}
	case direct:
		return operand[T]{data: g.a.data[i*g.a.ld+p:], rs: g.a.ld, cs: 1, step: mr * g.a.ld}
	}
	buf := grow(&s.a, roundUp(mb, mr)*kb+packSlack)
	packPanels(buf, mr, g.a.data, g.a.ld, !g.a.trans, p, kb, i, mb, g.alpha)
	return operand[T]{data: buf, rs: 1, cs: mr, step: mr * kb, packed: true}
}

// blockB returns rows [p, p+kb), columns [j, j+nb) of B for the micro-kernel. With direct the full panels are read in
// place and only what is left of the last one is packed, in s.b, if a kernel would read beyond it.
func (g *product[T]) blockB(s *scratch[T], direct bool, p, kb, j, nb int) operand[T] {
	t, nr := g.t, g.t.nr
	if g.packedB != nil {
		return operand[T]{data: g.packedB[p*roundUp(g.n, nr)+j*kb:], rs: nr, step: nr * kb}
	}
	if g.image != nil {
		buf := grow(&s.b, roundUp(nb, nr)*kb)
		g.image.pack(any(buf).([]float32), nr, t.vec, p, kb, j, nb)
		return operand[T]{data: buf, rs: nr, step: nr * kb}
	}
	if direct {
		o := operand[T]{data: g.b.data[p*g.b.ld+j:], rs: g.b.ld, step: nr}
		if rest := nb % nr; rest%t.vec > 0 && !g.loose && (g.packedA == nil || !t.narrows(rest%t.vec)) {
			o.last = grow(&s.b, nr*kb+packSlack)
			packPanels(o.last, nr, g.b.data, g.b.ld, false, p, kb, j+nb-rest, rest, 1)
		}
		return o
	}
	buf := grow(&s.b, roundUp(nb, nr)*kb+packSlack)
	packPanels(buf, nr, g.b.data, g.b.ld, g.b.trans, p, kb, j, nb, 1)
	return operand[T]{data: buf, rs: nr, step: nr * kb}
}

// macro multiplies one block of A by one block of B, tile by tile.
func (g *product[T]) macro(s *scratch[T], a, b operand[T], p, kb, i0, mb, j0, nb int) {
	t := g.t
	acc := p > 0 || g.beta != 0
	e := g.e
	if p+kb < g.k {
		e = nil
	}
	for j := 0; j < nb; j += t.nr {
		cols := min(t.nr, nb-j)
		bp, bs := b.data[j/t.nr*b.step:], b.rs
		if cols < t.nr && b.last != nil {
			bp, bs = b.last, t.nr
		}
		if rest := cols % t.vec; rest != 0 && a.packed && t.narrows(rest) {
			cols -= rest
			g.narrow(s, mb, rest, kb, a, bp[cols:], bs, acc, e, i0, j0+j+cols)
			if cols == 0 {
				continue
			}
		}
		i := 0
		if n := mb / t.mr; n > 0 && t.stack != nil && cols%t.vec == 0 {
			t.stack(n, cols, kb, a.data, a.rs, a.cs, a.step, bp, bs, g.c[(i0-g.above)*g.ldc+j0+j:], g.ldc, acc, g.tail(s, e, i0, j0+j))
			i = n * t.mr
		}
		for ; i < mb; i += t.mr {
			rows := min(t.mr, mb-i)
			ap, cp := a.data[i/t.mr*a.step:], g.c[(i0+i-g.above)*g.ldc+j0+j:]
			if cols%t.vec != 0 {
				g.edge(s, rows, cols, kb, ap, a.rs, a.cs, bp, bs, cp, acc, e, i0+i, j0+j)
				continue
			}
			t.micro(rows, cols, kb, ap, a.rs, a.cs, bp, bs, cp, g.ldc, acc, g.tail(s, e, i0+i, j0+j))
		}
	}
}

// tail is the epilogue at a tile in assembly's form, nil for none.
func (g *product[T]) tail(s *scratch[T], e *Epilogue, i, j int) *tail {
	if e == nil {
		return nil
	}
	e.at(&s.tail, i, j, g.ldc)
	return &s.tail
}

// narrowCols is the largest number of columns beyond whole vectors for which the kernel whose lanes are rows is the faster one.
const narrowCols = 4

// narrows tells whether the kernel for few columns takes so many that lie beyond whole vectors, if A is packed.
func (t *tiling[T]) narrows(rest int) bool { return t.narrow != nil && rest <= narrowCols }

// looseCols is how many columns to compute where n are wanted and more may be: whole vectors, but for the few that the kernel for them takes.
func (t *tiling[T]) looseCols(n int) int {
	if rest := n % t.vec; rest > 0 && t.narrows(rest) {
		return n
	}
	return roundUp(n, t.vec)
}

// vectors is about the time that looseCols(n) take, in hundredths of a whole vector's.
func (t *tiling[T]) vectors(n int) int {
	n = t.looseCols(n)
	v := 100 * (n / t.vec)
	if n%t.vec > 0 {
		v += 50
	}
	return v
}

// narrowPanels is how many panels of A the kernel for so many columns takes together: what one alone adds has to wait for what it added before.
func narrowPanels(cols int) int { return max(1, narrowCols/cols) }

// narrowStep is how many of the rows that are left the kernel for so many columns takes at a time, in panels of mr rows, and how far apart
// these are: with fewer panels than it takes together, one stands in all places.
func narrowStep(cols, mr, left, step int) (rows, apart int) {
	if rows = narrowPanels(cols) * mr; rows > roundUp(left, mr) {
		return mr, 0
	}
	return rows, step
}

// narrow computes up to narrowCols columns of a block of C, from column j0 on.
func (g *product[T]) narrow(s *scratch[T], mb, cols, k int, a operand[T], b []T, bs int, acc bool, e *Epilogue, i0, j0 int) {
	mr := g.t.mr
	tile := grow(&s.tile, max(mr*g.t.nr, 8*narrowCols))
	for i, rows := 0, 0; i < mb; i += rows {
		var step int
		rows, step = narrowStep(cols, mr, mb-i, a.step)
		g.t.narrow(cols, k, a.data[i/mr*a.step:], step, b, bs, tile)
		for r := range min(rows, mb-i) {
			row := g.c[(i0+i+r-g.above)*g.ldc+j0:][:cols]
			for j := range row {
				v := tile[8*(r/mr*cols+j)+r%mr]
				if acc {
					v += row[j]
				}
				if e != nil {
					v = T(e.of(float32(v), i0+i+r, j0+j, g.ldc))
				}
				row[j] = v
			}
		}
	}
}

// edge computes a tile whose width is no multiple of the vector length in scratch and moves what is wanted to C.
func (g *product[T]) edge(s *scratch[T], rows, cols, k int, a []T, rs, cs int, b []T, bs int, c []T, acc bool, e *Epilogue, i0, j0 int) {
	t := g.t
	tile := grow(&s.tile, t.mr*t.nr)
	t.micro(rows, roundUp(cols, t.vec), k, a, rs, cs, b, bs, tile, t.nr, false, nil)
	for i := range rows {
		src, dst := tile[i*t.nr:i*t.nr+cols], c[i*g.ldc:i*g.ldc+cols]
		if acc {
			for j, v := range src {
				dst[j] += v
			}
		} else {
			copy(dst, src)
		}
		if e != nil {
			e.at(&s.tail, i0+i, j0, g.ldc)
			s.tail.apply32(any(dst).([]float32), 0)
		}
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }
