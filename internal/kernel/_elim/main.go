// Command _elim writes the AVX2 forms of the elimination kernels: go run . -out ../eliminate_amd64.s -stubs ../eliminate_stubs_amd64.go -pkg kernel
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	tile = 16
	row  = tile * 4 // bytes of one tile row
)

func main() {
	ConstraintExpr("!noasm")
	update()
	step()
	column()
	rounding()
	Generate()
}

// label makes names unique within a function.
func label(name string, i int) string { return name + string(rune('a'+i)) }

// update is elimUpdate: the 16 rows of a tile in strips of 6, 5 and 5, two vectors a row, so that 10 to 12 sums hide the
// latency of the multiply-add.
func update() {
	TEXT("elimUpdateAVX2", NOSPLIT, "func(dst, src, u *float32, depth, t, tiles int)")
	Doc("elimUpdateAVX2 is elimUpdate.")
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	uj := Load(Param("u"), GP64())
	depth, t, tiles := Load(Param("depth"), GP64()), Load(Param("t"), GP64()), Load(Param("tiles"), GP64())
	SHLQ(Imm(6), depth) // bytes from one tile of the panel to the next
	ui := GP64()
	MOVQ(uj, ui)
	Label("tile")
	at := 0
	for i, rows := range []int{6, 5, 5} {
		strip(i, at, rows, dst, src, ui, uj, t)
		at += rows
	}
	ADDQ(depth, ui)
	ADDQ(U32(tile*row), src)
	ADDQ(U32(tile*row), dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

func strip(id, at, rows int, dst, src, ui, uj, t reg.Register) {
	acc := make([][2]reg.VecVirtual, rows)
	for r := range acc {
		for h := range acc[r] {
			acc[r][h] = YMM()
			VMOVUPS(Mem{Base: src, Disp: (at+r)*row + 32*h}, acc[r][h])
		}
	}
	a, b, k := GP64(), GP64(), GP64()
	MOVQ(ui, a)
	MOVQ(uj, b)
	MOVQ(t, k)
	l := label("strip", id)
	Label(l)
	b0, b1, f := YMM(), YMM(), YMM()
	VMOVUPS(Mem{Base: b}, b0)
	VMOVUPS(Mem{Base: b, Disp: 32}, b1)
	for r := range acc {
		VBROADCASTSS(Mem{Base: a, Disp: (at + r) * 4}, f)
		VFNMADD231PS(b0, f, acc[r][0])
		VFNMADD231PS(b1, f, acc[r][1])
	}
	ADDQ(Imm(row), a)
	ADDQ(Imm(row), b)
	DECQ(k)
	JNZ(LabelRef(l))
	for r := range acc {
		for h := range acc[r] {
			VMOVUPS(acc[r][h], Mem{Base: dst, Disp: (at+r)*row + 32*h})
		}
	}
}

// step is elimStep over groups of four tiles, then single tiles.
func step() {
	TEXT("elimStepAVX2", NOSPLIT, "func(u *float32, depth, t int, col, coef *float32, inv, c float32, diag, w *float32, tiles int)")
	Doc("elimStepAVX2 is elimStep.")
	p := Load(Param("u"), GP64())
	depth, t := Load(Param("depth"), GP64()), Load(Param("t"), GP64())
	col, coef := Load(Param("col"), GP64()), Load(Param("coef"), GP64())
	diag, w := Load(Param("diag"), GP64()), Load(Param("w"), GP64())
	tiles := Load(Param("tiles"), GP64())
	inv, c := YMM(), YMM()
	ia, _ := Param("inv").Resolve()
	ca, _ := Param("c").Resolve()
	VBROADCASTSS(ia.Addr, inv)
	VBROADCASTSS(ca.Addr, c)
	SHLQ(Imm(6), depth)
	for _, g := range []int{4, 1} {
		loop, end := label("group", g), label("end", g)
		Label(loop)
		CMPQ(tiles, Imm(uint64(g)))
		JL(LabelRef(end))
		group(g, p, depth, t, col, coef, diag, w, inv, c)
		SUBQ(Imm(uint64(g)), tiles)
		JMP(LabelRef(loop))
		Label(end)
	}
	VZEROUPPER()
	RET()
}

func group(g int, p, depth, t, col, coef, diag, w reg.Register, inv, c reg.VecVirtual) {
	acc := make([]reg.VecVirtual, 2*g)
	for i := range acc {
		acc[i] = YMM()
		VMOVUPS(Mem{Base: col, Disp: 32 * i}, acc[i])
	}
	at := make([]reg.GPVirtual, g)
	for i := range at {
		at[i] = GP64()
		MOVQ(p, at[i])
		ADDQ(depth, p)
	}
	k, x := GP64(), GP64()
	MOVQ(coef, x)
	MOVQ(t, k)
	loop, done := label("sum", g), label("sumEnd", g)
	TESTQ(k, k)
	JZ(LabelRef(done))
	Label(loop)
	f := YMM()
	VBROADCASTSS(Mem{Base: x}, f)
	for i := range acc {
		VFNMADD231PS(Mem{Base: at[i/2], Disp: i % 2 * 32}, f, acc[i])
	}
	for i := range at {
		ADDQ(Imm(row), at[i])
	}
	ADDQ(Imm(4), x)
	DECQ(k)
	JNZ(LabelRef(loop))
	Label(done)
	for i := range acc {
		v, y := acc[i], YMM()
		VMULPS(inv, v, v)
		VMOVUPS(v, Mem{Base: at[i/2], Disp: i % 2 * 32})
		VMOVUPS(Mem{Base: diag, Disp: 32 * i}, y)
		VFNMADD231PS(v, v, y)
		VMOVUPS(y, Mem{Base: diag, Disp: 32 * i})
		VMOVUPS(Mem{Base: w, Disp: 32 * i}, y)
		VFNMADD231PS(v, c, y)
		VMOVUPS(y, Mem{Base: w, Disp: 32 * i})
	}
	for _, q := range []reg.Register{col, diag, w} {
		ADDQ(U32(g*row), q)
	}
}

// extreme keeps, by lane, the first index of the least (or greatest) value seen.
type extreme struct {
	value, index reg.VecVirtual
	predicate    uint64
}

func newExtreme(predicate uint64, startBits uint32) extreme {
	e := extreme{YMM(), YMM(), predicate}
	g := GP32()
	MOVL(U32(startBits), g)
	x := XMM()
	VMOVD(g, x)
	VPBROADCASTD(x, e.value)
	VPCMPEQD(e.index, e.index, e.index)
	return e
}

func (e extreme) see(v, index reg.VecVirtual) {
	m := YMM()
	VCMPPS(Imm(e.predicate), e.value, v, m) // m = v < value
	VBLENDVPS(m, v, e.value, e.value)
	VBLENDVPS(m, index, e.index, e.index)
}

func (e extreme) store(value, index string) {
	VMOVUPS(e.value, Mem{Base: Load(Param(value), GP64())})
	VMOVUPS(e.index, Mem{Base: Load(Param(index), GP64())})
}

var laneData Mem

const (
	lessThan    = 17 // LT, ordered, quiet
	greaterThan = 30 // GT, ordered, quiet
)

// column is cheapestColumn, by lane.
func column() {
	laneData = GLOBL("elimLanes", RODATA|NOPTR)
	for i := range 8 {
		DATA(i*4, U32(uint32(i)))
	}
	TEXT("cheapestColumnAVX2", NOSPLIT, "func(w, diag, pen *float32, n int, score *[8]float32, at *[8]int32)")
	Doc("cheapestColumnAVX2 is cheapestColumn for each of 8 lanes.")
	w, diag, pen := Load(Param("w"), GP64()), Load(Param("diag"), GP64()), Load(Param("pen"), GP64())
	n, i := Load(Param("n"), GP64()), GP64()
	index, eight := counters()
	best := newExtreme(lessThan, 0x7f800000)
	XORQ(i, i)
	Label("loop")
	x := YMM()
	VMOVUPS(Mem{Base: w, Index: i, Scale: 4}, x)
	VMULPS(x, x, x)
	VDIVPS(Mem{Base: diag, Index: i, Scale: 4}, x, x)
	VADDPS(Mem{Base: pen, Index: i, Scale: 4}, x, x)
	best.see(x, index)
	VPADDD(eight, index, index)
	ADDQ(Imm(8), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	VZEROUPPER()
	RET()
}

func counters() (index, eight reg.VecVirtual) {
	index, eight = YMM(), YMM()
	VMOVDQU(laneData, index)
	g, x := GP32(), XMM()
	MOVL(U32(8), g)
	VMOVD(g, x)
	VPBROADCASTD(x, eight)
	return index, eight
}

// rounding is cheapestRounding, by lane.
func rounding() {
	TEXT("cheapestRoundingAVX2", NOSPLIT, "func(w, diag, pen, scale, inv, lo, hi *float32, n int, score *[8]float32, at *[8]int32, steps *[8]float32, far *[8]int32)")
	Doc("cheapestRoundingAVX2 is cheapestRounding for each of 8 lanes.")
	ptr := map[string]reg.Register{}
	for _, name := range []string{"w", "diag", "pen", "scale", "inv", "lo", "hi"} {
		ptr[name] = Load(Param(name), GP64())
	}
	n, i := Load(Param("n"), GP64()), GP64()
	index, eight := counters()
	best, far := newExtreme(lessThan, 0x7f800000), newExtreme(greaterThan, 0xff800000)
	noSign, g, x0 := YMM(), GP32(), XMM()
	MOVL(U32(0x7fffffff), g)
	VMOVD(g, x0)
	VPBROADCASTD(x0, noSign)
	XORQ(i, i)
	Label("loop")
	mem := func(name string) Mem { return Mem{Base: ptr[name], Index: i, Scale: 4} }
	w, inv, q, e, pen := YMM(), YMM(), YMM(), YMM(), YMM()
	VMOVUPS(mem("w"), w)
	VMOVUPS(mem("inv"), inv)
	VMOVUPS(mem("pen"), pen)
	VMULPS(inv, w, q)
	VROUNDPS(Imm(0), q, q)
	VMAXPS(mem("lo"), q, q)
	VMINPS(mem("hi"), q, q)
	VMULPS(mem("scale"), q, q)
	VSUBPS(q, w, e)
	VMULPS(e, e, q)
	VDIVPS(mem("diag"), q, q)
	VADDPS(pen, q, q)
	best.see(q, index)
	VANDPS(noSign, e, e)
	VMULPS(inv, e, e)
	VSUBPS(pen, e, e)
	far.see(e, index)
	VPADDD(eight, index, index)
	ADDQ(Imm(8), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	far.store("steps", "far")
	VZEROUPPER()
	RET()
}
