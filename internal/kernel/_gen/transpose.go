package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transpose8 emits the transposition of up to eight rows, eight columns at a time.
func (g *gen) transpose8() {
	g.begin("transpose8", "(dst *float32, ldd int, src *float32, lds, rows, blocks int)",
		"sets eight elements of each of 8*blocks rows of dst to the columns of src.",
		"With fewer than eight rows in src the elements behind are copies of the last.")
	dst, ldd, lds := g.param("dst"), g.param("ldd"), g.param("lds")
	g.SHLQ(operand.U8(2), ldd)
	g.SHLQ(operand.U8(2), lds)
	n := g.param("rows")
	src := []reg.GPVirtual{g.param("src")}
	for i := 1; i < 8; i++ {
		p, last := g.GP64(), src[i-1]
		g.MOVQ(last, p)
		t := g.GP64()
		g.LEAQ(indexed(last, lds, 1, 0), t)
		g.CMPQ(n, operand.U32(i))
		g.CMOVQGT(t, p)
		src = append(src, p)
	}
	blocks, off := g.param("blocks"), g.GP64()
	g.XORQ(off, off)
	g.Label("loop")
	var r [8]reg.VecVirtual
	for i := range r {
		r[i] = g.YMM()
		g.VMOVUPS(indexed(src[i], off, 1, 0), r[i])
	}
	r = g.transposed(r)
	for i := range r {
		g.VMOVUPS(r[i], at(dst, 0))
		g.ADDQ(ldd, dst)
	}
	g.ADDQ(operand.U32(32), off)
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// transposed returns the columns of an 8 x 8 block given by its rows: pairs, then quadruples, then halves are exchanged.
func (g *gen) transposed(r [8]reg.VecVirtual) (out [8]reg.VecVirtual) {
	var t [8]reg.VecVirtual
	for i := range t {
		t[i] = g.YMM()
	}
	for i := 0; i < 8; i += 2 {
		g.VUNPCKLPS(r[i+1], r[i], t[i])
		g.VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	var q [8]reg.VecVirtual
	for i := range q {
		q[i] = g.YMM()
	}
	for h := 0; h < 8; h += 4 {
		g.VSHUFPS(operand.U8(0x44), t[h+2], t[h], q[h])
		g.VSHUFPS(operand.U8(0xee), t[h+2], t[h], q[h+1])
		g.VSHUFPS(operand.U8(0x44), t[h+3], t[h+1], q[h+2])
		g.VSHUFPS(operand.U8(0xee), t[h+3], t[h+1], q[h+3])
	}
	for i := range 4 {
		out[i], out[i+4] = g.YMM(), g.YMM()
		g.VPERM2F128(operand.U8(0x20), q[i+4], q[i], out[i])
		g.VPERM2F128(operand.U8(0x31), q[i+4], q[i], out[i+4])
	}
	return out
}
