package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// stepFour is elimStepFour, two vectors of each of the four columns at a time: eight sums hide the latency of the multiply-add, and a
// vector of the panel that has been loaded serves four of them.
func (f form) stepFour() {
	f.text("elimStepFour", "func(u *T, depth, t int, col *T, n int, coef, diag, w *T, tiles int)")
	p := Load(Param("u"), GP64())
	depth, t := Load(Param("depth"), GP64()), Load(Param("t"), GP64())
	col, n := Load(Param("col"), GP64()), Load(Param("n"), GP64())
	coef, diag, w := Load(Param("coef"), GP64()), Load(Param("diag"), GP64()), Load(Param("w"), GP64())
	tiles := Load(Param("tiles"), GP64())
	SHLQ(Imm(f.log()), depth)
	SHLQ(Imm(f.log()-4), n) // bytes from one column to the next
	three := GP64()
	LEAQ(Mem{Base: n, Index: n, Scale: 2}, three)
	q := four{f, p, depth, t, col, n, three, coef, diag, w}
	if f.vectors() == 1 {
		Label("pair")
		CMPQ(tiles, Imm(2))
		JL(LabelRef("single"))
		q.tiles(2)
		SUBQ(Imm(2), tiles)
		JMP(LabelRef("pair"))
	}
	Label("single")
	TESTQ(tiles, tiles)
	JZ(LabelRef("end"))
	q.tiles(1)
	DECQ(tiles)
	JMP(LabelRef("single"))
	Label("end")
	f.end()
}

// four is the registers of stepFour.
type four struct {
	form
	p, depth, t, col, n, three, coef, diag, w reg.Register
}

// column is vector i of column k.
func (f four) column(k, i int) Mem {
	m := f.at(f.col, i)
	switch k {
	case 1, 2:
		m.Index, m.Scale = f.n, uint8(k)
	case 3:
		m.Index, m.Scale = f.three, 1
	}
	return m
}

// tiles does so many tiles and goes on to the next.
func (f four) tiles(count int) {
	all := count * f.vectors()
	for first := 0; first < all; first += 2 {
		f.vectorsFrom(first, min(2, all-first), count*10+first)
	}
	for _, r := range []reg.Register{f.col, f.diag, f.w} {
		ADDQ(U32(uint32(count*f.row())), r)
	}
	for range count {
		ADDQ(f.depth, f.p)
	}
}

func (f four) vectorsFrom(first, count, id int) {
	n := f.vectors()
	acc := make([][]reg.VecVirtual, 4)
	for k := range acc {
		acc[k] = f.vecs(count)
		for i := range acc[k] {
			f.move(f.column(k, first+i), acc[k][i])
		}
	}
	u, x, k := GP64(), GP64(), GP64()
	panel := func(i int) Mem { // a tile of one vector: the second one's is depth away
		m := Mem{Base: u, Disp: (first + i) % n * f.width}
		if (first+i)/n == 1 {
			m.Index, m.Scale = f.depth, 1
		}
		return m
	}
	MOVQ(f.p, u)
	LEAQ(Mem{Base: f.coef, Disp: 8 * f.size}, x)
	MOVQ(f.t, k)
	loop, done := label("sum", id), label("sumEnd", id)
	TESTQ(k, k)
	JZ(LabelRef(done))
	Label(loop)
	v := f.vecs(count)
	for i := range v {
		f.move(panel(i), v[i])
	}
	for k := range acc {
		y := f.vec()
		f.broadcast(Mem{Base: x, Disp: k * f.size}, y)
		for i := range v {
			f.fnmadd(v[i], y, acc[k][i])
		}
	}
	f.next(u)
	ADDQ(Imm(uint64(4*f.size)), x)
	DECQ(k)
	JNZ(LabelRef(loop))
	Label(done)
	y := f.vec()
	for k := range acc {
		for j := range k {
			f.broadcast(Mem{Base: x, Disp: (4*j + k) * f.size}, y)
			for i := range acc[k] {
				f.fnmadd(acc[j][i], y, acc[k][i])
			}
		}
		f.broadcast(Mem{Base: f.coef, Disp: k * f.size}, y)
		for i := range acc[k] {
			f.mul(y, acc[k][i], acc[k][i])
			m := panel(i)
			m.Disp += k * f.row()
			f.move(acc[k][i], m)
		}
	}
	for i := range count {
		z := f.vec()
		f.move(f.at(f.diag, first+i), z)
		for k := range acc {
			f.fnmadd(acc[k][i], acc[k][i], z)
		}
		f.move(z, f.at(f.diag, first+i))
	}
	sums := f.vecs(count)
	for i := range sums {
		f.move(f.at(f.w, first+i), sums[i])
	}
	for k := range acc {
		f.broadcast(Mem{Base: f.coef, Disp: (4 + k) * f.size}, y)
		for i := range sums {
			f.fnmadd(acc[k][i], y, sums[i])
		}
	}
	for i := range sums {
		f.move(sums[i], f.at(f.w, first+i))
	}
}
