package main

import (
	"math"

	"github.com/mmcloughlin/avo/reg"
)

// elementwise emits arithmetic on slices and sums over them.
func elementwise(g *gen) {
	g.binary("add", func(x, y reg.VecVirtual) { g.VADDPS(y, x, x) })
	g.binary("sub", func(x, y reg.VecVirtual) { g.VSUBPS(y, x, x) })
	g.binary("mul", func(x, y reg.VecVirtual) { g.VMULPS(y, x, x) })
	g.binary("div", func(x, y reg.VecVirtual) { g.VDIVPS(y, x, x) })
	g.mulSub()
	g.axpy()
	g.scale()
	g.clip()
	g.dot()
	g.sum()
	g.largest()
	g.sumSquares()
	g.normalize()
}

func (g *gen) binary(name string, op func(x, y reg.VecVirtual)) {
	g.begin(name, "(dst, x, y []float32)", "is "+name+"Generic.")
	dst, x, y := g.param("dst"), g.param("x"), g.param("y")
	g.each(g.length("dst"), 2, func(c chunk) {
		a, b := g.load(c.of(x), c.tail), g.load(c.of(y), c.tail)
		op(a, b)
		g.store(a, c.of(dst), c.tail)
	})
	g.end()
}

func (g *gen) mulSub() {
	g.begin("mulSub", "(dst, x, y []float32)", "is mulSubGeneric.")
	dst, x, y := g.param("dst"), g.param("x"), g.param("y")
	g.each(g.length("dst"), 2, func(c chunk) {
		a, b, d := g.load(c.of(x), c.tail), g.load(c.of(y), c.tail), g.load(c.of(dst), c.tail)
		g.VMULPS(b, a, a)
		g.VSUBPS(a, d, d)
		g.store(d, c.of(dst), c.tail)
	})
	g.end()
}

func (g *gen) axpy() {
	g.begin("axpy", "(alpha float32, x, y []float32)", "is axpyGeneric.")
	x, y := g.param("x"), g.param("y")
	alpha := g.parameter("alpha")
	g.each(g.length("x"), 4, func(c chunk) {
		a, b := g.load(c.of(x), c.tail), g.load(c.of(y), c.tail)
		g.VFMADD231PS(a, alpha, b)
		g.store(b, c.of(y), c.tail)
	})
	g.end()
}

func (g *gen) scale() {
	g.begin("scale", "(dst, x []float32, alpha, beta float32)", "is scaleGeneric.")
	dst, x := g.param("dst"), g.param("x")
	alpha, beta := g.parameter("alpha"), g.parameter("beta")
	g.each(g.length("dst"), 4, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		g.VFMADD213PS(beta, alpha, a)
		g.store(a, c.of(dst), c.tail)
	})
	g.end()
}

func (g *gen) clip() {
	g.begin("clip", "(dst, x []float32, lo, hi float32)", "is clipGeneric.")
	dst, x := g.param("dst"), g.param("x")
	lo, hi := g.parameter("lo"), g.parameter("hi")
	g.each(g.length("dst"), 4, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		g.VMAXPS(a, lo, a)
		g.VMINPS(a, hi, a)
		g.store(a, c.of(dst), c.tail)
	})
	g.end()
}

// sums returns n cleared registers.
func (g *gen) sums(n int) []reg.VecVirtual {
	s := make([]reg.VecVirtual, n)
	for i := range s {
		s[i] = g.zero()
	}
	return s
}

// total adds the registers of s up and reduces them to one value in every lane.
func (g *gen) total(s []reg.VecVirtual) reg.VecVirtual {
	for n := len(s) / 2; n > 0; n /= 2 {
		for i := range n {
			g.VADDPS(s[n+i], s[i], s[i])
		}
	}
	g.reduce(s[0], g.VADDPS)
	return s[0]
}

func (g *gen) dot() {
	g.begin("dot", "(x, y []float32) float32", "is dotGeneric.")
	x, y, s := g.param("x"), g.param("y"), g.sums(4)
	g.each(g.length("x"), 4, func(c chunk) {
		a, b := g.load(c.of(x), c.tail), g.load(c.of(y), c.tail)
		g.VFMADD231PS(a, b, s[c.unit])
	})
	g.finish(g.total(s))
}

func (g *gen) sum() {
	g.begin("sum", "(x []float32) float32", "is sumGeneric.")
	x, s := g.param("x"), g.sums(4)
	g.each(g.length("x"), 4, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		g.VADDPS(a, s[c.unit], s[c.unit])
	})
	g.finish(g.total(s))
}

func (g *gen) sumSquares() {
	g.begin("sumSquares", "(x []float32, mean float32) float32", "is sumSquaresGeneric.")
	x, s := g.param("x"), g.sums(4)
	mean := g.parameter("mean")
	g.each(g.length("x"), 4, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		g.VSUBPS(mean, a, a)
		if c.tail != nil {
			g.keep(*c.tail, a)
		}
		g.VFMADD231PS(a, a, s[c.unit])
	})
	g.finish(g.total(s))
}

func (g *gen) largest() {
	g.begin("largest", "(x []float32) float32", "is largestGeneric.")
	x, s := g.param("x"), make([]reg.VecVirtual, 4)
	low := g.constant(float32(math.Inf(-1)))
	for i := range s {
		s[i] = g.vec()
		g.VMOVAPS(low, s[i])
	}
	g.each(g.length("x"), 4, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		if c.tail != nil {
			b := g.vec()
			g.VMOVAPS(low, b)
			g.move(*c.tail, a, b)
			a = b
		}
		g.VMAXPS(s[c.unit], a, s[c.unit]) // NaN in a: what was there
	})
	for _, v := range s[1:] {
		g.VMAXPS(v, s[0], s[0])
	}
	g.reduce(s[0], g.VMAXPS)
	g.finish(s[0])
}

// normalize emits (x-mean)*inv*gamma + beta.
func (g *gen) normalize() {
	g.begin("normalize", "(dst, x, gamma, beta []float32, mean, inv float32)", "is normalizeGeneric.")
	dst, x, gamma, beta := g.param("dst"), g.param("x"), g.param("gamma"), g.param("beta")
	mean, inv := g.parameter("mean"), g.parameter("inv")
	g.each(g.length("dst"), 2, func(c chunk) {
		a := g.load(c.of(x), c.tail)
		g.VSUBPS(mean, a, a)
		g.VMULPS(inv, a, a)
		g.VFMADD213PS(g.load(c.of(beta), c.tail), g.load(c.of(gamma), c.tail), a)
		g.store(a, c.of(dst), c.tail)
	})
	g.end()
}

// parameter returns a float32 parameter in all lanes.
func (g *gen) parameter(name string) reg.VecVirtual {
	addr, err := g.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return g.fill(addr.Addr)
}

// finish returns v's first lane as the function's only result.
func (g *gen) finish(v reg.VecVirtual) {
	g.Store(v.AsX(), g.ReturnIndex(0))
	g.end()
}
