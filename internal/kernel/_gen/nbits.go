package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Panels of codes of 4 bits: 64 columns; a vector holds, for each column, the codes of eight neighbours along the inner dimension, the
// first four in the low halves of its bytes. Each block of the inner dimension has its scales and, behind them, zero points times scales.
const (
	nbitsCols  = 64
	nbitsGroup = 4 * nbitsCols // bytes of a panel's codes for eight elements
)

// nbits emits the products with such panels.
func nbits(g *gen) {
	g.nbitsTiles("nbitsInt", "(rows, blocks, groups int, a *byte, lda int, da *float32, ldd int, w *byte, scale *float32, c *float32, ldc int)",
		"is nbitsIntGeneric for nbitsTile columns: strides count elements.", []int{4, 2, 1}, g.nbitsInt)
	g.nbitsTiles("nbitsFloat", "(rows, blocks, groups int, a *float32, lda int, sums *float32, ldd int, w *byte, scale *float32, c *float32, ldc int)",
		"is nbitsFloatGeneric for nbitsTile columns: strides count elements.", []int{2, 1}, g.nbitsFloat)
}

// nbitsVecs is how many vectors of columns a tile of rows has.
func nbitsVecs(rows int) int { return 4 / max(1, rows/2) }

func (g *gen) nbitsTiles(name, signature, doc string, rows []int, tile func(rows, vecs int, id string)) {
	g.begin(name, signature, doc)
	n := g.param("rows")
	for i, r := range rows {
		next := fmt.Sprintf("fewer%d", r)
		if i < len(rows)-1 {
			g.CMPQ(n, operand.U32(r))
			g.JNE(operand.LabelRef(next))
		}
		vecs := nbitsVecs(r)
		if !g.wide() {
			vecs = max(1, vecs/2)
		}
		tile(r, vecs, fmt.Sprint(r))
		if i < len(rows)-1 {
			g.Label(next)
		}
	}
}

// ints returns a register with all lanes equal to v.
func (g *gen) ints(v uint32) reg.VecVirtual {
	r, x, y := g.GP32(), g.XMM(), g.vec()
	g.MOVL(operand.U32(v), r)
	g.VMOVD(r, x)
	g.VPBROADCASTD(x, y)
	return y
}

func (g *gen) andInt(a, b, dst reg.VecVirtual) {
	if g.wide() {
		g.VPANDD(a, b, dst)
	} else {
		g.VPAND(a, b, dst)
	}
}

// nbitsOperands loads what both kernels have.
func (g *gen) nbitsOperands(nr int, shiftA int) (blocks, groups, w, scale reg.GPVirtual, a, d rows) {
	blocks, groups, w, scale = g.param("blocks"), g.param("groups"), g.param("w"), g.param("scale")
	lda, ldd := g.param("lda"), g.param("ldd")
	if shiftA > 0 {
		g.SHLQ(operand.U8(shiftA), lda)
	}
	g.SHLQ(operand.U8(2), ldd)
	name := "da"
	if shiftA > 0 {
		name = "sums"
	}
	return blocks, groups, w, scale, g.rowsOf(g.param("a"), lda, nr), g.rowsOf(g.param(name), ldd, nr)
}

func (g *gen) vectors(nr, nv int) [][]reg.VecVirtual {
	s := make([][]reg.VecVirtual, nr)
	for r := range s {
		for range nv {
			s[r] = append(s[r], g.zero())
		}
	}
	return s
}

func (g *gen) storeTile(acc [][]reg.VecVirtual) {
	ldc := g.param("ldc")
	g.SHLQ(operand.U8(2), ldc)
	c := g.rowsOf(g.param("c"), ldc, len(acc))
	for r := range acc {
		for v := range acc[r] {
			g.VMOVUPS(acc[r][v], c.at(r, v*g.width))
		}
	}
	g.end()
}

// nbitsInt: acc += da*scale*sum(codes of a * codes of w) - da*sum(codes of a)*zero*scale, block by block.
func (g *gen) nbitsInt(nr, nv int, id string) {
	blocks, groups, w, scale, a, d := g.nbitsOperands(nr, 0)
	acc, sum := g.vectors(nr, nv), g.vectors(nr, nv)
	low := g.ints(0x0f0f0f0f)
	var ones reg.VecVirtual
	if !g.wide() {
		ones = g.ints(0x00010001)
	}
	n, lo, hi, x, t := g.GP64(), g.vec(), g.vec(), g.vec(), g.vec()
	dot := func(w, s reg.VecVirtual) {
		if g.wide() {
			g.raw("VPDPBUSD", true, x, w, s)
			return
		}
		g.VPMADDUBSW(x, w, t) // codes of 4 bits: 2*15*128 stays below 2^15
		g.VPMADDWD(ones, t, t)
		g.VPADDD(t, s, s)
	}
	g.Label("block" + id)
	g.MOVQ(groups, n)
	g.Label("group" + id)
	for v := range nv {
		g.VMOVUPS(at(w, v*g.width), hi)
		g.andInt(low, hi, lo)
		g.VPSRLW(operand.U8(4), hi, hi)
		g.andInt(low, hi, hi)
		for r := range nr {
			g.VBROADCASTSS(a.at(r, 0), x)
			dot(lo, sum[r][v])
			g.VBROADCASTSS(a.at(r, 4), x)
			dot(hi, sum[r][v])
		}
	}
	g.ADDQ(operand.U32(nbitsGroup), w)
	g.advance(a, operand.U32(8))
	g.DECQ(n)
	g.JNZ(operand.LabelRef("group" + id))
	for v := range nv {
		s, z := lo, hi
		g.VMOVUPS(at(scale, v*g.width), s)
		g.VMOVUPS(at(scale, 4*nbitsCols+v*g.width), z)
		for r := range nr {
			g.VCVTDQ2PS(sum[r][v], sum[r][v])
			g.VBROADCASTSS(d.at(r, 0), x)
			g.VMULPS(s, x, x)
			g.VFMADD231PS(x, sum[r][v], acc[r][v])
			g.VBROADCASTSS(d.at(r, 4), x)
			g.VFNMADD231PS(x, z, acc[r][v])
			g.clear(sum[r][v])
		}
	}
	g.ADDQ(operand.U32(8*nbitsCols), scale)
	g.advance(d, operand.U32(8))
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("block" + id))
	g.storeTile(acc)
}

// nbitsFloat: acc += scale*sum(a * codes of w) - sum(a)*zero*scale, block by block.
func (g *gen) nbitsFloat(nr, nv int, id string) {
	blocks, groups, w, scale, a, d := g.nbitsOperands(nr, 2)
	acc, sum := g.vectors(nr, nv), g.vectors(nr, nv)
	var low, table reg.VecVirtual
	if g.wide() {
		table = g.vec()
		g.VCVTDQ2PS(g.counting(), table)
	} else {
		low = g.ints(0xf)
	}
	n, raw, f, x := g.GP64(), g.vec(), g.vec(), g.vec()
	code := func(k int) { // in f, of the k-th of eight
		shift := 8 * (k % 4)
		if k >= 4 {
			shift += 4
		}
		g.VPSRLD(operand.U8(shift), raw, f)
		if g.wide() {
			g.VPERMPS(table, f, f) // by the low four bits
			return
		}
		g.andInt(low, f, f)
		g.VCVTDQ2PS(f, f)
	}
	g.Label("block" + id)
	g.MOVQ(groups, n)
	g.Label("group" + id)
	for v := range nv {
		g.VMOVUPS(at(w, v*g.width), raw)
		for k := range 8 {
			code(k)
			for r := range nr {
				g.VBROADCASTSS(a.at(r, 4*k), x)
				g.VFMADD231PS(x, f, sum[r][v])
			}
		}
	}
	g.ADDQ(operand.U32(nbitsGroup), w)
	g.advance(a, operand.U32(32))
	g.DECQ(n)
	g.JNZ(operand.LabelRef("group" + id))
	for v := range nv {
		g.VMOVUPS(at(scale, v*g.width), f)
		g.VMOVUPS(at(scale, 4*nbitsCols+v*g.width), raw)
		for r := range nr {
			g.VFMADD231PS(f, sum[r][v], acc[r][v])
			g.VBROADCASTSS(d.at(r, 0), x)
			g.VFNMADD231PS(x, raw, acc[r][v])
			g.clear(sum[r][v])
		}
	}
	g.ADDQ(operand.U32(8*nbitsCols), scale)
	g.advance(d, operand.U32(4))
	g.DECQ(blocks)
	g.JNZ(operand.LabelRef("block" + id))
	g.storeTile(acc)
}
