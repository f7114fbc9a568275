package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// conv emits the inner loops of convolutions.
func conv(g *gen) {
	g.taps()
	for _, rows := range []int{4, 7} {
		g.depthwise(rows)
	}
	g.gather()
	g.winogradIn()
	g.winogradOut()
	g.deinterleave()
	g.copyRows()
}

// taps emits the sum of shifted runs.
func (g *gen) taps() {
	g.begin("taps", "(dst *float32, vecs int, x *float32, offs []int32, w *float32, bias, lo, hi float32)",
		"is tapsGeneric for vecs vectors, rounded up to a multiple of four.")
	dst, n, x, offs, w, count := g.param("dst"), g.param("vecs"), g.param("x"), g.param("offs"), g.param("w"), g.length("offs")
	lo, hi := g.parameter("lo"), g.parameter("hi")
	for _, unroll := range []int{8, 4} {
		loop, next := fmt.Sprintf("by%d", unroll), fmt.Sprintf("under%d", unroll)
		g.Label(loop)
		g.CMPQ(n, operand.U32(unroll-3))
		g.JL(operand.LabelRef(next))
		sum := make([]reg.VecVirtual, unroll)
		for i := range sum {
			sum[i] = g.parameter("bias")
		}
		t, p, f := g.GP64(), g.GP64(), g.vec()
		g.XORQ(t, t)
		tap := fmt.Sprintf("tap%d", unroll)
		g.Label(tap)
		g.MOVLQSX(indexed(offs, t, 4, 0), p)
		g.VBROADCASTSS(indexed(w, t, 4, 0), f)
		g.LEAQ(indexed(x, p, 4, 0), p)
		for i := range sum {
			g.VFMADD231PS(at(p, i*g.width), f, sum[i])
		}
		g.INCQ(t)
		g.CMPQ(t, count)
		g.JL(operand.LabelRef(tap))
		for i := range sum {
			g.VMAXPS(sum[i], lo, sum[i])
			g.VMINPS(sum[i], hi, sum[i])
			g.VMOVUPS(sum[i], at(dst, i*g.width))
		}
		g.ADDQ(operand.U32(unroll*g.width), dst)
		g.ADDQ(operand.U32(unroll*g.width), x)
		g.SUBQ(operand.U32(unroll), n)
		g.JMP(operand.LabelRef(loop))
		g.Label(next)
	}
	g.end()
}

// Offsets of the fields of columns.
const (
	columnsAt    = 8
	columnsMask  = 40
	columnsLanes = 72
)

// gather emits the packing of one vector of columns that are up to four runs of the image.
func (g *gen) gather() {
	g.begin("gather", "(dst *float32, ldd int, src *float32, rows []int32, c *byte)", "is gatherGeneric for one vector; c is a *columns.")
	dst, ldd, src, rows, n := g.param("dst"), g.param("ldd"), g.param("src"), g.param("rows"), g.length("rows")
	c, count := g.param("c"), g.GP64()
	g.SHLQ(operand.U8(2), ldd)
	g.MOVQ(at(c, 0), count)
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("done"))
	const most = 4
	var base [most]reg.GPVirtual
	var mask [most]pred
	for i := range most {
		base[i], mask[i] = g.GP64(), g.newPred()
		g.MOVQ(at(c, columnsAt+8*i), base[i])
		g.LEAQ(indexed(src, base[i], 4, 0), base[i])
		if g.wide() {
			g.KMOVW(at(c, columnsMask+8*i), mask[i].k)
		} else {
			g.VMOVUPS(at(c, columnsLanes+32*i), mask[i].v)
		}
	}
	for runs := 1; runs <= most; runs++ {
		next := fmt.Sprintf("more%d", runs)
		if runs < most {
			g.CMPQ(count, operand.U32(runs))
			g.JNE(operand.LabelRef(next))
		}
		loop := fmt.Sprintf("rows%d", runs)
		row, v := g.GP64(), g.vec()
		g.Label(loop)
		g.MOVLQSX(at(rows, 0), row)
		for i := range runs {
			m := indexed(base[i], row, 4, 0)
			switch {
			case i == 0 && g.wide():
				g.VMOVUPS_Z(m, mask[i].k, v)
			case i == 0:
				g.VMASKMOVPS(m, mask[i].v, v)
			case g.wide():
				g.VMOVUPS(m, mask[i].k, v)
			default:
				w := g.vec()
				g.VMASKMOVPS(m, mask[i].v, w)
				g.VORPS(w, v, v)
			}
		}
		g.VMOVUPS(v, at(dst, 0))
		g.ADDQ(operand.U32(4), rows)
		g.ADDQ(ldd, dst)
		g.DECQ(n)
		g.JNZ(operand.LabelRef(loop))
		if runs < most {
			g.JMP(operand.LabelRef("done"))
			g.Label(next)
		}
	}
	g.Label("done")
	g.end()
}

// winogradIn emits the transform of input tiles.
func (g *gen) winogradIn() {
	g.begin("winogradIn", "(dst *float32, ldd, next int, x *float32, pitch, phase, vecs, rows int)", "is winogradInGeneric for vecs vectors of tiles a row.")
	stride := func(name string) reg.GPVirtual {
		r := g.param(name)
		g.SHLQ(operand.U8(2), r)
		return r
	}
	dst, ldd, next, pitch, phase, count := g.param("dst"), stride("ldd"), stride("next"), stride("pitch"), stride("phase"), g.param("rows")
	// Rows of phases of even columns; those of odd columns are a phase away.
	even := [4]reg.GPVirtual{g.param("x"), g.GP64(), g.GP64(), g.GP64()}
	g.LEAQ(indexed(even[0], phase, 2, 0), even[1])
	g.LEAQ(indexed(even[0], pitch, 1, 0), even[2])
	g.LEAQ(indexed(even[1], pitch, 1, 0), even[3])
	n, p := g.GP64(), g.GP64()
	g.Load(g.Param("vecs"), n)
	g.IMUL3Q(operand.U32(g.width), n, n)
	g.SUBQ(n, pitch)
	g.SUBQ(n, next) // from the end of a row of tiles to the next
	g.Label("row")
	g.Load(g.Param("vecs"), n)
	g.Label("loop")
	in := func(i, j int) operand.Mem {
		if j%2 == 1 {
			return indexed(even[i], phase, 1, j/2*4)
		}
		return at(even[i], j/2*4)
	}
	g.MOVQ(dst, p)
	// Columns first: column j of B^T d B uses columns a and b of d.
	use := [4]struct {
		a, b int
		sum  bool
	}{{0, 2, false}, {1, 2, true}, {2, 1, false}, {1, 3, false}}
	var out [4][4]reg.VecVirtual // by column of the result, then row
	for j, c := range use {
		var u [4]reg.VecVirtual
		for i := range u {
			u[i] = g.vec()
			g.VMOVUPS(in(i, c.a), u[i])
			if c.sum {
				g.VADDPS(in(i, c.b), u[i], u[i])
			} else {
				g.VSUBPS(in(i, c.b), u[i], u[i])
			}
		}
		v := [4]reg.VecVirtual{g.vec(), g.vec(), g.vec(), g.vec()}
		g.VSUBPS(u[2], u[0], v[0])
		g.VADDPS(u[2], u[1], v[1])
		g.VSUBPS(u[1], u[2], v[2])
		g.VSUBPS(u[3], u[1], v[3])
		if g.wide() {
			out[j] = v
			continue
		}
		q := g.GP64() // matrix i*4+j
		g.MOVQ(p, q)
		for i := range v {
			g.VMOVUPS(v[i], at(q, 0))
			if i < 3 {
				g.LEAQ(indexed(q, ldd, 4, 0), q)
			}
		}
		g.ADDQ(ldd, p)
	}
	if g.wide() {
		for i := range 4 {
			for j := range 4 {
				g.VMOVUPS(out[j][i], at(p, 0))
				g.ADDQ(ldd, p)
			}
		}
	}
	for _, r := range append(even[:], dst) {
		g.ADDQ(operand.U32(g.width), r)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	for _, r := range even {
		g.ADDQ(pitch, r)
	}
	g.ADDQ(next, dst)
	g.DECQ(count)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// winogradOut emits the transform of product tiles to pairs of rows of output.
func (g *gen) winogradOut() {
	g.begin("winogradOut", "(dst *float32, ldd int, m *float32, ldm, next, cols, rows int, add *float32, bias, lo, hi float32)",
		"is winogradOutGeneric; add may be nil.")
	dst, ldd, m, ldm, cols, add, count := g.param("dst"), g.param("ldd"), g.param("m"), g.param("ldm"), g.GP64(), g.param("add"), g.param("rows")
	bias, lo, hi := g.parameter("bias"), g.parameter("lo"), g.parameter("hi")
	g.SHLQ(operand.U8(2), ldd)
	g.SHLQ(operand.U8(2), ldm)
	// From the end of a row of tiles to the next: in dst and add, and in m.
	skip, skipM := g.GP64(), g.param("next")
	g.Load(g.Param("cols"), skip)
	g.ADDQ(operand.U32(2*g.lanes()-1), skip)
	g.ANDQ(operand.I8(-2*g.lanes()), skip)
	g.SHLQ(operand.U8(1), skip) // bytes of m that a row takes
	g.SHLQ(operand.U8(2), skipM)
	g.SUBQ(skip, skipM)
	g.NEGQ(skip)
	g.ADDQ(ldd, skip)
	g.SHLQ(operand.U8(1), skip)
	g.Label("row")
	g.Load(g.Param("cols"), cols)
	g.Label("loop")
	var s [2][4]reg.VecVirtual
	row, p := g.GP64(), g.GP64()
	g.MOVQ(m, row)
	for j := range 4 {
		g.MOVQ(row, p) // matrices j, 4+j, 8+j, 12+j
		up, down, s1 := g.vec(), g.vec(), g.vec()
		g.VMOVUPS(at(p, 0), s1)
		g.LEAQ(indexed(p, ldm, 4, 0), p)
		g.VMOVUPS(at(p, 0), up)
		g.LEAQ(indexed(p, ldm, 4, 0), p)
		g.VMOVUPS(at(p, 0), down)
		g.LEAQ(indexed(p, ldm, 4, 0), p)
		g.VADDPS(up, s1, s1)
		g.VADDPS(down, s1, s1)
		g.VSUBPS(down, up, up)
		g.VSUBPS(at(p, 0), up, up)
		s[0][j], s[1][j] = s1, up
		g.ADDQ(ldm, row)
	}
	for r := range s {
		e, o, q := s[r][0], s[r][1], s[r][2]
		g.VADDPS(o, e, e)
		g.VADDPS(q, e, e)
		g.VSUBPS(q, o, o)
		g.VSUBPS(s[r][3], o, o)
		s[r][0], s[r][1] = g.interleaved(e, o)
	}
	masks := g.firstOfTwo(cols)
	for r := range s {
		to := func(base reg.GPVirtual, h int) operand.Mem {
			if r == 1 {
				return indexed(base, ldd, 1, h*g.width)
			}
			return at(base, h*g.width)
		}
		skip, given := fmt.Sprintf("plain%d", r), g.GP64()
		for h := range 2 {
			g.VADDPS(bias, s[r][h], s[r][h])
		}
		g.Load(g.Param("add"), given)
		g.TESTQ(given, given)
		g.JZ(operand.LabelRef(skip))
		for h := range 2 {
			g.VADDPS(g.load(to(add, h), &masks[h]), s[r][h], s[r][h])
		}
		g.Label(skip)
		for h := range 2 {
			g.VMAXPS(s[r][h], lo, s[r][h])
			g.VMINPS(s[r][h], hi, s[r][h])
		}
		if !g.wide() { // masked stores are slow on many processors
			part, next := fmt.Sprintf("part%d", r), fmt.Sprintf("next%d", r)
			g.CMPQ(cols, operand.U32(2*g.lanes()))
			g.JL(operand.LabelRef(part))
			g.store(s[r][0], to(dst, 0), nil)
			g.store(s[r][1], to(dst, 1), nil)
			g.JMP(operand.LabelRef(next))
			g.Label(part)
			g.store(s[r][0], to(dst, 0), &masks[0])
			g.store(s[r][1], to(dst, 1), &masks[1])
			g.Label(next)
		} else {
			g.store(s[r][0], to(dst, 0), &masks[0])
			g.store(s[r][1], to(dst, 1), &masks[1])
		}
	}
	g.ADDQ(operand.U32(2*g.width), dst)
	g.ADDQ(operand.U32(2*g.width), add)
	g.ADDQ(operand.U32(g.width), m)
	g.SUBQ(operand.U32(2*g.lanes()), cols)
	g.JG(operand.LabelRef("loop"))
	g.ADDQ(skip, dst)
	g.ADDQ(skip, add)
	g.ADDQ(skipM, m)
	g.DECQ(count)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// interleaved returns e0 o0 e1 o1 ... in two registers.
func (g *gen) interleaved(e, o reg.VecVirtual) (first, second reg.VecVirtual) {
	if g.wide() {
		var table [2][]int32
		for h := range table {
			for i := range 8 {
				table[h] = append(table[h], int32(8*h+i), int32(16+8*h+i))
			}
		}
		first, second = g.vec(), g.vec()
		g.VMOVUPS(g.words("interleaveFirst", table[0]), first)
		g.VMOVUPS(g.words("interleaveSecond", table[1]), second)
		g.VPERMI2PS(o, e, first)
		g.VPERMI2PS(o, e, second)
		return first, second
	}
	l, h := g.vec(), g.vec()
	g.VUNPCKLPS(o, e, l)
	g.VUNPCKHPS(o, e, h)
	first, second = e, o
	g.VPERM2F128(operand.U8(0x20), h, l, first)
	g.VPERM2F128(operand.U8(0x31), h, l, second)
	return first, second
}

// firstOfTwo returns the predicates that hold for the first n lanes of two vectors, n > 0; n is kept.
func (g *gen) firstOfTwo(n reg.GPVirtual) [2]pred {
	most := g.GP64()
	g.MOVQ(operand.U32(2*g.lanes()), most)
	g.CMPQ(n, most)
	g.CMOVQLT(n, most)
	p := [2]pred{g.newPred(), g.newPred()}
	if g.wide() {
		one := g.GP64()
		g.MOVQ(most, reg.RCX)
		g.MOVQ(operand.U32(1), one)
		g.SHLQ(reg.CL, one)
		g.DECQ(one)
		g.KMOVW(one.As32(), p[0].k)
		g.SHRQ(operand.U8(16), one)
		g.KMOVW(one.As32(), p[1].k)
		return p
	}
	table := make([]int32, 32)
	for i := range 16 {
		table[i] = -1
	}
	base := g.GP64()
	g.LEAQ(g.words("ones16zeros16", table), base)
	g.SHLQ(operand.U8(2), most)
	g.SUBQ(most, base)
	g.VMOVUPS(at(base, 64), p[0].v)
	g.VMOVUPS(at(base, 96), p[1].v)
	return p
}

// deinterleave emits the split of rows into their even and odd elements.
func (g *gen) deinterleave() {
	g.begin("deinterleave", "(even, odd *float32, ldd int, src *float32, lds, rows, cols int)", "is deinterleaveGeneric, for rows, cols > 0.")
	even, odd, ldd, src, lds, rows, cols := g.param("even"), g.param("odd"), g.param("ldd"), g.param("src"), g.param("lds"), g.param("rows"), g.param("cols")
	g.SHLQ(operand.U8(2), ldd)
	g.SHLQ(operand.U8(2), lds)
	var lanes [2]reg.VecVirtual
	if g.wide() {
		for h := range lanes {
			var table []int32
			for i := range 16 {
				table = append(table, int32(2*i+h))
			}
			lanes[h] = g.vec()
			g.VMOVUPS(g.words([]string{"evenLanes", "oddLanes"}[h], table), lanes[h])
		}
	}
	split := func(a, b reg.VecVirtual, put func(h int, x reg.VecVirtual)) {
		for h := range 2 {
			x := g.vec()
			if g.wide() {
				g.VMOVAPS(lanes[h], x)
				g.VPERMI2PS(b, a, x)
			} else {
				g.VSHUFPS(operand.U8([]uint8{0x88, 0xdd}[h]), b, a, x)
				g.VPERMPD(operand.U8(0xd8), x, x)
			}
			put(h, x)
		}
	}
	rest, done := operand.LabelRef("rest"), operand.LabelRef("next")
	var in, out [2]pred // of what is left of a row
	if g.wide() {
		n, half := g.GP64(), g.GP64()
		g.MOVQ(cols, n)
		g.ANDQ(operand.U8(31), n)
		g.CMPQ(n, operand.U8(0))
		g.JE(operand.LabelRef("row"))
		in = g.firstOfTwo(n)
		g.LEAQ(at(n, 1), half)
		g.SHRQ(operand.U8(1), half)
		out[0] = g.first(half)
		g.SHRQ(operand.U8(1), n)
		out[1] = g.first(n)
	}
	g.Label("row")
	n, p, q := g.GP64(), g.GP64(), g.GP64()
	g.MOVQ(cols, n)
	g.MOVQ(src, p)
	g.XORQ(q, q)
	g.Label("loop")
	g.CMPQ(n, operand.U32(2*g.lanes()))
	g.JL(rest)
	split(g.load(at(p, 0), nil), g.load(at(p, g.width), nil), func(h int, x reg.VecVirtual) {
		g.VMOVUPS(x, indexed([]reg.GPVirtual{even, odd}[h], q, 1, 0))
	})
	g.ADDQ(operand.U32(g.width), q)
	g.ADDQ(operand.U32(2*g.width), p)
	g.SUBQ(operand.U32(2*g.lanes()), n)
	g.JMP(operand.LabelRef("loop"))
	g.Label("rest")
	if g.wide() {
		g.TESTQ(n, n)
		g.JZ(done)
		split(g.load(at(p, 0), &in[0]), g.load(at(p, g.width), &in[1]), func(h int, x reg.VecVirtual) {
			g.store(x, indexed([]reg.GPVirtual{even, odd}[h], q, 1, 0), &out[h])
		})
	} else {
		g.deinterleaveFew(n, p, q, even, odd)
	}
	g.Label("next")
	g.ADDQ(ldd, even)
	g.ADDQ(ldd, odd)
	g.ADDQ(lds, src)
	g.DECQ(rows)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// deinterleaveFew splits the last n < 16 elements of a row at p: eight, then pairs, then one.
func (g *gen) deinterleaveFew(n, p, q, even, odd reg.GPVirtual) {
	s, t := g.XMM(), g.XMM()
	g.CMPQ(n, operand.U32(8))
	g.JL(operand.LabelRef("pairs"))
	for h, dst := range []reg.GPVirtual{even, odd} {
		g.VMOVUPS(at(p, 0), s)
		g.VMOVUPS(at(p, 16), t)
		g.VSHUFPS(operand.U8([]uint8{0x88, 0xdd}[h]), t, s, s)
		g.VMOVUPS(s, indexed(dst, q, 1, 0))
	}
	g.ADDQ(operand.U32(16), q)
	g.ADDQ(operand.U32(32), p)
	g.SUBQ(operand.U32(8), n)
	g.Label("pairs")
	g.CMPQ(n, operand.U32(2))
	g.JL(operand.LabelRef("last"))
	for h, dst := range []reg.GPVirtual{even, odd} {
		g.VMOVSS(at(p, 4*h), s)
		g.VMOVSS(s, indexed(dst, q, 1, 0))
	}
	g.ADDQ(operand.U32(4), q)
	g.ADDQ(operand.U32(8), p)
	g.SUBQ(operand.U32(2), n)
	g.JMP(operand.LabelRef("pairs"))
	g.Label("last")
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("next"))
	g.VMOVSS(at(p, 0), s)
	g.VMOVSS(s, indexed(even, q, 1, 0))
}

// depthwiseDepths are the numbers of kernel rows in a phase that depthwise has code for.
var depthwiseDepths = []int{1, 2, 3, 4, 5, 7}

// depthwise emits a strip of output rows: each input vector that is loaded serves as many of them as the kernel has rows.
func (g *gen) depthwise(count int) {
	g.begin(fmt.Sprintf("depthwise%d", count), "(dst *float32, ldd, rows, cols int, x *float32, pitch int, streams []int32, w *float32, ldw int, bias, lo, hi float32)",
		fmt.Sprintf("is depthwiseGeneric for up to %d rows.", count))
	dst, ldd, cols, x, pitch := g.param("dst"), g.param("ldd"), g.param("cols"), g.param("x"), g.param("pitch")
	g.SHLQ(operand.U8(2), ldd)
	g.SHLQ(operand.U8(2), pitch)
	g.Label("columns")
	sum := make([]reg.VecVirtual, count)
	for i := range sum {
		sum[i] = g.parameter("bias")
	}
	st, n, w := g.param("streams"), g.length("streams"), g.GP64()
	g.Label("stream")
	p, depth := g.GP64(), g.GP64()
	g.MOVLQSX(at(st, 8), depth)
	g.Load(g.Param("w"), w)
	g.LEAQ(indexed(w, depth, 4, 0), w)
	g.MOVLQSX(at(st, 0), p)
	g.MOVLQSX(at(st, 4), depth)
	g.LEAQ(indexed(x, p, 4, 0), p)
	for i, d := range depthwiseDepths {
		next := fmt.Sprintf("deeper%d", d)
		if i < len(depthwiseDepths)-1 {
			g.CMPQ(depth, operand.U32(d))
			g.JNE(operand.LabelRef(next))
		}
		f, ldw := make([]reg.VecVirtual, d), g.param("ldw")
		g.SHLQ(operand.U8(2), ldw)
		taps := g.rowsOf(w, ldw, d)
		for k := range f {
			f[k] = g.fill(taps.at(k, 0))
		}
		in := g.rowsOf(p, pitch, count+d-1)
		for t := range count + d - 1 {
			v := g.vec()
			g.VMOVUPS(in.at(t, 0), v)
			for k := range f {
				if r := t - k; r >= 0 && r < count {
					g.VFMADD231PS(v, f[k], sum[r])
				}
			}
		}
		if i < len(depthwiseDepths)-1 {
			g.JMP(operand.LabelRef("streamed"))
			g.Label(next)
		}
	}
	g.Label("streamed")
	g.ADDQ(operand.U32(12), st)
	g.SUBQ(operand.U32(3), n)
	g.JNZ(operand.LabelRef("stream"))
	lo, hi := g.parameter("lo"), g.parameter("hi")
	for _, s := range sum {
		g.VMAXPS(s, lo, s)
		g.VMINPS(s, hi, s)
	}
	out, rows := g.GP64(), g.param("rows")
	g.MOVQ(dst, out)
	g.CMPQ(cols, operand.U32(g.lanes()))
	g.JL(operand.LabelRef("part"))
	g.storeRows(sum, out, ldd, rows, nil, "stored")
	g.Label("stored")
	g.ADDQ(operand.U32(g.width), dst)
	g.ADDQ(operand.U32(g.width), x)
	g.SUBQ(operand.U32(g.lanes()), cols)
	g.JNZ(operand.LabelRef("columns"))
	g.JMP(operand.LabelRef("done"))
	g.Label("part")
	mask := g.first(cols)
	g.storeRows(sum, out, ldd, rows, &mask, "done")
	g.Label("done")
	g.end()
}

// storeRows stores the first n of sum, and jumps to after.
func (g *gen) storeRows(sum []reg.VecVirtual, dst, ldd, n reg.GPVirtual, mask *pred, after string) {
	for i, s := range sum {
		if i > 0 {
			g.CMPQ(n, operand.U32(i))
			g.JLE(operand.LabelRef(after))
			g.ADDQ(ldd, dst)
		}
		g.store(s, at(dst, 0), mask)
	}
}
