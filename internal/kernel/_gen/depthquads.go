package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets of the fields of windows.
const (
	windowsWords   = 0
	windowsBytes   = 64
	windowsStrideW = 192
)

// depthRows is the number of vectors of outputs below each other in a tile of the depthwise kernels.
const depthRows = 4

// depthQuads emits the depthwise convolution of bytes, for each kernel height and vertical step.
func (g *gen) depthQuads() {
	for _, kh := range []int{3, 5, 7} {
		for _, step := range []int{1, 2} {
			g.depthQuad(kh, step)
		}
	}
	g.copyBytes()
}

// depthQuad emits tiles of four rows of 16 outputs. Each row of the image is cut into windows once, and multiplied by the row of weights of
// each output row that sees it.
func (g *gen) depthQuad(kh, step int) {
	quads := (kh + 3) / 4
	g.begin(fmt.Sprintf("depthQuads%dx%d", kh, step), "(dst *byte, ldd, rows, cols int, x *byte, pitch int, w *int32, t *byte, e *byte)",
		fmt.Sprintf("is depthQuadsGeneric for a kernel of %d rows and a vertical step of %d; t is a windows, e a rounding.", kh, step))
	dst, ldd, rows, cols := g.param("dst"), g.param("ldd"), g.param("rows"), g.param("cols")
	x, pitch, w, t, e := g.param("x"), g.param("pitch"), g.param("w"), g.param("t"), g.param("e")
	words, bytes := g.vec(), make([]reg.VecVirtual, quads)
	g.VMOVUPS(at(t, windowsWords), words)
	for q := range bytes {
		bytes[q] = g.vec()
		g.VMOVUPS(at(t, windowsBytes+64*q), bytes[q])
	}
	r := g.rounding(e)
	bias, factor := r.row(0)
	lanes := g.lowBits(cols, 16)

	i, j, from, to, tmp := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.XORQ(j, j)
	g.Label("strip")
	g.XORQ(i, i)
	g.Label("tile")
	g.MOVQ(j, from)
	g.IMULQ(at(t, windowsStrideW), from)
	g.MOVQ(i, tmp)
	g.IMULQ(pitch, tmp)
	g.LEAQ(indexed(from, tmp, uint8(step), 0), from)
	g.ADDQ(x, from)
	g.MOVQ(i, to)
	g.IMULQ(ldd, to)
	g.ADDQ(j, to)
	g.ADDQ(dst, to)

	sum := make([]reg.VecVirtual, depthRows)
	for o := range sum {
		sum[o] = g.vec()
		g.VMOVUPS(bias, sum[o])
	}
	row, window := g.vec(), g.vec()
	for line := range (depthRows-1)*step + kh {
		g.VPERMD(at(from, 0), words, row)
		g.ADDQ(pitch, from)
		for q := range bytes {
			g.VPSHUFB(bytes[q], row, window)
			for o := range sum {
				if k := line - o*step; k >= 0 && k < kh {
					g.raw("VPDPBUSD.BCST", true, at(w, 4*(k*quads+q)), window, sum[o])
				}
			}
		}
	}
	for o := range sum {
		r.scale(sum[o], factor)
	}
	codes := r.pack(sum)
	part := g.XMM()
	g.VMOVDQU8(codes.AsX(), lanes, at(to, 0))
	for o := 1; o < depthRows; o++ {
		g.ADDQ(ldd, to)
		g.VEXTRACTI32X4(operand.U8(o), codes, part)
		g.VMOVDQU8(part, lanes, at(to, 0))
	}

	g.next(i, rows, tmp, depthRows, "tile")
	g.next(j, cols, tmp, 16, "strip")
	g.end()
}

// next moves i by step and jumps to label until all of n is done; the last step goes back to end at n, if n has one whole step.
func (g *gen) next(i, n, tmp reg.GPVirtual, step int, label string) {
	g.ADDQ(operand.U8(step), i)
	g.LEAQ(at(n, -step), tmp)
	g.CMPQ(i, tmp)
	g.JLE(operand.LabelRef(label))
	g.CMPQ(i, n)
	g.MOVQ(tmp, i)
	g.JL(operand.LabelRef(label))
}

// lowBits returns a mask of the lowest n bits, at most most of them.
func (g *gen) lowBits(n reg.GPVirtual, most int) reg.OpmaskVirtual {
	count, bits, k := g.GP64(), g.GP64(), g.K()
	g.MOVQ(operand.U32(most), count)
	g.CMPQ(n, count)
	g.CMOVQLT(n, count)
	g.MOVQ(operand.I32(-1), bits)
	g.BZHIQ(count, bits, bits)
	g.KMOVQ(bits, k)
	return k
}

// copyBytes emits the copy of rows of bytes with flipped bits.
func (g *gen) copyBytes() {
	g.begin("copyBytes", "(dst *byte, ldd int, src *byte, lds, rows, cols int, flip uint32)", "is copyBytesGeneric, for rows, cols > 0.")
	dst, ldd, src, lds, rows, cols := g.param("dst"), g.param("ldd"), g.param("src"), g.param("lds"), g.param("rows"), g.param("cols")
	flip, full, rest := g.parameter("flip"), g.GP64(), g.GP64()
	g.MOVQ(cols, full)
	g.ANDQ(operand.I8(-64), full)
	g.MOVQ(cols, rest)
	g.SUBQ(full, rest)
	last := g.lowBits(rest, 64)
	g.Label("row")
	off, v := g.GP64(), g.vec()
	g.XORQ(off, off)
	g.Label("next")
	g.CMPQ(off, full)
	g.JGE(operand.LabelRef("rest"))
	g.VPXORD(indexed(src, off, 1, 0), flip, v)
	g.VMOVUPS(v, indexed(dst, off, 1, 0))
	g.ADDQ(operand.U8(64), off)
	g.JMP(operand.LabelRef("next"))
	g.Label("rest")
	g.VMOVDQU8_Z(indexed(src, off, 1, 0), last, v)
	g.VPXORD(flip, v, v)
	g.VMOVDQU8(v, last, indexed(dst, off, 1, 0))
	g.ADDQ(ldd, dst)
	g.ADDQ(lds, src)
	g.DECQ(rows)
	g.JNZ(operand.LabelRef("row"))
	g.end()
}
