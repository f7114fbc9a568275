package ops

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// picture is a decoded image: w x h elements of three bytes, red, green and blue.
type picture struct {
	w, h int
	rgb  []uint8
}

func newPicture(w, h int) *picture { return &picture{w, h, make([]uint8, 3*w*h)} }

func (p *picture) set(x, y int, r, g, b uint8) {
	copy(p.rgb[3*(y*p.w+x):], []uint8{r, g, b})
}

// imageFormat reads one kind of file.
type imageFormat struct {
	magic  []string // how files begin; ? is any byte
	config func(r io.Reader) (image.Config, error)
	decode func(r io.Reader) (*picture, error)
}

var imageFormats = []imageFormat{
	{[]string{"\xff\xd8"}, jpeg.DecodeConfig, decodeJPEG},
	{[]string{"\x89PNG\r\n\x1a\n"}, png.DecodeConfig, decodeWith(png.Decode)},
	{[]string{"BM"}, bmp.DecodeConfig, decodeWith(bmp.Decode)},
	{[]string{"RIFF????WEBP"}, webp.DecodeConfig, decodeWebP},
	{[]string{"II*\x00", "MM\x00*"}, tiff.DecodeConfig, decodeWith(tiff.Decode)},
	{[]string{"P1", "P2", "P3", "P4", "P5", "P6", "P7"}, configPNM, decodePNM},
}

func (f imageFormat) matches(b []byte) bool {
	for _, m := range f.magic {
		ok := len(b) >= len(m)
		for i := 0; ok && i < len(m); i++ {
			ok = m[i] == '?' || m[i] == b[i]
		}
		if ok {
			return true
		}
	}
	return false
}

// decodeWith takes the colours of a decoder of the standard kind; transparency is left out.
func decodeWith(decode func(io.Reader) (image.Image, error)) func(r io.Reader) (*picture, error) {
	return func(r io.Reader) (*picture, error) {
		m, err := decode(r)
		if err != nil {
			return nil, err
		}
		b := m.Bounds()
		p := newPicture(b.Dx(), b.Dy())
		for y := range p.h {
			for x := range p.w {
				c := color.NRGBAModel.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
				p.set(x, y, c.R, c.G, c.B)
			}
		}
		return p, nil
	}
}

// prepareImageDecoder turns the bytes of an image file into [height width channels]. A file that cannot be decoded gives an empty
// tensor, as the standard says.
func prepareImageDecoder(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	format := n.Str("pixel_format", "RGB")
	if format != "RGB" && format != "BGR" && format != "Grayscale" {
		return nil, fmt.Errorf("attribute pixel_format is %q, expected RGB, BGR or Grayscale", format)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		b, ok := c.In[0].Data.([]uint8)
		if !ok || len(c.In[0].Shape) != 1 {
			return fmt.Errorf("input is %v, expected the bytes of a file in one dimension", c.In[0])
		}
		if bytes.Contains(b[:min(len(b), 12)], []byte("jP  ")) || bytes.HasPrefix(b, []byte("\xff\x4f\xff\x51")) {
			return fmt.Errorf("the image is a JPEG 2000 file, which cannot be decoded: convert it to PNG")
		}
		p, err := decodePicture(c, b)
		if err != nil {
			return err
		}
		channels := 3
		if format == "Grayscale" {
			channels = 1
		}
		y := c.New(onnxio.Uint8, p.h, p.w, channels)
		p.store(data[uint8](y), format)
		c.Out[0] = y
		return nil
	}, nil
}

// decodePicture gives an empty picture for a broken file, and an error only for one that is too large.
func decodePicture(c *exec.Call, b []byte) (*picture, error) {
	for _, f := range imageFormats {
		if !f.matches(b) {
			continue
		}
		cfg, err := f.config(bytes.NewReader(b))
		if err != nil || cfg.Width <= 0 || cfg.Height <= 0 {
			break
		}
		if cfg.Width > 1<<20 || cfg.Height > 1<<20 {
			return nil, fmt.Errorf("the image has %d x %d elements", cfg.Width, cfg.Height)
		}
		if err := c.Charge(int64(cfg.Width) * int64(cfg.Height) * 16); err != nil { // the decoder's planes and the result
			return nil, err
		}
		if p, err := f.decode(bytes.NewReader(b)); err == nil {
			return p, nil
		}
		break
	}
	return newPicture(0, 0), nil
}

// store writes the elements in the wanted order; grey is 0.299 R + 0.587 G + 0.114 B.
func (p *picture) store(out []uint8, format string) {
	switch format {
	case "RGB":
		copy(out, p.rgb)
	case "BGR":
		for i := 0; i < len(p.rgb); i += 3 {
			out[i], out[i+1], out[i+2] = p.rgb[i+2], p.rgb[i+1], p.rgb[i]
		}
	default:
		for i := range out {
			r, g, b := int(p.rgb[3*i]), int(p.rgb[3*i+1]), int(p.rgb[3*i+2])
			out[i] = uint8((r*19595 + g*38470 + b*7471 + 1<<15) >> 16)
		}
	}
}

func inferImageDecoder(n *graph.Node) error {
	out := graph.Shape{graph.Unknown, graph.Unknown, graph.D(3)}
	if n.Str("pixel_format", "RGB") == "Grayscale" {
		out[2] = graph.D(1)
	}
	n.SetOut(0, onnxio.Uint8, out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "ImageDecoder", Since: 20, Infer: inferImageDecoder, Prepare: prepareImageDecoder, Native: true})
}
