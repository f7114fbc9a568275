package ops_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/png"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/obc-onnx/obc/onnxio"
)

// Small lossy pictures of 6 x 5 elements, written by Pillow 12, and what it reads from them.
const (
	webpFile = "UklGRkwAAABXRUJQVlA4IEAAAABQAgCdASoGAAUAAoBCJbACdLoA1AADqm4bagAA/t2//dX8Lx8NGWPzOOP34QfzuDudNf/tTXDiUnm9YvoMUQAA"
	jpegFile = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGBIUFRT/" +
		"2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/wAARCAAFAAYDASIAAhEBAxEB/8QAHwAA" +
		"AQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJi" +
		"coKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi" +
		"4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKR" +
		"obHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0" +
		"tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDqPhl+zX4X/s4/J/CP+WY/xooor8JzzizPf7Qq/wC1z37nr8G8QZr/" +
		"AGFhv9ol8Pc//9k="
)

var (
	webpWant = []uint8{22, 15, 172, 48, 16, 168, 93, 15, 158, 128, 13, 146, 167, 20, 143, 182, 20, 136, 32, 51, 174, 56, 53, 170, 102, 53, 158, 138, 50, 146, 176, 57,
		143, 192, 56, 138, 37, 110, 163, 61, 113, 159, 107, 113, 148, 144, 111, 134, 182, 118, 133, 198, 116, 128, 37, 157, 146, 63, 159, 142, 108, 158, 130, 145,
		155, 118, 182, 162, 117, 197, 162, 110, 44, 197, 136, 68, 200, 132, 114, 200, 121, 151, 197, 109, 190, 204, 106, 205, 203, 101}
	jpegWant = []uint8{21, 16, 170, 47, 21, 170, 88, 20, 159, 128, 19, 148, 171, 22, 142, 193, 24, 139, 34, 55, 172, 59, 61, 172, 101, 59, 161, 141, 58, 150, 182, 60,
		143, 205, 64, 142, 32, 107, 147, 58, 114, 149, 100, 112, 138, 139, 111, 126, 180, 113, 120, 203, 117, 118, 34, 153, 133, 59, 159, 131, 101, 157, 122, 140,
		156, 111, 182, 160, 103, 204, 162, 102, 44, 198, 128, 70, 205, 128, 113, 202, 118, 151, 201, 106, 193, 204, 100, 215, 207, 98}
)

func bytesTensor(b []byte) *onnxio.Tensor { return onnxio.TensorOf(b, len(b)) }

func TestImageDecoder(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	m.Set(0, 0, color.NRGBA{10, 20, 30, 255})
	m.Set(1, 0, color.NRGBA{200, 100, 0, 255})
	file := func(encode func(b *bytes.Buffer) error) *onnxio.Tensor {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		return bytesTensor(b.Bytes())
	}
	lossless := onnxio.TensorOf([]uint8{10, 20, 30, 200, 100, 0}, 1, 2, 3)
	pngFile := file(func(b *bytes.Buffer) error { return png.Encode(b, m) })
	webp, err := base64.StdEncoding.DecodeString(webpFile)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *onnxio.Tensor { return bytesTensor([]byte(s)) }
	grey := func(v ...uint8) []*onnxio.Tensor { return []*onnxio.Tensor{onnxio.TensorOf(v, 1, len(v), 1)} }
	asGrey := []any{"pixel_format", "Grayscale"}
	runNodeCases(t, []nodeCase{
		{name: "png", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{pngFile}, want: []*onnxio.Tensor{lossless}},
		{name: "bgr", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{pngFile}, attrs: []any{"pixel_format", "BGR"},
			want: []*onnxio.Tensor{onnxio.TensorOf([]uint8{30, 20, 10, 0, 100, 200}, 1, 2, 3)}},
		{name: "grey", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{pngFile}, attrs: asGrey, want: grey(18, 118)},
		{name: "bmp", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{file(func(b *bytes.Buffer) error { return bmp.Encode(b, m) })}, want: []*onnxio.Tensor{lossless}},
		{name: "tiff", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{file(func(b *bytes.Buffer) error { return tiff.Encode(b, m, nil) })},
			want: []*onnxio.Tensor{lossless}},
		{name: "webp", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{bytesTensor(webp)}, want: []*onnxio.Tensor{onnxio.TensorOf(webpWant, 5, 6, 3)}},
		{name: "bits as text", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P1\n# note\n3 1\n10 1")}, attrs: asGrey, want: grey(0, 255, 0)},
		{name: "grey as text", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P2 2 1 10 5 10")}, attrs: asGrey, want: grey(127, 255)},
		{name: "colour as text", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P3 2 1 255 10 20 30 200 100 0")}, want: []*onnxio.Tensor{lossless}},
		{name: "bits", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P4 3 1\n\xa0")}, attrs: asGrey, want: grey(0, 255, 0)},
		{name: "sixteen bits", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P5 1 1 65535\n\x80\x00")}, attrs: asGrey, want: grey(127)},
		{name: "named fields", op: "ImageDecoder", opset: 20,
			in: []*onnxio.Tensor{text("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n\x01\x02\x03\x04")}, attrs: []any{"pixel_format", "BGR"},
			want: []*onnxio.Tensor{onnxio.TensorOf([]uint8{3, 2, 1}, 1, 1, 3)}},
		{name: "broken", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P6 2 2 255\nab")}, want: []*onnxio.Tensor{onnxio.TensorOf([]uint8{}, 0, 0, 3)}},
		{name: "no image", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("hello")}, want: []*onnxio.Tensor{onnxio.TensorOf([]uint8{}, 0, 0, 3)}},
		{name: "huge", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("P5 1000000 1000000 255\n")}, fails: "memory limit"},
		{name: "jpeg 2000", op: "ImageDecoder", opset: 20, in: []*onnxio.Tensor{text("\x00\x00\x00\x0cjP  \r\n\x87\n")}, fails: "JPEG 2000"},
	})
}

// TestJPEG: each number is at most 2 away from what another decoder gives, for inverse cosine transforms may round differently.
func TestJPEG(t *testing.T) {
	file, err := base64.StdEncoding.DecodeString(jpegFile)
	if err != nil {
		t.Fatal(err)
	}
	got, err := eval("ImageDecoder", 20, 1, []*onnxio.Tensor{bytesTensor(file)})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Len() != len(jpegWant) {
		t.Fatalf("the picture is %v", got[0])
	}
	for i, v := range onnxio.Slice[uint8](got[0]) {
		if d := int(v) - int(jpegWant[i]); d < -2 || d > 2 {
			t.Errorf("number %d is %d, expected %d", i, v, jpegWant[i])
		}
	}
}
