package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// count runs body n times, n >= 0 in a register that is kept.
func count(name string, n reg.Register, body func()) {
	k := GP64()
	MOVQ(n, k)
	TESTQ(k, k)
	JZ(LabelRef(name + "End"))
	Label(name)
	body()
	DECQ(k)
	JNZ(LabelRef(name))
	Label(name + "End")
}

// blockStep is blockStep: the 16 lanes of a group go together.
func (f form) blockStep() {
	f.text("blockStep", "func(d, u *T, c, groups int)")
	d, u := Load(Param("d"), GP64()), Load(Param("u"), GP64())
	c, groups := Load(Param("c"), GP64()), Load(Param("groups"), GP64())
	e, left, right := GP64(), GP64(), GP64()
	count("group", groups, func() {
		MOVQ(U32(1), e)
		MOVQ(u, left)
		Label("row")
		x := f.vecs(f.vectors())
		for i := range x {
			f.move(f.at(left, i), x[i])
		}
		MOVQ(u, right)
		count("entry", e, func() {
			for i := range x {
				y := f.vec()
				f.move(f.at(d, i), y)
				f.fnmadd(f.at(right, i), x[i], y)
				f.move(y, f.at(d, i))
			}
			f.next(d)
			f.next(right)
		})
		f.next(left)
		INCQ(e)
		CMPQ(e, c)
		JLE(LabelRef("row"))
		MOVQ(left, u)
	})
	f.end()
}

// blockScore is blockScore: a Cholesky factorisation in each of the 16 lanes of a group.
func (f form) blockScore() {
	f.text("blockScore", "func(score, w, d, work *T, c, groups int)")
	score, w, d := Load(Param("score"), GP64()), Load(Param("w"), GP64()), Load(Param("d"), GP64())
	l, c := Load(Param("work"), GP64()), Load(Param("c"), GP64())
	groups := Load(Param("groups"), GP64())
	y := GP64() // y[e] of the group follows its factor
	MOVQ(c, y)
	INCQ(y)
	IMULQ(c, y)
	SHLQ(Imm(f.log()-1), y)
	ADDQ(l, y)
	e, row, upper, at, yf := GP64(), GP64(), GP64(), GP64(), GP64()
	n := f.vectors()
	one := f.fill(map[int]uint64{32: 0x3f800000, 64: 0x3ff0000000000000}[f.bits])
	sum, x, v := f.vecs(n), f.vecs(n), f.vec()
	each := func(do func(i int)) {
		for i := range n {
			do(i)
		}
	}
	count("group", groups, func() {
		each(func(i int) { VXORPS(sum[i], sum[i], sum[i]) })
		XORQ(e, e)
		MOVQ(l, row)
		Label("row")
		MOVQ(l, upper)
		MOVQ(y, yf)
		below := GP64() // entries before the diagonal
		XORQ(below, below)
		Label("column")
		each(func(i int) { f.move(f.at(d, i), x[i]) })
		f.next(d)
		MOVQ(row, at)
		count("product", below, func() {
			each(func(i int) {
				f.move(f.at(at, i), v)
				f.fnmadd(f.at(upper, i), v, x[i])
			})
			f.next(at)
			f.next(upper)
		})
		CMPQ(below, e)
		JE(LabelRef("diagonal"))
		each(func(i int) {
			f.mul(f.at(upper, i), x[i], x[i])
			f.move(x[i], f.at(at, i))
		})
		f.next(upper)
		INCQ(below)
		JMP(LabelRef("column"))
		Label("diagonal")
		each(func(i int) {
			f.sqrt(x[i], x[i])
			f.div(x[i], one, x[i])
			f.move(x[i], f.at(at, i))
		})
		// x = (w_e - sum_f L_ef y_f) / L_ee
		z := f.vecs(n)
		each(func(i int) { f.move(f.at(w, i), z[i]) })
		f.next(w)
		count("solve", e, func() {
			each(func(i int) {
				f.move(f.at(row, i), v)
				f.fnmadd(f.at(yf, i), v, z[i])
			})
			f.next(row)
			f.next(yf)
		})
		f.next(row)
		each(func(i int) {
			f.mul(x[i], z[i], z[i])
			f.move(z[i], f.at(yf, i))
			f.mul(z[i], z[i], z[i])
			f.add(z[i], sum[i], sum[i])
		})
		INCQ(e)
		CMPQ(e, c)
		JL(LabelRef("row"))
		each(func(i int) { f.move(sum[i], f.at(score, i)) })
		f.next(score)
	})
	f.end()
}

// split is splitGeneric for float32 and c a multiple of four: squares of four blocks by four columns.
func split() {
	TEXT("split32AVX2", NOSPLIT, "func(dst, src *float32, c, groups int)")
	Pragma("noescape")
	Doc("split32AVX2 is splitGeneric for c a multiple of 4.")
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	c, groups := Load(Param("c"), GP64()), Load(Param("groups"), GP64())
	quads, line, three := GP64(), GP64(), GP64()
	MOVQ(c, quads)
	SHRQ(Imm(2), quads)
	MOVQ(c, line)
	SHLQ(Imm(2), line) // bytes of a block
	LEAQ(Mem{Base: line, Index: line, Scale: 2}, three)
	p := GP64()
	count("group", groups, func() {
		count("quad", quads, func() {
			MOVQ(src, p)
			for q := range 4 {
				a := []reg.VecVirtual{XMM(), XMM(), XMM(), XMM()}
				VMOVUPS(Mem{Base: p}, a[0])
				VMOVUPS(Mem{Base: p, Index: line, Scale: 1}, a[1])
				VMOVUPS(Mem{Base: p, Index: line, Scale: 2}, a[2])
				VMOVUPS(Mem{Base: p, Index: three, Scale: 1}, a[3])
				LEAQ(Mem{Base: p, Index: line, Scale: 4}, p)
				lo01, hi01, lo23, hi23 := XMM(), XMM(), XMM(), XMM()
				VUNPCKLPS(a[1], a[0], lo01)
				VUNPCKHPS(a[1], a[0], hi01)
				VUNPCKLPS(a[3], a[2], lo23)
				VUNPCKHPS(a[3], a[2], hi23)
				out := XMM()
				for j, h := range [][2]reg.VecVirtual{{lo01, lo23}, {hi01, hi23}} {
					VSHUFPS(Imm(0x44), h[1], h[0], out)
					VMOVUPS(out, Mem{Base: dst, Disp: 2*j*64 + q*16})
					VSHUFPS(Imm(0xee), h[1], h[0], out)
					VMOVUPS(out, Mem{Base: dst, Disp: (2*j+1)*64 + q*16})
				}
			}
			ADDQ(Imm(16), src)
			ADDQ(U32(4*64), dst)
		})
		// src stands at the end of the group's first block: on to the next group
		LEAQ(Mem{Base: src, Index: line, Scale: 8}, src)
		LEAQ(Mem{Base: src, Index: line, Scale: 4}, src)
		ADDQ(three, src)
	})
	VZEROUPPER()
	RET()
}
