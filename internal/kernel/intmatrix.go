package kernel

// IntMatrix is a right operand of 8-bit integers, k x n, laid out for products: quads where the processor multiplies them, else pairs.
type IntMatrix struct {
	K, N  int
	pairs *PackedB
	quads *quadTiling
	data  []int32 // panels of nr columns of quads
	sums  []int32 // of the columns, if in quads
	zero  []int32 // by column, of the signed codes in quads; nil: all 0
}

// PackIntMatrix lays out b, k x n, with its zero points: one for each column, one for all, or none.
func PackIntMatrix[T Byte](k, n int, b []T, zero []int32) *IntMatrix {
	m := &IntMatrix{K: k, N: n}
	if m.quads = quadForm(); m.quads == nil {
		h, t := pairLen(k), intTiling()
		p := make([]int32, h*n)
		pairCols(p, b, k, n, zero)
		m.pairs = &PackedB{h, n, t, packAll(t.kc, t.nr, words(p), n, false, h, n)}
		return m
	}
	t := m.quads
	from, flip := rawCodes(b, true)
	quads := quadLen(k)
	m.data, m.sums = make([]int32, roundUp(n, t.nr)*quads), make([]int32, n)
	if rest := k % 4; rest > 0 { // a row beyond the last must be zero here: the other operand's may be anything
		from = append(append(make([]byte, 0, 4*quads*n), from...), make([]byte, (4-rest)*n)...)
		for i := k * n; i < len(from); i++ {
			from[i] = byte(flip)
		}
	}
	for j := 0; j < n && k > 0; j += t.nr {
		t.packRowsOfBytes(m.data[j*quads:], t.nr, from[j:], n, 4*quads, min(t.nr, n-j), flip)
	}
	for p := range k {
		for j, v := range from[p*n : (p+1)*n] {
			m.sums[j] += int32(int8(v ^ byte(flip)))
		}
	}
	if !allEqual(zero, flipped(0, flip, 128)) {
		m.zero = make([]int32, n)
		for j := range m.zero {
			m.zero[j] = flipped(zeroAt(zero, j), flip, -128)
		}
	}
	return m
}

// left is the left operand of a product, m x K, with what is subtracted from the sums.
type left struct {
	bytes []byte  // unsigned, if in quads
	rs    int     // bytes from row to row
	zero  []int32 // by row, or one
	less  []int32 // by column: what the only zero point makes; nil: each row has its own
}

// Sums sets c (m x N) to the product of a (m x K), less its zero points, zero: one for each row, one for all, or none; a.Zero does not count.
func (b *IntMatrix) Sums(m int, a Codes, zero []int32, c []int32, threads int) {
	b.product(m, a, zero, c, threads, func(l *left, i, lo, hi int) {
		row := c[i*b.N+lo : i*b.N+hi]
		for j := range row {
			row[j] += l.less[lo+j]
		}
	})
}

// Floats sets y (m x N) to (sums + add)*scale + bias, then applies e but for Row (nil: nothing). add, scale and
// bias are by column; add may be nil.
func (b *IntMatrix) Floats(m int, a Codes, zero, add []int32, scale, bias []float32, e *Epilogue, y []float32, threads int) {
	sums := intWords(y)
	b.product(m, a, zero, sums, threads, func(l *left, i, lo, hi int) {
		less := l.less[lo:hi]
		at, end := i*b.N+lo, i*b.N+hi
		if add != nil {
			for j, v := range add[lo:hi] {
				sums[at+j] += v
			}
		}
		active.scaleSums(y[at:end], sums[at:end], less, scale[lo:hi], bias[lo:hi])
		e.onRow(y, at, end, lo)
	})
}

// leftBlock is how many bytes of the left operand are multiplied by one panel after the other: they stay in the second-level cache.
const leftBlock = 128 << 10

// product computes the sums, and calls done for parts of rows: c there lacks l.less.
func (b *IntMatrix) product(m int, a Codes, zero, c []int32, threads int, done func(l *left, i, lo, hi int)) {
	if m == 0 || b.N == 0 {
		return
	}
	if m*b.N*b.K < 4*smallProduct {
		threads = 1
	}
	if b.quads == nil {
		b.productOfPairs(m, a, zero, c, threads, done)
		return
	}
	s := quadPool.Get().(*quadScratch)
	defer quadPool.Put(s)
	l := b.left(s, m, a, zero)
	t := b.quads
	if b.N/t.nr >= m/t.mr || b.N >= 64*threads {
		parallelStep(threads, b.N, t.nr, func(lo, hi int) { b.region(l, c, 0, m, lo, hi, done) })
	} else {
		parallelStep(threads, m, t.mr, func(lo, hi int) { b.region(l, c, lo, hi, 0, b.N, done) })
	}
}

// left prepares a; the memory is s's.
func (b *IntMatrix) left(s *quadScratch, m int, a Codes, zero []int32) *left {
	l := &left{bytes: a.Bytes[:m*b.K], rs: b.K, less: make([]int32, b.N)}
	flip := byte(0)
	if a.Signed {
		flip = 0x80
	}
	if b.K%4 != 0 || flip != 0 {
		l.rs = 4 * quadLen(b.K)
		s.rows = grow(&s.rows, m*l.rs)
		for i := range m {
			d := s.rows[i*l.rs : (i+1)*l.rs]
			for j, v := range a.Bytes[i*b.K : (i+1)*b.K] {
				d[j] = v ^ flip
			}
			clear(d[b.K:])
		}
		l.bytes = s.rows
	}
	for i := range max(1, len(zero)) {
		l.zero = append(l.zero, flipped(zeroAt(zero, i), uint32(flip), 128))
	}
	if b.zero == nil && len(l.zero) == 1 {
		for j, v := range b.sums {
			l.less[j] = -l.zero[0] * v
		}
	}
	return l
}

// region computes rows [i0, i1) of columns [j0, j1).
func (b *IntMatrix) region(l *left, c []int32, i0, i1, j0, j1 int, done func(l *left, i, lo, hi int)) {
	t, k := b.quads, quadLen(b.K)
	s := quadPool.Get().(*quadScratch)
	defer quadPool.Put(s)
	s.sums = grow(&s.sums, t.mr*t.nr)
	step := max(1, leftBlock/max(1, l.rs)/t.mr) * t.mr
	for ; i0 < i1; i0 += step {
		end := min(i1, i0+step)
		for j := j0; j < j1 && k > 0; j += t.nr {
			cols := min(t.nr, j1-j)
			panel, whole := byteWords(b.data[j*k:]), roundUp(cols, t.vec)
			for i := i0; i < end; i += t.mr {
				rows := min(t.mr, end-i)
				if whole == cols {
					t.swapped(rows, cols, k, l.bytes[i*l.rs:], l.rs, 4, panel, 4*t.nr, c[i*b.N+j:], b.N)
					continue
				}
				t.swapped(rows, whole, k, l.bytes[i*l.rs:], l.rs, 4, panel, 4*t.nr, s.sums, t.nr)
				for r := range rows {
					copy(c[(i+r)*b.N+j:(i+r)*b.N+j+cols], s.sums[r*t.nr:])
				}
			}
		}
		for i := i0; i < end; i++ {
			if k == 0 {
				clear(c[i*b.N+j0 : i*b.N+j1])
			}
			if b.zero != nil || len(l.zero) > 1 {
				b.lessZeros(l, c, i, j0, j1)
			}
			done(l, i, j0, j1)
		}
	}
}

// lessZeros adds -za sum b - zb sum a + K za zb to part of a row.
func (b *IntMatrix) lessZeros(l *left, c []int32, i, lo, hi int) {
	za := zeroAt(l.zero, i)
	row := c[i*b.N+lo : i*b.N+hi]
	for j := range row {
		row[j] -= za * b.sums[lo+j]
	}
	if b.zero == nil {
		return
	}
	r := int32(b.K) * za
	for _, v := range l.bytes[i*l.rs : i*l.rs+b.K] {
		r -= int32(v)
	}
	for j := range row {
		row[j] += r * b.zero[lo+j]
	}
}

// productOfPairs does the same with pairs.
func (b *IntMatrix) productOfPairs(m int, a Codes, zero, c []int32, threads int, done func(l *left, i, lo, hi int)) {
	s := quadPool.Get().(*quadScratch)
	defer quadPool.Put(s)
	h := pairLen(b.K)
	s.panel = grow(&s.panel, m*h)
	Parallel(threads, m, func(lo, hi int) {
		from, z := a.Bytes[lo*b.K:hi*b.K], zero
		if len(zero) > 1 {
			z = zero[lo:hi]
		}
		if a.Signed {
			pairRows(s.panel[lo*h:hi*h], signedBytes(from), hi-lo, b.K, z)
		} else {
			pairRows(s.panel[lo*h:hi*h], from, hi-lo, b.K, z)
		}
	})
	p := product[float32]{t: b.pairs.t, m: m, n: b.N, k: h, alpha: 1, a: dense[float32]{words(s.panel), h, false},
		packedB: b.pairs.data, c: words(c), ldc: b.N, bits: true}
	p.run(threads)
	l := &left{less: make([]int32, b.N)}
	Parallel(threads, m, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			done(l, i, 0, b.N)
		}
	})
}
