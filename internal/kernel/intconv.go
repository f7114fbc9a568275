package kernel

import (
	"math"
	"sync"
)

// Codes are quantized numbers of 8 bits with one zero point, as bytes.
type Codes struct {
	Bytes  []byte
	Signed bool
	Zero   int32
}

// CodesOf are the codes x with their zero point.
func CodesOf[T Byte](x []T, zero int32) Codes { return Codes{raw(x), T(0)-1 < 0, zero} }

// limits are the lowest and the highest code less the zero point.
func (c Codes) limits() (lo, hi float32) {
	if c.Signed {
		return float32(-128 - c.Zero), float32(127 - c.Zero)
	}
	return float32(-c.Zero), float32(255 - c.Zero)
}

// Rounding makes codes from the sums of output channel i: min(hi, max(lo, round((sum + Bias[i])*Factor[i]) + zero)), rounded to even. The
// bias may be nil.
type Rounding struct {
	Bias   []int32
	Factor []float32
}

// IntConv is the constant weight of a convolution of 8-bit integers: quads where the processor multiplies them and all zero points are
// 0, else pairs.
type IntConv struct {
	pairs []*PackedA // by group
	quads *quadTiling
	data  [][]byte // by group: panels of mr rows of quads
	sums  []int32  // of the weights of an output channel, if in quads
}

// PackIntConv packs w, laid out OutC x InC/Groups x KH x KW, less its zero points: one for each output channel, one for all, or none.
func PackIntConv[T Byte](s ConvShape, w []T, zero []int32) *IntConv {
	s = s.normal()
	t := quadForm()
	if _, flip := rawCodes(w, true); t != nil && allEqual(zero, flipped(0, flip, 128)) {
		return packConvQuads(t, s, w)
	}
	return packConvPairs(s, w, zero)
}

// allEqual reports whether all zero points, of which none stand for 0, are want.
func allEqual(zero []int32, want int32) bool {
	if len(zero) == 0 {
		return want == 0
	}
	for _, z := range zero {
		if z != want {
			return false
		}
	}
	return true
}

func packConvQuads[T Byte](t *quadTiling, s ConvShape, w []T) *IntConv {
	m, ic, taps := s.OutC/s.Groups, s.InC/s.Groups, s.KH*s.KW
	k := quadLen(ic) * taps
	from, flip := rawCodes(w, true)
	c := &IntConv{quads: t, sums: make([]int32, s.OutC)}
	for g := range s.Groups {
		data := make([]byte, roundUp(m, t.mr)*4*k)
		for i := range m {
			row := from[(g*m+i)*ic*taps:]
			panel := data[i/t.mr*t.mr*4*k+i%t.mr*4:]
			for ch := range ic {
				for tap := range taps {
					v := row[ch*taps+tap] ^ byte(flip)
					panel[(ch/4*taps+tap)*4*t.mr+ch%4] = v
					c.sums[g*m+i] += int32(int8(v))
				}
			}
		}
		c.data = append(c.data, data)
	}
	return c
}

// convOut is where a convolution's result goes: sums, or codes by way of a Rounding.
type convOut struct {
	sums  []int32
	codes Codes
	r     *Rounding
}

// Sums convolves n images x (n x InC x H x W) to sums y (n x OutC x OutH x OutW) without zero points. The padding counts as the zero point.
func (c *IntConv) Sums(s ConvShape, n int, x Codes, y []int32, threads int) {
	c.run(s, n, x, convOut{sums: y}, threads)
}

// Codes is Sums, rounded to codes y.
func (c *IntConv) Codes(s ConvShape, n int, x, y Codes, r *Rounding, threads int) {
	c.run(s, n, x, convOut{codes: y, r: r}, threads)
}

func (c *IntConv) run(s ConvShape, n int, x Codes, y convOut, threads int) {
	s = s.normal()
	if jobs := n * s.Groups; s.OutH()*s.OutW() == 0 || jobs == 0 || s.OutC == 0 {
		return
	} else if n*s.OutC*s.OutH()*s.OutW()*s.InC/s.Groups*s.KH*s.KW < 4*smallProduct {
		threads = 1
	}
	if c.quads != nil {
		c.runQuads(s, n, x, y, threads)
	} else {
		c.runPairs(s, n, x, y, threads)
	}
}

// eachJob calls fn for each group of each image, several at a time if there are enough, else with the threads for it alone.
func eachJob(jobs, threads int, fn func(j, threads int)) {
	inner := threads
	if jobs >= 2*threads {
		inner = 1
	}
	Parallel((threads+inner-1)/inner, jobs, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			fn(j, inner)
		}
	})
}

func (c *IntConv) runQuads(s ConvShape, n int, x Codes, y convOut, threads int) {
	flip := uint32(0)
	if x.Signed {
		flip = flipBits
	}
	zero := flipped(x.Zero, flip, 128)
	bias := make([]int32, s.OutC)
	for i := range bias {
		if bias[i] = -zero * c.sums[i]; y.r != nil && y.r.Bias != nil {
			bias[i] += y.r.Bias[i]
		}
	}
	in, m, pix := s.InC*s.H*s.W/s.Groups, s.OutC/s.Groups, s.OutH()*s.OutW()
	eachJob(n*s.Groups, threads, func(j, threads int) {
		g := j % s.Groups
		q := quadConv{c: c, g: g, m: m, k: quadLen(s.InC/s.Groups) * s.KH * s.KW, pix: pix, flip: flip,
			planes: x.Bytes[j*in : (j+1)*in], channels: s.InC / s.Groups, bias: bias[g*m : (g+1)*m]}
		if y.r == nil {
			q.out.sums = y.sums[j*m*pix : (j+1)*m*pix]
		} else {
			q.out.codes, q.out.r = y.codes, &Rounding{Factor: y.r.Factor[g*m : (g+1)*m]}
			q.out.codes.Bytes = y.codes.Bytes[j*m*pix : (j+1)*m*pix]
		}
		if !s.pointwise() {
			u := unfoldPool.Get().(*unfold)
			defer unfoldPool.Put(u)
			q.unfold(s, u, zero, threads)
		}
		if q.sharesRows() {
			parallelStep(threads, m, c.quads.mr, func(lo, hi int) { q.block(lo, hi, 0, pix) })
		} else {
			parallelStep(threads, pix, c.quads.nr, func(lo, hi int) { q.block(0, m, lo, hi) })
		}
	})
}

// quadConv is one group of one image.
type quadConv struct {
	c            *IntConv
	g, m, k, pix int
	flip         uint32
	planes       []byte
	channels     int
	image        *unfold // of quads; nil: the planes are the columns
	bias         []int32 // with what the zero point of the input makes
	out          convOut
}

// quadScratch is the memory that one goroutine works in.
type quadScratch struct {
	panel, sums []int32
	rows        []byte
	round       rounding
}

var quadPool = sync.Pool{New: func() any { return new(quadScratch) }}

// unfold brings the image into quads of channels, padded by the zero point.
func (q *quadConv) unfold(s ConvShape, u *unfold, zero int32, threads int) {
	b := quadPool.Get().(*quadScratch)
	defer quadPool.Put(b)
	plane, quads := s.H*s.W, quadLen(q.channels)
	words32 := grow(&b.panel, quads*plane)
	b.panel = words32
	if plane > 0 {
		Parallel(threads, quads, func(lo, hi int) {
			q.c.quads.packRowsOfBytes(words32[lo*plane:hi*plane], plane, q.planes[4*lo*plane:], plane, min(4*hi, q.channels)-4*lo, plane, q.flip)
		})
	}
	s.InC = quads
	u.fill = math.Float32frombits(uint32(uint8(zero)) * 0x01010101)
	u.set(s, quads, words(words32), plane, threads)
	u.fill, q.image = 0, u
}

// sharesRows tells whether the threads share the output channels, so that each packs all of the input: for small images, where there are too
// few panels of positions to share, and somewhat larger ones of convolutions that widen, whose weights are then read once.
func (q *quadConv) sharesRows() bool {
	t := q.c.quads
	return q.image == nil && q.m >= 8*t.mr && (q.pix <= 2*t.nr || q.pix <= 8*t.nr && q.m >= 2*q.channels)
}

// block computes output channels [from, to), positions [lo, hi), a panel of positions at a time.
func (q *quadConv) block(from, to, lo, hi int) {
	t, b := q.c.quads, quadPool.Get().(*quadScratch)
	defer quadPool.Put(b)
	b.panel = grow(&b.panel, q.k*t.nr)
	for j := lo; j < hi; j += t.nr {
		cols := min(t.nr, hi-j)
		if q.image != nil {
			q.image.pack(words(b.panel), t.nr, t.vec, 0, q.k, j, cols)
		} else {
			t.packRowsOfBytes(b.panel, t.nr, q.planes[j:], q.pix, q.channels, cols, q.flip)
		}
		rest := t.beyond(cols)
		if cols -= rest; cols > 0 {
			for i := from; i < to; i += t.mr {
				q.tile(b, i, min(t.mr, to-i), j, cols)
			}
		}
		if rest > 0 {
			q.narrow(b, from, to, j, cols, rest)
		}
	}
}

// narrow computes rows [from, to) of the cols columns from at on of b's panel, which is that from column j on.
func (q *quadConv) narrow(b *quadScratch, from, to, j, at, cols int) {
	t := q.c.quads
	b.sums = grow(&b.sums, t.mr*t.nr)
	lo, hi := q.out.codes.limits()
	for i, rows := from, 0; i < to; i += rows {
		var step int
		rows, step = narrowStep(cols, t.mr, to-i, 4*t.mr*q.k)
		t.narrow(cols, q.k, q.c.data[q.g][i*4*q.k:], step, byteWords(b.panel)[4*at:], 4*t.nr, b.sums)
		for r := range min(rows, to-i) {
			for l := range cols {
				sum, to := b.sums[8*(r/t.mr*cols+l)+r%t.mr]+q.bias[i+r], (i+r)*q.pix+j+at+l
				if q.out.r == nil {
					q.out.sums[to] = sum
				} else {
					q.out.codes.Bytes[to] = rounded(float32(sum)*q.out.r.Factor[i+r], lo, hi, q.out.codes.Zero)
				}
			}
		}
	}
}

// tile computes rows [i, i+rows) of columns [j, j+cols), whose panel is b's.
func (q *quadConv) tile(b *quadScratch, i, rows, j, cols int) {
	t := q.c.quads
	a, panel := q.c.data[q.g][i*4*q.k:], byteWords(b.panel)
	if q.out.r == nil {
		b.sums = grow(&b.sums, t.mr*t.nr)
		t.sums(rows, roundUp(cols, t.vec), q.k, a, 4, 4*t.mr, panel, 4*t.nr, b.sums, t.nr)
		for r := range rows {
			d, bias := q.out.sums[(i+r)*q.pix+j:], q.bias[i+r]
			for l, v := range b.sums[r*t.nr : r*t.nr+cols] {
				d[l] = v + bias
			}
		}
		return
	}
	t.codes(rows, cols, q.k, a, 4, 4*t.mr, panel, 4*t.nr, q.out.codes.Bytes[i*q.pix+j:], q.pix, b.round.to(q.out.codes, q.bias, q.out.r.Factor, i))
}

// packConvPairs packs pairs of channels.
func packConvPairs[T Byte](s ConvShape, w []T, zero []int32) *IntConv {
	m, ic, taps := s.OutC/s.Groups, s.InC/s.Groups, s.KH*s.KW
	k := pairLen(ic) * taps
	t := intTiling()
	c := &IntConv{}
	rows := make([]int32, m*k)
	for g := range s.Groups {
		for i := range m {
			z := zeroAt(zero, g*m+i)
			from := w[(g*m+i)*ic*taps:]
			at := func(c, tap int) int32 {
				if c >= ic {
					return 0
				}
				return int32(from[c*taps+tap]) - z
			}
			for p := range pairLen(ic) {
				for tap := range taps {
					rows[i*k+p*taps+tap] = pair(at(2*p, tap), at(2*p+1, tap))
				}
			}
		}
		c.pairs = append(c.pairs, &PackedA{m, k, t, packAll(t.kc, t.mr, words(rows), k, true, k, m)})
	}
	return c
}

// runPairs convolves with pairs of channels, whose zero points are taken off before.
func (c *IntConv) runPairs(s ConvShape, n int, x Codes, y convOut, threads int) {
	ic, plane, m, pix := s.InC/s.Groups, s.H*s.W, s.OutC/s.Groups, s.OutH()*s.OutW()
	half := pairLen(ic)
	of := s
	of.InC = half * s.Groups
	f := &PackedConv{groups: c.pairs}
	eachJob(n*s.Groups, threads, func(j, threads int) {
		b := quadPool.Get().(*quadScratch)
		defer quadPool.Put(b)
		b.panel = grow(&b.panel, half*plane)
		src := x.Bytes[j*ic*plane : (j+1)*ic*plane]
		Parallel(threads, half, func(lo, hi int) {
			pairPlanes(b.panel[lo*plane:hi*plane], src[2*lo*plane:min(2*hi*plane, len(src))], min(2*hi, ic)-2*lo, plane, x)
		})
		g := j % s.Groups
		if y.r == nil {
			f.group(of, g, words(b.panel), words(y.sums[j*m*pix:(j+1)*m*pix]), nil, threads)
			return
		}
		b.sums = grow(&b.sums, m*pix)
		f.group(of, g, words(b.panel), words(b.sums[:m*pix]), nil, threads)
		lo, hi := y.codes.limits()
		Parallel(threads, m, func(from, to int) {
			for i := from; i < to; i++ {
				sums := b.sums[i*pix : (i+1)*pix]
				if y.r.Bias != nil {
					for k, bias := 0, y.r.Bias[g*m+i]; k < len(sums); k++ {
						sums[k] += bias
					}
				}
				active.requant(y.codes.Bytes[(j*m+i)*pix:(j*m+i+1)*pix], sums, y.r.Factor[g*m+i], lo, hi, y.codes.Zero)
			}
		})
	})
}

// pairPlanes is pairCols of codes.
func pairPlanes(dst []int32, src []byte, k, n int, x Codes) {
	if x.Signed {
		pairCols(dst, signedBytes(src), k, n, []int32{x.Zero})
		return
	}
	pairCols(dst, src, k, n, []int32{x.Zero})
}
