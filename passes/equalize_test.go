package passes

import (
	"math"
	"slices"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/score"
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
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(69, 1, 200, 6, 16)}}
}

// TestEqualizeKeepsTheFunction runs the pass alone.
func TestEqualizeKeepsTheFunction(t *testing.T) {
	for name, net := range map[string]func() (*onnxio.Model, arrays){"conv": convNet, "dense": denseNet, "normed": normedNet, "chain": chainNet} {
		m, data := net()
		s, err := newState(m, data, recipeOf(t, "{weights: {bits: 8}, activations: {bits: 8}, equalize: 0.5}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.apply(t.Context(), []Pass{simplify{}, findLayers{}, equalize{strength: 0.5}}); err != nil {
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
	for _, e := range []string{"0", "0.5", "auto"} {
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
	if found["auto"] > 1.05*found["0.5"] {
		t.Errorf("chosen for each tensor: output errors %v", found)
	}
}

// chainNet has convolutions in a row, whose first outputs are of very unlike width, then a matrix product.
func chainNet() (*onnxio.Model, arrays) {
	w0 := randoms(81, 0.5, 8, 3, 3, 3)
	for i := range w0.Float32s() {
		w0.Float32s()[i] *= []float32{30, 1, 1, 2, 0.5, 1, 1, 1}[i/27]
	}
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 3, 6, 6).
		Init("w0", w0).Init("b0", randoms(82, 0.3, 8)).Init("w1", randoms(83, 0.3, 8, 4, 3, 3)).Init("w2", randoms(84, 0.3, 4, 8, 1, 1)).
		Node("Conv", "x w0 b0 -> c0").Node("Relu", "c0 -> r0").Node("Conv", "r0 w1 -> c1", "group", int64(2)).Node("Conv", "c1 w2 -> y").
		Outputs("y").Model()
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(85, 1, 20, 3, 6, 6)}}
}

// TestEqualizeChains looks at convolutions: only the input of the model is divided by a Mul, the others in the layer before, and not by itself.
func TestEqualizeChains(t *testing.T) {
	found := map[string]float64{}
	for _, e := range []string{"0", "auto", "0.7"} {
		m, data := chainNet()
		res, err := Compress(t.Context(), m, data, recipeOf(t, "{weights: {bits: 8}, activations: {bits: 8, range: minmax}, correction: none, equalize: "+e+"}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		found[e] = outputError(t, m, res.Model, data)
		for _, l := range comparedLayers(t, m, res.Model, data) {
			if l.Scaled != (l.SNR < 20) { // told of layers whose values are on another scale, and of no others
				t.Errorf("%s: layer %q has %.1f dB, noted as scaled: %v", e, l.Name, l.SNR, l.Scaled)
			}
		}
		for _, n := range res.Model.Proto.Graph.Node {
			if n.GetOpType() == "Mul" && (e != "0.7" || n.Input[0] != "x") {
				t.Errorf("%s: node %q multiplies", e, n.GetName())
			}
		}
	}
	if found["0.7"] > 0.5*found["0"] || found["auto"] != found["0"] {
		t.Errorf("output errors %v", found)
	}
}

// comparedLayers is how obc compare sees two models.
func comparedLayers(t *testing.T, dense, other *onnxio.Model, data arrays) []score.Named {
	t.Helper()
	var graphs [2]*graph.Graph
	for i, m := range []*onnxio.Model{dense, other} {
		var err error
		if graphs[i], err = graph.New(m.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := score.Compare(t.Context(), graphs[0], graphs[1], data, data.Len(), exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Layers
}

// TestPredictor compares the predicted error of one layer with the measured one.
func TestPredictor(t *testing.T) {
	const n, channels, rows = 4000, 12, 9
	x, w := randoms(91, 1, n, channels).Float32s(), randoms(92, 1, rows, channels).Float32s()
	for i := range x {
		x[i] *= float32(1 + i%channels)
	}
	for _, strength := range []float64{0, 0.5, 1} {
		stats := &channelStats{lo: make([]float32, channels), hi: make([]float32, channels), power: make([]float64, channels)}
		stats.add(x, 1)
		m := testmodel.New(17).Input("x", onnxio.Float32, "N", channels).Init("w", onnxio.TensorOf(transposed(w, rows, channels), channels, rows)).Node("MatMul", "x w -> y").Outputs("y").Model()
		s, err := newState(m, arrays{[]string{"x"}, []*onnxio.Tensor{onnxio.TensorOf(x, n, channels)}}, recipeOf(t, "{weights: {bits: 6}, activations: {bits: 7}}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.apply(t.Context(), []Pass{simplify{}, findLayers{}}); err != nil {
			t.Fatal(err)
		}
		p := predictor{stats: stats}
		if err := p.add(s.active()[0]); err != nil {
			t.Fatal(err)
		}
		by := spread(stats.most(), strength)
		lo, hi, wide := 0.0, 0.0, make([]float64, rows)
		for i, v := range x {
			lo, hi = min(lo, float64(v/by[i%channels])), max(hi, float64(v/by[i%channels]))
		}
		for i, v := range w {
			wide[i/channels] = max(wide[i/channels], math.Abs(float64(v*by[i%channels])))
		}
		round := func(v, step float64) float64 { return math.RoundToEven(v/step) * step }
		measured := 0.0
		for i := range n {
			for r := range rows {
				e := 0.0
				for c := range channels {
					a, b := float64(x[i*channels+c]/by[c]), float64(w[r*channels+c]*by[c])
					e += round(a, (hi-lo)/127)*round(b, wide[r]/31) - a*b
				}
				measured += e * e / n
			}
		}
		if got := p.error(by); got < 0.85*measured || got > 1.15*measured {
			t.Errorf("strength %v: predicted %v, measured %v", strength, got, measured)
		}
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
