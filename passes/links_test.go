package passes

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// residualModel is two convolutions with a residual connection, a strided one behind a Clip, and a classifier.
func residualModel() *onnxio.Model {
	conv := func(out, in, k int) *onnxio.Tensor { return normalTensor(uint64(out+in+k), 0.3, out, in, k, k) }
	pad := []int64{1, 1, 1, 1}
	return testmodel.New(18).
		Input("x", onnxio.Float32, "N", 3, 8, 8).
		Init("w1", conv(8, 3, 3)).Init("b1", normalTensor(1, 0.1, 8)).
		Init("w2", conv(8, 8, 3)).
		Init("w3", conv(8, 8, 1)).Init("b3", normalTensor(3, 0.1, 8)).
		Init("wf", normalTensor(4, 0.3, 5, 8)).Init("bf", normalTensor(5, 0.1, 5)).
		Floats("zero", []float32{0}).Floats("six", []float32{6}).Int64s("axes", 2, 3).
		Node("Conv", "x w1 b1 -> c1", "pads", pad).
		Node("Relu", "c1 -> r1").
		Node("Conv", "r1 w2 -> c2", "pads", pad).
		Node("Add", "c2 r1 -> sum").
		Node("Conv", "sum w3 b3 -> c3", "strides", []int64{2, 2}).
		Node("Clip", "c3 zero six -> r3").
		Node("ReduceMean", "r3 axes -> pool", "keepdims", 0).
		Node("Gemm", "pool wf bf -> y", "transB", 1).
		Output("y", onnxio.Float32, "N", 5).
		Model()
}

func normalTensor(seed uint64, scale float32, shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	copy(t.Float32s(), normal(t.Len(), seed))
	for i := range t.Float32s() {
		t.Float32s()[i] *= scale
	}
	return t
}

// testState is the state of a compression of m that has come to the writing passes with nothing solved.
func testState(t *testing.T, m *onnxio.Model) *State {
	t.Helper()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.InferShapes(g); err != nil {
		t.Fatal(err)
	}
	s := &State{Recipe: DefaultRecipe(), Model: m, Graph: g, Report: &Report{Tool: "obc"}}
	layers, _ := graph.Layers(g)
	for _, l := range layers {
		s.Layers = append(s.Layers, &LayerState{Layer: l, Came: width{l.WeightBits(), l.InputBits()}, Plan: Plan{Settings: s.Recipe.Settings}})
	}
	return s
}

// weightOf is a layer's weight as it is now.
func weightOf(l *LayerState) []float32 {
	w, err := l.Matrix()
	if err != nil {
		panic(err)
	}
	return w
}

func TestLinkValues(t *testing.T) {
	s := testState(t, residualModel())
	var names []string
	for _, v := range LinkValues(s.Layers) {
		names = append(names, v.Name)
	}
	want := []string{"r1", "c2", "sum", "r3"}
	if len(names) != len(want) {
		t.Fatalf("links %v, expected %v", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Fatalf("links %v, expected %v", names, want)
		}
	}
}

func TestCeiling(t *testing.T) {
	m := testmodel.New(18).Input("x", onnxio.Float32, 2).
		Floats("zero", []float32{0}).Floats("six", []float32{6}).
		Node("Clip", "x zero six -> a").Node("Relu", "a -> b").Node("Clip", "b zero -> y").Outputs("y").Model()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	if c := Ceiling(g.Lookup("a")); c != 6 {
		t.Errorf("ceiling of Clip(0, 6) is %v", c)
	}
	for _, name := range []string{"b", "y", "x"} {
		if c := Ceiling(g.Lookup(name)); !math.IsNaN(c) {
			t.Errorf("ceiling of %s is %v, expected none", name, c)
		}
	}
}
