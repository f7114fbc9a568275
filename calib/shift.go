package calib

import (
	"slices"

	"github.com/obc-onnx/obc/internal/kernel"
)

// A convolution of stride 1 sees the same pixels through every kernel position, so that blocks of its Hessian repeat: with x(u) the
// channels of pixel u, the block of kernel positions k and k' is
//
//	sum_u x(u) x(u+offset)^T,   offset = (k'-k) * dilation
//
// and depends on k only in which pixels u at the border take part. shifts names the sums over parts of the image that make up all
// blocks: 13 large ones and thin strips for a 3x3 kernel, in place of 45 large ones. Parts are only added, never subtracted.
type shifts struct {
	h, w  int
	line  int      // pixels from one image line to the next, in memory: zeros follow each line, so that shifted lines do not mix
	strip []int    // columns that are also kept as lines of their own
	masks []span   // variants of the image in which only these columns are not zero; the first is the whole image
	sums  []shift  // what is added up
	parts [][]int  // by pair of kernel positions k <= k': which sums make up its block
	pairs [][2]int // the pairs
	// offsets is the pairs of equal offset, which share their sums.
	offsets [][]int
}

// span is lo <= i < hi.
type span struct{ lo, hi int }

func (s span) len() int              { return max(0, s.hi-s.lo) }
func (s span) within(t span) bool    { return t.lo <= s.lo && s.hi <= t.hi }
func (s span) intersect(t span) span { return span{max(s.lo, t.lo), min(s.hi, t.hi)} }

// shift is one sum: over the pixels of rows x cols.
type shift struct {
	dh, dw     int // offset in pixels
	rows, cols span
	variant    int  // mask that leaves cols; -1: cols are taken from the strips
	upper      bool // offset 0: symmetric
}

// shiftAxis is one axis of a convolution of stride 1.
type shiftAxis struct{ in, out, k, dilation, pad int }

// sees is the inputs u that kernel position k sees while k+delta sees an input as well.
func (a shiftAxis) sees(k, delta int) span {
	d := delta * a.dilation
	return span{k*a.dilation - a.pad, k*a.dilation - a.pad + a.out}.intersect(a.whole(d))
}

// whole is the inputs u for which u+d is an input.
func (a shiftAxis) whole(d int) span { return span{max(0, -d), min(a.in, a.in-d)} }

// segments cuts the inputs seen with an offset of delta positions where what some position sees begins or ends.
func (a shiftAxis) segments(delta int) []span {
	var cuts []int
	var seen []span
	for k := max(0, -delta); k < min(a.k, a.k-delta); k++ {
		if s := a.sees(k, delta); s.len() > 0 {
			cuts, seen = append(cuts, s.lo, s.hi), append(seen, s)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var segs []span
	for i := 1; i < len(cuts); i++ {
		s := span{cuts[i-1], cuts[i]}
		if slices.ContainsFunc(seen, s.within) {
			segs = append(segs, s)
		}
	}
	return segs
}

// newShifts plans the sums for the two axes.
func newShifts(y, x shiftAxis) *shifts {
	s := &shifts{h: y.in, w: x.in, line: x.in + (x.k-1)*x.dilation, masks: []span{{0, x.in}}}
	type key struct {
		dh, dw     int
		rows, cols span
	}
	index := map[key]int{}
	for dh := range y.k {
		rows := y.segments(dh)
		for dw := 1 - x.k; dw < x.k; dw++ {
			if dh == 0 && dw < 0 {
				continue
			}
			cols := x.segments(dw)
			for _, c := range cols {
				for _, r := range rows {
					index[key{dh, dw, r, c}] = len(s.sums)
					s.sums = append(s.sums, shift{dh * y.dilation, dw * x.dilation, r, c, s.variant(c, cols, x, dw), dh == 0 && dw == 0})
				}
			}
		}
	}
	same := map[[2]int]int{}
	for k := range y.k * x.k {
		for l := k; l < y.k*x.k; l++ {
			kh, kw, dh, dw := k/x.k, k%x.k, l/x.k-k/x.k, l%x.k-k%x.k
			var parts []int
			for _, r := range y.segments(dh) {
				for _, c := range x.segments(dw) {
					if r.within(y.sees(kh, dh)) && c.within(x.sees(kw, dw)) {
						parts = append(parts, index[key{dh, dw, r, c}])
					}
				}
			}
			o, ok := same[[2]int{dh, dw}]
			if !ok {
				o = len(s.offsets)
				same[[2]int{dh, dw}] = o
				s.offsets = append(s.offsets, nil)
			}
			s.offsets[o] = append(s.offsets[o], len(s.pairs))
			s.pairs, s.parts = append(s.pairs, [2]int{k, l}), append(s.parts, parts)
		}
	}
	slices.Sort(s.strip)
	s.strip = slices.Compact(s.strip)
	return s
}

// variant decides how the columns c, one of the segments of offset dw, are read: the longest segment from the image, masked where
// other columns would take part, the others from strips.
func (s *shifts) variant(c span, segments []span, x shiftAxis, dw int) int {
	longest := segments[0]
	for _, t := range segments {
		if t.len() > longest.len() {
			longest = t
		}
	}
	if c != longest {
		for i := c.lo; i < c.hi; i++ {
			s.strip = append(s.strip, i, i+dw*x.dilation)
		}
		return -1
	}
	if c == x.whole(dw*x.dilation) {
		return 0
	}
	if i := slices.Index(s.masks, c); i > 0 {
		return i
	}
	s.masks = append(s.masks, c)
	return len(s.masks) - 1
}

// pixels is how many rows an image takes in memory: lines with the zeros behind them, then strips.
func (s *shifts) pixels() int { return s.h * (s.line + len(s.strip)) }

// work is the pixels that one image brings to all sums: what they cost, in products of all channels with all channels. A run of pixels
// costs as much as some more of them.
func (s *shifts) work() (n float64) {
	const run = 4
	for i := range s.sums {
		all := 0
		s.runs(i, func(left, right, n int) { all += n + run })
		if s.sums[i].upper {
			n += float64(all) / 2
		} else {
			n += float64(all)
		}
	}
	return n
}

// runs calls do with the runs of rows, of one image in memory, whose products make up sum i.
func (s *shifts) runs(i int, do func(left, right, n int)) {
	t := s.sums[i]
	if t.variant >= 0 {
		left := t.rows.lo * s.line
		do(left, left+t.dh*s.line+t.dw, (t.rows.len()-1)*s.line+s.w)
		return
	}
	for c := t.cols.lo; c < t.cols.hi; c++ {
		do(s.stripAt(c)+t.rows.lo, s.stripAt(c+t.dw)+t.rows.lo+t.dh, t.rows.len())
	}
}

// stripAt is where the strip of column c begins.
func (s *shifts) stripAt(c int) int {
	i, _ := slices.BinarySearch(s.strip, c)
	return s.h * (s.line + i)
}

// assemble adds the sums, c x c each, to the upper triangle of the Hessian h of d columns.
func (s *shifts) assemble(h []float64, d, c int, sums [][]float64, threads int) {
	kernel.Parallel(threads, len(s.pairs), func(lo, hi int) {
		for p := lo; p < hi; p++ {
			at := h[s.pairs[p][0]*c*d+s.pairs[p][1]*c:]
			for r := range c { // all that is added to a row at once, as h is far larger than the cache
				for _, i := range s.parts[p] {
					from := 0
					if s.sums[i].upper {
						from = r
					}
					addTo(at[r*d+from:r*d+c], sums[i][r*c+from:(r+1)*c])
				}
			}
		}
	})
}

// stripRows is how many rows of blocks are written before the next offset's: their transposes then fill lines that lie side by side.
const stripRows = 4 * kernel.MirrorRows

// assembleWhole sets the Hessian h of d columns, both triangles, to the sums, c x c each, times scale. h, far larger than the cache, is
// written once and never read; so are the sums read once, as all blocks of an offset come together.
func (s *shifts) assembleWhole(h []float64, d, c int, sums [][]float64, scale float64, threads int) {
	strips := (c + stripRows - 1) / stripRows
	kernel.Parallel(threads, strips*len(s.offsets), func(lo, hi int) {
		parts := make([][]float64, 0, len(sums))
		for i := lo; i < hi; i++ {
			first := i / len(s.offsets) * stripRows
			for r := first; r < min(first+stripRows, c); r += kernel.MirrorRows {
				for _, p := range s.offsets[i%len(s.offsets)] {
					parts = parts[:0]
					for _, k := range s.parts[p] {
						parts = append(parts, sums[k][r*c:])
					}
					blockRows(h, d, c, s.pairs[p], parts, r, scale)
				}
			}
		}
	})
}

// blockRows sets up to kernel.MirrorRows rows, from r on, of the block of a pair, and of its transpose, to the sum of parts times scale.
func blockRows(h []float64, d, c int, pair [2]int, parts [][]float64, r int, scale float64) {
	k, l, n := pair[0]*c, pair[1]*c, min(kernel.MirrorRows, c-r)
	from := 0
	if k == l { // on the diagonal only the upper triangle is known
		for i := range n {
			for j := r + i; j < r+n; j++ {
				v := 0.0
				for _, p := range parts {
					v += p[i*c+j]
				}
				h[(k+r+i)*d+k+j], h[(k+j)*d+k+r+i] = v*scale, v*scale
			}
		}
		from = r + n
	}
	if from == c {
		return
	}
	for i, p := range parts {
		parts[i] = p[from:]
	}
	kernel.SumMirrored(h[(k+r)*d+l+from:], h[(l+from)*d+k+r:], d, parts, c, n, c-from, scale)
}

// addTo is y += x.
func addTo(y, x []float64) {
	x = x[:len(y)]
	for ; len(y) >= 4; y, x = y[4:], x[4:] {
		y[0] += x[0]
		y[1] += x[1]
		y[2] += x[2]
		y[3] += x[3]
	}
	for j, v := range x {
		y[j] += v
	}
}
