package kernel

import (
	"encoding/binary"
	"math"
	"sync"
)

// Products of float32 rows with weights stored as codes of 4 bits, in blocks along the inner dimension with a scale and a zero point each:
// y[n] = sum over blocks of scale*(sum a code - zero*sum a). The weights stay codes, so that a product of one row reads an eighth of what
// float32 takes. Codes of 8 bits are two blocks of 4: the low halves, and the high ones with 16 times the scale.

const (
	nbitsCols  = 64            // columns of a panel
	nbitsGroup = 4 * nbitsCols // bytes of a panel's codes for eight elements
)

// NBits is a constant right operand K x N of such codes. Panels of 64 columns hold, for each group of eight elements and each column, four
// bytes: codes 0..3 in the low halves, 4..7 in the high ones. Scales lie beside, for each block 64, then 64 zero points times scales.
type NBits struct {
	K, N, block  int
	blocks       int // of a panel, those of high halves too
	wide         bool
	codes        []byte
	scales       []float32
	codeN, scalN int // of a panel
}

// PackNBits lays out codes (n x blocks*block, a byte each, below 16 unless wide) with scale and zero (n x blocks each). block is a multiple of 8.
func PackNBits(n, k, block int, wide bool, codes []uint8, scale, zero []float32) *NBits {
	blocks := (k + block - 1) / block
	w := &NBits{K: k, N: n, block: block, blocks: blocks, wide: wide}
	parts := 1
	if wide {
		parts = 2
		w.blocks *= 2
	}
	panels := (n + nbitsCols - 1) / nbitsCols
	w.codeN, w.scalN = w.blocks*block/8*nbitsGroup, w.blocks*2*nbitsCols
	w.codes, w.scales = make([]byte, panels*w.codeN), make([]float32, panels*w.scalN)
	for r := range n {
		to, scales := w.codes[r/nbitsCols*w.codeN+r%nbitsCols*4:], w.scales[r/nbitsCols*w.scalN+r%nbitsCols:]
		for b := range blocks {
			s := scale[r*blocks+b]
			for part := range parts {
				at := b*parts + part
				scales[at*2*nbitsCols] = s
				if part == 0 {
					scales[(at*2+1)*nbitsCols] = s * zero[r*blocks+b]
				}
				for i := range block {
					code := codes[(r*blocks+b)*block+i] >> (4 * part) & 15
					to[(at*block+i)/8*nbitsGroup+i%4] |= code << (i % 8 / 4 * 4)
				}
				s *= 16
			}
		}
	}
	return w
}

// nbitsForm is one implementation of the tiles; cols is how many columns a tile of so many rows has.
type nbitsForm struct {
	ints               func(rows, blocks, groups int, a []byte, lda int, da []float32, ldd int, w []byte, scale, c []float32, ldc int)
	floats             func(rows, blocks, groups int, a []float32, lda int, sums []float32, ldd int, w []byte, scale, c []float32, ldc int)
	intCols, floatCols [5]int
}

var genericNBits = nbitsForm{nbitsIntGeneric, nbitsFloatGeneric, [5]int{1: 64, 2: 64, 4: 64}, [5]int{1: 64, 2: 64}}

// nbitsCode is code k of eight.
func nbitsCode(w []byte, k int) byte { return w[k%4] >> (k / 4 * 4) & 15 }

// nbitsIntGeneric sets c[r*ldc+j] to the sum over the blocks of da[2b]*scale*(sum of codes a times codes w), less da[2b+1]*zero*scale.
func nbitsIntGeneric(rows, blocks, groups int, a []byte, lda int, da []float32, ldd int, w []byte, scale, c []float32, ldc int) {
	for r := range rows {
		for j := range nbitsCols {
			var acc float32
			for b := range blocks {
				sum := int32(0)
				for i := range 8 * groups {
					at := b*groups*8 + i
					sum += int32(int8(a[r*lda+at])) * int32(nbitsCode(w[at/8*nbitsGroup+4*j:], i%8))
				}
				d, s := da[r*ldd+2*b:], scale[b*2*nbitsCols+j:]
				acc = fma32(d[0]*s[0], float32(sum), acc)
				acc = fma32(-d[1], s[nbitsCols], acc)
			}
			c[r*ldc+j] = acc
		}
	}
}

// fma32 is x*y + z, rounded once.
func fma32(x, y, z float32) float32 {
	return float32(math.FMA(float64(x), float64(y), float64(z)))
}

// nbitsFloatGeneric sets c[r*ldc+j] to the sum over the blocks of scale*(sum of a times codes w) - sums*zero*scale.
func nbitsFloatGeneric(rows, blocks, groups int, a []float32, lda int, sums []float32, ldd int, w []byte, scale, c []float32, ldc int) {
	for r := range rows {
		for j := range nbitsCols {
			var acc float32
			for b := range blocks {
				sum := float32(0)
				for i := range 8 * groups {
					at := b*groups*8 + i
					sum = fma32(a[r*lda+at], float32(nbitsCode(w[at/8*nbitsGroup+4*j:], i%8)), sum)
				}
				s := scale[b*2*nbitsCols+j:]
				acc = fma32(s[0], sum, acc)
				acc = fma32(-sums[r*ldd+b], s[nbitsCols], acc)
			}
			c[r*ldc+j] = acc
		}
	}
}

// nbitsRows are the left operands of a product, padded to whole blocks and laid out as the panels' blocks are.
type nbitsRows struct {
	floats []float32
	codes  []byte
	d      []float32 // by block: the sum; for codes the step, and the sum times the step
	tile   []float32
}

var nbitsPool = sync.Pool{New: func() any { return new(nbitsRows) }}

// Floats sets y (m x N) to x (m x K) times the weights, in float32, then applies e but for Row (nil: nothing).
func (w *NBits) Floats(m int, x, y []float32, e *Epilogue, threads int) {
	s := nbitsPool.Get().(*nbitsRows)
	defer nbitsPool.Put(s)
	lda, ldd := w.blocks*w.block, w.blocks
	s.floats, s.d = grow(&s.floats, m*lda), grow(&s.d, m*ldd)
	for r := range m {
		w.eachBlock(func(at, lo, hi int) {
			dst := s.floats[r*lda+at*w.block : r*lda+(at+1)*w.block]
			clear(dst[copy(dst, x[r*w.K+lo:r*w.K+hi]):])
			s.d[r*ldd+at] = active.sum(dst)
		})
	}
	f := nbitsForms()
	w.run(m, y, e, &f.floatCols, threads, func(rows, i int, panel []byte, scale, c []float32, ldc int) {
		f.floats(rows, w.blocks, w.block/8, s.floats[i*lda:], lda, s.d[i*ldd:], ldd, panel, scale, c, ldc)
	})
}

// Ints is Floats with x rounded to codes of 8 bits, block by block: -127..127 in steps of the block's largest magnitude / 127. It is what
// ONNX Runtime does at accuracy level 4.
func (w *NBits) Ints(m int, x, y []float32, e *Epilogue, threads int) {
	s := nbitsPool.Get().(*nbitsRows)
	defer nbitsPool.Put(s)
	lda, ldd := w.blocks*w.block, 2*w.blocks
	s.codes, s.d = grow(&s.codes, m*lda), grow(&s.d, m*ldd)
	few := threads // for the rows of x, which are less work than the product
	if m*w.K < smallProduct {
		few = min(threads, m*w.K/(smallProduct/16)+1)
	}
	Parallel(few, m, func(from, to int) {
		for r := from; r < to; r++ {
			w.eachBlock(func(at, lo, hi int) {
				dst, d := s.codes[r*lda+at*w.block:r*lda+(at+1)*w.block], s.d[r*ldd+2*at:]
				d[0], d[1] = roundBlock(dst, x[r*w.K+lo:r*w.K+hi])
			})
		}
	})
	f := nbitsForms()
	w.run(m, y, e, &f.intCols, threads, func(rows, i int, panel []byte, scale, c []float32, ldc int) {
		f.ints(rows, w.blocks, w.block/8, s.codes[i*lda:], lda, s.d[i*ldd:], ldd, panel, scale, c, ldc)
	})
}

// eachBlock calls fn with each block of the panels and the elements that it is for.
func (w *NBits) eachBlock(fn func(at, lo, hi int)) {
	parts := 1
	if w.wide {
		parts = 2
	}
	for at := range w.blocks {
		lo := at / parts * w.block
		fn(at, lo, min(w.K, lo+w.block))
	}
}

// roundBlock writes the codes of x, zeros behind them, and returns their step, and the step times their sum.
func roundBlock(dst []byte, x []float32) (step, sum float32) {
	clear(dst[len(x):])
	largest := magnitude(x)
	if largest == 0 {
		clear(dst)
		return 0, 0
	}
	active.round(dst[:len(x)], x, 127/largest, -128, 127, 0)
	step = largest / 127
	return step, step * float32(sumCodes(dst))
}

// magnitude is the largest |x|; NaN counts as larger than all else.
func magnitude(x []float32) float32 {
	var top [4]uint32 // floats without sign order as integers; four maxima that do not wait for each other
	bits := func(v float32) uint32 { return math.Float32bits(v) &^ (1 << 31) }
	for ; len(x) >= 4; x = x[4:] {
		top[0], top[1] = max(top[0], bits(x[0])), max(top[1], bits(x[1]))
		top[2], top[3] = max(top[2], bits(x[2])), max(top[3], bits(x[3]))
	}
	for _, v := range x {
		top[0] = max(top[0], bits(v))
	}
	return math.Float32frombits(max(top[0], top[1], top[2], top[3]))
}

// sumCodes adds up signed bytes, eight at a time: as bytes from 0 on, in four lanes of 16 bits, of which 64 rounds fill none.
func sumCodes(codes []byte) int32 {
	const signs, low = 0x8080808080808080, 0x00ff00ff00ff00ff
	total := int32(0)
	for len(codes) >= 8 {
		part := codes[:min(len(codes), 8*64)&^7]
		codes = codes[len(part):]
		total -= 128 * int32(len(part))
		lanes := uint64(0)
		for ; len(part) > 0; part = part[8:] {
			v := binary.LittleEndian.Uint64(part) ^ signs
			lanes += v&low + v>>8&low
		}
		total += int32(lanes&0xffff + lanes>>16&0xffff + lanes>>32&0xffff + lanes>>48)
	}
	for _, v := range codes {
		total += int32(int8(v))
	}
	return total
}

// run computes tile by tile; tile sets rows from i on of some columns of a panel.
func (w *NBits) run(m int, y []float32, e *Epilogue, cols *[5]int, threads int, tile func(rows, i int, panel []byte, scale, c []float32, ldc int)) {
	if m*w.N*w.K < smallProduct {
		threads = 1
	}
	region := func(i0, i1, j0, j1 int) {
		s := nbitsPool.Get().(*nbitsRows)
		defer nbitsPool.Put(s)
		s.tile = grow(&s.tile, 4*nbitsCols)
		for j := j0; j < j1; j += nbitsCols {
			p, n := j/nbitsCols, min(nbitsCols, j1-j)
			for i := i0; i < i1; {
				rows := w.rowsAt(i1-i, cols)
				for at := 0; at < n; at += cols[rows] {
					panel, scale := w.codes[p*w.codeN+4*at:(p+1)*w.codeN], w.scales[p*w.scalN+at:(p+1)*w.scalN]
					if at+cols[rows] <= n {
						tile(rows, i, panel, scale, y[i*w.N+j+at:], w.N)
						continue
					}
					tile(rows, i, panel, scale, s.tile, cols[rows])
					for r := range rows {
						copy(y[(i+r)*w.N+j+at:(i+r)*w.N+j+n], s.tile[r*cols[rows]:])
					}
				}
				i += rows
			}
		}
		for i := i0; i < i1; i++ {
			e.onRow(y, i*w.N+j0, i*w.N+j1, j0)
		}
	}
	if w.N/nbitsCols >= m/4 || w.N >= 4*nbitsCols*threads {
		parallelStep(threads, w.N, nbitsCols, func(lo, hi int) { region(0, m, lo, hi) })
	} else {
		parallelStep(threads, m, 4, func(lo, hi int) { region(lo, hi, 0, w.N) })
	}
}

// rowsAt is how many of the rows that are left a tile takes.
func (w *NBits) rowsAt(left int, cols *[5]int) int {
	for _, r := range [...]int{4, 2} {
		if left >= r && cols[r] > 0 {
			return r
		}
	}
	return 1
}
