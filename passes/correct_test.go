package passes

import (
	"math"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// outputMoments are those of the value that each layer's first node writes.
func outputMoments(t *testing.T, m *onnxio.Model, data calib.Dataset) map[string]*calib.Moments {
	t.Helper()
	g, err := graph.New(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := graph.Layers(g)
	stats, err := calib.Capture(t.Context(), g, layers, data, calib.CaptureOptions{Outputs: true})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*calib.Moments{}
	for l, s := range stats {
		m := s.Output
		if b, err := l.BiasVector(l.Nodes[0]); err == nil && l.Kind == graph.MatMul { // the product is measured before its bias
			shifted := &calib.Moments{N: m.N}
			for k, sum := range m.Sum {
				n, f := float64(m.N), float64(b[k])
				shifted.Sum = append(shifted.Sum, sum+n*f)
				shifted.Square = append(shifted.Square, m.Square[k]+2*f*sum+n*f*f)
			}
			m = shifted
		}
		byName[l.Name] = m
	}
	return byName
}

// TestCorrectionRestoresMoments compares the channels of every layer's output in the written model with the dense model's.
func TestCorrectionRestoresMoments(t *testing.T) {
	for name, net := range testNets {
		for _, text := range []string{"sparsity: 0.7", "weights: {bits: 3}", "weights: {bits: 3, granularity: tensor}"} {
			for _, kind := range []string{"none", "bias", "statistics"} {
				m, data := net()
				r := recipeOf(t, text)
				r.Correction = kind
				res, err := Compress(t.Context(), m, data, r, Options{Batch: 5})
				if err != nil {
					t.Fatal(err)
				}
				if n := len(layersOf(t, res.Model)); n != len(layersOf(t, m)) {
					t.Fatalf("%s: %d layers in the result", name, n)
				}
				want, got := outputMoments(t, m, data), outputMoments(t, res.Model, data)
				far := 0
				for layer, w := range want {
					for k, mean := range w.Mean() {
						dev := math.Sqrt(w.Var()[k])
						off := math.Abs(got[layer].Mean()[k]-mean)/dev > 1e-3
						if kind == "statistics" && r.Weights.Granularity != "tensor" {
							off = off || math.Abs(math.Sqrt(got[layer].Var()[k])/dev-1) > 1e-3
						}
						if off && layer != sharedLayer {
							far++
						}
					}
				}
				if kind == "none" == (far == 0) {
					t.Errorf("%s, %s, correction %s: %d channels are off", name, text, kind, far)
				}
			}
		}
	}
}

// sharedLayer is the layer of denseNet that several nodes share, which cannot be corrected.
const sharedLayer = "n_m1"

func TestUncorrectedLayersAreTold(t *testing.T) {
	m, data := denseNet()
	res, err := Compress(t.Context(), m, data, recipeOf(t, "nm: 2:4"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	notes := 0
	for _, p := range res.Report.Passes {
		if p.Name == "statistics correction" {
			notes = len(p.Notes)
		}
	}
	if notes != 1 {
		t.Errorf("%d notes on layers that are not corrected, expected 1: %+v", notes, res.Report.Passes)
	}
}

// TestNoLongerFinite: the logarithm of a layer's output plus what keeps it just above 0 in the dense model.
func TestNoLongerFinite(t *testing.T) {
	w, x, low := randoms(3, 1, 8, 8), randoms(4, 1, 64, 8), float32(0)
	for i := range 64 * 8 {
		sum := float32(0)
		for k := range 8 {
			sum += x.Float32s()[i/8*8+k] * w.Float32s()[k*8+i%8]
		}
		low = min(low, sum)
	}
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 8).Init("w", w).Init("v", randoms(5, 1, 8, 4)).Floats("up", []float32{0.01 - low}, 1).
		Node("MatMul", "x w -> p").Node("Add", "p up -> q").Node("Log", "q -> l").Node("MatMul", "l v -> y").Output("y", onnxio.Float32, "N", 4).Model()
	_, err := Compress(t.Context(), m, arrays{[]string{"x"}, []*onnxio.Tensor{x}}, recipeOf(t, "{weights: {bits: 2}}"), Options{})
	if err == nil || !strings.Contains(err.Error(), "no longer a finite number") {
		t.Errorf("error %v", err)
	}
}
