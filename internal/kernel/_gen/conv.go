package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// conv emits the inner loops of convolutions.
func conv(g *gen) {
	g.taps()
	g.gather()
	g.winogradIn()
	g.winogradOut()
	if g.wide() {
		g.copyRows()
		g.deinterleave()
	}
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
	g.begin("winogradIn", "(dst *float32, ldd int, x *float32, pitch, phase, vecs int)", "is winogradInGeneric for vecs vectors of tiles.")
	stride := func(name string) reg.GPVirtual {
		r := g.param(name)
		g.SHLQ(operand.U8(2), r)
		return r
	}
	dst, ldd, x, pitch, phase, n := g.param("dst"), stride("ldd"), g.param("x"), stride("pitch"), stride("phase"), g.param("vecs")
	// from[pr][row] points at row of the even columns of phase pr, other at the odd ones.
	var even, odd [4]reg.GPVirtual
	for i := range even {
		even[i], odd[i] = g.GP64(), g.GP64()
	}
	g.MOVQ(x, even[0])
	g.LEAQ(indexed(x, phase, 1, 0), odd[0])
	g.LEAQ(indexed(x, phase, 2, 0), even[1])
	g.LEAQ(indexed(even[1], phase, 1, 0), odd[1])
	for i := range 2 {
		g.LEAQ(indexed(even[i], pitch, 1, 0), even[i+2])
		g.LEAQ(indexed(odd[i], pitch, 1, 0), odd[i+2])
	}
	off, p := g.GP64(), g.GP64()
	g.XORQ(off, off)
	g.Label("loop")
	in := func(i, j int) operand.Mem {
		b := even[i]
		if j%2 == 1 {
			b = odd[i]
		}
		return indexed(b, off, 1, j/2*4)
	}
	g.LEAQ(indexed(dst, off, 1, 0), p)
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
	g.ADDQ(operand.U32(g.width), off)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// winogradOut emits the transform of product tiles to two rows of output.
func (g *gen) winogradOut() {
	g.begin("winogradOut", "(dst0, dst1, m *float32, ldm, cols int, add0, add1 *float32, bias, lo, hi float32)",
		"is winogradOutGeneric; add0 and add1 may be nil.")
	d0, d1, m, ldm, cols := g.param("dst0"), g.param("dst1"), g.param("m"), g.param("ldm"), g.param("cols")
	a0, a1 := g.param("add0"), g.param("add1")
	bias, lo, hi := g.parameter("bias"), g.parameter("lo"), g.parameter("hi")
	g.SHLQ(operand.U8(2), ldm)
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
	for r, dst := range []reg.GPVirtual{d0, d1} {
		add := []reg.GPVirtual{a0, a1}[r]
		skip := fmt.Sprintf("plain%d", r)
		for h := range 2 {
			g.VADDPS(bias, s[r][h], s[r][h])
		}
		g.TESTQ(add, add)
		g.JZ(operand.LabelRef(skip))
		for h := range 2 {
			g.VADDPS(g.load(at(add, h*g.width), &masks[h]), s[r][h], s[r][h])
		}
		g.ADDQ(operand.U32(2*g.width), add)
		g.Label(skip)
		for h := range 2 {
			g.VMAXPS(s[r][h], lo, s[r][h])
			g.VMINPS(s[r][h], hi, s[r][h])
		}
		if !g.wide() { // masked stores are slow on many processors
			part, next := fmt.Sprintf("part%d", r), fmt.Sprintf("next%d", r)
			g.CMPQ(cols, operand.U32(2*g.lanes()))
			g.JL(operand.LabelRef(part))
			g.store(s[r][0], at(dst, 0), nil)
			g.store(s[r][1], at(dst, g.width), nil)
			g.JMP(operand.LabelRef(next))
			g.Label(part)
			g.store(s[r][0], at(dst, 0), &masks[0])
			g.store(s[r][1], at(dst, g.width), &masks[1])
			g.Label(next)
		} else {
			g.store(s[r][0], at(dst, 0), &masks[0])
			g.store(s[r][1], at(dst, g.width), &masks[1])
		}
		g.ADDQ(operand.U32(2*g.width), dst)
	}
	g.ADDQ(operand.U32(g.width), m)
	g.SUBQ(operand.U32(2*g.lanes()), cols)
	g.JG(operand.LabelRef("loop"))
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

// copyRows emits the copy of a block, row by row.
func (g *gen) copyRows() {
	g.begin("copyRows", "(dst *float32, ldd int, src *float32, lds, rows, cols int)", "is copyRowsGeneric, for rows, cols > 0.")
	dst, ldd, src, lds, rows, cols := g.param("dst"), g.param("ldd"), g.param("src"), g.param("lds"), g.param("rows"), g.param("cols")
	g.SHLQ(operand.U8(2), ldd)
	g.SHLQ(operand.U8(2), lds)
	full, rest := g.GP64(), g.GP64()
	g.MOVQ(cols, full)
	g.ANDQ(operand.I8(-16), full)
	g.MOVQ(cols, rest)
	g.SUBQ(full, rest)
	g.SHLQ(operand.U8(2), full)
	p := g.first(rest)
	g.Label("row")
	off, v := g.GP64(), g.vec()
	g.XORQ(off, off)
	g.Label("next")
	g.CMPQ(off, full)
	g.JGE(operand.LabelRef("rest"))
	g.VMOVUPS(indexed(src, off, 1, 0), v)
	g.VMOVUPS(v, indexed(dst, off, 1, 0))
	g.ADDQ(operand.U32(g.width), off)
	g.JMP(operand.LabelRef("next"))
	g.Label("rest")
	g.VMOVUPS_Z(indexed(src, off, 1, 0), p.k, v)
	g.VMOVUPS(v, p.k, indexed(dst, off, 1, 0))
	g.ADDQ(ldd, dst)
	g.ADDQ(lds, src)
	g.DECQ(rows)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}

// deinterleave emits the split of a run into its even and odd elements.
func (g *gen) deinterleave() {
	g.begin("deinterleave", "(even, odd *float32, src []float32)", "is deinterleaveGeneric.")
	even, odd, src, n := g.param("even"), g.param("odd"), g.param("src"), g.length("src")
	var table [2][]int32
	for h := range table {
		for i := range 16 {
			table[h] = append(table[h], int32(2*i+h))
		}
	}
	e, o := g.vec(), g.vec()
	g.VMOVUPS(g.words("evenLanes", table[0]), e)
	g.VMOVUPS(g.words("oddLanes", table[1]), o)
	g.Label("loop")
	g.CMPQ(n, operand.U32(1))
	g.JL(operand.LabelRef("done"))
	in := g.firstOfTwo(n)
	a, b := g.load(at(src, 0), &in[0]), g.load(at(src, g.width), &in[1])
	x, y := g.vec(), g.vec()
	g.VMOVAPS(e, x)
	g.VMOVAPS(o, y)
	g.VPERMI2PS(b, a, x)
	g.VPERMI2PS(b, a, y)
	for i, dst := range []reg.GPVirtual{even, odd} {
		half := g.GP64()
		g.MOVQ(n, half)
		if i == 0 {
			g.INCQ(half)
		}
		g.SHRQ(operand.U8(1), half)
		m := g.firstOfTwo(half)
		g.store([]reg.VecVirtual{x, y}[i], at(dst, 0), &m[0])
		g.ADDQ(operand.U32(g.width), dst)
	}
	g.ADDQ(operand.U32(2*g.width), src)
	g.SUBQ(operand.U32(2*g.lanes()), n)
	g.JMP(operand.LabelRef("loop"))
	g.Label("done")
	g.end()
}
