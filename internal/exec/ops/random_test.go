package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestRandomNumbers: the numbers are those that numpy's RandomState gives for the same seed.
func TestRandomNumbers(t *testing.T) {
	seed := []any{"seed", float32(42), "shape", []int64{4}, "dtype", 11}
	runNodeCases(t, []nodeCase{
		{name: "seed 42", op: "RandomUniform", opset: 22, attrs: seed,
			want: []*onnxio.Tensor{onnxio.TensorOf([]float64{0.3745401188473625, 0.9507143064099162, 0.7319939418114051, 0.5986584841970366}, 4)}},
		{name: "seed 42", op: "RandomNormal", opset: 22, attrs: seed,
			want: []*onnxio.Tensor{onnxio.TensorOf([]float64{0.4967141530112327, -0.13826430117118466, 0.6476885381006925, 1.5230298564080254}, 4)}},
		{name: "sure", op: "Bernoulli", opset: 15, in: []*onnxio.Tensor{f32(dims(2, 2), 0, 1, 1, 0)}, attrs: []any{"dtype", 7},
			want: []*onnxio.Tensor{i64(dims(2, 2), 0, 1, 1, 0)}},
		{name: "sure", op: "Multinomial", opset: 7, in: []*onnxio.Tensor{f32(dims(2, 3), -99, 0, -99, 5, -99, -99)}, attrs: []any{"sample_size", 3, "dtype", 7},
			want: []*onnxio.Tensor{i64(dims(2, 3), 1, 1, 1, 0, 0, 0)}},
		{name: "rank", op: "Multinomial", opset: 7, in: []*onnxio.Tensor{f32(dims(3), 1, 2, 3)}, fails: "[batch classes]"},
	})
}

// TestRandomShares: drawn often, each value has its probability.
func TestRandomShares(t *testing.T) {
	const n = 20000
	p := onnxio.NewTensor(onnxio.Float32, n)
	for i := range p.Float32s() {
		p.Float32s()[i] = 0.3
	}
	coins, err := eval("Bernoulli", 22, 1, []*onnxio.Tensor{p}, "seed", float32(3))
	if err != nil {
		t.Fatal(err)
	}
	classes, err := eval("Multinomial", 22, 1, []*onnxio.Tensor{f32(dims(1, 2), float32(math.Log(0.7)), float32(math.Log(0.3)))},
		"sample_size", n, "dtype", 7, "seed", float32(4))
	if err != nil {
		t.Fatal(err)
	}
	ones := [2]float64{}
	for i, v := range coins[0].Float32s() {
		ones[0] += float64(v)
		ones[1] += float64(classes[0].Int64s()[i])
	}
	for i, v := range ones { // five standard deviations of a share of 0.3 are 0.016
		if math.Abs(v/n-0.3) > 0.016 {
			t.Errorf("%s: the share of ones is %v, expected 0.3", []string{"Bernoulli", "Multinomial"}[i], v/n)
		}
	}
}
