package kernel

import "sync"

// convPair is a convolution and the depthwise one that reads its output, of one image. The tensor between the two, often the
// largest of a model, exists only in parts that stay in the second-level cache: some channels of a band of rows. What follows depends
// on the shapes alone, so that results do not depend on threads.
type convPair struct {
	first      *PackedConv
	s, d       ConvShape
	x, w, y    []float32
	e, de      *Epilogue
	bands      int // the output's rows are cut into so many
	rows       int // of the output in a band
	plane, out int // elements of a channel of x, and of y
	oh, ow     int
}

// Pairs tells whether RunDepthwise takes the convolution s with d after it, and gains by it: a tensor that stays in the cache as a whole
// may as well be stored, if its image need not be unfolded.
func (c *PackedConv) Pairs(s, d ConvShape) bool {
	s, d = s.normal(), d.normal()
	least := pairLeast
	if !s.pointwise() {
		least /= 2
	}
	return c.winograd == nil && s.Groups == 1 && s.InC > 0 && s.PadTop >= 0 && s.PadBottom >= 0 &&
		d.Groups == d.InC && d.InC == s.OutC && d.OutC == d.InC && d.H == s.OutH() && d.W == s.OutW() &&
		min(d.PadTop, d.PadLeft, d.PadBottom, d.PadRight) >= 0 && d.OutH()*d.OutW() > 0 &&
		4*s.OutC*d.H*d.W > least
}

// RunDepthwise convolves one image x (InC x H x W) with c and the result, which is not stored, with the depthwise convolution d of weight w
// to y, as Run and Depthwise do one after the other; Pairs must hold for the shapes. e and de have no Add and no Then.
func (c *PackedConv) RunDepthwise(s, d ConvShape, x, w, y []float32, e, de *Epilogue, threads int) {
	s, d = s.normal(), d.normal()
	p := convPair{first: c, s: s, d: d, x: x, w: w, y: y, e: e, de: de, plane: s.H * s.W, oh: d.OutH(), ow: d.OutW()}
	p.out = p.oh * p.ow
	a, n := c.groups[0], d.H*d.W
	if a.M*a.K*n < smallProduct {
		threads = 1
	}
	limit := pairInput
	if !s.pointwise() {
		limit = pairUnfolded
	}
	p.bands = min(p.oh, (4*a.K*n+limit-1)/limit)
	p.rows = (p.oh + p.bands - 1) / p.bands
	p.bands = (p.oh + p.rows - 1) / p.rows
	panels := (a.M + a.t.mr - 1) / a.t.mr
	parts, step := threads, 1
	if p.bands >= 2*threads {
		parts, step = p.bands, panels
	}
	parallelParts(threads, parts, p.bands*panels, step, func(lo, hi int) {
		j := pairPool.Get().(*pairJob)
		defer pairPool.Put(j)
		for lo < hi {
			band, from := lo/panels, lo%panels
			to := min(panels, from+hi-lo)
			p.band(j, band, from*a.t.mr, min(to*a.t.mr, a.M))
			lo += to - from
		}
	})
}

const (
	// pairInput and pairBlock are the most bytes of the input's band and of what is computed from it at a time: they share the cache.
	pairInput, pairBlock = 448 << 10, 192 << 10
	// pairUnfolded stands for pairInput where an image is unfolded. Such convolutions are a model's first ones: there are more bands than
	// threads then, so that a helper that still has to wake up does not keep the other waiting.
	pairUnfolded = 256 << 10
	// pairLeast is how many bytes the tensor between the two has at least.
	pairLeast = 2 << 20
	// pairPanels is the most panels of channels in a block.
	pairPanels = 4
)

// pairJob is the memory that one goroutine works in.
type pairJob struct {
	depthwise
	image unfold
	b     []float32 // the band of a pointwise convolution's input, packed
	mid   []float32 // channels of the tensor between the two
}

var pairPool = sync.Pool{New: func() any { return new(pairJob) }}

// band computes channels [lo, hi) of a band.
func (p *convPair) band(j *pairJob, band, lo, hi int) {
	a := p.first.groups[0]
	first, last := band*p.rows, min(p.oh, (band+1)*p.rows) // output rows
	d, top := p.d.band(first, last)
	n := d.H * d.W
	ld := a.t.looseCols(n)
	step := min(pairPanels, max(1, pairBlock/(4*a.t.mr*max(1, n)))) * a.t.mr
	room := j.set(d, min(step, hi-lo))
	mid := grow(&j.mid, step*ld)
	var b []float32 // the input's band, packed
	if p.s.pointwise() {
		b = grow(&j.b, roundUp(n, a.t.nr)*a.K+packSlack)
		packBlocks(b, a.t.kc, a.t.nr, p.x[top*p.s.W:], p.plane, false, a.K, n)
	} else if n > 0 {
		part, first := p.s.band(top, top+d.H)
		b = j.image.packed(part, p.s.InC, p.x[first*p.s.W:], p.plane, a.t, 1)
	}
	for ; lo < hi; lo += step {
		c1 := min(hi, lo+step)
		if n > 0 {
			g := product[float32]{t: a.t, m: a.M, n: n, k: a.K, alpha: 1, c: mid, ldc: ld, above: lo, packedA: a.data,
				packedB: b, e: p.e}
			g.region(lo, c1, 0, ld)
		}
		for c := lo; c < c1; c += room {
			part := min(room, c1-c)
			for i := range part {
				j.load(i, mid[(c-lo+i)*ld:(c-lo+i)*ld+n])
			}
			for i := range part {
				at, end := (c+i)*p.out+first*p.ow, (c+i)*p.out+last*p.ow
				limit := end
				if p.bands == 1 {
					limit = hi * p.out
				}
				j.channelOut(i, p.y[at:end:limit], p.w, p.de, c+i)
			}
		}
	}
}
