package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quads emits what multiplies four neighbouring bytes of the inner dimension at a time, unsigned ones by signed ones.
func (g *gen) quads() {
	sums := "(rows, vecs, k int, a *byte, rs, cs int, b *byte, bs int, c *int32, ldc int)"
	g.quadTiles("quads", sums, "computes a tile of sums, with b unsigned: see quadMicro.", false, false)
	g.quadTiles("quadsSwapped", sums, "computes a tile of sums, with a unsigned: see quadMicro.", true, false)
	g.quadTiles("quadCodes", "(rows, vecs, k int, a *byte, rs, cs int, b *byte, bs int, c *byte, ldc, cols int, e *byte)",
		"computes cols columns of a tile of codes, with b unsigned: see quadMicro; e is a rounding.", false, true)
	g.quadsNarrow()
	g.packQuads()
	g.depthQuads()
}

// quadsNarrow emits the product of panels of A with a few columns of unsigned bytes.
func (g *gen) quadsNarrow() {
	g.begin("quadsNarrow", "(cols, k int, a *byte, step int, b *byte, bs int, out *int32)",
		"sets out[8*(p*cols+j)+i] to the product of row i of panel p of A, step bytes from one to the next, with column j; p < max(1, 4/cols).")
	g.rowLanes(32, g.param("step"), g.param("bs"), func(row, column, sum reg.VecVirtual) {
		g.raw("VPDPBUSD", true, row, column, sum) // the signed operand comes first
	})
}

// quadTiles emits one micro-kernel with a code path for each number of rows and vectors.
func (g *gen) quadTiles(name, signature, doc string, swapped, codes bool) {
	mr, nv := tileOf(g.width)
	g.begin(name, signature, doc)
	n, v := g.param("rows"), g.param("vecs")
	for vecs := nv; vecs >= 1; vecs-- {
		next := fmt.Sprintf("narrower%d", vecs)
		if vecs > 1 {
			g.CMPQ(v, operand.U32(vecs))
			g.JNE(operand.LabelRef(next))
		}
		for rows := mr; rows >= 1; rows-- {
			fewer := fmt.Sprintf("fewer%dx%d", rows, vecs)
			if rows > 1 {
				g.CMPQ(n, operand.U32(rows))
				g.JNE(operand.LabelRef(fewer))
			}
			g.quadTile(rows, vecs, swapped, codes)
			if rows > 1 {
				g.Label(fewer)
			}
		}
		if vecs > 1 {
			g.Label(next)
		}
	}
}

func (g *gen) quadTile(nr, nv int, swapped, codes bool) {
	id := fmt.Sprintf("%dx%d", nr, nv)
	k, b, rs, cs, bs := g.param("k"), g.param("b"), g.param("rs"), g.param("cs"), g.param("bs")
	a := g.rowsOf(g.param("a"), rs, nr)
	sum := make([][]reg.VecVirtual, nr)
	bias := g.GP64()
	if codes {
		g.MOVQ(at(g.param("e"), 0), bias)
	}
	for r := range sum {
		for range nv {
			if codes {
				sum[r] = append(sum[r], g.fill(at(bias, 4*r)))
			} else {
				sum[r] = append(sum[r], g.zero())
			}
		}
	}
	row := make([]reg.VecVirtual, nv)
	for v := range row {
		row[v] = g.vec()
	}
	x := g.vec()
	g.Label("loop" + id)
	for v := range row {
		g.VMOVUPS(at(b, v*g.width), row[v])
	}
	g.ADDQ(bs, b)
	for r := range sum {
		g.VBROADCASTSS(a.at(r, 0), x)
		for v := range row {
			if swapped {
				g.raw("VPDPBUSD", true, row[v], x, sum[r][v])
			} else {
				g.raw("VPDPBUSD", true, x, row[v], sum[r][v]) // the signed operand comes first
			}
		}
	}
	g.advance(a, cs)
	g.DECQ(k)
	g.JNZ(operand.LabelRef("loop" + id))
	c, ldc := g.param("c"), g.param("ldc")
	if codes {
		g.storeCodes(sum, g.rowsOf(c, ldc, nr), g.rounding(g.param("e")), g.lowBits(g.param("cols"), 16*nv))
	} else {
		g.SHLQ(operand.U8(2), ldc)
		cr := g.rowsOf(c, ldc, nr)
		for r := range sum {
			for v := range sum[r] {
				g.VMOVUPS(sum[r][v], cr.at(r, v*g.width))
			}
		}
	}
	g.end()
}

// packQuads emits the interleaving of four rows of bytes: word j holds byte j of each, the first in the lowest.
func (g *gen) packQuads() {
	g.begin("packQuads", "(dst *int32, ldd int, src *byte, o1, o2, o3, step, quads, cols int, flip uint32)", "is packQuadsGeneric.")
	dst, ldd, src, step, quads, cols := g.param("dst"), g.param("ldd"), g.param("src"), g.param("step"), g.param("quads"), g.param("cols")
	o := []reg.GPVirtual{g.param("o1"), g.param("o2"), g.param("o3")}
	g.SHLQ(operand.U8(2), ldd)
	flip := g.parameter("flip")
	n, off, to := g.GP64(), g.GP64(), g.GP64()
	p := make([]reg.GPVirtual, 3)
	rest := g.GP64()
	g.MOVQ(cols, rest)
	g.ANDQ(operand.U8(15), rest)
	last := g.first(rest)
	for i := range p {
		p[i] = g.GP64()
	}
	v := []reg.VecVirtual{g.vec(), g.vec(), g.vec(), g.vec()}
	word := func(load func(m operand.Mem, v reg.VecVirtual), store func(v reg.VecVirtual, m operand.Mem)) {
		load(indexed(src, off, 1, 0), v[0])
		for i := range p {
			load(indexed(p[i], off, 1, 0), v[i+1])
			g.VPSLLD(operand.U8(8*(i+1)), v[i+1], v[i+1])
		}
		g.VPORD(v[1], v[0], v[0])
		g.VPORD(v[3], v[2], v[2])
		g.VPORD(v[2], v[0], v[0])
		g.VPXORD(flip, v[0], v[0])
		store(v[0], indexed(to, off, 4, 0))
	}
	g.Label("quad")
	g.XORQ(off, off)
	g.MOVQ(dst, to)
	for i := range p {
		g.LEAQ(indexed(src, o[i], 1, 0), p[i])
	}
	g.MOVQ(cols, n)
	g.Label("vec")
	g.CMPQ(n, operand.U8(16))
	g.JL(operand.LabelRef("rest"))
	word(func(m operand.Mem, v reg.VecVirtual) { g.VPMOVZXBD(m, v) }, func(v reg.VecVirtual, m operand.Mem) { g.VMOVUPS(v, m) })
	g.ADDQ(operand.U8(16), off)
	g.SUBQ(operand.U8(16), n)
	g.JMP(operand.LabelRef("vec"))
	g.Label("rest")
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("next"))
	word(func(m operand.Mem, v reg.VecVirtual) { g.VPMOVZXBD_Z(m, last.k, v) }, func(v reg.VecVirtual, m operand.Mem) { g.VMOVUPS(v, last.k, m) })
	g.Label("next")
	g.ADDQ(step, src)
	g.ADDQ(ldd, dst)
	g.DECQ(quads)
	g.JNZ(operand.LabelRef("quad"))
	g.end()
}
