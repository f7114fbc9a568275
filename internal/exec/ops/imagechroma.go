package ops

import (
	"image"
	"image/jpeg"
	"io"

	"golang.org/x/image/webp"
)

// Lossy formats store colour in fewer elements than brightness. The standard wants it spread as the common C libraries do, by
// interpolation, which Go's decoders leave to the caller.

// decodeJPEG spreads the colour planes by triangle filters and rounds as libjpeg does.
func decodeJPEG(r io.Reader) (*picture, error) {
	m, err := jpeg.Decode(r)
	if err != nil {
		return nil, err
	}
	yc, ok := m.(*image.YCbCr)
	if !ok {
		return decodeWith(func(io.Reader) (image.Image, error) { return m, nil })(nil)
	}
	w, h := yc.Bounds().Dx(), yc.Bounds().Dy()
	p := newPicture(w, h)
	cb, cr := spreadJPEG(yc, yc.Cb), spreadJPEG(yc, yc.Cr)
	for y := range h {
		for x := range w {
			v, b, r := int(yc.Y[y*yc.YStride+x]), int(cb[y*w+x])-128, int(cr[y*w+x])-128
			p.set(x, y, clampByte(v+(91881*r+1<<15)>>16), clampByte(v+(-22554*b-46802*r+1<<15)>>16), clampByte(v+(116130*b+1<<15)>>16))
		}
	}
	return p, nil
}

func clampByte(v int) uint8 { return uint8(min(max(v, 0), 255)) }

// spreadJPEG brings a colour plane to full size. Between elements a and b the new ones are a quarter of the way from each; halves
// are rounded down and up in turn.
func spreadJPEG(m *image.YCbCr, plane []uint8) []uint8 {
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	fx, fy := 1, 1
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		fx = 2
	case image.YCbCrSubsampleRatio420:
		fx, fy = 2, 2
	case image.YCbCrSubsampleRatio440:
		fy = 2
	case image.YCbCrSubsampleRatio411:
		fx = 4
	case image.YCbCrSubsampleRatio410:
		fx, fy = 4, 2
	}
	sw, sh := (w+fx-1)/fx, (h+fy-1)/fy
	at := func(x, y int) int { return int(plane[min(max(y, 0), sh-1)*m.CStride+min(max(x, 0), sw-1)]) }
	side := func(i int) int { return i/2 + i%2*2 - 1 } // the neighbour that new element i leans to
	out := make([]uint8, w*h)
	for y := range h {
		for x := range w {
			var v int
			switch {
			case fx == 2 && fy == 2:
				column := func(sx int) int { return 3*at(sx, y/2) + at(sx, side(y)) }
				v = (3*column(x/2) + column(side(x)) + 8 - x%2) >> 4
			case fx == 2 && fy == 1:
				v = (3*at(x/2, y) + at(side(x), y) + 1 + x%2) >> 2
			case fx == 1 && fy == 2:
				v = (3*at(x, y/2) + at(x, side(y)) + 1 + y%2) >> 2
			default:
				v = at(x/fx, y/fy)
			}
			out[y*w+x] = uint8(v)
		}
	}
	return out
}

// decodeWebP interpolates colour between the four nearest elements and turns video levels (16 to 235) into full ones, as libwebp does.
func decodeWebP(r io.Reader) (*picture, error) {
	m, err := webp.Decode(r)
	if err != nil {
		return nil, err
	}
	yc, ok := m.(*image.YCbCr)
	if a, alpha := m.(*image.NYCbCrA); alpha {
		yc, ok = &a.YCbCr, true
	}
	if !ok {
		return decodeWith(func(io.Reader) (image.Image, error) { return m, nil })(nil)
	}
	w, h := yc.Bounds().Dx(), yc.Bounds().Dy()
	p := newPicture(w, h)
	sw, sh := (w+1)/2, (h+1)/2
	for y := range h {
		for x := range w {
			chroma := func(plane []uint8) int {
				at := func(x, y int) int { return int(plane[min(max(y, 0), sh-1)*yc.CStride+min(max(x, 0), sw-1)]) }
				nx, ny := x/2+x%2*2-1, y/2+y%2*2-1
				near, side, over, far := at(x/2, y/2), at(nx, y/2), at(x/2, ny), at(nx, ny)
				if x == 0 || x == w-1 && w%2 == 0 {
					return (3*near + over + 2) >> 2
				}
				all := near + side + over + far + 8
				return ((all+2*(side+over))>>3 + near) >> 1
			}
			u, v := chroma(yc.Cb), chroma(yc.Cr)
			l := int(yc.Y[y*yc.YStride+x]) * 19077 >> 8
			p.set(x, y, clampByte((l+v*26149>>8-14234)>>6), clampByte((l-u*6419>>8-v*13320>>8+8708)>>6), clampByte((l+u*33050>>8-17685)>>6))
		}
	}
	return p, nil
}
