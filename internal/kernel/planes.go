package kernel

import "math"

// planes holds padded images cut into phases: with steps sh and sw, element (r, c) of the padded image lies in phase (r%sh, c%sw), at
// row r/sh and column c/sw of it. What one kernel position sees along an output row is then consecutive in memory, for any stride.
type planes struct {
	s           ConvShape
	sh, sw      int
	rows, pitch int // of one phase
	buf         []float32
	fill        float32 // the padding: 0, or the bits of a word of codes
}

// planeSlack elements, and eight rows, behind the last plane may be read by the kernels; what is read there is never used.
const planeSlack = 160

// planesBlock is how many elements setSome makes room for, at most: they stay in the first-level cache. Several channels are filled at a
// time, since rows that have just been stored are read at other offsets only after a delay.
const planesBlock = 4096

// setSome is set for as many of the channels at a time as stay in the first-level cache, at least one, and returns how many.
func (p *planes) setSome(s ConvShape, channels, sh, sw int) int {
	p.layout(s, sh, sw)
	room := max(1, min(channels, planesBlock/max(1, p.channel())))
	p.reserve(room)
	return room
}

// set makes room for channels of an image under s, full of padding.
func (p *planes) set(s ConvShape, channels, sh, sw int) {
	p.layout(s, sh, sw)
	p.reserve(channels)
}

// reserve makes room for channels of the layout, full of padding.
func (p *planes) reserve(channels int) {
	p.buf = grow(&p.buf, channels*p.channel()+8*p.pitch+planeSlack)
	if math.Float32bits(p.fill) == 0 {
		clear(p.buf)
		return
	}
	for i := range p.buf {
		p.buf[i] = p.fill
	}
}

// layout finds the size of the planes of an image under s. With sw = 1 the zeros left of a row serve as those right of the row before.
func (p *planes) layout(s ConvShape, sh, sw int) {
	p.s, p.sh, p.sw = s, sh, sw
	p.rows = (s.H + s.PadTop + s.PadBottom + sh - 1) / sh
	p.pitch = (s.W + s.PadLeft + s.PadRight + sw - 1) / sw
	if sw == 1 && s.PadLeft >= 0 && s.PadRight >= 0 {
		p.pitch = s.W + max(s.PadLeft, s.PadRight)
	}
}

// phase is the number of elements of a phase, channel that of all phases of a channel.
func (p *planes) phase() int   { return p.rows * p.pitch }
func (p *planes) channel() int { return p.sh * p.sw * p.phase() }

// at is the place of element (r, c) of the padded image within its channel.
func (p *planes) at(r, c int) int {
	if p.sh == 2 && p.sw == 2 { // divisions take longer than rows
		return (r&1*2+c&1)*p.phase() + r>>1*p.pitch + c>>1
	}
	return (r%p.sh*p.sw+c%p.sw)*p.phase() + r/p.sh*p.pitch + c/p.sw
}

// taps are the places of the kernel positions as seen from the first output element.
func (p *planes) taps(offs []int32) {
	for i := range p.s.KH {
		for j := range p.s.KW {
			offs[i*p.s.KW+j] = int32(p.at(i*p.s.DilationH, j*p.s.DilationW))
		}
	}
}

// load copies an image's channel x (H x W) into channel c. Negative padding crops.
func (p *planes) load(c int, x []float32) {
	s := p.s
	r0, r1 := max(0, -s.PadTop), s.H-max(0, -s.PadBottom)
	c0, c1 := max(0, -s.PadLeft), s.W-max(0, -s.PadRight)
	if r0 >= r1 || c0 >= c1 {
		return
	}
	dst := p.buf[c*p.channel() : (c+1)*p.channel()]
	left := c0 + s.PadLeft // padded column of the first element
	if p.sh == 1 && p.sw == 1 {
		active.copyRows(dst[(r0+s.PadTop)*p.pitch+left:], p.pitch, x[r0*s.W+c0:], s.W, r1-r0, c1-c0)
		return
	}
	for ph := range min(p.sh, r1-r0) { // rows r0+ph, r0+ph+sh, ...
		top := r0 + ph + s.PadTop
		src, step, rows := x[(r0+ph)*s.W+c0:], p.sh*s.W, (r1-r0-ph+p.sh-1)/p.sh
		switch p.sw {
		case 1:
			active.copyRows(dst[p.at(top, left):], p.pitch, src, step, rows, c1-c0)
		case 2:
			if c1-c0 == 1 {
				active.copyRows(dst[p.at(top, left):], p.pitch, src, step, rows, 1)
				break
			}
			active.deinterleave(dst[p.at(top, left):], dst[p.at(top, left+1):], p.pitch, src, step, rows, c1-c0)
		default:
			for r := range rows {
				for i, v := range src[r*step : r*step+c1-c0] {
					dst[p.at(top+r*p.sh, left+i)] = v
				}
			}
		}
	}
}

// copyRowsGeneric copies rows of cols elements.
func copyRowsGeneric(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	for i := range rows {
		copy(dst[i*ldd:i*ldd+cols], src[i*lds:])
	}
}

// deinterleaveGeneric sets rows of even and odd to the elements with even and odd numbers of rows of src with cols elements.
func deinterleaveGeneric(even, odd []float32, ldd int, src []float32, lds, rows, cols int) {
	for r := range rows {
		row := src[r*lds : r*lds+cols]
		for i, v := range row {
			if i%2 == 0 {
				even[r*ldd+i/2] = v
			} else {
				odd[r*ldd+i/2] = v
			}
		}
	}
}
