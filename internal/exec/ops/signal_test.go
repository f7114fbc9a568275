package ops_test

import (
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

func TestSignal(t *testing.T) {
	wave := f32(dims(1, 4, 1), 1, 2, 3, 4)
	spectrum := f32(dims(1, 4, 2), 10, 0, -2, 2, -2, 0, -2, -2)
	runNodeCases(t, []nodeCase{
		{name: "real", op: "DFT", opset: 20, in: []*onnxio.Tensor{wave}, want: []*onnxio.Tensor{spectrum}},
		{name: "inverse", op: "DFT", opset: 20, in: []*onnxio.Tensor{spectrum}, attrs: []any{"inverse", 1},
			want: []*onnxio.Tensor{f32(dims(1, 4, 2), 1, 0, 2, 0, 3, 0, 4, 0)}},
		{name: "half", op: "DFT", opset: 17, in: []*onnxio.Tensor{wave}, attrs: []any{"axis", 1, "onesided", 1},
			want: []*onnxio.Tensor{f32(dims(1, 3, 2), 10, 0, -2, 2, -2, 0)}},
		{name: "half back", op: "DFT", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 3, 2), 10, 0, -2, 2, -2, 0)}, attrs: []any{"inverse", 1, "onesided", 1},
			want: []*onnxio.Tensor{wave}},
		{name: "impulse of length 3", op: "DFT", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 3, 1), 1, 0, 0)},
			want: []*onnxio.Tensor{f32(dims(1, 3, 2), 1, 0, 1, 0, 1, 0)}},
		{name: "padded along the first axis", op: "DFT", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 1), 5), i64(nil, 3), i64(nil, 0)},
			want: []*onnxio.Tensor{f32(dims(3, 2), 5, 0, 5, 0, 5, 0)}},
		{name: "cut", op: "DFT", opset: 20, in: []*onnxio.Tensor{wave, i64(nil, 2)}, want: []*onnxio.Tensor{f32(dims(1, 2, 2), 3, 0, -1, 0)}},
		{name: "axis of the parts", op: "DFT", opset: 20, in: []*onnxio.Tensor{wave, nil, i64(nil, 2)}, fails: "real and imaginary"},
		{name: "no complex numbers", op: "DFT", opset: 20, in: []*onnxio.Tensor{ramp(2, 3)}, fails: "last dimension"},
		{name: "no length", op: "DFT", opset: 20, in: []*onnxio.Tensor{wave, i64(nil, 0)}, fails: "length 0"},
		{name: "constant", op: "STFT", opset: 17, in: []*onnxio.Tensor{f32(dims(1, 8, 1), 1, 1, 1, 1, 1, 1, 1, 1), i64(nil, 2), nil, i64(nil, 4)},
			want: []*onnxio.Tensor{f32(dims(1, 3, 3, 2), 4, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0)}},
		{name: "window and both sides", op: "STFT", opset: 17, in: []*onnxio.Tensor{wave, i64(nil, 2), f32(dims(2), 1, 0.5)}, attrs: []any{"onesided", 0},
			want: []*onnxio.Tensor{f32(dims(1, 2, 2, 2), 2, 0, 0, 0, 5, 0, 1, 0)}},
		{name: "frame beyond the signal", op: "STFT", opset: 17, in: []*onnxio.Tensor{wave, i64(nil, 2), nil, i64(nil, 5)}, fails: "signal of length 4"},
		{name: "periodic", op: "HannWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, 4)}, want: []*onnxio.Tensor{f32(dims(4), 0, 0.5, 1, 0.5)}},
		{name: "symmetric", op: "HannWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, 5)}, attrs: []any{"periodic", 0},
			want: []*onnxio.Tensor{f32(dims(5), 0, 0.5, 1, 0.5, 0)}},
		{name: "one element", op: "HannWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, 1)}, attrs: []any{"periodic", 0},
			want: []*onnxio.Tensor{f32(dims(1), 1)}},
		{name: "negative", op: "HannWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, -3)}, fails: "[-3] is impossible"},
		{name: "periodic", op: "HammingWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, 4)},
			want: []*onnxio.Tensor{f32(dims(4), 4.0/46, 25.0/46, 1, 25.0/46)}},
		{name: "double", op: "BlackmanWindow", opset: 17, in: []*onnxio.Tensor{i64(nil, 4)}, attrs: []any{"output_datatype", 11},
			want: []*onnxio.Tensor{onnxio.TensorOf([]float64{0, 0.34, 1, 0.34}, 4)}},
		// The edges of the one filter lie at 0, 620 and 1791 Hz: bins 0, 0 and 1 of three.
		{name: "one filter", op: "MelWeightMatrix", opset: 17,
			in:   []*onnxio.Tensor{i64(nil, 1), i64(nil, 4), i64(nil, 8000), f32(nil, 0), f32(nil, 3999)},
			want: []*onnxio.Tensor{f32(dims(3, 1), 1, 0, 0)}},
		{name: "beyond the spectrum", op: "MelWeightMatrix", opset: 17,
			in:    []*onnxio.Tensor{i64(nil, 4), i64(nil, 16), i64(nil, 8000), f32(nil, 0), f32(nil, 1e6)},
			fails: "upper_edge_hertz"},
	})
}
