package kernel

// unfold presents a padded image as the matrix that a convolution multiplies by: row (c*KH+kh)*KW+kw, column oh*OutW+ow
// is padded[c, oh*stride+kh*dilation, ow*stride+kw*dilation], that is img[rows[row]+start(column)].
type unfold struct {
	img     []float32 // padded image, with imageSlack elements behind it
	padded  []float32 // buffer for img
	rows    []int32
	outW    int
	stepH   int // elements from one output row's start to the next
	strideW int
}

// imageSlack elements behind the image may be read (never used) by vector loads.
const imageSlack = 64

// set prepares u for channels of x under s.
func (u *unfold) set(s ConvShape, channels int, x []float32) {
	var h, w int
	u.img, h, w = padImage(&u.padded, s, channels, x)
	u.rows = grow(&u.rows, channels*s.KH*s.KW)
	i := 0
	for c := range channels {
		for kh := range s.KH {
			for kw := range s.KW {
				u.rows[i] = int32((c*h+kh*s.DilationH)*w + kw*s.DilationW)
				i++
			}
		}
	}
	u.outW, u.stepH, u.strideW = s.OutW(), s.StrideH*w, s.StrideW
}

// padImage copies channels of x with their borders (zero padding, or cropping) into buf and returns it with the new height
// and width.
func padImage(buf *[]float32, s ConvShape, channels int, x []float32) (img []float32, h, w int) {
	h, w = s.H+s.PadTop+s.PadBottom, s.W+s.PadLeft+s.PadRight
	img = grow(buf, channels*h*w+imageSlack)
	left, from := max(0, s.PadLeft), max(0, -s.PadLeft)
	width := min(s.W-from, w-left)
	for c := range channels {
		for i := range h {
			row := img[(c*h+i)*w : (c*h+i+1)*w]
			r := i - s.PadTop
			if r < 0 || r >= s.H || width <= 0 {
				clear(row)
				continue
			}
			clear(row[:left])
			copy(row[left:], x[(c*s.H+r)*s.W+from:][:width])
			clear(row[left+width:])
		}
	}
	clear(img[channels*h*w:])
	return img, h, w
}

// start returns the offset of an output column's first element.
func (u *unfold) start(column int) int32 {
	return int32(column/u.outW*u.stepH + column%u.outW*u.strideW)
}

// pack lays rows [p, p+kb), columns [j, j+nb) out as panels of nr columns, zero filled, eight columns at a time.
func (u *unfold) pack(dst []float32, nr, p, kb, j, nb int) {
	var at [8]int32
	for ; nb > 0; nb, j, dst = nb-nr, j+nr, dst[nr*kb:] {
		for q := 0; q < nr; q += 8 {
			lanes := min(8, nb-q, nr-q)
			if lanes <= 0 {
				for i := range kb {
					clear(dst[i*nr+q : i*nr+min(q+8, nr)])
				}
				continue
			}
			for l := range at {
				at[l] = u.start(j + q + min(l, lanes-1))
			}
			active.gather(dst[q:], nr, min(8, nr-q), u.img, u.rows[p:p+kb], at)
		}
	}
}

// gatherGeneric sets dst[i*ld+l] = src[rows[i]+at[l]] for l < lanes.
func gatherGeneric(dst []float32, ld, lanes int, src []float32, rows []int32, at [8]int32) {
	for i, r := range rows {
		d, s := dst[i*ld:i*ld+lanes], src[r:]
		for l := range d {
			d[l] = s[at[l]]
		}
	}
}
