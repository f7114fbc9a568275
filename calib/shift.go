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

// lineRows is how many rows of a block are written at a time: their transpose fills whole lines of the cache.
const lineRows = 8

// assembleWhole sets the Hessian h of d columns, both triangles, to the sums, c x c each, times scale. h, far larger than the cache, is
// written once and never read.
func (s *shifts) assembleWhole(h []float64, d, c int, sums [][]float64, scale float64, threads int) {
	steps := (c + lineRows - 1) / lineRows
	kernel.Parallel(threads, len(s.pairs)*steps, func(lo, hi int) {
		rows := make([]float64, lineRows*c)
		for i := lo; i < hi; i++ {
			p, r := i/steps, i%steps*lineRows
			k, l := s.pairs[p][0]*c, s.pairs[p][1]*c
			n := min(lineRows, c-r)
			s.block(rows[:n*c], sums, p, r, c, scale)
			for j := range n {
				from := 0
				if k == l {
					from = r + j
				}
				copy(h[(k+r+j)*d+l+from:], rows[j*c+from:(j+1)*c])
			}
			from := 0
			if k == l { // on the diagonal only the upper triangle is known
				for from = r; from < r+n; from++ {
					for j := range from - r {
						h[(l+from)*d+k+r+j] = rows[j*c+from]
					}
				}
			}
			if from < c {
				transposeRows(h[(l+from)*d+k+r:], d, rows[from:], c, n, c-from)
			}
		}
	})
}

// block sets rows to some rows, from r on, of the block of pair p, times scale.
func (s *shifts) block(rows []float64, sums [][]float64, p, r, c int, scale float64) {
	parts := s.parts[p]
	if len(parts) == 0 {
		clear(rows)
		return
	}
	for i, v := range sums[parts[0]][r*c:][:len(rows)] {
		rows[i] = v * scale
	}
	for _, k := range parts[1:] {
		addScaled(rows, sums[k][r*c:][:len(rows)], scale)
	}
}

// transposeRows sets dst, of rows ld apart, to the transpose of the n <= lineRows rows of src, lds apart, of so many columns.
func transposeRows(dst []float64, ld int, src []float64, lds, n, columns int) {
	if n < lineRows {
		for j := range columns {
			for i := range n {
				dst[j*ld+i] = src[i*lds+j]
			}
		}
		return
	}
	a, b, c, e := src[:columns], src[lds:][:columns], src[2*lds:][:columns], src[3*lds:][:columns]
	f, g, h, i := src[4*lds:][:columns], src[5*lds:][:columns], src[6*lds:][:columns], src[7*lds:][:columns]
	for j, v := range a {
		*(*[lineRows]float64)(dst[j*ld:]) = [lineRows]float64{v, b[j], c[j], e[j], f[j], g[j], h[j], i[j]}
	}
}

// addScaled is y += scale x.
func addScaled(y, x []float64, scale float64) {
	x = x[:len(y)]
	for ; len(y) >= 4; y, x = y[4:], x[4:] {
		y[0] += float64(scale * x[0])
		y[1] += float64(scale * x[1])
		y[2] += float64(scale * x[2])
		y[3] += float64(scale * x[3])
	}
	for j, v := range x {
		y[j] += float64(scale * v)
	}
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
