package main

import "github.com/mmcloughlin/avo/reg"

// rounding emits the making of codes from sums, by a kernel.rounding in memory.
type rounding struct {
	g                  *gen
	biases, factors    reg.GPVirtual
	hi, zero, flip, in reg.VecVirtual
}

// rounding loads what all rows share.
func (g *gen) rounding(e reg.GPVirtual) *rounding {
	r := &rounding{g: g, biases: g.GP64(), factors: g.GP64(), zero: g.vec(), in: g.vec()}
	g.MOVQ(at(e, 0), r.biases)
	g.MOVQ(at(e, 8), r.factors)
	r.hi, r.flip = g.fill(at(e, 16)), g.fill(at(e, 24))
	g.VPBROADCASTW(at(e, 20), r.zero)
	table := make([]int32, 16) // word i of the packed codes: four lanes of sum i%4
	for i := range table {
		table[i] = int32(i%4*4 + i/4)
	}
	g.VMOVUPS(g.words("packedCodes", table), r.in)
	return r
}

// row loads bias and factor of row i.
func (r *rounding) row(i int) (bias, factor reg.VecVirtual) {
	return r.g.fill(at(r.biases, 4*i)), r.g.fill(at(r.factors, 4*i))
}

// scale turns sums into integers without the zero point: those above the highest code, which might not fit into 32 bits, into that one;
// what is too low for 32 bits, or no number, into the lowest int32.
func (r *rounding) scale(sum, factor reg.VecVirtual) {
	r.g.VCVTDQ2PS(sum, sum)
	r.g.VMULPS(factor, sum, sum)
	r.g.VMINPS(sum, r.hi, sum) // NaN stays
	r.g.VCVTPS2DQ(sum, sum)
}

// pack adds the zero point and saturates: the codes of up to four scaled sums, one after the other. It overwrites the sums.
func (r *rounding) pack(sum []reg.VecVirtual) reg.VecVirtual {
	low, high := []reg.VecVirtual{sum[0], sum[min(1, len(sum)-1)]}, []reg.VecVirtual{sum[min(2, len(sum)-1)], sum[len(sum)-1]}
	r.g.VPACKSSDW(low[1], low[0], low[0])
	r.g.VPADDSW(r.zero, low[0], low[0])
	if len(sum) > 2 {
		r.g.VPACKSSDW(high[1], high[0], high[0])
		r.g.VPADDSW(r.zero, high[0], high[0])
	} else {
		high[0] = low[0]
	}
	r.g.VPACKUSWB(high[0], low[0], low[0])
	r.g.VPERMD(low[0], r.in, low[0])
	r.g.VPXORD(r.flip, low[0], low[0])
	return low[0]
}

// storeCodes rounds the sums of rows of up to three vectors, which started at the bias, and writes the lanes in cols.
func (g *gen) storeCodes(sum [][]reg.VecVirtual, c rows, r *rounding, cols reg.OpmaskVirtual) {
	factor := g.vec()
	for i := range sum {
		g.VBROADCASTSS(at(r.factors, 4*i), factor)
		for _, s := range sum[i] {
			r.scale(s, factor)
		}
		g.VMOVDQU8(r.pack(sum[i]), cols, c.at(i, 0))
	}
}
