package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Constants of gridErrorsGeneric, see there.
var (
	rootGuess, rootShare = float32(1277904143), float32(-0.2)
	powSeries            = []float32{1, 0.6, 0.47988787, 0.41583487, 0.3865128, 0.35781264}
)

// constant lays down a vector of equal numbers.
func constant(name string, x float32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i := range tile {
		DATA(4*i, U32(math.Float32bits(x)))
	}
	return m
}

// gridData lays down what both forms of gridErrors read.
func gridData() (guess, share Mem, series []Mem) {
	guess, share = constant("gridRootGuess", rootGuess), constant("gridRootShare", rootShare)
	for i, v := range powSeries {
		series = append(series, constant("gridSeries"+string(rune('0'+i)), v))
	}
	return guess, share, series
}

// gridErrors is gridErrorsGeneric, up to rounding: a vector of weights at a time, one grid after the other.
func (f form) gridErrors(guess, share Mem, series []Mem) {
	f.text("gridErrors", "func(out, x, scale, inv, lo, hi *T, n, grids int)")
	out, x := Load(Param("out"), GP64()), Load(Param("x"), GP64())
	var grid [4]reg.Register
	for i, name := range []string{"scale", "inv", "lo", "hi"} {
		grid[i] = Load(Param(name), GP64())
	}
	n, grids := Load(Param("n"), GP64()), Load(Param("grids"), GP64())
	i, g := GP64(), GP64()
	one, noSign := f.fill(0x3f800000), f.fill(0x7fffffff)
	XORQ(g, g)
	Label("grid")
	var scale, inv, lo, hi = f.vec(), f.vec(), f.vec(), f.vec()
	for k, v := range []reg.VecVirtual{scale, inv, lo, hi} {
		f.broadcast(Mem{Base: grid[k], Index: g, Scale: 4}, v)
	}
	sum := f.vec()
	VXORPS(sum, sum, sum)
	XORQ(i, i)
	Label("weights")
	w, e := f.vec(), f.vec()
	f.move(Mem{Base: x, Index: i, Scale: 4}, w)
	f.mul(inv, w, e)
	if f.wide() {
		f.roundWide(Imm(0), e, e)
	} else {
		f.round(Imm(0), e, e)
	}
	f.max(lo, e, e)
	f.min(hi, e, e)
	f.mul(scale, e, e)
	f.sub(w, e, e)
	f.and(noSign, e, e)
	y, t, p := f.vec(), f.vec(), f.vec()
	VCVTDQ2PS(e, y)
	f.move(guess, t)
	VFMADD132PS(share, t, y)
	VCVTPS2DQ(y, y)
	f.mul(y, e, e)
	f.mul(y, y, y)
	f.mul(y, y, y)
	f.move(one, t)
	f.fnmadd(y, e, t)
	f.move(series[len(series)-1], p)
	for k := len(series) - 2; k >= 0; k-- {
		VFMADD213PS(series[k], t, p)
	}
	f.mul(e, e, y)
	f.mul(e, y, y)
	VFMADD231PS(p, y, sum)
	ADDQ(Imm(uint64(f.lanes())), i)
	CMPQ(i, n)
	JL(LabelRef("weights"))
	f.total(sum)
	VMOVSS(sum.AsX(), Mem{Base: out, Index: g, Scale: 4})
	INCQ(g)
	CMPQ(g, grids)
	JL(LabelRef("grid"))
	f.end()
}

// total adds up the lanes of v into each of them.
func (f form) total(v reg.VecVirtual) {
	first := 1
	if f.wide() {
		first = 0
	}
	for l := first; l <= 3; l++ {
		f.add(f.swap(l, v), v, v)
	}
}
