package kernel

import "sync"

// ConvShape is the geometry of a two-dimensional convolution of one image, InC x H x W to OutC x OutH x OutW. One-dimensional ones have
// H = KH = 1. Zero strides and dilations count as 1. Pads may be negative (cropping).
type ConvShape struct {
	InC, OutC, Groups                    int
	H, W, KH, KW                         int
	StrideH, StrideW                     int
	DilationH, DilationW                 int
	PadTop, PadLeft, PadBottom, PadRight int
}

func (s ConvShape) normal() ConvShape {
	for _, p := range []*int{&s.Groups, &s.StrideH, &s.StrideW, &s.DilationH, &s.DilationW} {
		*p = max(1, *p)
	}
	return s
}

// OutH returns the height of the output, 0 if the kernel does not fit.
func (s ConvShape) OutH() int {
	return outLen(s.H+s.PadTop+s.PadBottom, s.KH, max(1, s.StrideH), max(1, s.DilationH))
}

// OutW returns the width of the output, 0 if the kernel does not fit.
func (s ConvShape) OutW() int {
	return outLen(s.W+s.PadLeft+s.PadRight, s.KW, max(1, s.StrideW), max(1, s.DilationW))
}

func outLen(padded, k, stride, dilation int) int {
	return max(0, (padded-(k-1)*dilation-1+stride)/stride)
}

// PackedConv is the constant weight of a convolution, packed once for Run.
type PackedConv struct {
	groups   []*PackedA
	winograd []*winograd // by group; nil: not this form
}

// PackConv packs w, laid out OutC x InC/Groups x KH x KW, for convolutions of the shape s; the image sizes of s do not matter.
func PackConv(s ConvShape, w []float32) *PackedConv {
	s = s.normal()
	m, k := s.OutC/s.Groups, s.InC/s.Groups*s.KH*s.KW
	c := &PackedConv{}
	for g := range s.Groups {
		part := w[g*m*k : (g+1)*m*k]
		if winogradFits(s) {
			c.winograd = append(c.winograd, packWinograd(m, s.InC/s.Groups, part))
		} else {
			c.groups = append(c.groups, PackA(false, m, k, part, k))
		}
	}
	return c
}

// Run convolves n images x (n x InC x H x W) to y (n x OutC x OutH x OutW), adds bias e.Row (OutC elements, or nil) and e.Add (laid out
// as y, or nil), and limits the result to e.Lo..e.Hi; the rest of e does not apply, and e may be nil. The unfolded image is never
// stored: the matrix product reads it while packing.
func (c *PackedConv) Run(s ConvShape, n int, x, y []float32, e *Epilogue, threads int) {
	s = s.normal()
	in, out := s.InC*s.H*s.W/s.Groups, s.OutC*s.OutH()*s.OutW()/s.Groups
	jobs := n * s.Groups
	if out == 0 || jobs == 0 {
		return
	}
	if e == nil {
		e = Bias(nil, nil)
	}
	if c.winograd != nil {
		c.runWinograd(s, jobs, x, y, e, threads)
		return
	}
	inner := threads
	if jobs >= 2*threads {
		inner = 1
	}
	Parallel((threads+inner-1)/inner, jobs, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			c.group(s, j%s.Groups, x[j*in:(j+1)*in], y[j*out:(j+1)*out], e.part(s, j), inner)
		}
	})
}

// part is the epilogue from job j on, one group of one image.
func (e *Epilogue) part(s ConvShape, j int) *Epilogue {
	p := &Epilogue{Lo: e.Lo, Hi: e.Hi}
	m := s.OutC / s.Groups
	if e.Row != nil {
		p.Row = e.Row[j%s.Groups*m : (j%s.Groups+1)*m]
	}
	if e.Add != nil {
		p.Add = e.Add[j*m*s.OutH()*s.OutW():]
	}
	return p
}

// runWinograd cuts the rows of tiles of all images into equal parts, or, where these would fill vectors badly, has the threads share the
// channels. A part's result does not depend on where the cuts lie.
func (c *PackedConv) runWinograd(s ConvShape, jobs int, x, y []float32, e *Epilogue, threads int) {
	in, out, n := s.InC*s.H*s.W, s.OutC*s.OutH()*s.OutW(), jobs/s.Groups
	rows := n * ((s.OutH() + 1) / 2)
	if out*n*s.InC/s.Groups < smallProduct {
		threads = 1
	}
	inner := 1
	if winogradShares(rows*s.Groups, (s.OutW()+1)/2, threads) {
		threads, inner = 1, threads
	}
	Parallel(threads, rows*s.Groups, func(lo, hi int) {
		for lo < hi {
			g, from := lo/rows, lo%rows
			to := min(rows, from+hi-lo)
			c.winograd[g].run(s, x[g*in/s.Groups:], y[g*out/s.Groups:], in, out, e.part(s, g), from, to, inner)
			lo += to - from
		}
	})
}

// group convolves one group of one image. Where threads share the columns of the product, each unfolds the rows of the image that it reads.
func (c *PackedConv) group(s ConvShape, g int, x, y []float32, e *Epilogue, threads int) {
	a, n := c.groups[g], s.OutH()*s.OutW()
	p := product[float32]{t: a.t, m: a.M, n: n, k: a.K, alpha: 1, c: y, ldc: n, packedA: a.data, e: e}
	if s.pointwise() {
		p.b = dense[float32]{x, n, false}
		p.run(threads)
		return
	}
	if p.k == 0 || !p.sharesColumns(threads) {
		unfolded(&p, s, 0, s.OutH(), x, threads, func() { p.run(threads) })
		return
	}
	parallelStep(threads, n, a.t.nr, func(lo, hi int) {
		ow := s.OutW()
		first, last := lo/ow, (hi-1)/ow+1
		q := p
		q.n, q.c = (last-first)*ow, y[first*ow:]
		if e != nil && e.Add != nil {
			part := *e
			part.Add, q.e = e.Add[first*ow:], &part
		}
		unfolded(&q, s, first, last, x, 1, func() { q.region(0, q.m, lo-first*ow, hi-first*ow) })
	})
}

// unfolded calls run with output rows [first, last) of the image x under s as p's B. Several threads share the work of packing it.
func unfolded(p *product[float32], s ConvShape, first, last int, x []float32, threads int, run func()) {
	u := unfoldPool.Get().(*unfold)
	defer unfoldPool.Put(u)
	part, top := s.band(first, last)
	channels, apart := s.InC/s.Groups, s.H*s.W
	x = x[top*s.W:]
	switch {
	case s.samples():
		p.b = dense[float32]{u.sample(part, channels, x, apart, threads), p.n, false}
	case threads > 1 && p.m*p.n*p.k >= smallProduct:
		p.packedB = u.packed(part, channels, x, apart, p.t, threads)
	default:
		u.set(part, channels, x, apart, threads)
		p.image = u
	}
	run()
}

// band is the part of the image that output rows [first, last) read, as a shape with these rows, and the number of its first row.
func (s ConvShape) band(first, last int) (part ConvShape, top int) {
	s = s.normal()
	from := first*s.StrideH - s.PadTop
	to := (last-1)*s.StrideH - s.PadTop + (s.KH-1)*s.DilationH + 1
	part, top = s, min(max(0, from), s.H)
	part.H = max(0, min(s.H, to)-top)
	part.PadTop = min(max(0, -from), to-from)
	part.PadBottom = to - from - part.PadTop - part.H
	return part, top
}

// pointwise tells that the image itself is the unfolded one.
func (s ConvShape) pointwise() bool { return s.samples() && s.StrideH*s.StrideW == 1 }

// samples tells that the unfolded image is elements of the image itself, at steps.
func (s ConvShape) samples() bool {
	return s.KH*s.KW == 1 && s.PadTop|s.PadLeft|s.PadBottom|s.PadRight == 0
}

var unfoldPool = sync.Pool{New: func() any { return new(unfold) }}
