package main

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gen emits kernels for one vector width.
type gen struct {
	*build.Context
	width int                    // bytes of a vector register: 32 (AVX2) or 64 (AVX-512)
	data  map[string]operand.Mem // sections of the current file
}

// lanes is the number of float32 in a register.
func (g *gen) lanes() int { return g.width / 4 }

func (g *gen) wide() bool { return g.width == 64 }

// vec returns a new vector register.
func (g *gen) vec() reg.VecVirtual {
	if g.wide() {
		return g.ZMM()
	}
	return g.YMM()
}

// begin starts function name with the suffix of the instruction set; signature is its parameter list and results.
func (g *gen) begin(name, signature string, doc ...string) {
	suffix := "AVX2"
	if g.wide() {
		suffix = "AVX512"
	}
	g.Function(name + suffix)
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr("func" + signature)
	g.Pragma("noescape")
	doc[0] = name + suffix + " " + doc[0]
	g.Doc(doc...)
}

// end returns from the function.
func (g *gen) end() {
	g.VZEROUPPER()
	g.RET()
}

// param loads a parameter into a new general register; slice parameters give their base.
func (g *gen) param(name string) reg.GPVirtual {
	r := g.GP64()
	p := g.Param(name)
	if _, err := p.Base().Resolve(); err == nil {
		p = p.Base()
	}
	g.Load(p, r)
	return r
}

// length loads the length of a slice parameter.
func (g *gen) length(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name).Len(), r)
	return r
}

// at addresses base + bytes.
func at(base reg.Register, bytes int) operand.Mem {
	return operand.Mem{Base: base, Disp: bytes}
}

// indexed addresses base + index*scale + bytes.
func indexed(base, index reg.Register, scale uint8, bytes int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: scale, Disp: bytes}
}

// rows addresses rows of a matrix with few registers: every third row has a base, the two after it are reached by index.
type rows struct {
	bases  []reg.GPVirtual
	stride reg.Register
}

// rowsOf points at n rows from base, stride bytes apart. base itself becomes the first base.
func (g *gen) rowsOf(base, stride reg.GPVirtual, n int) rows {
	r := rows{[]reg.GPVirtual{base}, stride}
	for i := 3; i < n; i += 3 {
		next := g.GP64()
		g.LEAQ(indexed(r.bases[len(r.bases)-1], stride, 1, 0), next)
		g.LEAQ(indexed(next, stride, 2, 0), next)
		r.bases = append(r.bases, next)
	}
	return r
}

// at addresses bytes of row i.
func (r rows) at(i, bytes int) operand.Mem {
	m := operand.Mem{Base: r.bases[i/3], Disp: bytes}
	if i%3 > 0 {
		m.Index, m.Scale = r.stride, uint8(i%3)
	}
	return m
}

// advance moves all rows by step bytes.
func (g *gen) advance(r rows, step operand.Op) {
	for _, b := range r.bases {
		g.ADDQ(step, b)
	}
}

// fill returns a register with all lanes equal to the float32 m.
func (g *gen) fill(m operand.Op) reg.VecVirtual {
	v := g.vec()
	g.VBROADCASTSS(m, v)
	return v
}

// zero returns a register of zeros.
func (g *gen) zero() reg.VecVirtual {
	v := g.vec()
	g.clear(v)
	return v
}

func (g *gen) clear(v reg.VecVirtual) {
	if g.wide() {
		g.VPXORD(v, v, v)
	} else {
		g.VXORPS(v, v, v)
	}
}
