package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// solver emits the inner steps of an elimination.
func solver(g *gen) {
	g.panelStep()
	g.argminScore()
	g.quantScore()
	if !g.wide() {
		g.compact()
	}
}

// panelStep emits PanelStep: sums of eight vectors at a time to hide the latency of the multiply-adds, then fewer.
func (g *gen) panelStep() {
	g.begin("panelStep", "(u []float32, ldu, t int, col, coef []float32, inv, c float32, diag, w []float32)", "is panelStepGeneric.")
	n, off := g.length("col"), g.GP64()
	g.XORQ(off, off)
	for _, units := range []int{8, 4, 2, 1} {
		loop, next := fmt.Sprintf("by%d", units), fmt.Sprintf("under%d", units)
		g.Label(loop)
		g.CMPQ(n, operand.U32(units*g.lanes()))
		g.JL(operand.LabelRef(next))
		g.panelChunk(units, off, nil)
		g.ADDQ(operand.U32(units*g.width), off)
		g.SUBQ(operand.U32(units*g.lanes()), n)
		g.JMP(operand.LabelRef(loop))
		g.Label(next)
	}
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("done"))
	p := g.first(n)
	g.panelChunk(1, off, &p)
	g.Label("done")
	g.end()
}

// panelChunk computes units vectors at off: v = (col - sum u coef) inv, stored as the next row of u; diag -= v^2; w -= c v.
func (g *gen) panelChunk(units int, off reg.GPVirtual, tail *pred) {
	id := fmt.Sprintf("%d%v", units, tail != nil)
	u, ldu, coef, steps := g.param("u"), g.param("ldu"), g.param("coef"), g.length("coef")
	g.SHLQ(operand.U8(2), ldu)
	g.ADDQ(off, u)
	place := func(base reg.GPVirtual, i int) operand.Mem { return indexed(base, off, 1, i*g.width) }
	sum := make([]reg.VecVirtual, units)
	col := g.param("col")
	for i := range sum {
		sum[i] = g.load(place(col, i), tail)
	}
	g.TESTQ(steps, steps)
	g.JZ(operand.LabelRef("summed" + id))
	g.Label("sum" + id)
	f := g.fill(at(coef, 0))
	for i := range sum {
		if tail != nil {
			g.VFNMADD231PS(g.load(at(u, i*g.width), tail), f, sum[i])
		} else {
			g.VFNMADD231PS(at(u, i*g.width), f, sum[i])
		}
	}
	g.ADDQ(ldu, u)
	g.ADDQ(operand.U32(4), coef)
	g.DECQ(steps)
	g.JNZ(operand.LabelRef("sum" + id))
	g.Label("summed" + id)
	inv, c := g.parameter("inv"), g.parameter("c")
	diag, w := g.param("diag"), g.param("w")
	for i, v := range sum {
		g.VMULPS(inv, v, v)
		g.store(v, at(u, i*g.width), tail)
		d, x, p := g.load(place(diag, i), tail), g.load(place(w, i), tail), g.vec()
		g.VMULPS(v, v, p)
		g.VSUBPS(p, d, d)
		g.store(d, place(diag, i), tail)
		g.VMULPS(c, v, p)
		g.VSUBPS(p, x, x)
		g.store(x, place(w, i), tail)
	}
}

// extreme is the best value found so far in each lane and where; it starts at a value that nothing is worse than.
type extreme struct {
	value, index reg.VecVirtual
	max          bool
}

func (g *gen) extreme(max bool) extreme {
	worst := math.Inf(1)
	if max {
		worst = math.Inf(-1)
	}
	return extreme{g.constant(float32(worst)), g.fill(g.word(0xffffffff)), max}
}

// better tells where a beats b.
func (g *gen) better(e extreme, a, b reg.VecVirtual) pred {
	if e.max {
		return g.compare(lessThan, b, a)
	}
	return g.compare(lessThan, a, b)
}

// offer lets v at index compete.
func (g *gen) offer(e extreme, v, index reg.VecVirtual) {
	p := g.better(e, v, e.value)
	g.move(p, v, e.value)
	g.move(p, index, e.index)
}

// settle finds the best lane, of equal ones that with the lowest index, and returns both.
func (g *gen) settle(e extreme, index, value string) {
	for _, l := range g.levels() {
		v, i := g.swap(l, e.value), g.swap(l, e.index)
		p := g.better(e, v, e.value)
		tie := g.compare(equal, v, e.value)
		g.and(tie, g.greaterInt(e.index, i))
		g.or(p, tie)
		g.move(p, v, e.value)
		g.move(p, i, e.index)
	}
	r := g.GP32()
	g.VMOVD(e.index.AsX(), r)
	wide := g.GP64()
	g.MOVLQSX(r, wide)
	g.Store(wide, g.Return(index))
	g.result(e.value, value)
}

func (g *gen) argminScore() {
	g.begin("argminScore", "(w, diag, mask []float32) (index int, score float32)", "is argminScoreGeneric.")
	w, diag, mask := g.param("w"), g.param("diag"), g.param("mask")
	best, index, step := g.extreme(false), g.counting(), g.fill(g.word(uint32(g.lanes())))
	g.each(g.length("w"), 1, func(c chunk) {
		v := g.load(c.of(w), c.tail)
		g.VMULPS(v, v, v)
		g.VDIVPS(g.load(c.of(diag), c.tail), v, v)
		g.VADDPS(g.load(c.of(mask), c.tail), v, v)
		g.offer(best, v, index)
		g.VPADDD(step, index, index)
	})
	g.settle(best, "index", "score")
	g.end()
}

func (g *gen) quantScore() {
	g.begin("quantScore", "(w, diag, mask, scale, zero []float32, maxq float32) (index int, score float32, outlier int, steps float32)", "is quantScoreGeneric.")
	w, diag, mask, scale, zero := g.param("w"), g.param("diag"), g.param("mask"), g.param("scale"), g.param("zero")
	least, far := g.extreme(false), g.extreme(true)
	index, step := g.counting(), g.fill(g.word(uint32(g.lanes())))
	low, maxq := g.zero(), g.parameter("maxq")
	g.each(g.length("w"), 1, func(c chunk) {
		x, s, z := g.load(c.of(w), c.tail), g.load(c.of(scale), c.tail), g.load(c.of(zero), c.tail)
		q := g.vec()
		g.VDIVPS(s, x, q)
		g.round(q)
		g.VADDPS(z, q, q)
		g.VMAXPS(q, low, q)
		g.VMINPS(q, maxq, q)
		g.VSUBPS(z, q, q)
		g.VMULPS(s, q, q)
		g.VSUBPS(q, x, x) // the error
		m, cost := g.load(c.of(mask), c.tail), g.vec()
		g.VMULPS(x, x, cost)
		g.VDIVPS(g.load(c.of(diag), c.tail), cost, cost)
		g.VADDPS(m, cost, cost)
		g.offer(least, cost, index)
		r := g.absolute(x)
		g.VDIVPS(s, r, r)
		g.VSUBPS(m, r, r)
		g.offer(far, r, index)
		g.VPADDD(step, index, index)
	})
	g.settle(least, "index", "score")
	g.settle(far, "outlier", "steps")
	g.end()
}

// round rounds v half to even.
func (g *gen) round(v reg.VecVirtual) {
	if g.wide() {
		g.VRNDSCALEPS(operand.U8(0), v, v)
	} else {
		g.VROUNDPS(operand.U8(0), v, v)
	}
}

// compact emits the selection of ascending elements, eight at a time: a window of 16 from the first is permuted. The caller knows
// that each group's window lies in src; groups that span more than it are gathered.
func (g *gen) compact() {
	g.begin("compact8", "(dst, src *float32, keep *int32, groups int)",
		"sets eight elements of dst per group to those of src that keep names, ascending.",
		"16 elements from the first of each group on must be readable.")
	dst, src, keep, n := g.param("dst"), g.param("src"), g.param("keep"), g.param("groups")
	g.Label("loop")
	first, span := g.GP64(), g.GP64()
	g.MOVLQSX(at(keep, 0), first)
	g.MOVLQSX(at(keep, 28), span)
	g.SUBQ(first, span)
	window := g.GP64()
	g.LEAQ(indexed(src, first, 4, 0), window)
	v := g.YMM()
	g.CMPQ(span, operand.U32(7))
	g.JNE(operand.LabelRef("permute"))
	g.VMOVUPS(at(window, 0), v)
	g.JMP(operand.LabelRef("store"))
	g.Label("permute")
	index, base := g.YMM(), g.YMM()
	g.VMOVDQU(at(keep, 0), index)
	g.VPBROADCASTD(at(keep, 0), base)
	g.VPSUBD(base, index, index)
	g.CMPQ(span, operand.U32(16))
	g.JGE(operand.LabelRef("gather"))
	g.pick16(window, index, v)
	g.JMP(operand.LabelRef("store"))
	g.Label("gather")
	ones := g.YMM()
	g.VPCMPEQD(ones, ones, ones)
	g.VGATHERDPS(ones, operand.Mem{Base: window, Index: index, Scale: 4}, v)
	g.Label("store")
	g.VMOVUPS(v, at(dst, 0))
	g.ADDQ(operand.U32(32), dst)
	g.ADDQ(operand.U32(32), keep)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// pick16 sets v to eight of the 16 elements at window, by index.
func (g *gen) pick16(window reg.GPVirtual, index, v reg.VecVirtual) {
	high, far := g.YMM(), g.YMM()
	g.VPERMPS(at(window, 0), index, v)
	g.VPERMPS(at(window, 32), index, high)
	g.VPSLLD(operand.U8(28), index, far) // bit 3 to the sign
	g.VBLENDVPS(far, high, v, v)
}
