package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quadColumns turns numbers that stand side by side in fours, of as many rows as a vector has lanes, into four vectors of one column each.
func (f form) quadColumns(at func(row int) Mem, block []reg.VecVirtual) {
	for j := range block {
		VMOVUPS(at(j), block[j].AsX())
		for i := 1; i < f.width/16; i++ {
			f.insert(i, at(4*i+j), block[j])
		}
	}
	f.transposeQuads(block)
}

// insert sets the 128 bits i of v.
func (f form) insert(i int, m Mem, v reg.VecVirtual) {
	if f.wide() {
		VINSERTF32X4(Imm(uint64(i)), m, v, v)
	} else {
		VINSERTF128(Imm(uint64(i)), m, v, v)
	}
}

// extract stores the 128 bits i of v.
func (f form) extract(i int, v reg.VecVirtual, m Mem) {
	switch {
	case i == 0:
		VMOVUPS(v.AsX(), m)
	case f.wide():
		VEXTRACTF32X4(Imm(uint64(i)), v, m)
	default:
		VEXTRACTF128(Imm(uint64(i)), v, m)
	}
}

// fourColumns is vector i of column k of four, ld bytes apart.
func (f form) fourColumns(p, ld, three reg.Register, k, i int) Mem {
	return four{form: f, col: p, n: ld, three: three}.column(k, i)
}

// getFour takes four columns out of a triangle of tiles: from rows of tile columns before and in that of the diagonal, then from its lanes.
func (f form) getFour() {
	f.text("getFour", "func(dst *T, ldd int, row *T, step, above int, lane *T, below int)")
	f.eachFour("dst", func(dst, ldd, three, row reg.Register) {
		for k := range 4 {
			for i := range f.vectors() {
				v := f.vec()
				f.move(Mem{Base: row, Disp: k*f.row() + i*f.width}, v)
				f.move(v, f.fourColumns(dst, ldd, three, k, i))
			}
		}
	}, func(dst, ldd, three, lane reg.Register, block []reg.VecVirtual, h int) {
		f.quadColumns(func(r int) Mem { return Mem{Base: lane, Disp: (h*f.lanes() + r) * f.row()} }, block)
		for k, v := range block {
			f.move(v, f.fourColumns(dst, ldd, three, k, h))
		}
	})
}

// putFour is the reverse of getFour.
func (f form) putFour() {
	f.text("putFour", "func(src *T, ldd int, row *T, step, above int, lane *T, below int)")
	f.eachFour("src", func(src, ldd, three, row reg.Register) {
		for k := range 4 {
			for i := range f.vectors() {
				v := f.vec()
				f.move(f.fourColumns(src, ldd, three, k, i), v)
				f.move(v, Mem{Base: row, Disp: k*f.row() + i*f.width})
			}
		}
	}, func(src, ldd, three, lane reg.Register, block []reg.VecVirtual, h int) {
		for k, v := range block {
			f.move(f.fourColumns(src, ldd, three, k, h), v)
		}
		f.transposeQuads(block)
		for j, v := range block {
			for i := range f.width / 16 {
				f.extract(i, v, Mem{Base: lane, Disp: (h*f.lanes() + 4*i + j) * f.row()})
			}
		}
	})
}

// eachFour walks over the tiles of four columns: those that are rows of a triangle, step bytes apart, of which each is a tile less than the one before, then those
// that are lanes of one tile column, vector after vector.
func (f form) eachFour(side string, row func(side, ldd, three, row reg.Register), lane func(side, ldd, three, lane reg.Register, block []reg.VecVirtual, h int)) {
	p, ldd := Load(Param(side), GP64()), Load(Param("ldd"), GP64())
	r, step, above := Load(Param("row"), GP64()), Load(Param("step"), GP64()), Load(Param("above"), GP64())
	l, below := Load(Param("lane"), GP64()), Load(Param("below"), GP64())
	SHLQ(Imm(f.log()-4), ldd)
	SHLQ(Imm(f.log()-4), step)
	three := GP64()
	LEAQ(Mem{Base: ldd, Index: ldd, Scale: 2}, three)
	block := f.vecs(4)
	count("above", above, func() {
		row(p, ldd, three, r)
		ADDQ(step, r)
		SUBQ(U32(uint32(tile*f.row())), step)
		f.next(p)
	})
	count("below", below, func() {
		for h := range f.vectors() {
			lane(p, ldd, three, l, block, h)
		}
		ADDQ(U32(uint32(tile*f.row())), l)
		f.next(p)
	})
	f.end()
}

// cheapestFour rates blocks of four by the factorisation L D L^T of their matrices, which takes no roots; lanes with a pivot that is not
// positive are passed over. AVX-512 only: it takes more than 16 registers.
func (f form) cheapestFour() {
	f.text("cheapestFour", "func(w, d, pen *T, groups int, score *[L]T, at *[L]I)")
	w, d, pen := Load(Param("w"), GP64()), Load(Param("d"), GP64()), Load(Param("pen"), GP64())
	groups := Load(Param("groups"), GP64())
	index, next := f.counters()
	best := f.newExtreme(lessThan, f.greatest())
	one, infinite := f.fill(0x3f800000), f.fill(f.greatest())
	z := f.vecs(4)
	count("group", groups, func() {
		for h := range f.vectors() {
			f.quadColumns(func(b int) Mem { return Mem{Base: w, Disp: (h*f.lanes() + b) * 16} }, z)
			best.see(f.scoreFour(d, pen, h, z, one, infinite), index)
			f.addIndex(next, index, index)
		}
		ADDQ(U32(uint32(10*f.row())), d)
		ADDQ(U32(uint32(4*f.row())), w)
		f.next(pen)
	})
	best.store("score", "at")
	f.end()
}

// scoreFour is z^T A^-1 z + pen of vector h of a group of blocks A.
func (f form) scoreFour(d, pen reg.Register, h int, z []reg.VecVirtual, one, infinite reg.VecVirtual) reg.VecVirtual {
	entry := func(e, g int) Mem { return f.at(d, (e*(e+1)/2+g)*f.vectors()+h) }
	sum, inv := f.vec(), f.vec()
	f.move(f.at(pen, h), sum)
	a := map[[2]int]reg.VecVirtual{}
	get := func(e, g int) reg.VecVirtual {
		k := [2]int{e, g}
		if a[k] == nil {
			a[k] = f.vec()
			f.move(entry(e, g), a[k])
		}
		return a[k]
	}
	for p := range 4 {
		f.div(get(p, p), one, inv)
		f.penalty(get(p, p), infinite, sum)
		l := f.vec()
		for e := p + 1; e < 4; e++ {
			f.mul(inv, get(e, p), l)
			f.fnmadd(l, z[p], z[e])
			for g := p + 1; g <= e; g++ {
				f.fnmadd(l, get(g, p), get(e, g))
			}
		}
		f.mul(z[p], z[p], z[p])
		f.mul(inv, z[p], z[p])
		f.add(z[p], sum, sum)
	}
	return sum
}

// penalty adds infinite to sum where x is not positive.
func (f form) penalty(x, infinite, sum reg.VecVirtual) {
	const notAbove = 26 // not greater, or unordered; quiet
	zero, k := f.vec(), K()
	VXORPS(zero, zero, zero)
	f.compare(Imm(notAbove), zero, x, k)
	VADDPS(infinite, sum, k, sum)
}
