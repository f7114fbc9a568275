package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blockFour is blockFour for float32. Each 128 bits of a tile are the four columns of a block; a vector takes the same block of two or four
// tiles, and four such vectors are transposed within their 128 bits.
func (f form) blockFour() {
	f.text("blockFour", "func(d, u *T, depth, t, groups int)")
	d, u := Load(Param("d"), GP64()), Load(Param("u"), GP64())
	depth, t, groups := Load(Param("depth"), GP64()), Load(Param("t"), GP64()), Load(Param("groups"), GP64())
	SHLQ(Imm(f.log()), depth)
	SHLQ(Imm(f.log()), t)
	ADDQ(t, u)
	three := GP64()
	LEAQ(Mem{Base: depth, Index: depth, Scale: 2}, three)
	block := f.vecs(4) // written in parts, which is why they serve all the time
	count("group", groups, func() {
		for h := range f.vectors() {
			f.blockFourVector(d, u, depth, three, block, h)
		}
		LEAQ(Mem{Base: u, Index: depth, Scale: 4}, u)
		ADDQ(U32(uint32(10*f.row())), d)
	})
	f.end()
}

// blockFourVector does vector h of a group: the tiles whose 128 bits it takes.
func (f form) blockFourVector(d, u, depth, three reg.Register, block []reg.VecVirtual, h int) {
	parts := f.width / 16
	at := func(tile, k, block int) Mem {
		m := Mem{Base: u, Disp: k*f.row() + 16*block}
		switch tile {
		case 1, 2:
			m.Index, m.Scale = depth, uint8(tile)
		case 3:
			m.Index, m.Scale = three, 1
		}
		return m
	}
	entries := make([]reg.VecVirtual, 10)
	if f.wide() { // there are registers to keep them in
		for i := range entries {
			entries[i] = f.vec()
			f.move(f.at(d, i*f.vectors()+h), entries[i])
		}
	}
	for k := range 4 {
		for b := range block {
			VMOVUPS(at(h*parts, k, b), block[b].AsX())
			for i := 1; i < parts; i++ {
				if f.wide() {
					VINSERTF32X4(Imm(uint64(i)), at(i, k, b), block[b], block[b])
				} else {
					VINSERTF128(Imm(uint64(i)), at(h*parts+i, k, b), block[b], block[b])
				}
			}
		}
		f.transposeQuads(block)
		for e, i := 0, 0; e < 4; e++ {
			for g := 0; g <= e; g, i = g+1, i+1 {
				if f.wide() {
					f.fnmadd(block[e], block[g], entries[i])
					continue
				}
				y, m := f.vec(), f.at(d, i*f.vectors()+h)
				f.move(m, y)
				f.fnmadd(block[e], block[g], y)
				f.move(y, m)
			}
		}
	}
	if f.wide() {
		for i, v := range entries {
			f.move(v, f.at(d, i*f.vectors()+h))
		}
	}
}

// transposeQuads transposes the squares of four numbers that stand at the same 128 bits of four vectors.
func (f form) transposeQuads(a []reg.VecVirtual) {
	lo01, hi01, lo23, hi23 := f.vec(), f.vec(), f.vec(), f.vec()
	VUNPCKLPS(a[1], a[0], lo01)
	VUNPCKHPS(a[1], a[0], hi01)
	VUNPCKLPS(a[3], a[2], lo23)
	VUNPCKHPS(a[3], a[2], hi23)
	VSHUFPS(Imm(0x44), lo23, lo01, a[0])
	VSHUFPS(Imm(0xee), lo23, lo01, a[1])
	VSHUFPS(Imm(0x44), hi23, hi01, a[2])
	VSHUFPS(Imm(0xee), hi23, hi01, a[3])
}
