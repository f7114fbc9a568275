package kernel

import "sync"

// unfold presents an image as the matrix that a convolution multiplies by: row (c*KH+kh)*KW+kw, column oh*OutW+ow is element
// (c, oh*stride+kh*dilation, ow*stride+kw*dilation) of the padded image, that is buf[rows[row]+start(column)].
type unfold struct {
	planes
	rows []int32
	offs []int32
	outW int

	panels []float32 // of packed
}

// set prepares u for channels of x, apart elements from each other, under s.
func (u *unfold) set(s ConvShape, channels int, x []float32, apart, threads int) {
	u.place(s, channels)
	Parallel(copyThreads(channels*s.H*s.W, threads), channels, func(lo, hi int) {
		for c := lo; c < hi; c++ {
			u.load(c, x[c*apart:][:s.H*s.W])
		}
	})
}

// copyThreads is how many of the threads it pays to copy so many numbers with.
func copyThreads(n, threads int) int {
	if n < smallProduct/16 {
		return 1
	}
	return threads
}

// sample is the matrix that s, which samples, makes of channels of x: a row each, in u's memory.
func (u *unfold) sample(s ConvShape, channels int, x []float32, apart, threads int) []float32 {
	oh, ow := s.OutH(), s.OutW()
	n, step := oh*ow, s.StrideH*s.W
	u.buf = grow(&u.buf, channels*n)
	Parallel(copyThreads(channels*oh*s.W, threads), channels, func(lo, hi int) {
		spare := borrow[float32]()
		defer spare.giveBack()
		waste := grow(&spare.tile, n) // every second element is not wanted
		for c := lo; c < hi; c++ {
			dst, src := u.buf[c*n:(c+1)*n], x[c*apart:]
			switch {
			case s.StrideW == 1:
				active.copyRows(dst, ow, src, step, oh, ow)
			case s.StrideW == 2 && ow > 1:
				active.deinterleave(dst, waste, ow, src, step, oh, s.W)
			default:
				for i := range dst {
					dst[i] = src[i/ow*step+i%ow*s.StrideW]
				}
			}
		}
	})
	return u.buf
}

// packed is the unfolded image of channels of x under s in blocks and panels as t has them, in u's memory.
func (u *unfold) packed(s ConvShape, channels int, x []float32, apart int, t *tiling[float32], threads int) []float32 {
	u.place(s, channels)
	taps, n, k := s.KH*s.KW, s.OutH()*u.outW, channels*s.KH*s.KW
	b := grow(&u.panels, roundUp(n, t.nr)*k+packSlack)
	Parallel(threads, channels, func(lo, hi int) {
		for c := lo; c < hi; c++ {
			u.load(c, x[c*apart:][:s.H*s.W])
		}
		for p := lo * taps; p < hi*taps; {
			block := p / t.kc * t.kc
			kb := min(t.kc, k-block)
			rows := min(block+kb, hi*taps) - p
			for j := 0; j < n; j += t.nr {
				u.pack(b[block*roundUp(n, t.nr)+j*kb+(p-block)*t.nr:], t.nr, t.vec, p, rows, j, min(t.nr, n-j))
			}
			p += rows
		}
	})
	return b
}

// place makes room for channels under s and finds where each row begins.
func (u *unfold) place(s ConvShape, channels int) {
	u.planes.set(s, channels, s.StrideH, s.StrideW)
	taps := s.KH * s.KW
	u.offs = grow(&u.offs, taps)
	u.taps(u.offs)
	u.rows = grow(&u.rows, channels*taps)
	for c := range channels {
		for t, o := range u.offs {
			u.rows[c*taps+t] = int32(c*u.channel()) + o
		}
	}
	u.outW = s.OutW()
}

// start is the place of an output column's first element.
func (u *unfold) start(column int) int {
	return column/u.outW*u.pitch + column%u.outW
}

// maxRuns is the number of runs that the vector kernels take.
const maxRuns = 4

// columns are up to 16 neighbouring columns of the unfolded image: runs within one output row each. Assembly reads it.
type columns struct {
	runs  int
	at    [maxRuns]int      // where lane 0 of the run would be
	mask  [maxRuns]uint64   // lanes of the run
	lanes [maxRuns][8]int32 // the same for the first eight lanes, -1 in each
	place [16]int           // by lane; -1: no such column
}

var columnsPool = sync.Pool{New: func() any { return new(columns) }}

// set finds the runs of columns [j, j+n), n <= width <= 16. With more than maxRuns runs, runs is 0.
func (c *columns) set(u *unfold, j, n, width int) {
	*c = columns{}
	for l := n; l < width; l++ {
		c.place[l] = -1
	}
	fits := true
	for l := 0; l < n; {
		at := u.start(j + l)
		end := min(n, l+u.outW-(j+l)%u.outW)
		if fits = fits && c.runs < maxRuns; fits {
			c.at[c.runs] = at - l
			c.mask[c.runs] = 1<<end - 1<<l
		}
		for k := l; k < end; k++ {
			c.place[k] = at + k - l
			if fits && k < 8 {
				c.lanes[c.runs][k] = -1
			}
		}
		c.runs++
		l = end
	}
	if !fits {
		c.runs = 0
	}
}

// pack lays rows [p, p+kb), columns [j, j+nb) out as panels of nr columns, one vector of columns at a time, the last one zero filled.
func (u *unfold) pack(dst []float32, nr, vec, p, kb, j, nb int) {
	c := columnsPool.Get().(*columns)
	defer columnsPool.Put(c)
	for ; nb > 0; nb, j, dst = nb-nr, j+nr, dst[nr*kb:] {
		for q := 0; q < nr; q += vec {
			n := min(vec, nb-q)
			if n <= 0 {
				break
			}
			c.set(u, j+q, n, vec)
			if c.runs == 0 {
				gatherGeneric(dst[q:], nr, vec, u.buf, u.rows[p:p+kb], c)
			} else {
				active.gather(dst[q:], nr, vec, u.buf, u.rows[p:p+kb], c)
			}
		}
	}
}

// gatherGeneric sets dst[i*ld+l] = src[rows[i]+c.place[l]] for l < vec, zero where there is no column.
func gatherGeneric(dst []float32, ld, vec int, src []float32, rows []int32, c *columns) {
	for i, r := range rows {
		d, s := dst[i*ld:i*ld+vec], src[r:]
		for l := range d {
			d[l] = 0
			if p := c.place[l]; p >= 0 {
				d[l] = s[p]
			}
		}
	}
}
