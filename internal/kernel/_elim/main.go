// Command _elim writes the AVX2 forms of the elimination kernels, for float32 and float64:
//
//	go run . -out ../eliminate_amd64.s -stubs ../eliminate_stubs_amd64.go -pkg kernel
package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const tile = 16

// form is the instructions and sizes for one type of number.
type form struct {
	bits, size, lanes            int // size in bytes, lanes a vector
	greatest                     uint64
	broadcast, move, fnmadd      func(...Op)
	mul, add, sub, div, max, min func(...Op)
	and, blend, addIndex, spread func(...Op)
	round, compare               func(...Op)
	first                        Mem // the vector 0, 1, 2, ...
}

var single = form{
	bits: 32, size: 4, lanes: 8, greatest: 0x7f800000,
	broadcast: VBROADCASTSS, move: VMOVUPS, fnmadd: VFNMADD231PS,
	mul: VMULPS, add: VADDPS, sub: VSUBPS, div: VDIVPS, max: VMAXPS, min: VMINPS,
	and: VANDPS, blend: op4(VBLENDVPS), addIndex: VPADDD, spread: VPBROADCASTD,
	round: op3(VROUNDPS), compare: VCMPPS,
}

var double = form{
	bits: 64, size: 8, lanes: 4, greatest: 0x7ff0000000000000,
	broadcast: VBROADCASTSD, move: VMOVUPD, fnmadd: VFNMADD231PD,
	mul: VMULPD, add: VADDPD, sub: VSUBPD, div: VDIVPD, max: VMAXPD, min: VMINPD,
	and: VANDPD, blend: op4(VBLENDVPD), addIndex: VPADDQ, spread: VPBROADCASTQ,
	round: op3(VROUNDPD), compare: VCMPPD,
}

func op3(f func(a, b, c Op)) func(...Op)    { return func(o ...Op) { f(o[0], o[1], o[2]) } }
func op4(f func(a, b, c, d Op)) func(...Op) { return func(o ...Op) { f(o[0], o[1], o[2], o[3]) } }

func main() {
	ConstraintExpr("!noasm")
	for _, f := range []form{single, double} {
		f.data()
		f.update()
		f.step()
		f.cheapest()
		f.rounding()
	}
	Generate()
}

// text begins function name for the form; sig says T for its number and I for its index.
func (f form) text(name, sig, doc string) {
	name = fmt.Sprintf("%s%dAVX2", name, f.bits)
	sig = strings.NewReplacer("T", fmt.Sprintf("float%d", f.bits), "I", fmt.Sprintf("int%d", f.bits), "L", fmt.Sprint(f.lanes)).Replace(sig)
	TEXT(name, NOSPLIT, sig)
	Doc(name + " " + doc)
}

// row is the bytes of a tile row, vectors how many vectors it takes.
func (f form) row() int     { return tile * f.size }
func (f form) vectors() int { return tile / f.lanes }
func (f form) log() uint64  { return map[int]uint64{4: 6, 8: 7}[f.size] } // row() = 1 << log

// label makes names unique within a function.
func label(name string, i int) string { return name + string(rune('a'+i)) }

// update is elimUpdate: the 16 rows of a tile in strips of 6, 5 and 5 rows, two vectors wide, so that 10 to 12 sums hide
// the latency of the multiply-add.
func (f form) update() {
	f.text("elimUpdate", "func(dst, src, u *T, depth, t, tiles int)", "is elimUpdate.")
	dst, src, uj := Load(Param("dst"), GP64()), Load(Param("src"), GP64()), Load(Param("u"), GP64())
	depth, t, tiles := Load(Param("depth"), GP64()), Load(Param("t"), GP64()), Load(Param("tiles"), GP64())
	SHLQ(Imm(f.log()), depth) // bytes from one tile of the panel to the next
	ui := GP64()
	MOVQ(uj, ui)
	Label("tile")
	for half := range f.vectors() / 2 {
		at := 0
		for i, rows := range []int{6, 5, 5} {
			f.strip(3*half+i, at, rows, half*64, dst, src, ui, uj, t)
			at += rows
		}
	}
	ADDQ(depth, ui)
	ADDQ(U32(tile*f.row()), src)
	ADDQ(U32(tile*f.row()), dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

func (f form) strip(id, at, rows, disp int, dst, src, ui, uj, t reg.Register) {
	acc := make([][2]reg.VecVirtual, rows)
	for r := range acc {
		for h := range acc[r] {
			acc[r][h] = YMM()
			f.move(Mem{Base: src, Disp: (at+r)*f.row() + disp + 32*h}, acc[r][h])
		}
	}
	a, b, k := GP64(), GP64(), GP64()
	MOVQ(ui, a)
	MOVQ(uj, b)
	MOVQ(t, k)
	l := label("strip", id)
	Label(l)
	b0, b1, x := YMM(), YMM(), YMM()
	f.move(Mem{Base: b, Disp: disp}, b0)
	f.move(Mem{Base: b, Disp: disp + 32}, b1)
	for r := range acc {
		f.broadcast(Mem{Base: a, Disp: (at + r) * f.size}, x)
		f.fnmadd(b0, x, acc[r][0])
		f.fnmadd(b1, x, acc[r][1])
	}
	ADDQ(Imm(uint64(f.row())), a)
	ADDQ(Imm(uint64(f.row())), b)
	DECQ(k)
	JNZ(LabelRef(l))
	for r := range acc {
		for h := range acc[r] {
			f.move(acc[r][h], Mem{Base: dst, Disp: (at+r)*f.row() + disp + 32*h})
		}
	}
}

// step is elimStep over groups of eight vectors, then single tiles.
func (f form) step() {
	f.text("elimStep", "func(u *T, depth, t int, col, coef *T, inv, c T, diag, w *T, tiles int)", "is elimStep.")
	p := Load(Param("u"), GP64())
	depth, t := Load(Param("depth"), GP64()), Load(Param("t"), GP64())
	col, coef := Load(Param("col"), GP64()), Load(Param("coef"), GP64())
	diag, w := Load(Param("diag"), GP64()), Load(Param("w"), GP64())
	tiles := Load(Param("tiles"), GP64())
	inv, c := YMM(), YMM()
	ia, _ := Param("inv").Resolve()
	ca, _ := Param("c").Resolve()
	f.broadcast(ia.Addr, inv)
	f.broadcast(ca.Addr, c)
	SHLQ(Imm(f.log()), depth)
	for _, g := range []int{8 / f.vectors(), 1} {
		loop, end := label("group", g), label("end", g)
		Label(loop)
		CMPQ(tiles, Imm(uint64(g)))
		JL(LabelRef(end))
		f.group(g, p, depth, t, col, coef, diag, w, inv, c)
		SUBQ(Imm(uint64(g)), tiles)
		JMP(LabelRef(loop))
		Label(end)
	}
	VZEROUPPER()
	RET()
}

// group does g tiles.
func (f form) group(g int, p, depth, t, col, coef, diag, w reg.Register, inv, c reg.VecVirtual) {
	n := f.vectors()
	acc := make([]reg.VecVirtual, n*g)
	for i := range acc {
		acc[i] = YMM()
		f.move(Mem{Base: col, Disp: 32 * i}, acc[i])
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
	y := YMM()
	f.broadcast(Mem{Base: x}, y)
	for i := range acc {
		f.fnmadd(Mem{Base: at[i/n], Disp: i % n * 32}, y, acc[i])
	}
	for i := range at {
		ADDQ(Imm(uint64(f.row())), at[i])
	}
	ADDQ(Imm(uint64(f.size)), x)
	DECQ(k)
	JNZ(LabelRef(loop))
	Label(done)
	for i, v := range acc {
		y := YMM()
		f.mul(inv, v, v)
		f.move(v, Mem{Base: at[i/n], Disp: i % n * 32})
		f.move(Mem{Base: diag, Disp: 32 * i}, y)
		f.fnmadd(v, v, y)
		f.move(y, Mem{Base: diag, Disp: 32 * i})
		f.move(Mem{Base: w, Disp: 32 * i}, y)
		f.fnmadd(v, c, y)
		f.move(y, Mem{Base: w, Disp: 32 * i})
	}
	for _, q := range []reg.Register{col, diag, w} {
		ADDQ(U32(uint32(g*f.row())), q)
	}
}

const (
	lessThan    = 17 // ordered, quiet
	greaterThan = 30 // ordered, quiet
)

// extreme keeps, by lane, the first index of the least (or greatest) value seen.
type extreme struct {
	form
	value, index reg.VecVirtual
	predicate    uint64
}

// fill is a vector of one bit pattern.
func (f form) fill(bits uint64) reg.VecVirtual {
	v, x := YMM(), XMM()
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

func (f form) newExtreme(predicate, start uint64) extreme {
	e := extreme{f, f.fill(start), YMM(), predicate}
	VPCMPEQD(e.index, e.index, e.index)
	return e
}

func (e extreme) see(v, index reg.VecVirtual) {
	m := YMM()
	e.compare(Imm(e.predicate), e.value, v, m) // m = v < value
	e.blend(m, v, e.value, e.value)
	e.blend(m, index, e.index, e.index)
}

func (e extreme) store(value, index string) {
	e.move(e.value, Mem{Base: Load(Param(value), GP64())})
	e.move(e.index, Mem{Base: Load(Param(index), GP64())})
}

// counters are the vector 0, 1, 2, ... and the vector to add for the next ones.
func (f form) counters() (index, next reg.VecVirtual) {
	index, next = YMM(), f.fill(uint64(f.lanes))
	VMOVDQU(f.first, index)
	return index, next
}

// data lays down the vector 0, 1, 2, ...
func (f *form) data() {
	f.first = GLOBL(fmt.Sprintf("elimLanes%d", f.bits), RODATA|NOPTR)
	for i := range f.lanes {
		if f.bits == 32 {
			DATA(4*i, U32(uint32(i)))
		} else {
			DATA(8*i, U64(uint64(i)))
		}
	}
}

// cheapest is cheapestColumn, by lane.
func (f form) cheapest() {
	f.text("cheapestColumn", "func(w, diag, pen *T, n int, score *[L]T, at *[L]I)", "is cheapestColumn by lane.")
	w, diag, pen := Load(Param("w"), GP64()), Load(Param("diag"), GP64()), Load(Param("pen"), GP64())
	n, i := Load(Param("n"), GP64()), GP64()
	index, next := f.counters()
	best := f.newExtreme(lessThan, f.greatest)
	XORQ(i, i)
	Label("loop")
	x := YMM()
	mem := func(p reg.Register) Mem { return Mem{Base: p, Index: i, Scale: uint8(f.size)} }
	f.move(mem(w), x)
	f.mul(x, x, x)
	f.div(mem(diag), x, x)
	f.add(mem(pen), x, x)
	best.see(x, index)
	f.addIndex(next, index, index)
	ADDQ(Imm(uint64(f.lanes)), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	VZEROUPPER()
	RET()
}

// rounding is cheapestRounding, by lane.
func (f form) rounding() {
	f.text("cheapestRounding", "func(w, diag, pen, scale, inv, lo, hi *T, n int, score *[L]T, at *[L]I, steps *[L]T, far *[L]I)", "is cheapestRounding by lane.")
	ptr := map[string]reg.Register{}
	for _, name := range []string{"w", "diag", "pen", "scale", "inv", "lo", "hi"} {
		ptr[name] = Load(Param(name), GP64())
	}
	n, i := Load(Param("n"), GP64()), GP64()
	index, next := f.counters()
	signBit := uint64(1) << (f.bits - 1)
	best, far := f.newExtreme(lessThan, f.greatest), f.newExtreme(greaterThan, f.greatest|signBit)
	noSign := f.fill(signBit - 1)
	XORQ(i, i)
	Label("loop")
	mem := func(name string) Mem { return Mem{Base: ptr[name], Index: i, Scale: uint8(f.size)} }
	w, inv, q, e, pen := YMM(), YMM(), YMM(), YMM(), YMM()
	f.move(mem("w"), w)
	f.move(mem("inv"), inv)
	f.move(mem("pen"), pen)
	f.mul(inv, w, q)
	f.round(Imm(0), q, q)
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
	ADDQ(Imm(uint64(f.lanes)), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	best.store("score", "at")
	far.store("steps", "far")
	VZEROUPPER()
	RET()
}
