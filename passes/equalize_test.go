package passes

import (
	"math"
	"slices"
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// normedNet has a LayerNormalization that two layers alone read, and one that a residual connection reads too. Some channels are wide.
func normedNet() (*onnxio.Model, arrays) {
	wide := func(seed uint64) *onnxio.Tensor {
		t := randoms(seed, 0.5, 16)
		for i := range t.Float32s() {
			t.Float32s()[i] += 1
		}
		t.Float32s()[3] *= 40
		return t
	}
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 6, 16).
		Init("g0", wide(61)).Init("b0", randoms(62, 0.2, 16)).Init("g1", wide(63)).
		Init("w0", randoms(64, 0.3, 16, 16)).Init("w1", randoms(65, 0.3, 16, 16)).Init("w2", randoms(66, 0.3, 16, 8)).Init("w3", randoms(67, 0.3, 16, 8)).
		Node("LayerNormalization", "x g0 b0 -> n0").Node("MatMul", "n0 w0 -> m0").Node("MatMul", "n0 w1 -> m1").
		Node("Sigmoid", "m1 -> s1").Node("Mul", "m0 s1 -> p").Node("LayerNormalization", "p g1 -> n1").
		Node("MatMul", "n1 w2 -> m2").Node("ReduceMax", "n1 -> top", "axes", []int64{-1}).Node("Add", "m2 top -> a").
		Outputs("a").Model()
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(69, 1, 20, 6, 16)}}
}

// TestEqualizeKeepsTheFunction runs the pass alone.
func TestEqualizeKeepsTheFunction(t *testing.T) {
	for name, net := range map[string]func() (*onnxio.Model, arrays){"conv": convNet, "dense": denseNet, "normed": normedNet} {
		m, data := net()
		s, err := newState(m, data, recipeOf(t, "{weights: {bits: 8}, activations: {bits: 8}, equalize: 0.5}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.apply(t.Context(), []Pass{simplify{}, findLayers{}, equalize{0.5}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Graph.Sync(); err != nil {
			t.Fatal(err)
		}
		if s.Report.Passes[2].Changes == 0 {
			t.Errorf("%s: nothing was equalized", name)
		}
		if e := outputError(t, m, s.Model, data); e > 1e-10 {
			t.Errorf("%s: relative error %v of the output", name, e)
		}
	}
}

// TestEqualizePays compares the errors of rounding with and without.
func TestEqualizePays(t *testing.T) {
	found := map[string]float64{}
	for _, e := range []string{"0", "0.5"} {
		m, data := normedNet()
		res, err := Compress(t.Context(), m, data, recipeOf(t, "{weights: {bits: 8}, activations: {bits: 5, range: minmax}, equalize: "+e+"}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		found[e] = outputError(t, m, res.Model, data)
	}
	if found["0.5"] > 0.7*found["0"] {
		t.Errorf("output errors %v", found)
	}
}

func TestSpread(t *testing.T) {
	by := spread([]float32{4, 1, 0, 4e-9}, 0.5)
	want := []float32{1, 0.5, float32(math.Sqrt(leastSpread)), float32(math.Sqrt(leastSpread))}
	if !slices.Equal(by, want) {
		t.Errorf("spread is %v, expected %v", by, want)
	}
	if spread([]float32{0, 0}, 0.5) != nil {
		t.Error("an input that is always zero has a spread")
	}
}
