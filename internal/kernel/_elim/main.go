// Command _elim writes the AVX2 and AVX-512 forms of the elimination kernels, for float32 and float64:
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

// form is the instructions and sizes for one type of number and one width of vectors.
type form struct {
	bits, size                 int // size in bytes
	width                      int // bytes of a vector
	broadcast, move            func(...Op)
	fnmadd, fnmaddEach         func(...Op) // fnmaddEach multiplies by one number in memory; AVX-512 only
	mul, add, sub, div         func(...Op)
	max, min, and, sqrt        func(...Op)
	addIndex, spread           func(...Op)
	compare                    func(...Op)
	round, blend               func(...Op) // AVX2
	roundWide, moveIndex, keep func(...Op) // AVX-512: keep moves by mask
	first                      Mem         // the vector 0, 1, 2, ...
}

var single = form{
	bits: 32, size: 4,
	broadcast: VBROADCASTSS, move: VMOVUPS, fnmadd: VFNMADD231PS, fnmaddEach: VFNMADD231PS_BCST,
	mul: VMULPS, add: VADDPS, sub: VSUBPS, div: VDIVPS, max: VMAXPS, min: VMINPS, and: VANDPS, sqrt: VSQRTPS,
	addIndex: VPADDD, spread: VPBROADCASTD, compare: VCMPPS,
	round: op3(VROUNDPS), blend: op4(VBLENDVPS), roundWide: VRNDSCALEPS, moveIndex: VMOVDQA32, keep: VMOVAPS,
}

var double = form{
	bits: 64, size: 8,
	broadcast: VBROADCASTSD, move: VMOVUPD, fnmadd: VFNMADD231PD, fnmaddEach: VFNMADD231PD_BCST,
	mul: VMULPD, add: VADDPD, sub: VSUBPD, div: VDIVPD, max: VMAXPD, min: VMINPD, and: VANDPD, sqrt: VSQRTPD,
	addIndex: VPADDQ, spread: VPBROADCASTQ, compare: VCMPPD,
	round: op3(VROUNDPD), blend: op4(VBLENDVPD), roundWide: VRNDSCALEPD, moveIndex: VMOVDQA64, keep: VMOVAPD,
}

func op3(f func(a, b, c Op)) func(...Op)    { return func(o ...Op) { f(o[0], o[1], o[2]) } }
func op4(f func(a, b, c, d Op)) func(...Op) { return func(o ...Op) { f(o[0], o[1], o[2], o[3]) } }

func main() {
	ConstraintExpr("!noasm")
	for _, f := range []form{single, double} {
		f.data()
		for _, width := range []int{32, 64} {
			f.width = width
			f.update()
			f.step()
			f.stepFour()
			f.cheapest()
			f.rounding()
			f.blockStep()
			f.blockScore()
			if f.bits == 32 && f.wide() {
				f.cheapestFour()
			}
		}
	}
	split()
	guess, share, series := gridData()
	for _, width := range []int{32, 64} {
		f := single
		f.width = width
		f.gridErrors(guess, share, series)
		f.blockFour()
		f.getFour()
		f.putFour()
	}
	Generate()
}

// text begins function name for the form; sig says T for its number and I for its index.
func (f form) text(name, sig string) {
	full := fmt.Sprintf("%s%d%s", name, f.bits, map[int]string{32: "AVX2", 64: "AVX512"}[f.width])
	sig = strings.NewReplacer("T", fmt.Sprintf("float%d", f.bits), "I", fmt.Sprintf("int%d", f.bits), "L", fmt.Sprint(f.lanes())).Replace(sig)
	TEXT(full, NOSPLIT, sig)
	Pragma("noescape")
	Doc(full + " is " + name + "Generic.")
}

func (f form) end() {
	VZEROUPPER()
	RET()
}

func (f form) wide() bool { return f.width == 64 }

func (f form) vec() reg.VecVirtual {
	if f.wide() {
		return ZMM()
	}
	return YMM()
}

func (f form) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = f.vec()
	}
	return v
}

// row is the bytes of a tile row, vectors how many vectors it takes, lanes the numbers in one.
func (f form) row() int     { return tile * f.size }
func (f form) vectors() int { return f.row() / f.width }
func (f form) lanes() int   { return f.width / f.size }
func (f form) log() uint64  { return map[int]uint64{4: 6, 8: 7}[f.size] } // row() = 1 << log

// at is vector i of the tile row at p.
func (f form) at(p reg.Register, i int) Mem { return Mem{Base: p, Disp: i * f.width} }

// next moves p to the next tile row.
func (f form) next(p reg.Register) { ADDQ(U32(uint32(f.row())), p) }

// label makes names unique within a function.
func label(name string, i int) string { return name + string(rune('a'+i)) }

// update is elimUpdate. AVX2 takes the 16 rows of a tile in strips of 6, 5 and 5 rows, two vectors wide, so that 10 to 12
// sums hide the latency of the multiply-add; AVX-512 has room for all rows of one vector.
func (f form) update() {
	f.text("elimUpdate", "func(dst, src, u, uq *T, depth, t, tiles int)")
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	ui, uj := Load(Param("u"), GP64()), Load(Param("uq"), GP64())
	depth, t, tiles := Load(Param("depth"), GP64()), Load(Param("t"), GP64()), Load(Param("tiles"), GP64())
	SHLQ(Imm(f.log()), depth) // bytes from one tile of the panel to the next
	Label("tile")
	strips, vectors := []int{6, 5, 5}, 2
	if f.wide() {
		strips, vectors = []int{16}, 1
	}
	id := 0
	for v := 0; v < f.vectors(); v += vectors {
		at := 0
		for _, rows := range strips {
			f.strip(id, at, rows, vectors, v*f.width, dst, src, ui, uj, t)
			at += rows
			id++
		}
	}
	ADDQ(depth, ui)
	ADDQ(U32(uint32(tile*f.row())), src)
	ADDQ(U32(uint32(tile*f.row())), dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	f.end()
}

func (f form) strip(id, at, rows, vectors, disp int, dst, src, ui, uj, t reg.Register) {
	acc := make([][]reg.VecVirtual, rows)
	place := func(p reg.Register, r, h int) Mem { return Mem{Base: p, Disp: (at+r)*f.row() + disp + f.width*h} }
	for r := range acc {
		acc[r] = f.vecs(vectors)
		for h := range acc[r] {
			f.move(place(src, r, h), acc[r][h])
		}
	}
	a, b, k := GP64(), GP64(), GP64()
	MOVQ(ui, a)
	MOVQ(uj, b)
	MOVQ(t, k)
	l := label("strip", id)
	Label(l)
	right := f.vecs(vectors)
	for h := range right {
		f.move(Mem{Base: b, Disp: disp + f.width*h}, right[h])
	}
	for r := range acc {
		m := Mem{Base: a, Disp: (at + r) * f.size}
		if f.wide() {
			f.fnmaddEach(m, right[0], acc[r][0])
			continue
		}
		x := f.vec()
		f.broadcast(m, x)
		for h := range right {
			f.fnmadd(right[h], x, acc[r][h])
		}
	}
	f.next(a)
	f.next(b)
	DECQ(k)
	JNZ(LabelRef(l))
	for r := range acc {
		for h := range acc[r] {
			f.move(acc[r][h], place(dst, r, h))
		}
	}
}

// step is elimStep over groups of eight vectors, then fewer.
func (f form) step() {
	f.text("elimStep", "func(u *T, depth, t int, col, coef *T, inv, c T, diag, w *T, tiles int)")
	p := Load(Param("u"), GP64())
	depth, t := Load(Param("depth"), GP64()), Load(Param("t"), GP64())
	col, coef := Load(Param("col"), GP64()), Load(Param("coef"), GP64())
	diag, w := Load(Param("diag"), GP64()), Load(Param("w"), GP64())
	tiles := Load(Param("tiles"), GP64())
	inv, c := f.vec(), f.vec()
	ia, _ := Param("inv").Resolve()
	ca, _ := Param("c").Resolve()
	f.broadcast(ia.Addr, inv)
	f.broadcast(ca.Addr, c)
	SHLQ(Imm(f.log()), depth)
	for g := 8 / f.vectors(); g >= 1; g /= 2 {
		loop, end := label("group", g), label("end", g)
		Label(loop)
		CMPQ(tiles, Imm(uint64(g)))
		JL(LabelRef(end))
		f.group(g, p, depth, t, col, coef, diag, w, inv, c)
		SUBQ(Imm(uint64(g)), tiles)
		JMP(LabelRef(loop))
		Label(end)
	}
	f.end()
}

// group does g tiles. Their panels are depth apart: a pointer for each four of them, and three times depth, reach all.
func (f form) group(g int, p, depth, t, col, coef, diag, w reg.Register, inv, c reg.VecVirtual) {
	n := f.vectors()
	acc := f.vecs(n * g)
	for i := range acc {
		f.move(f.at(col, i), acc[i])
	}
	base := []reg.GPVirtual{GP64()}
	MOVQ(p, base[0])
	three := GP64()
	LEAQ(Mem{Base: depth, Index: depth, Scale: 2}, three)
	if g > 4 {
		base = append(base, GP64())
		LEAQ(Mem{Base: p, Index: depth, Scale: 4}, base[1])
	}
	at := func(i int) Mem {
		m := Mem{Base: base[i/n/4], Disp: i % n * f.width}
		switch i / n % 4 {
		case 1, 2:
			m.Index, m.Scale = depth, uint8(i/n%4)
		case 3:
			m.Index, m.Scale = three, 1
		}
		return m
	}
	k, x := GP64(), GP64()
	MOVQ(coef, x)
	MOVQ(t, k)
	loop, done := label("sum", g), label("sumEnd", g)
	TESTQ(k, k)
	JZ(LabelRef(done))
	Label(loop)
	y := f.vec()
	f.broadcast(Mem{Base: x}, y)
	for i := range acc {
		f.fnmadd(at(i), y, acc[i])
	}
	for _, b := range base {
		f.next(b)
	}
	ADDQ(Imm(uint64(f.size)), x)
	DECQ(k)
	JNZ(LabelRef(loop))
	Label(done)
	for i, v := range acc {
		y := f.vec()
		f.mul(inv, v, v)
		f.move(v, at(i))
		f.move(f.at(diag, i), y)
		f.fnmadd(v, v, y)
		f.move(y, f.at(diag, i))
		f.move(f.at(w, i), y)
		f.fnmadd(v, c, y)
		f.move(y, f.at(w, i))
	}
	for _, q := range []reg.Register{col, diag, w} {
		ADDQ(U32(uint32(g*f.row())), q)
	}
	for range g {
		ADDQ(depth, p)
	}
}
