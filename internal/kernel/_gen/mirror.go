package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// sumMirrored emits the sum of parts, eight rows and one vector of columns at a time. It goes to memory past the caches, both as it is and
// transposed: a line of the cache is written whole, so that it need not be read before.
func (g *gen) sumMirrored() {
	g.begin("sumMirrored", "(rows, columns *float64, ld int, parts [][]float64, lds, vecs int, scale float64)",
		"is sumMirroredGeneric for eight rows and so many vectors of columns. rows must be aligned to a vector, columns to",
		"64 bytes, and ld a multiple of eight.")
	columns, ld, lds, vecs := g.param("columns"), g.param("ld"), g.param("lds"), g.param("vecs")
	parts, n, rowBase := g.param("parts"), g.length("parts"), g.param("rows")
	g.SHLQ(operand.U8(3), ld)
	g.SHLQ(operand.U8(3), lds)
	rows := g.rowsOf(rowBase, ld, 8)
	scale, err := g.Param("scale").Resolve()
	if err != nil {
		panic(err)
	}
	factor := g.vec()
	g.VBROADCASTSD(scale.Addr, factor)
	off := g.GP64()
	g.XORQ(off, off)

	g.Label("loop")
	var x [8]reg.VecVirtual
	for i := range x {
		x[i] = g.zero()
	}
	part, left := g.GP64(), g.GP64()
	g.MOVQ(parts, part)
	g.MOVQ(n, left)
	g.JMP(operand.LabelRef("test"))
	g.Label("part")
	first := g.GP64()
	g.MOVQ(at(part, 0), first)
	g.ADDQ(off, first)
	src := g.rowsOf(first, lds, 8)
	for i := range x {
		g.VADDPD(src.at(i, 0), x[i], x[i])
	}
	g.ADDQ(operand.U32(24), part) // the next slice
	g.DECQ(left)
	g.Label("test")
	g.TESTQ(left, left)
	g.JNZ(operand.LabelRef("part"))
	for i := range x {
		g.VMULPD(factor, x[i], x[i])
		g.VMOVNTPD(x[i], rows.at(i, 0))
	}
	if g.wide() {
		for _, v := range g.columns8(x) {
			g.VMOVNTPD(v, at(columns, 0))
			g.ADDQ(ld, columns)
		}
	} else {
		upper, lower := g.columns4([4]reg.VecVirtual(x[:4])), g.columns4([4]reg.VecVirtual(x[4:]))
		for i := range upper {
			g.VMOVNTPD(upper[i], at(columns, 0))
			g.VMOVNTPD(lower[i], at(columns, 32))
			g.ADDQ(ld, columns)
		}
	}
	g.advance(rows, operand.U32(g.width))
	g.ADDQ(operand.U32(g.width), off)
	g.DECQ(vecs)
	g.JNZ(operand.LabelRef("loop"))
	g.SFENCE()
	g.end()
}

// columns4 returns the columns of a 4 x 4 block of float64 given by its rows.
func (g *gen) columns4(r [4]reg.VecVirtual) (out [4]reg.VecVirtual) {
	var t [4]reg.VecVirtual
	for i := range t {
		t[i], out[i] = g.vec(), g.vec()
	}
	for i := 0; i < 4; i += 2 {
		g.VUNPCKLPD(r[i+1], r[i], t[i])
		g.VUNPCKHPD(r[i+1], r[i], t[i+1])
	}
	for i := range 2 {
		g.VPERM2F128(operand.U8(0x20), t[i+2], t[i], out[i])
		g.VPERM2F128(operand.U8(0x31), t[i+2], t[i], out[i+2])
	}
	return out
}

// columns8 is columns4 for 8 x 8 in registers of 512 bits: pairs of rows are interleaved, then quarters exchanged twice.
func (g *gen) columns8(r [8]reg.VecVirtual) (out [8]reg.VecVirtual) {
	var t, q [8]reg.VecVirtual
	for i := range t {
		t[i], q[i], out[i] = g.vec(), g.vec(), g.vec()
	}
	for i := 0; i < 8; i += 2 {
		g.VUNPCKLPD(r[i+1], r[i], t[i])
		g.VUNPCKHPD(r[i+1], r[i], t[i+1])
	}
	const even, odd = operand.U8(0x88), operand.U8(0xdd) // quarters 0, 2 and 1, 3 of either side
	for h := 0; h < 8; h += 4 {
		for i := range 2 {
			g.VSHUFF64X2(even, t[h+i+2], t[h+i], q[h+i])
			g.VSHUFF64X2(odd, t[h+i+2], t[h+i], q[h+i+2])
		}
	}
	for i := range 4 {
		g.VSHUFF64X2(even, q[i+4], q[i], out[i])
		g.VSHUFF64X2(odd, q[i+4], q[i], out[i+4])
	}
	return out
}
