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
	groups []*PackedA
}

// PackConv packs w, laid out OutC x InC/Groups x KH x KW; k is InC/Groups*KH*KW.
func PackConv(groups, outC, k int, w []float32) *PackedConv {
	c := &PackedConv{}
	m := outC / groups
	for g := range groups {
		c.groups = append(c.groups, PackA(false, m, k, w[g*m*k:], k))
	}
	return c
}

// Run convolves n images x (n x InC x H x W) to y (n x OutC x OutH x OutW), adds bias (OutC elements, or nil), and limits the result to
// e.Lo..e.Hi; of e (nil: none) only Row is used as bias. The unfolded image is never stored: the matrix product reads it
// while packing.
func (c *PackedConv) Run(s ConvShape, n int, x, y []float32, e *Epilogue, threads int) {
	s = s.normal()
	in, out := s.InC*s.H*s.W, s.OutC*s.OutH()*s.OutW()
	jobs := n * s.Groups
	if out == 0 || jobs == 0 {
		return
	}
	inner := threads
	if jobs >= 2*threads {
		inner = 1
	}
	Parallel((threads+inner-1)/inner, jobs, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			g := j % s.Groups
			i, o := j/s.Groups*in+g*in/s.Groups, j/s.Groups*out+g*out/s.Groups
			c.group(s, g, x[i:i+in/s.Groups], y[o:o+out/s.Groups], e, inner)
		}
	})
}

// group convolves one group of one image.
func (c *PackedConv) group(s ConvShape, g int, x, y []float32, e *Epilogue, threads int) {
	a, n := c.groups[g], s.OutH()*s.OutW()
	var ep *Epilogue
	if e != nil {
		ep = &Epilogue{Lo: e.Lo, Hi: e.Hi}
		if e.Row != nil {
			ep.Row = e.Row[g*a.M : (g+1)*a.M]
		}
	}
	p := product[float32]{t: a.t, m: a.M, n: n, k: a.K, alpha: 1, c: y, ldc: n, packedA: a.data, e: ep}
	if s.pointwise() {
		p.b = dense[float32]{x, n, false}
		p.run(threads)
		return
	}
	u := unfoldPool.Get().(*unfold)
	defer unfoldPool.Put(u)
	u.set(s, s.InC/s.Groups, x)
	p.image = u
	p.run(threads)
}

// pointwise tells that the image itself is the unfolded one.
func (s ConvShape) pointwise() bool {
	return s.KH*s.KW*s.StrideH*s.StrideW == 1 && s.PadTop|s.PadLeft|s.PadBottom|s.PadRight == 0
}

var unfoldPool = sync.Pool{New: func() any { return new(unfold) }}
