package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// once returns the data section of that name in the current file, made by f at its first use.
func (g *gen) once(name string, f func() operand.Mem) operand.Mem {
	if m, ok := g.data[name]; ok {
		return m
	}
	m := f()
	g.data[name] = m
	return m
}

// word returns memory holding one 32-bit word.
func (g *gen) word(bits uint32) operand.Mem {
	name := fmt.Sprintf("word%08x", bits)
	return g.once(name, func() operand.Mem { return g.ConstData(name, operand.U32(bits)) })
}

// float returns memory holding one float32.
func (g *gen) float(x float32) operand.Mem { return g.word(math.Float32bits(x)) }

// words returns memory holding a table of int32.
func (g *gen) words(name string, table []int32) operand.Mem {
	return g.once(name, func() operand.Mem {
		m := g.StaticGlobal(name)
		g.DataAttributes(attr.RODATA | attr.NOPTR)
		for i, v := range table {
			g.AddDatum(4*i, operand.U32(uint32(v)))
		}
		return m
	})
}

// counting returns the int32 lanes 0, 1, 2, ...
func (g *gen) counting() reg.VecVirtual {
	table := make([]int32, 16)
	for i := range table {
		table[i] = int32(i)
	}
	v := g.vec()
	g.VMOVUPS(g.words("counting", table), v)
	return v
}
