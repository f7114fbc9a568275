package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// float selects the instructions of an element type.
type float struct {
	*gen
	size int // bytes of an element
}

func (f float) load(m operand.Op, v reg.Register) {
	if f.size == 4 {
		f.VMOVUPS(m, v)
	} else {
		f.VMOVUPD(m, v)
	}
}

func (f float) broadcast(m operand.Op, v reg.Register) {
	if f.size == 4 {
		f.VBROADCASTSS(m, v)
	} else {
		f.VBROADCASTSD(m, v)
	}
}

func (f float) fma(x, y, sum reg.Register) {
	if f.size == 4 {
		f.VFMADD231PS(x, y, sum)
	} else {
		f.VFMADD231PD(x, y, sum)
	}
}

func (f float) add(x operand.Op, y, sum reg.Register) {
	if f.size == 4 {
		f.VADDPS(x, y, sum)
	} else {
		f.VADDPD(x, y, sum)
	}
}

// tileOf returns the largest tile of a width: rows and vectors, such that accumulators, one row of B and a broadcast fit into 16
// or 32 registers.
func tileOf(width int) (rows, vecs int) {
	if width == 64 {
		return 8, 3
	}
	return 6, 2
}

// gemm emits the micro-kernels of both element types.
func gemm(g *gen) {
	g.micro("sgemm", 4)
	g.micro("dgemm", 8)
	g.stack()
	g.narrow()
	g.addWide()
	g.widen()
	if !g.wide() {
		g.transpose8()
	}
}

// micro emits one function with a code path for each number of rows and vectors.
func (g *gen) micro(name string, size int) {
	mr, nv := tileOf(g.width)
	t := fmt.Sprintf("*float%d", size*8)
	g.begin(name, fmt.Sprintf("(rows, vecs, k int, a %[1]s, rs, cs int, b %[1]s, bs int, c %[1]s, ldc int, acc bool, e *byte)", t),
		"computes a tile of rows x vecs vectors: see microFunc. Strides count elements.")
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
			g.tile(float{g, size}, rows, vecs)
			if rows > 1 {
				g.Label(fewer)
			}
		}
		if vecs > 1 {
			g.Label(next)
		}
	}
}

// stack emits the loop over full tiles below each other: what leads to a tile and back takes as long as ten of its steps.
func (g *gen) stack() {
	mr, nv := tileOf(g.width)
	g.begin("sgemmStack", "(n, vecs, k int, a *float32, rs, cs, step int, b *float32, bs int, c *float32, ldc int, acc bool, e *byte)",
		fmt.Sprintf("computes n tiles of %d rows x vecs vectors: see stackFunc. Strides count elements. It counts in its parameters and in e.", mr))
	v := g.param("vecs")
	for vecs := nv; vecs >= 1; vecs-- {
		if vecs > 1 {
			g.CMPQ(v, operand.U32(vecs))
			g.JNE(operand.LabelRef(fmt.Sprintf("narrower%d", vecs)))
		}
		again, last := fmt.Sprintf("tile%d", vecs), fmt.Sprintf("last%d", vecs)
		g.Label(again)
		ldc := g.tileBody(float{g, 4}, mr, vecs)
		n, d, e := g.param("n"), g.GP64(), g.param("e")
		g.DECQ(n)
		g.JZ(operand.LabelRef(last))
		g.MOVQ(n, g.place("n"))
		g.Load(g.Param("step"), d)
		g.SHLQ(operand.U8(2), d)
		g.ADDQ(d, g.place("a"))
		g.IMUL3Q(operand.U32(mr), ldc, d)
		g.ADDQ(d, g.place("c"))
		g.TESTQ(e, e)
		g.JZ(operand.LabelRef(again))
		for _, field := range []struct {
			at int
			by operand.Op
		}{{0, operand.U32(4 * mr)}, {24, d}} {
			next := fmt.Sprintf("without%dx%d", field.at, vecs)
			g.CMPQ(at(e, field.at), operand.U8(0))
			g.JE(operand.LabelRef(next))
			g.ADDQ(field.by, at(e, field.at))
			g.Label(next)
		}
		g.JMP(operand.LabelRef(again))
		g.Label(last)
		g.end()
		if vecs > 1 {
			g.Label(fmt.Sprintf("narrower%d", vecs))
		}
	}
}

// place is where a parameter lies.
func (g *gen) place(name string) operand.Mem {
	b, err := g.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// tile emits the code of one tile shape, with its return.
func (g *gen) tile(f float, nr, nv int) {
	g.tileBody(f, nr, nv)
	g.end()
}

// tileBody emits the code of one tile shape and returns the register that holds the bytes from one row of C to the next.
func (g *gen) tileBody(f float, nr, nv int) (ldc reg.GPVirtual) {
	id := fmt.Sprintf("%dx%d", nr, nv)
	shift := operand.U8(2)
	if f.size == 8 {
		shift = 3
	}
	stride := func(name string) reg.GPVirtual {
		r := g.param(name)
		g.SHLQ(shift, r)
		return r
	}
	k, b, rs, cs, bs := g.param("k"), g.param("b"), stride("rs"), stride("cs"), stride("bs")
	a := g.rowsOf(g.param("a"), rs, nr)
	c := g.param("c")
	ldc = stride("ldc")
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
	g.Label("loop" + id)
	for v := range row {
		f.load(at(b, v*g.width), row[v])
	}
	g.ADDQ(bs, b)
	for r := range sum {
		f.broadcast(a.at(r, 0), x)
		for v := range row {
			f.fma(x, row[v], sum[r][v])
		}
	}
	g.advance(a, cs)
	g.DECQ(k)
	g.JNZ(operand.LabelRef("loop" + id))
	cr := g.rowsOf(c, ldc, nr)
	g.accumulate(f, id, sum, cr)
	if f.size == 4 {
		g.epilogue(id, sum, x, ldc)
	}
	for r := range sum {
		for v := range row {
			if f.size == 4 {
				g.VMOVUPS(sum[r][v], cr.at(r, v*g.width))
			} else {
				g.VMOVUPD(sum[r][v], cr.at(r, v*g.width))
			}
		}
	}
	return ldc
}

// accumulate adds what C holds, if acc.
func (g *gen) accumulate(f float, id string, sum [][]reg.VecVirtual, c rows) {
	acc := g.GP8()
	g.Load(g.Param("acc"), acc)
	g.TESTB(acc, acc)
	g.JZ(operand.LabelRef("first" + id))
	for r := range sum {
		for v := range sum[r] {
			f.add(c.at(r, v*g.width), sum[r][v], sum[r][v])
		}
	}
	g.Label("first" + id)
}

// epilogue applies biases, addend and limits: the fields of tail are row, col, lo, hi and add, whose rows are ldc bytes apart.
func (g *gen) epilogue(id string, sum [][]reg.VecVirtual, x reg.VecVirtual, ldc reg.GPVirtual) {
	e, p := g.param("e"), g.GP64()
	g.TESTQ(e, e)
	g.JZ(operand.LabelRef("store" + id))
	g.MOVQ(at(e, 0), p)
	g.TESTQ(p, p)
	g.JZ(operand.LabelRef("norow" + id))
	for r := range sum {
		g.VBROADCASTSS(at(p, 4*r), x)
		for _, s := range sum[r] {
			g.VADDPS(x, s, s)
		}
	}
	g.Label("norow" + id)
	g.MOVQ(at(e, 8), p)
	g.TESTQ(p, p)
	g.JZ(operand.LabelRef("nocol" + id))
	for v := range sum[0] {
		g.VMOVUPS(at(p, v*g.width), x)
		for r := range sum {
			g.VADDPS(x, sum[r][v], sum[r][v])
		}
	}
	g.Label("nocol" + id)
	g.MOVQ(at(e, 24), p)
	g.TESTQ(p, p)
	g.JZ(operand.LabelRef("noadd" + id))
	add := g.rowsOf(p, ldc, len(sum))
	for r := range sum {
		for v, s := range sum[r] {
			g.VADDPS(add.at(r, v*g.width), s, s)
		}
	}
	g.Label("noadd" + id)
	// The second operand (first in Go's order) is the result if either is NaN.
	g.VBROADCASTSS(at(e, 16), x)
	for _, row := range sum {
		for _, s := range row {
			g.VMAXPS(s, x, s)
		}
	}
	g.VBROADCASTSS(at(e, 20), x)
	for _, row := range sum {
		for _, s := range row {
			g.VMINPS(s, x, s)
		}
	}
	g.Label("store" + id)
}

// narrowCols is the most columns that narrow takes.
const narrowCols = 4

// narrow emits the product of packed panels of A with a few columns.
func (g *gen) narrow() {
	mr, _ := tileOf(g.width)
	g.begin("sgemmNarrow", "(cols, k int, a *float32, step int, b *float32, bs int, out *float32)",
		fmt.Sprintf("sets out[8*(p*cols+j)+i] to the product of row i of panel p of A, step elements from one to the next, of %d rows, with column j; p < max(1, 4/cols).", mr))
	step, bs := g.param("step"), g.param("bs")
	g.SHLQ(operand.U8(2), step)
	g.SHLQ(operand.U8(2), bs)
	g.rowLanes(4*mr, step, bs, func(row, column, sum reg.VecVirtual) { g.VFMADD231PS(row, column, sum) })
}

// rowLanes emits the kernels for few columns: the lanes are the rows. Panels of A, rowBytes long for each k and step bytes apart, are taken
// together; add adds the product of eight rows with an element of a column to a sum.
func (g *gen) rowLanes(rowBytes int, step, bs reg.GPVirtual, add func(row, column, sum reg.VecVirtual)) {
	cols, k, a, b := g.param("cols"), g.param("k"), g.param("a"), g.param("b")
	thrice := g.GP64()
	g.LEAQ(indexed(step, step, 2, 0), thrice)
	for n := narrowCols; n >= 1; n-- {
		next := fmt.Sprintf("narrower%d", n)
		if n > 1 {
			g.CMPQ(cols, operand.U32(n))
			g.JNE(operand.LabelRef(next))
		}
		panels := []operand.Mem{at(a, 0), indexed(a, step, 1, 0), indexed(a, step, 2, 0), indexed(a, thrice, 1, 0)}[:max(1, narrowCols/n)] // so many sums hide the latency of additions
		sum := make([][]reg.VecVirtual, len(panels))
		for p := range sum {
			for range n {
				v := g.YMM()
				g.VXORPS(v, v, v)
				sum[p] = append(sum[p], v)
			}
		}
		column := make([]reg.VecVirtual, n)
		for j := range column {
			column[j] = g.YMM()
		}
		x, loop := g.YMM(), fmt.Sprintf("loop%d", n)
		g.Label(loop)
		for j := range column {
			g.VBROADCASTSS(at(b, 4*j), column[j])
		}
		for p, m := range panels {
			g.VMOVUPS(m, x)
			for j := range column {
				add(x, column[j], sum[p][j])
			}
		}
		g.ADDQ(bs, b)
		g.ADDQ(operand.U32(rowBytes), a)
		g.DECQ(k)
		g.JNZ(operand.LabelRef(loop))
		out := g.param("out")
		for p := range panels {
			for j := range column {
				g.VMOVUPS(sum[p][j], at(out, 32*(p*n+j)))
			}
		}
		g.end()
		if n > 1 {
			g.Label(next)
		}
	}
}

// addWide emits h += x for float64 sums of float32 terms, widen h = x.
func (g *gen) addWide() { g.toWide("addWide", true) }
func (g *gen) widen()   { g.toWide("widen", false) }

func (g *gen) toWide(name string, add bool) {
	g.begin(name, "(h []float64, x []float32)", "is "+name+"Generic.")
	h, x, n := g.param("h"), g.param("x"), g.length("x")
	half := g.lanes() / 2
	g.Label("loop")
	g.CMPQ(n, operand.U32(half))
	g.JL(operand.LabelRef("tail"))
	v := g.vec()
	g.VCVTPS2PD(at(x, 0), v)
	if add {
		g.VADDPD(at(h, 0), v, v)
	}
	g.VMOVUPD(v, at(h, 0))
	g.ADDQ(operand.U32(g.width), h)
	g.ADDQ(operand.U32(g.width/2), x)
	g.SUBQ(operand.U32(half), n)
	g.JMP(operand.LabelRef("loop"))
	g.Label("tail")
	g.TESTQ(n, n)
	g.JZ(operand.LabelRef("done"))
	s := g.XMM()
	g.VXORPS(s, s, s)
	g.VCVTSS2SD(at(x, 0), s, s)
	if add {
		g.VADDSD(at(h, 0), s, s)
	}
	g.VMOVSD(s, at(h, 0))
	g.ADDQ(operand.U32(8), h)
	g.ADDQ(operand.U32(4), x)
	g.DECQ(n)
	g.JMP(operand.LabelRef("tail"))
	g.Label("done")
	g.end()
}
