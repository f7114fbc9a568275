package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// integer emits the micro-kernels of 16-bit pairs and the rounding of their sums.
func integer(g *gen) {
	g.pairs("igemm", false)
	if g.wide() {
		g.pairs("igemmVNNI", true)
		g.quads()
	}
	g.requant()
	g.scaleSums()
}

// raw emits an instruction that the generator does not know but the assembler does; the last operand is the result.
func (g *gen) raw(opcode string, readsResult bool, ops ...operand.Op) {
	in := ops[:len(ops)-1]
	if readsResult {
		in = ops
	}
	g.Instruction(&ir.Instruction{Opcode: opcode, Operands: ops, Inputs: in, Outputs: ops[len(ops)-1:]})
}

// pairs emits one micro-kernel with a code path for each number of rows and vectors. vnni: multiply and add in one instruction.
func (g *gen) pairs(name string, vnni bool) {
	mr, nv := tileOf(g.width)
	g.begin(name, "(rows, vecs, k int, a *float32, rs, cs int, b *float32, bs int, c *float32, ldc int, acc bool, e *byte)",
		"is sgemm for pairs of int16 with sums in int32: see microPairs. e is not used.")
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
			g.pairTile(rows, vecs, vnni)
			if rows > 1 {
				g.Label(fewer)
			}
		}
		if vecs > 1 {
			g.Label(next)
		}
	}
}

func (g *gen) pairTile(nr, nv int, vnni bool) {
	id := fmt.Sprintf("%dx%d", nr, nv)
	stride := func(name string) reg.GPVirtual {
		r := g.param(name)
		g.SHLQ(operand.U8(2), r)
		return r
	}
	k, b, rs, cs, bs := g.param("k"), g.param("b"), stride("rs"), stride("cs"), stride("bs")
	a := g.rowsOf(g.param("a"), rs, nr)
	c, ldc := g.param("c"), stride("ldc")
	sum := make([][]reg.VecVirtual, nr)
	for r := range sum {
		for range nv {
			sum[r] = append(sum[r], g.zero())
		}
	}
	row := make([]reg.VecVirtual, nv)
	for v := range row {
		row[v] = g.vec()
	}
	x := g.vec()
	var p reg.VecVirtual
	if !vnni {
		p = g.vec()
	}
	g.Label("loop" + id)
	for v := range row {
		g.VMOVUPS(at(b, v*g.width), row[v])
	}
	g.ADDQ(bs, b)
	for r := range sum {
		g.VBROADCASTSS(a.at(r, 0), x)
		for v := range row {
			if vnni {
				g.raw("VPDPWSSD", true, row[v], x, sum[r][v])
				continue
			}
			g.raw("VPMADDWD", false, row[v], x, p)
			g.VPADDD(p, sum[r][v], sum[r][v])
		}
	}
	g.advance(a, cs)
	g.DECQ(k)
	g.JNZ(operand.LabelRef("loop" + id))
	cr := g.rowsOf(c, ldc, nr)
	acc := g.GP8()
	g.Load(g.Param("acc"), acc)
	g.TESTB(acc, acc)
	g.JZ(operand.LabelRef("first" + id))
	for r := range sum {
		for v := range sum[r] {
			g.VPADDD(cr.at(r, v*g.width), sum[r][v], sum[r][v])
		}
	}
	g.Label("first" + id)
	for r := range sum {
		for v := range sum[r] {
			g.VMOVUPS(sum[r][v], cr.at(r, v*g.width))
		}
	}
	g.end()
}

// requant emits dst = saturated round(sum*factor) + zero for whole vectors, and quant the same of x/scale for floats.
func (g *gen) requant() {
	g.begin("requant", "(dst *byte, sums *int32, vecs int, factor, lo, hi float32, zero int32)",
		"is requantGeneric for vecs vectors: lo and hi are the limits without the zero point.")
	g.rounded("sums", "factor", func(m operand.Mem, f, v reg.VecVirtual) {
		g.VCVTDQ2PS(m, v)
		g.VMULPS(f, v, v)
	})
	g.begin("quant", "(dst *byte, x *float32, vecs int, scale, lo, hi float32, zero int32)",
		"is quantGeneric for vecs vectors: lo and hi are the limits without the zero point.")
	g.rounded("x", "scale", func(m operand.Mem, f, v reg.VecVirtual) {
		g.VMOVUPS(m, v)
		g.VDIVPS(f, v, v)
	})
	g.begin("round", "(dst *byte, x *float32, vecs int, factor, lo, hi float32, zero int32)",
		"is roundGeneric for vecs vectors: lo and hi are the limits without the zero point.")
	g.rounded("x", "factor", func(m operand.Mem, f, v reg.VecVirtual) {
		g.VMOVUPS(m, v)
		g.VMULPS(f, v, v)
	})
	for _, signed := range []bool{false, true} {
		g.dequant(signed)
		g.addCodes(signed)
	}
}

// rounded emits the body: value makes the float that is rounded.
func (g *gen) rounded(from, factor string, value func(m operand.Mem, f, v reg.VecVirtual)) {
	dst, src, n := g.param("dst"), g.param(from), g.param("vecs")
	f, lo, hi, z := g.parameter(factor), g.parameter("lo"), g.parameter("hi"), g.parameter("zero")
	g.Label("loop")
	v := g.vec()
	value(at(src, 0), f, v)
	g.VMAXPS(lo, v, v) // NaN: lo
	g.VMINPS(hi, v, v)
	g.VCVTPS2DQ(v, v)
	g.VPADDD(z, v, v)
	g.storeBytes(v, dst)
	g.ADDQ(operand.U32(g.lanes()), dst)
	g.ADDQ(operand.U32(g.width), src)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// storeBytes writes the low byte of each lane.
func (g *gen) storeBytes(v reg.VecVirtual, dst reg.Register) {
	if g.wide() {
		g.VPMOVDB(v, at(dst, 0))
	} else {
		// The low byte of each lane, gathered in each half and then put side by side.
		table := make([]int32, 8)
		for i := range table {
			table[i] = -2139062144 // 0x80808080: zero
			if i%4 == 0 {
				table[i] = 0x0c080400
			}
		}
		m, h := g.vec(), g.XMM()
		g.VMOVUPS(g.words("lowBytes", table), m)
		g.VPSHUFB(m, v, v)
		g.VEXTRACTI128(operand.U8(1), v, h)
		g.VPUNPCKLDQ(h, v.AsX(), h)
		g.VMOVQ(h, at(dst, 0))
	}
}

// addCodes emits dst = the codes nearest to a*ra + (b*rb + fixed), for whole vectors.
func (g *gen) addCodes(signed bool) {
	name, widen := "addCodesU", func(m, v operand.Op) { g.VPMOVZXBD(m, v) }
	if signed {
		name, widen = "addCodesS", func(m, v operand.Op) { g.VPMOVSXBD(m, v) }
	}
	g.begin(name, "(dst, a, b *byte, vecs int, ra, rb, fixed, lo, hi float32)", "is addCodesGeneric for vecs vectors.")
	dst, a, b, n := g.param("dst"), g.param("a"), g.param("b"), g.param("vecs")
	ra, rb, fixed, lo, hi := g.parameter("ra"), g.parameter("rb"), g.parameter("fixed"), g.parameter("lo"), g.parameter("hi")
	g.Label("loop")
	v, w := g.vec(), g.vec()
	widen(at(a, 0), v)
	widen(at(b, 0), w)
	g.VCVTDQ2PS(v, v)
	g.VCVTDQ2PS(w, w)
	g.VFMADD213PS(fixed, rb, w)
	g.VFMADD213PS(w, ra, v)
	g.VMAXPS(lo, v, v) // NaN: lo
	g.VMINPS(hi, v, v)
	g.VCVTPS2DQ(v, v)
	g.storeBytes(v, dst)
	for _, p := range []reg.GPVirtual{dst, a, b} {
		g.ADDQ(operand.U32(g.lanes()), p)
	}
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// dequant emits dst = (x - zero)*scale for whole vectors.
func (g *gen) dequant(signed bool) {
	name, widen := "dequantU", func(m, v operand.Op) { g.VPMOVZXBD(m, v) }
	if signed {
		name, widen = "dequantS", func(m, v operand.Op) { g.VPMOVSXBD(m, v) }
	}
	g.begin(name, "(dst *float32, x *byte, vecs int, scale, zero float32)", "is dequantGeneric for vecs vectors.")
	dst, x, n := g.param("dst"), g.param("x"), g.param("vecs")
	s, z := g.parameter("scale"), g.parameter("zero")
	g.Label("loop")
	v := g.vec()
	widen(at(x, 0), v)
	g.VCVTDQ2PS(v, v)
	g.VSUBPS(z, v, v)
	g.VMULPS(s, v, v)
	g.VMOVUPS(v, at(dst, 0))
	g.ADDQ(operand.U32(g.width), dst)
	g.ADDQ(operand.U32(g.lanes()), x)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}

// scaleSums emits dst = float(sums + less)*scale + bias for whole vectors.
func (g *gen) scaleSums() {
	g.begin("scaleSums", "(dst *float32, sums, less *int32, scale, bias *float32, vecs int)", "is scaleSumsGeneric for vecs vectors.")
	dst, sums, less, scale, bias, n := g.param("dst"), g.param("sums"), g.param("less"), g.param("scale"), g.param("bias"), g.param("vecs")
	off := g.GP64()
	g.XORQ(off, off)
	of := func(base reg.GPVirtual) operand.Mem { return indexed(base, off, 1, 0) }
	g.Label("loop")
	v := g.vec()
	g.VMOVUPS(of(sums), v)
	g.VPADDD(of(less), v, v)
	g.VCVTDQ2PS(v, v)
	g.VMULPS(of(scale), v, v)
	g.VADDPS(of(bias), v, v)
	g.VMOVUPS(v, of(dst))
	g.ADDQ(operand.U32(g.width), off)
	g.DECQ(n)
	g.JNZ(operand.LabelRef("loop"))
	g.end()
}
