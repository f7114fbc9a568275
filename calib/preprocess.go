package calib

import (
	"fmt"
	"image"
	"math"
	"slices"
	"strings"

	"golang.org/x/image/draw"

	"github.com/obc-onnx/obc/onnxio"
)

// Preprocess says how a picture becomes a model input. It must repeat what was done in training; nothing is guessed. The steps,
// in order, on the picture as it is stored (turns in EXIF are not made, and 16 bits of gray are cut off at 255, as by PIL): resize, centre crop, channels, and for each value v of a channel (v*scale - mean) / std, then the layout.
type Preprocess struct {
	// Resize is [height, width], or [side]: the shorter side gets this length and the ratio stays. Empty: as it is.
	Resize []int `yaml:"resize,omitempty" json:"resize,omitempty"`
	// Interpolation is nearest, bilinear (default; area-weighted when shrinking) or bicubic (Catmull-Rom).
	Interpolation string `yaml:"interpolation,omitempty" json:"interpolation,omitempty"`
	// Crop is [height, width] or [side], cut from the middle as torchvision does. Empty: none.
	Crop []int `yaml:"crop,omitempty" json:"crop,omitempty"`
	// Channels is rgb (default), bgr or gray.
	Channels string `yaml:"channels,omitempty" json:"channels,omitempty"`
	// Scale multiplies the values 0..255 first; 0 stands for 1.
	Scale float32 `yaml:"scale,omitempty" json:"scale,omitempty"`
	// Mean and Std hold one number or one for each channel, after Scale. Empty: 0 and 1.
	Mean []float32 `yaml:"mean,omitempty" json:"mean,omitempty"`
	Std  []float32 `yaml:"std,omitempty" json:"std,omitempty"`
	// Layout is nchw (default) or nhwc.
	Layout string `yaml:"layout,omitempty" json:"layout,omitempty"`
}

// maxSide bounds the sides of a picture, before and after resizing.
const maxSide = 1 << 14

// Validate checks the settings; the error names the setting, what was found and what is allowed.
func (p *Preprocess) Validate() error {
	for _, c := range []struct {
		name, got string
		allowed   []string
	}{
		{"interpolation", p.Interpolation, []string{"nearest", "bilinear", "bicubic"}},
		{"channels", p.Channels, []string{"rgb", "bgr", "gray"}},
		{"layout", p.Layout, []string{"nchw", "nhwc"}},
	} {
		if c.got != "" && !slices.Contains(c.allowed, strings.ToLower(c.got)) {
			return fmt.Errorf("preprocess: %s is %q, allowed are %s", c.name, c.got, strings.Join(c.allowed, ", "))
		}
	}
	for name, d := range map[string][]int{"resize": p.Resize, "crop": p.Crop} {
		if len(d) > 2 || slices.ContainsFunc(d, func(n int) bool { return n < 1 || n > maxSide }) {
			return fmt.Errorf("preprocess: %s is %v, expected [side] or [height, width] between 1 and %d", name, d, maxSide)
		}
	}
	for name, d := range map[string][]float32{"mean": p.Mean, "std": p.Std} {
		if n := len(d); n > 1 && n != p.channels() {
			return fmt.Errorf("preprocess: %s has %d values for %d channels", name, n, p.channels())
		}
	}
	for _, v := range slices.Concat([]float32{p.Scale}, p.Mean, p.Std) {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("preprocess: scale, mean or std is %v, expected finite numbers", v)
		}
	}
	if slices.Contains(p.Std, 0) {
		return fmt.Errorf("preprocess: std may not be 0")
	}
	return nil
}

func (p *Preprocess) channels() int {
	if strings.EqualFold(p.Channels, "gray") {
		return 1
	}
	return 3
}

// size is what a picture of h x w comes to.
func (p *Preprocess) size(h, w int) (int, int) {
	switch len(p.Resize) {
	case 1:
		s := p.Resize[0]
		if h < w {
			h, w = s, max(1, w*s/h)
		} else {
			h, w = max(1, h*s/w), s
		}
	case 2:
		h, w = p.Resize[0], p.Resize[1]
	}
	if n := len(p.Crop); n > 0 {
		h, w = min(h, p.Crop[0]), min(w, p.Crop[n-1])
	}
	return h, w
}

// shape is the shape of one sample made of a picture of h x w.
func (p *Preprocess) shape(h, w int) []int {
	h, w = p.size(h, w)
	if strings.EqualFold(p.Layout, "nhwc") {
		return []int{h, w, p.channels()}
	}
	return []int{p.channels(), h, w}
}

// apply writes one picture into dst, which has the elements of p.shape.
func (p *Preprocess) apply(dst []float32, pic image.Image) error {
	img := p.geometry(pic)
	h, w, ch := img.Rect.Dy(), img.Rect.Dx(), p.channels()
	if n := h * w * ch; n != len(dst) {
		return fmt.Errorf("the picture comes to %d x %d, others to another size: declare a resize or crop", h, w)
	}
	step, stride := h*w, 1 // between channels, between pixels
	if strings.EqualFold(p.Layout, "nhwc") {
		step, stride = 1, ch
	}
	for c := range ch {
		lut := p.table(c)
		src := c
		if strings.EqualFold(p.Channels, "bgr") {
			src = 2 - c
		}
		out := dst[c*step:]
		for y := range h {
			row := img.Pix[y*img.Stride:]
			for x := range w {
				v := row[4*x+src]
				if ch == 1 {
					v = gray(row[4*x], row[4*x+1], row[4*x+2])
				}
				out[(y*w+x)*stride] = lut[v]
			}
		}
	}
	return nil
}

// table is (v*scale - mean) / std of channel c for the 256 values.
func (p *Preprocess) table(c int) (lut [256]float32) {
	pick := func(d []float32, def float32) float32 {
		if len(d) == 0 {
			return def
		}
		return d[min(c, len(d)-1)]
	}
	scale, mean, std := p.Scale, pick(p.Mean, 0), pick(p.Std, 1)
	if scale == 0 {
		scale = 1
	}
	for v := range lut {
		scaled := float32(v) * scale // rounded by itself: no fused multiply-add
		lut[v] = (scaled - mean) / std
	}
	return lut
}

// gray is the luma of ITU-R BT.601 in 16-bit fixed point, rounded.
func gray(r, g, b uint8) uint8 {
	return uint8((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// geometry resizes and crops, and leaves a picture of non-premultiplied RGBA at the origin.
func (p *Preprocess) geometry(pic image.Image) *image.NRGBA {
	img := toNRGBA(pic)
	h, w := img.Rect.Dy(), img.Rect.Dx()
	rh, rw := (&Preprocess{Resize: p.Resize}).size(h, w)
	if rh != h || rw != w {
		var kernel draw.Interpolator = draw.BiLinear
		switch strings.ToLower(p.Interpolation) {
		case "nearest":
			kernel = draw.NearestNeighbor
		case "bicubic":
			kernel = draw.CatmullRom
		}
		scaled := image.NewNRGBA(image.Rect(0, 0, rw, rh))
		kernel.Scale(scaled, scaled.Rect, img, img.Rect, draw.Src, nil)
		img = scaled
	}
	ch, cw := (&Preprocess{Crop: p.Crop}).size(rh, rw)
	top, left := middle(rh-ch), middle(rw-cw)
	return &image.NRGBA{Pix: img.Pix[top*img.Stride+4*left:], Stride: img.Stride, Rect: image.Rect(0, 0, cw, ch)}
}

// middle is where a crop begins that leaves n pixels out, half on each side. An odd pixel goes where torchvision's CenterCrop
// leaves it: half of n is rounded to the even number.
func middle(n int) int { return int(math.RoundToEven(float64(n) / 2)) }

// toNRGBA keeps the colours of a picture and drops its transparency, as converting to RGB does.
func toNRGBA(pic image.Image) *image.NRGBA {
	b := pic.Bounds()
	size := image.Rect(0, 0, b.Dx(), b.Dy())
	if o, ok := pic.(interface{ Opaque() bool }); ok && o.Opaque() {
		fast := image.NewRGBA(size) // opaque: the same bytes in both forms
		draw.Draw(fast, size, pic, b.Min, draw.Src)
		return &image.NRGBA{Pix: fast.Pix, Stride: fast.Stride, Rect: size}
	}
	out := image.NewNRGBA(size)
	if src, ok := pic.(*image.NRGBA); ok {
		for y := range b.Dy() {
			copy(out.Pix[y*out.Stride:], src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*b.Dx()])
		}
	} else {
		draw.Draw(out, size, pic, b.Min, draw.Src)
	}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	return out
}

// bytesPicture makes a picture of raw values of h x w x c, c = 1, 3 or 4.
func bytesPicture(pix []uint8, h, w, c int) *image.NRGBA {
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range h * w {
		px := out.Pix[4*i : 4*i+4]
		if c == 1 {
			px[0], px[1], px[2] = pix[i], pix[i], pix[i]
		} else {
			copy(px, pix[i*c:i*c+3])
		}
		px[3] = 255
	}
	return out
}

// tensor makes the input for several pictures, rows of a source, that all have the shape s. It asks for them one by one.
func (p *Preprocess) tensor(s []int, rows []int, name func(row int) string, pic func(row int) (image.Image, error)) (*onnxio.Tensor, error) {
	t := onnxio.NewTensor(onnxio.Float32, append([]int{len(rows)}, s...)...)
	size := elements(s)
	for i, row := range rows {
		img, err := pic(row)
		if err != nil {
			return nil, err
		}
		if got := p.shape(img.Bounds().Dy(), img.Bounds().Dx()); !slices.Equal(got, s) {
			return nil, fmt.Errorf("sample %d (%s) comes to %v, the first to %v: declare a resize and crop", row, name(row), got, s)
		}
		if err := p.apply(t.Float32s()[i*size:(i+1)*size], img); err != nil {
			return nil, err
		}
	}
	return t, nil
}
