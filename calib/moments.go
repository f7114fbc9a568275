package calib

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// Moments sums an activation's values by channel, in float64.
type Moments struct {
	N           int64 // values of each channel
	Sum, Square []float64
}

// Mean is the mean of each channel.
func (m *Moments) Mean() []float64 {
	mean := make([]float64, len(m.Sum))
	for c, s := range m.Sum {
		mean[c] = s / float64(max(m.N, 1))
	}
	return mean
}

// Var is the variance of each channel, not corrected for the mean being an estimate.
func (m *Moments) Var() []float64 {
	v := m.Mean()
	for c, mean := range v {
		v[c] = max(0, m.Square[c]/float64(max(m.N, 1))-mean*mean)
	}
	return v
}

// Add takes a tensor in whose channels lie along axis. keep, of len rows, leaves out the rows of the elements that it is false
// for; nil keeps all. Rows that hold only a part of the channels' axis cannot be left out: keep is then ignored.
func (m *Moments) Add(t *onnxio.Tensor, axis int, keep []bool) error {
	if t.Type != onnxio.Float32 {
		c, err := t.ConvertTo(onnxio.Float32)
		if err != nil {
			return err
		}
		t = c
	}
	if axis < 0 || axis >= len(t.Shape) {
		return fmt.Errorf("tensor of shape %v has no axis %d for its channels", t.Shape, axis)
	}
	channels, inner := t.Shape[axis], elements(t.Shape[axis+1:])
	if m.Sum == nil {
		m.Sum, m.Square = make([]float64, channels), make([]float64, channels)
	}
	if len(m.Sum) != channels {
		return fmt.Errorf("tensor of shape %v has %d channels on axis %d, %d before", t.Shape, channels, axis, len(m.Sum))
	}
	data := t.Float32s()
	size := channels * inner
	if size == 0 {
		return nil
	}
	per := len(data) / max(1, len(keep))
	if per%size != 0 {
		keep = nil
	}
	for i, at := 0, 0; at < len(data); i, at = i+1, at+size {
		if keep != nil && !keep[at/per] {
			continue
		}
		m.N += int64(inner)
		m.block(data[at:at+size], inner)
	}
	return nil
}

// block adds one slice of channels x inner values.
func (m *Moments) block(x []float32, inner int) {
	if inner == 1 {
		for c, v := range x {
			f := float64(v)
			m.Sum[c] += f
			m.Square[c] += f * f
		}
		return
	}
	for c := range m.Sum {
		s, q := 0.0, 0.0
		for _, v := range x[c*inner : (c+1)*inner] {
			f := float64(v)
			s += f
			q += f * f
		}
		m.Sum[c] += s
		m.Square[c] += q
	}
}

// OutputAxis is the axis of the layer's output, of the given rank, along which its channels lie.
func OutputAxis(l *graph.Layer, rank int) int {
	switch {
	case l.Kind == graph.Conv || l.Kind == graph.ConvTranspose:
		return 1
	case l.InputIndex() == 1 && l.Kind == graph.Gemm:
		return 0
	case l.InputIndex() == 1 && len(l.Nodes[0].In(1).Shape) != 1:
		return rank - 2
	}
	return rank - 1
}
