package calib

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/image/bmp"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// gradient is a picture whose red is 10*x, green 10*y and blue 7.
func gradient(w, h int, alpha uint8) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetNRGBA(x, y, color.NRGBA{uint8(10 * x), uint8(10 * y), 7, alpha})
		}
	}
	return img
}

func savePicture(t *testing.T, path string, img image.Image) {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch filepath.Ext(path) {
	case ".bmp":
		err = bmp.Encode(&b, img)
	case ".jpg":
		err = jpeg.Encode(&b, img, nil)
	default:
		err = png.Encode(&b, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(filepath.Dir(path), 0o777)
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestPreprocess(t *testing.T) {
	img := gradient(4, 3, 128) // transparency changes nothing
	at := func(layout string, w, h, ch, c, y, x int) int {
		if layout == "nhwc" {
			return (y*w+x)*ch + c
		}
		return (c*h+y)*w + x
	}
	for _, layout := range []string{"", "nchw", "nhwc"} {
		for channels, order := range map[string][]float32{"": {20, 10, 7}, "bgr": {7, 10, 20}, "gray": {13}} {
			p := &Preprocess{Layout: layout, Channels: channels, Scale: 0.5, Mean: []float32{1}, Std: []float32{4}}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			dst := make([]float32, elements(p.shape(3, 4)))
			if err := p.apply(dst, img); err != nil {
				t.Fatal(err)
			}
			for c, v := range order { // the pixel x = 2, y = 1: red 20, green 10, blue 7, luma 12.65
				if got, want := dst[at(layout, 4, 3, len(order), c, 1, 2)], (v*0.5-1)/4; got != want {
					t.Errorf("%s %s channel %d: %v, want %v", layout, channels, c, got, want)
				}
			}
		}
	}
	p := &Preprocess{Mean: []float32{1, 2, 3}, Std: []float32{1, 2, 4}}
	dst := make([]float32, 36)
	p.apply(dst, img)
	if dst[6] != 19 || dst[12+6] != 4 || dst[24+6] != 1 {
		t.Errorf("mean and std by channel: %v %v %v", dst[6], dst[18], dst[30])
	}
}

func TestResizeCrop(t *testing.T) {
	for _, c := range []struct {
		p    Preprocess
		h, w int
	}{
		{Preprocess{}, 30, 40},
		{Preprocess{Resize: []int{15}}, 15, 20},
		{Preprocess{Resize: []int{8, 9}}, 8, 9},
		{Preprocess{Resize: []int{15}, Crop: []int{10}}, 10, 10},
		{Preprocess{Crop: []int{10, 20}}, 10, 20},
		{Preprocess{Crop: []int{100}}, 30, 40},
	} {
		if h, w := c.p.size(30, 40); h != c.h || w != c.w {
			t.Errorf("%+v: %d x %d, want %d x %d", c.p, h, w, c.h, c.w)
		}
		for _, kind := range []string{"", "nearest", "bicubic"} {
			p := c.p
			p.Interpolation = kind
			if err := p.apply(make([]float32, 3*c.h*c.w), gradient(40, 30, 255)); err != nil {
				t.Errorf("%+v: %v", p, err)
			}
		}
	}
	p := Preprocess{Crop: []int{1, 2}} // rows 1, columns 1 and 2 of 3 x 4
	dst := make([]float32, 6)
	p.apply(dst, gradient(4, 3, 255))
	if fmt.Sprint(dst) != "[10 20 10 10 7 7]" {
		t.Errorf("crop: %v", dst)
	}
	for size, want := range map[int]int{4: 1, 5: 2, 7: 2, 9: 4, 11: 4} { // torchvision: int(round((size - 2) / 2.0))
		p, dst := Preprocess{Crop: []int{2}}, make([]float32, 12)
		p.apply(dst, gradient(size, size, 255))
		if dst[0] != float32(10*want) || dst[4] != float32(10*want) {
			t.Errorf("2 of %d pixels: cut at %v, %v, want %d", size, dst[0]/10, dst[4]/10, want)
		}
	}
	flat := image.NewNRGBA(image.Rect(0, 0, 9, 9)) // one colour stays it under any kernel
	for i := range flat.Pix {
		flat.Pix[i] = []uint8{50, 100, 200, 255}[i%4]
	}
	p = Preprocess{Resize: []int{4, 5}, Interpolation: "bicubic"}
	dst = make([]float32, 60)
	p.apply(dst, flat)
	if dst[0] != 50 || dst[20] != 100 || dst[59] != 200 {
		t.Errorf("flat picture: %v %v %v", dst[0], dst[20], dst[59])
	}
}

func TestPreprocessErrors(t *testing.T) {
	for want, p := range map[string]Preprocess{
		"interpolation": {Interpolation: "lanczos"}, "channels": {Channels: "yuv"}, "layout": {Layout: "hwc"},
		"resize": {Resize: []int{1, 2, 3}}, "crop": {Crop: []int{0}}, "mean": {Mean: []float32{1, 2}},
		"std has 3": {Std: []float32{1, 2, 3}, Channels: "gray"}, "may not be 0": {Std: []float32{0}},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

func TestPictureFolder(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	savePicture(t, filepath.Join(dir, "b", "2.bmp"), gradient(4, 3, 255))
	savePicture(t, filepath.Join(dir, "a.PNG"), gradient(4, 3, 255))
	savePicture(t, filepath.Join(dir, "c.jpg"), gradient(4, 3, 255))
	os.WriteFile(filepath.Join(dir, "readme.txt"), []byte("?"), 0o666)
	os.WriteFile(filepath.Join(dir, "._a.PNG"), []byte("left by another system"), 0o666)
	savePicture(t, filepath.Join(dir, ".thumbnails", "a.png"), gradient(1, 1, 255))
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 3, 4) })
	s, err := Open(dir, g, Options{Preprocess: &Preprocess{}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Batch(ctx, 0, 3)
	if err != nil || s.Len() != 3 || fmt.Sprint(b["x"].Shape) != "[3 3 3 4]" {
		t.Fatalf("%v %v", b, err)
	}
	x := b["x"].Float32s()
	for i, v := range x[:36] {
		if x[36+i] != v {
			t.Errorf("PNG and BMP differ at %d: %v and %v", i, v, x[36+i])
			break
		}
		if d := x[72+i] - v; d > 20 || d < -20 {
			t.Errorf("JPEG is far off at %d: %v and %v", i, v, x[72+i])
		}
	}
	one, err := Open(filepath.Join(dir, "b", "2.bmp"), g, Options{Preprocess: &Preprocess{}})
	if err != nil || one.Len() != 1 {
		t.Errorf("a single picture: %v", err)
	}
	half := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float16, "N", 3, 3, 4) })
	if s, err := Open(dir, half, Options{Preprocess: &Preprocess{}}); err != nil {
		t.Error(err)
	} else if b, err := s.Batch(ctx, 0, 1); err != nil || b["x"].Type != onnxio.Float16 {
		t.Errorf("float16: %v %v", b, err)
	}
	bad := func(want string, o Options, dir string) {
		t.Helper()
		s, err := Open(dir, g, o)
		if err == nil {
			_, err = s.Batch(ctx, 0, s.Len())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	bad("declare a preprocessing", Options{}, dir)
	bad("found float32[3 3 2 2]", Options{Preprocess: &Preprocess{Crop: []int{2}}}, dir)
	strange := t.TempDir()
	bad("the folder is empty", Options{}, strange)
	for _, name := range []string{"b.gif", "a.gif", "d.tif", "c.gif"} {
		os.WriteFile(filepath.Join(strange, name), nil, 0o666)
	}
	bad("no known kind of data: the folder holds a.gif, b.gif, c.gif, ...; calibration data is", Options{}, strange)
	gray := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 1, 3, 4) })
	if _, err := Open(dir, gray, Options{Preprocess: &Preprocess{}}); err == nil || !strings.Contains(err.Error(), "declare channels: gray") {
		t.Errorf("three channels for one: %v", err)
	}
	if s, err := Open(dir, gray, Options{Preprocess: &Preprocess{Channels: "gray"}}); err != nil || s.Len() != 3 {
		t.Errorf("gray as the message says: %v", err)
	}
	savePicture(t, filepath.Join(dir, "z.png"), gradient(5, 3, 255))
	bad("sample 3 (z.png) comes to [3 3 5], the first to [3 3 4]: declare a resize and crop", Options{Preprocess: &Preprocess{}}, dir)
	os.WriteFile(filepath.Join(dir, "z.png"), []byte("no picture"), 0o666)
	bad("picture z.png cannot be decoded", Options{Preprocess: &Preprocess{}}, dir)
}

// TestDeepPictures holds pictures of 16 bits against what Pillow 13 gives for the same files: convert("RGB") of mode I;16 cuts
// gray off at 255, colour of 16 bits is read as its upper byte.
func TestDeepPictures(t *testing.T) {
	values := []uint16{0, 1, 128, 255, 256, 257, 1000, 40000, 65535}
	deep, colour := image.NewGray16(image.Rect(0, 0, 9, 1)), image.NewNRGBA64(image.Rect(0, 0, 9, 1))
	for i, v := range values {
		deep.SetGray16(i, 0, color.Gray16{Y: v})
		colour.SetNRGBA64(i, 0, color.NRGBA64{v, v, 65535 - v, 65535})
	}
	for _, c := range []struct {
		img      image.Image
		channels string
		want     []float32
		noted    bool
	}{
		{deep, "rgb", []float32{0, 1, 128, 255, 255, 255, 255, 255, 255}, true},
		{deep, "gray", []float32{0, 1, 128, 255, 255, 255, 255, 255, 255}, true},
		{colour, "rgb", []float32{0, 0, 0, 0, 1, 1, 3, 156, 255}, false},
	} {
		dir, pre := t.TempDir(), &Preprocess{Channels: c.channels}
		savePicture(t, filepath.Join(dir, "a.png"), c.img)
		g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", pre.channels(), 1, 9) })
		s, err := Open(dir, g, Options{Preprocess: pre})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Batch(context.Background(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if x := b["x"].Float32s(); fmt.Sprint(x[:9]) != fmt.Sprint(c.want) {
			t.Errorf("%T as %s: %v, want %v", c.img, c.channels, x[:9], c.want)
		}
		if said := strings.Contains(strings.Join(s.Notes, " "), "a.png has 16 bits of gray"); said != c.noted {
			t.Errorf("%T: notes %q", c.img, s.Notes)
		}
	}
}

func TestBytesArray(t *testing.T) {
	pix := make([]uint8, 2*3*4*3)
	for i := range pix {
		pix[i] = uint8(i)
	}
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 3, 4) })
	s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": onnxio.TensorOf(pix, 2, 3, 4, 3)}), g, Options{Preprocess: &Preprocess{Mean: []float32{1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Batch(context.Background(), 1, 2)
	if err != nil || b["x"].Float32s()[0] != 35 || b["x"].Float32s()[12] != 36 || b["x"].Float32s()[1] != 38 {
		t.Errorf("%v %v", b, err)
	}
}

// TestZooPictures compares with the values that the zoo's own evaluation computes: (value - 127) / 128 of the RGB bytes, NCHW.
func TestZooPictures(t *testing.T) {
	dir := filepath.Join(testkit.Shared(t), "zoo", "efficientnet-lite0", "calib")
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 224, 224) })
	s, err := Open(dir, g, Options{Preprocess: &Preprocess{Mean: []float32{127}, Std: []float32{128}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Batch(context.Background(), 0, 2)
	if err != nil || s.Len() != 256 {
		t.Fatalf("%d pictures, %v", s.Len(), err)
	}
	sum := 0.0
	for i, v := range b["x"].Float32s() {
		sum += float64(v) * float64(i%1009)
	}
	if want := -8420705.8828125; sum != want { // by NumPy; exact in float64
		t.Errorf("weighted sum %v, want %v", sum, want)
	}
}

// webp is a lossless picture, 4 wide and 3 high, of pixels (60 x, 100 y, 255 - 20 x y), written by Pillow.
const webp = "UklGRkYAAABXRUJQVlA4TDoAAAAvA4AAAF8gEEjyZxhoRIFAEtj4gxFk2wzs/gyDmMPnP/ghUBQlYxiTJIEggMQplhzWWGGdSSP6Hw3u"

func TestWebP(t *testing.T) {
	data, err := base64.StdEncoding.DecodeString(webp)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.webp"), data, 0o666); err != nil {
		t.Fatal(err)
	}
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 3, 4) })
	s, err := Open(dir, g, Options{Preprocess: &Preprocess{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Batch(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	pixels := b["x"].Float32s()
	for i, got := range pixels {
		c, y, x := i/12, i/4%3, i%4
		if want := []int{60 * x, 100 * y, 255 - 20*x*y}[c]; got != float32(want) {
			t.Errorf("channel %d, row %d, column %d: %v, want %d", c, y, x, got, want)
		}
	}
}
