package kernel

import "sync"

// Depthwise convolutions of bytes, in quads of neighbours along a row of the kernel: an output sees windows of four bytes of each row of
// the image, one word of a vector for each output, and multiplies them by the row's weights. The image is padded by its zero point.

// windows tells where the windows of 16 neighbouring outputs lie, in steps that a processor's shuffles make: each group of four outputs
// reads four words of the image, and each window is four bytes of those 16. Assembly reads it.
type windows struct {
	words   [16]int32   // the words' places, four for each group
	bytes   [2][64]byte // by quad: the places of the windows' bytes in the group's 16
	strideW int         // bytes from the windows of an output to those of the next
	quads   int         // in a row of the kernel
	kh      int         // rows of the kernel
	step    int         // rows of the image from a row of vectors of outputs to the next
	double  bool        // a vector holds eight outputs of a row and eight of the next
}

// depthQuadsFunc sets dst[i*ldd+j] to the codes of rows x cols outputs, rows >= 4, where output row i starts at x[i*t.step*pitch]. w holds
// t.kh x t.quads words of weights.
type depthQuadsFunc func(dst []byte, ldd, rows, cols int, x []byte, pitch int, w []int32, t *windows, e *rounding)

func depthQuadsGeneric(dst []byte, ldd, rows, cols int, x []byte, pitch int, w []int32, t *windows, e *rounding) {
	sums := make([]int32, cols)
	for i := range rows {
		for j := range sums {
			sum, lane := *e.bias, j%16
			for k := range t.kh * t.quads {
				row := x[(i*t.step+k/t.quads)*pitch+(j-lane)*t.strideW:]
				for b := range 4 {
					at := int(t.bytes[k%t.quads][4*lane+b])
					sum += int32(row[4*int(t.words[lane/4*4+at/4])+at%4]) * int32(int8(w[k]>>(8*b)))
				}
			}
			sums[j] = sum
		}
		e.row(dst[i*ldd:i*ldd+cols], sums, 0)
	}
}

// depthRows is how many rows the kernels compute at a time, and at least.
const depthRows = 4

// depthInQuads reports whether the kernels have a form for s.
func depthInQuads(s ConvShape) bool {
	return (s.KH == 3 || s.KH == 5 || s.KH == 7) && s.KW == s.KH && (s.StrideH == 1 || s.StrideH == 2) && s.StrideW <= 2 &&
		s.DilationH == 1 && 3*s.StrideW+(s.KW-1)*s.DilationW < 16 &&
		min(s.PadTop, s.PadLeft, s.PadBottom, s.PadRight) >= 0 && s.OutH() >= depthRows && s.OutW() > 0
}

// depthImage is the memory that one goroutine works in: padded channels of an image, as unsigned codes.
type depthImage struct {
	windows
	s           ConvShape
	rows, pitch int
	buf, out    []byte
	round       rounding
}

var depthImagePool = sync.Pool{New: func() any { return new(depthImage) }}

// depthImageBlock is how many bytes the channels that are filled at a time have: they stay in the first-level cache.
const depthImageBlock = 8192

// set prepares for s and returns how many channels, at most of those wanted, there is room for. All is padding then.
func (d *depthImage) set(s ConvShape, channels int, zero byte) int {
	d.s, d.rows, d.pitch = s, s.H+s.PadTop+s.PadBottom, s.W+s.PadLeft+s.PadRight
	d.windows = windows{strideW: s.StrideW, quads: quadLen(s.KW), kh: s.KH, step: s.StrideH}
	// Narrow images fill half of a vector: two rows of them fill one.
	d.double = s.OutW() <= 8 && s.StrideH == 1 && s.OutH() > 2*(depthRows-1)
	if d.double {
		d.pitch, d.step = roundUp(d.pitch, 4), 2
	}
	for l := range 16 {
		group := l / 4
		base := group * s.StrideW
		if d.double {
			base = group%2*s.StrideW + group/2*d.pitch/4
		}
		d.words[l] = int32(base + l%4)
		for q := range d.quads {
			for b := range 4 {
				d.bytes[q][4*l+b] = byte(l%4*s.StrideW + min(4*q+b, s.KW-1)*s.DilationW)
			}
		}
	}
	room := max(1, min(channels, depthImageBlock/d.channel()))
	d.buf = grow(&d.buf, room*d.channel()+2*d.pitch+64)
	for i := range d.buf {
		d.buf[i] = zero
	}
	return room
}

func (d *depthImage) channel() int { return d.rows * d.pitch }

// depthwise computes the codes of a channel from channel c of the image.
func (d *depthImage) depthwise(t *quadTiling, dst []byte, c int, w []int32, e *rounding) {
	oh, ow, x := d.s.OutH(), d.s.OutW(), d.buf[c*d.channel():]
	if !d.double {
		t.depthwise(dst, ow, oh, ow, x, d.pitch, w, &d.windows, e)
		return
	}
	d.out = grow(&d.out, roundUp(oh, 2)*8)
	t.depthwise(d.out, 16, (oh+1)/2, 16, x, d.pitch, w, &d.windows, e)
	t.copyBytes(dst, ow, d.out, 8, oh, ow, 0)
}

// packDepthQuads lays the weights of bytes w, OutC x KH x KW, out in words, with the sums of each channel.
func packDepthQuads(s ConvShape, w []byte, flip uint32) (data, sums []int32) {
	quads := quadLen(s.KW)
	data, sums = make([]int32, s.OutC*s.KH*quads), make([]int32, s.OutC)
	for i, v := range w {
		v ^= byte(flip)
		at := i % s.KW
		data[i/s.KW*quads+at/4] |= int32(v) << (8 * (at % 4))
		sums[i/(s.KH*s.KW)] += int32(int8(v))
	}
	return data, sums
}

// codesInQuads is Codes by the kernels for bytes.
func (d *IntDepthwise) codesInQuads(s ConvShape, n int, x, y Codes, r *Rounding, threads int) {
	t, flip := d.quads, uint32(0)
	if x.Signed {
		flip = flipBits
	}
	zero := flipped(x.Zero, flip, 128)
	bias := make([]int32, s.OutC)
	for i := range bias {
		if bias[i] = -zero * d.sums[i]; r.Bias != nil {
			bias[i] += r.Bias[i]
		}
	}
	pix, plane, mult, words := s.OutH()*s.OutW(), s.H*s.W, s.OutC/s.InC, s.KH*quadLen(s.KW)
	Parallel(threads, n*s.InC, func(lo, hi int) {
		image := depthImagePool.Get().(*depthImage)
		defer depthImagePool.Put(image)
		room := image.set(s, hi-lo, byte(zero))
		for ; lo < hi; lo += room {
			part := min(room, hi-lo)
			for c := range part {
				t.copyBytes(image.buf[c*image.channel()+s.PadTop*image.pitch+s.PadLeft:], image.pitch, x.Bytes[(lo+c)*plane:], s.W, s.H, s.W, flip)
			}
			for o := lo * mult; o < (lo+part)*mult; o++ {
				ch := o % s.OutC
				image.depthwise(t, y.Bytes[o*pix:(o+1)*pix], o/mult-lo, d.words[ch*words:], image.round.to(y, bias, r.Factor, ch))
			}
		}
	})
}
