package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// copyRows emits the copy of a block, row by row. What is left of a row after whole vectors is masked; with AVX2, whose masked
// stores are slow on some processors, the last vector overlaps the one before, and rows shorter than a vector go by four or one.
func (g *gen) copyRows() {
	g.begin("copyRows", "(dst *float32, ldd int, src *float32, lds, rows, cols int)", "is copyRowsGeneric, for rows, cols > 0.")
	dst, ldd, src, lds, rows, cols := g.param("dst"), g.param("ldd"), g.param("src"), g.param("lds"), g.param("rows"), g.param("cols")
	for _, r := range []reg.GPVirtual{ldd, lds, cols} {
		g.SHLQ(operand.U8(2), r)
	}
	whole := g.GP64() // bytes of whole vectors; with AVX2 of those before the last, which ends with the row
	g.MOVQ(cols, whole)
	move := func(off reg.GPVirtual, v reg.Register) {
		g.VMOVUPS(indexed(src, off, 1, 0), v)
		g.VMOVUPS(v, indexed(dst, off, 1, 0))
	}
	eachRow := func(name string, body func()) {
		g.Label(name)
		body()
		g.ADDQ(ldd, dst)
		g.ADDQ(lds, src)
		g.DECQ(rows)
		g.JNZ(operand.LabelRef(name))
	}
	vectors := func(off reg.GPVirtual, name string) {
		g.XORQ(off, off)
		g.JMP(operand.LabelRef(name + "Test"))
		g.Label(name)
		move(off, g.vec())
		g.ADDQ(operand.U32(g.width), off)
		g.Label(name + "Test")
		g.CMPQ(off, whole)
		g.JLT(operand.LabelRef(name))
	}
	if g.wide() {
		g.ANDQ(operand.I8(-64), whole)
		rest := g.GP64()
		g.MOVQ(cols, rest)
		g.SUBQ(whole, rest)
		g.SHRQ(operand.U8(2), rest)
		p := g.first(rest)
		eachRow("row", func() {
			off := g.GP64()
			vectors(off, "vector")
			g.store(g.load(indexed(src, off, 1, 0), &p), indexed(dst, off, 1, 0), &p)
		})
		g.end()
		return
	}
	last, zero := g.GP64(), g.GP64()
	g.XORQ(zero, zero)
	g.MOVQ(cols, last)
	g.SUBQ(operand.U32(g.width), whole)
	g.JLT(operand.LabelRef("short"))
	eachRow("row", func() {
		vectors(g.GP64(), "vector")
		move(whole, g.vec())
	})
	g.JMP(operand.LabelRef("done"))
	g.Label("short")
	g.SUBQ(operand.U32(16), last)
	g.JLT(operand.LabelRef("shorter"))
	eachRow("shortRow", func() {
		a, b := g.XMM(), g.XMM()
		move(zero, a)
		move(last, b)
	})
	g.JMP(operand.LabelRef("done"))
	g.Label("shorter")
	eachRow("shorterRow", func() {
		off := g.GP64()
		g.XORQ(off, off)
		g.Label("one")
		word := g.GP32()
		g.MOVL(indexed(src, off, 1, 0), word)
		g.MOVL(word, indexed(dst, off, 1, 0))
		g.ADDQ(operand.U32(4), off)
		g.CMPQ(off, cols)
		g.JLT(operand.LabelRef("one"))
	})
	g.Label("done")
	g.end()
}
