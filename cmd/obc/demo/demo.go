// Package demo holds a small real model and its data inside the program, so that obc can be tried with nothing else. See
// ORIGIN.md for where they come from.
package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/obc-onnx/obc/onnxio"
)

// Model is the encoded ONNX file of the dense network: input "input" float32[batch 1 28 28], output "logits" float32[batch 10].
//
//go:embed model.onnx
var Model []byte

var (
	//go:embed calib-images-idx3-ubyte.gz
	calibImages []byte
	//go:embed test-images-idx3-ubyte.gz
	testImages []byte
	//go:embed test-labels-idx1-ubyte.gz
	testLabels []byte
)

// Images is a set of images in memory; it serves as a calib.Dataset.
type Images struct {
	Pixels []float32 // N x 1 x 28 x 28, (pixel/255 - 0.2860) / 0.3530
	Labels []int64   // N classes 0..9; nil for calibration images
}

const (
	side  = 28
	input = "input"
)

// Calibration returns the 256 training images.
func Calibration() (*Images, error) { return load(calibImages, nil) }

// Test returns the 1,000 test images with labels.
func Test() (*Images, error) { return load(testImages, testLabels) }

// Len is the number of images.
func (d *Images) Len() int { return len(d.Pixels) / (side * side) }

// Inputs names the model's only input.
func (d *Images) Inputs() []string { return []string{input} }

// Batch returns images lo to hi.
func (d *Images) Batch(ctx context.Context, lo, hi int) (map[string]*onnxio.Tensor, error) {
	if lo < 0 || hi > d.Len() || lo > hi {
		return nil, fmt.Errorf("demo: no images %d to %d, there are %d", lo, hi, d.Len())
	}
	const size = side * side
	pixels := slices.Clone(d.Pixels[lo*size : hi*size])
	return map[string]*onnxio.Tensor{input: onnxio.TensorOf(pixels, hi-lo, 1, side, side)}, ctx.Err()
}

func load(images, labels []byte) (*Images, error) {
	pixels, err := idx(images, side, side)
	if err != nil {
		return nil, err
	}
	d := &Images{Pixels: make([]float32, len(pixels))}
	for i, p := range pixels {
		d.Pixels[i] = (float32(p)/255 - 0.2860) / 0.3530
	}
	if labels == nil {
		return d, nil
	}
	codes, err := idx(labels)
	if err != nil {
		return nil, err
	}
	for _, c := range codes {
		d.Labels = append(d.Labels, int64(c))
	}
	return d, nil
}

// idx decodes a gzipped IDX file of unsigned bytes whose items have the given shape: a magic number (0, 0, 8, rank), the
// dimensions as big-endian uint32, then the bytes.
func idx(packed []byte, shape ...int) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	rank := 1 + len(shape)
	if len(data) < 4+4*rank || !bytes.Equal(data[:4], []byte{0, 0, 8, byte(rank)}) {
		return nil, fmt.Errorf("demo: not an IDX file of rank %d", rank)
	}
	n := 1
	for i := range rank {
		n *= int(binary.BigEndian.Uint32(data[4+4*i:]))
	}
	if data = data[4+4*rank:]; len(data) != n {
		return nil, fmt.Errorf("demo: IDX file holds %d bytes, its header says %d", len(data), n)
	}
	return data, nil
}
