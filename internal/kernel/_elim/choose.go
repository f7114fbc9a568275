package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	lessThan    = 17 // ordered, quiet
	greaterThan = 30 // ordered, quiet
	equal       = 0  // ordered, quiet
)

// extreme keeps, by lane, the first index of the least (or greatest) value seen.
type extreme struct {
	form
	value, index reg.VecVirtual
	predicate    uint64
}

// fill is a vector of one bit pattern.
func (f form) fill(bits uint64) reg.VecVirtual {
	v, x := f.vec(), XMM()
	if f.bits == 32 {
		g := GP32()
		MOVL(U32(uint32(bits)), g)
		VMOVD(g, x)
	} else {
		g := GP64()
		MOVQ(U64(bits), g)
		VMOVQ(g, x)
	}
	f.spread(x, v)
	return v
}

// greatest is the bits of +Inf.
func (f form) greatest() uint64 {
	return map[int]uint64{32: 0x7f800000, 64: 0x7ff0000000000000}[f.bits]
}

func (f form) newExtreme(predicate, start uint64) extreme {
	return extreme{f, f.fill(start), f.fill(0xffffffffffffffff), predicate}
}

// choose sets the lanes of value and index where predicate holds between v and limit to v and i.
func (f form) choose(predicate uint64, v, limit, i, value, index reg.VecVirtual) {
	if f.wide() {
		k := K()
		f.compare(Imm(predicate), limit, v, k)
		f.keep(v, k, value)
		f.moveIndex(i, k, index)
		return
	}
	m := f.vec()
	f.compare(Imm(predicate), limit, v, m)
	f.blend(m, v, value, value)
	f.blend(m, i, index, index)
}

func (e extreme) see(v, index reg.VecVirtual) {
	e.choose(e.predicate, v, e.value, index, e.value, e.index)
}

// swap is v with its halves, quarters or eighths exchanged, and so on.
func (f form) swap(level int, v reg.VecVirtual) reg.VecVirtual {
	w := f.vec()
	switch {
	case level == 0 && f.wide():
		VSHUFF32X4(Imm(0x4e), v, v, w)
	case level == 1 && f.wide():
		VSHUFF32X4(Imm(0xb1), v, v, w)
	case level == 1:
		VPERM2F128(Imm(1), v, v, w)
	case level == 2:
		VSHUFPS(Imm(0x4e), v, v, w)
	case level == 3:
		VSHUFPS(Imm(0xb1), v, v, w)
	}
	return w
}

// settle brings the best of the lanes, of equal ones that with the least index, into lane 0: float32 only.
func (e extreme) settle() {
	first := 1
	if e.wide() {
		first = 0
	}
	better := e.min
	if e.predicate == greaterThan {
		better = e.max
	}
	best, index := e.vec(), e.fill(0x7fffffff)
	VMOVAPS(e.value, best)
	for l := first; l <= 3; l++ {
		better(e.swap(l, best), best, best)
	}
	e.choose(equal, e.value, best, e.index, e.value, index)
	for l := first; l <= 3; l++ {
		VPMINSD(e.swap(l, index), index, index)
	}
	VMOVAPS(best, e.value)
	VMOVAPS(index, e.index)
}

func (e extreme) store(value, index string) {
	if e.bits == 32 {
		e.settle()
	}
	e.move(e.value, Mem{Base: Load(Param(value), GP64())})
	e.move(e.index, Mem{Base: Load(Param(index), GP64())})
}

// counters are the vector 0, 1, 2, ... and the vector to add for the next ones.
func (f form) counters() (index, next reg.VecVirtual) {
	index, next = f.vec(), f.fill(uint64(f.lanes()))
	f.move(f.first, index)
	return index, next
}

// data lays down the vector 0, 1, 2, ...
func (f *form) data() {
	f.first = GLOBL(fmt.Sprintf("elimLanes%d", f.bits), RODATA|NOPTR)
	for i := range 64 / f.size {
		if f.bits == 32 {
			DATA(4*i, U32(uint32(i)))
		} else {
			DATA(8*i, U64(uint64(i)))
		}
	}
}

// cheapest is cheapestColumn, by lane.
func (f form) cheapest() {
	f.text("cheapestColumn", "func(w, diag, pen *T, n int, score *[L]T, at *[L]I)")
	w, diag, pen := Load(Param("w"), GP64()), Load(Param("diag"), GP64()), Load(Param("pen"), GP64())
	n, i := Load(Param("n"), GP64()), GP64()
	index, next := f.counters()
	best := f.newExtreme(lessThan, f.greatest())
	XORQ(i, i)
	Label("loop")
	x := f.vec()
	mem := func(p reg.Register) Mem { return Mem{Base: p, Index: i, Scale: uint8(f.size)} }
	f.move(mem(w), x)
	f.mul(x, x, x)
	f.div(mem(diag), x, x)
	f.add(mem(pen), x, x)
	best.see(x, index)
	f.addIndex(next, index, index)
	ADDQ(Imm(uint64(f.lanes())), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	f.end()
}

// rounding is cheapestRounding, by lane.
func (f form) rounding() {
	f.text("cheapestRounding", "func(w, diag, pen, scale, inv, lo, hi *T, n int, score *[L]T, at *[L]I, steps *[L]T, far *[L]I)")
	ptr := map[string]reg.Register{}
	for _, name := range []string{"w", "diag", "pen", "scale", "inv", "lo", "hi"} {
		ptr[name] = Load(Param(name), GP64())
	}
	n, i := Load(Param("n"), GP64()), GP64()
	index, next := f.counters()
	signBit := uint64(1) << (f.bits - 1)
	best, far := f.newExtreme(lessThan, f.greatest()), f.newExtreme(greaterThan, f.greatest()|signBit)
	noSign := f.fill(signBit - 1)
	XORQ(i, i)
	Label("loop")
	mem := func(name string) Mem { return Mem{Base: ptr[name], Index: i, Scale: uint8(f.size)} }
	w, inv, q, e, pen := f.vec(), f.vec(), f.vec(), f.vec(), f.vec()
	f.move(mem("w"), w)
	f.move(mem("inv"), inv)
	f.move(mem("pen"), pen)
	f.mul(inv, w, q)
	if f.wide() {
		f.roundWide(Imm(0), q, q)
	} else {
		f.round(Imm(0), q, q)
	}
	f.max(mem("lo"), q, q)
	f.min(mem("hi"), q, q)
	f.mul(mem("scale"), q, q)
	f.sub(q, w, e)
	f.mul(e, e, q)
	f.div(mem("diag"), q, q)
	f.add(pen, q, q)
	best.see(q, index)
	f.and(noSign, e, e)
	f.mul(inv, e, e)
	f.sub(pen, e, e)
	far.see(e, index)
	f.addIndex(next, index, index)
	ADDQ(Imm(uint64(f.lanes())), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	far.store("steps", "far")
	f.end()
}
