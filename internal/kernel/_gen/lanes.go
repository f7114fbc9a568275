package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pred is a condition per lane: a vector of ones or zeros (AVX2), or a mask register (AVX-512).
type pred struct {
	v reg.VecVirtual
	k reg.OpmaskVirtual
}

func (g *gen) newPred() pred {
	if g.wide() {
		return pred{k: g.K()}
	}
	return pred{v: g.vec()}
}

// Predicates of VCMPPS: ordered, quiet; false for NaN except notLess.
const (
	lessThan = 0x11
	equal    = 0x00
	notLess  = 0x15
)

// compare returns a op b.
func (g *gen) compare(op int, a, b reg.VecVirtual) pred {
	p := g.newPred()
	if g.wide() {
		g.VCMPPS(operand.U8(op), b, a, p.k)
	} else {
		g.VCMPPS(operand.U8(op), b, a, p.v)
	}
	return p
}

// greaterInt returns a > b for int32 lanes.
func (g *gen) greaterInt(a, b reg.VecVirtual) pred {
	p := g.newPred()
	if g.wide() {
		g.VPCMPGTD(b, a, p.k)
	} else {
		g.VPCMPGTD(b, a, p.v)
	}
	return p
}

// and and or combine a with b into a.
func (g *gen) and(a, b pred) {
	if g.wide() {
		g.KANDW(a.k, b.k, a.k)
	} else {
		g.VANDPS(a.v, b.v, a.v)
	}
}

func (g *gen) or(a, b pred) {
	if g.wide() {
		g.KORW(a.k, b.k, a.k)
	} else {
		g.VORPS(a.v, b.v, a.v)
	}
}

// move sets the lanes of dst where p holds to those of src.
func (g *gen) move(p pred, src, dst reg.VecVirtual) {
	if g.wide() {
		g.VMOVAPS(src, p.k, dst)
	} else {
		g.VBLENDVPS(p.v, src, dst, dst)
	}
}

// keep sets the lanes of v where p does not hold to zero.
func (g *gen) keep(p pred, v reg.VecVirtual) {
	if g.wide() {
		g.VMOVAPS_Z(v, p.k, v)
	} else {
		g.VANDPS(p.v, v, v)
	}
}

// first returns the predicate that holds for the first n lanes, 0 < n < lanes.
func (g *gen) first(n reg.GPVirtual) pred {
	p := g.newPred()
	if g.wide() {
		cl, one := reg.RCX, g.GP64()
		g.MOVQ(n, cl)
		g.MOVQ(operand.U32(1), one)
		g.SHLQ(reg.CL, one)
		g.DECQ(one)
		g.KMOVW(one.As32(), p.k)
		return p
	}
	table, base := g.maskTable(), g.GP64()
	g.LEAQ(table, base)
	g.SHLQ(operand.U8(2), n)
	g.SUBQ(n, base)
	g.VMOVUPS(at(base, 32), p.v)
	return p
}

// maskTable is 8 words of ones followed by 8 of zeros.
func (g *gen) maskTable() operand.Mem {
	table := make([]int32, 16)
	for i := range 8 {
		table[i] = -1
	}
	return g.words("ones8zeros8", table)
}

// load reads a vector; lanes outside of p (nil: all inside) are not touched and zero.
func (g *gen) load(m operand.Mem, p *pred) reg.VecVirtual {
	v := g.vec()
	switch {
	case p == nil:
		g.VMOVUPS(m, v)
	case g.wide():
		g.VMOVUPS_Z(m, p.k, v)
	default:
		g.VMASKMOVPS(m, p.v, v)
	}
	return v
}

// store writes the lanes of v inside of p.
func (g *gen) store(v reg.VecVirtual, m operand.Mem, p *pred) {
	switch {
	case p == nil:
		g.VMOVUPS(v, m)
	case g.wide():
		g.VMOVUPS(v, p.k, m)
	default:
		g.VMASKMOVPS(v, p.v, m)
	}
}

// chunk is the vector being worked on in each: its byte offset from every pointer, the index of its vector in an unrolled group,
// and the lanes that exist (nil: all).
type chunk struct {
	off  reg.GPVirtual
	unit int
	tail *pred
	g    *gen
}

// of returns the chunk's place behind base.
func (c chunk) of(base reg.GPVirtual) operand.Mem {
	return indexed(base, c.off, 1, c.unit*c.g.width)
}

// each walks over n elements: groups of unroll vectors, then single vectors, then what is left of one. n is consumed.
func (g *gen) each(n reg.GPVirtual, unroll int, body func(c chunk)) {
	off := g.GP64()
	g.XORQ(off, off)
	for _, u := range []int{unroll, 1} {
		if u == 1 && unroll == 1 && u != unroll {
			continue
		}
		loop, next := fmt.Sprintf("by%d", u), fmt.Sprintf("under%d", u)
		g.Label(loop)
		g.CMPQ(n, operand.U32(u*g.lanes()))
		g.JL(operand.LabelRef(next))
		for i := range u {
			body(chunk{off, i, nil, g})
		}
		g.ADDQ(operand.U32(u*g.width), off)
		g.SUBQ(operand.U32(u*g.lanes()), n)
		g.JMP(operand.LabelRef(loop))
		g.Label(next)
		if unroll == 1 {
			break
		}
	}
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("done"))
	p := g.first(n)
	body(chunk{off, 0, &p, g})
	g.Label("done")
}

// swap returns v with its halves exchanged at the given level: 0 for 256 bits, then 128, 64 and 32.
func (g *gen) swap(level int, v reg.VecVirtual) reg.VecVirtual {
	w := g.vec()
	switch {
	case level == 0:
		g.VSHUFF32X4(operand.U8(0x4e), v, v, w)
	case level == 1 && g.wide():
		g.VSHUFF32X4(operand.U8(0xb1), v, v, w)
	case level == 1:
		g.VPERM2F128(operand.U8(1), v, v, w)
	case level == 2:
		g.VSHUFPS(operand.U8(0x4e), v, v, w)
	default:
		g.VSHUFPS(operand.U8(0xb1), v, v, w)
	}
	return w
}

// levels are the steps of a reduction over all lanes.
func (g *gen) levels() []int {
	if g.wide() {
		return []int{0, 1, 2, 3}
	}
	return []int{1, 2, 3}
}

// reduce combines all lanes of v, so that each holds the result.
func (g *gen) reduce(v reg.VecVirtual, combine func(xyz ...operand.Op)) {
	for _, l := range g.levels() {
		combine(g.swap(l, v), v, v)
	}
}

// result stores lane 0 of v as float32 result.
func (g *gen) result(v reg.VecVirtual, name string) {
	g.Store(v.AsX(), g.Return(name))
}

// constant returns a register with all lanes equal to x.
func (g *gen) constant(x float32) reg.VecVirtual {
	return g.fill(g.float(x))
}
