package passes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// arrays is a dataset of random samples, one tensor a model input.
type arrays struct {
	names []string
	data  []*onnxio.Tensor
}

func (a arrays) Len() int         { return a.data[0].Shape[0] }
func (a arrays) Inputs() []string { return a.names }

func (a arrays) Batch(_ context.Context, lo, hi int) (map[string]*onnxio.Tensor, error) {
	feeds := map[string]*onnxio.Tensor{}
	for i, t := range a.data {
		per := t.Len() / t.Shape[0]
		shape := append([]int{hi - lo}, t.Shape[1:]...)
		if t.Type == onnxio.Int64 {
			feeds[a.names[i]] = onnxio.TensorOf(t.Int64s()[lo*per:hi*per], shape...)
			continue
		}
		feeds[a.names[i]] = onnxio.TensorOf(t.Float32s()[lo*per:hi*per], shape...)
	}
	return feeds, nil
}

// randoms gives normal numbers that neighbours share a part of, so that Hessians are not diagonal.
func randoms(seed uint64, scale float64, shape ...int) *onnxio.Tensor {
	rng := rand.New(rand.NewPCG(seed, 7))
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	last := 0.0
	for i := range t.Float32s() {
		last = 0.6*last + rng.NormFloat64()
		t.Float32s()[i] = float32(scale * last)
	}
	return t
}

// convNet has a stem, a residual block with a depthwise and a grouped convolution, a ConvTranspose and a Gemm.
func convNet() (*onnxio.Model, arrays) {
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 3, 8, 8).
		Init("w0", randoms(1, 0.3, 8, 3, 3, 3)).Init("b0", randoms(2, 0.1, 8)).
		Init("w1", randoms(3, 0.3, 8, 1, 3, 3)).Init("w2", randoms(4, 0.2, 16, 4, 3, 3)).Init("b2", randoms(5, 0.1, 16)).
		Init("w3", randoms(6, 0.3, 16, 8, 2, 2)).Init("w4", randoms(7, 0.2, 5, 8)).Init("b4", randoms(8, 0.1, 5)).
		Node("Conv", "x w0 b0 -> c0", "pads", []int64{1, 1, 1, 1}).Node("Relu", "c0 -> r0").
		Node("Conv", "r0 w1 -> c1", "pads", []int64{1, 1, 1, 1}, "group", 8).Node("Add", "c1 r0 -> a1").
		Node("Conv", "a1 w2 b2 -> c2", "pads", []int64{1, 1, 1, 1}, "group", 2, "strides", []int64{2, 2}).Node("Relu", "c2 -> r2").
		Node("ConvTranspose", "r2 w3 -> c3", "strides", []int64{2, 2}).
		Node("GlobalAveragePool", "c3 -> p").Node("Flatten", "p -> f").
		Node("Gemm", "f w4 b4 -> y", "transB", 1).
		Output("y", onnxio.Float32, "N", 5).Model()
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(9, 1, 24, 3, 8, 8)}}
}

// denseNet has MatMul with and without bias, a weight that two nodes share, and one that is too thin to be a layer.
func denseNet() (*onnxio.Model, arrays) {
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 6, 16).
		Init("w0", randoms(11, 0.3, 16, 24)).Init("b0", randoms(12, 0.1, 24)).Init("w1", randoms(13, 0.2, 24, 24)).Init("w2", randoms(14, 0.2, 24, 7)).
		Node("MatMul", "x w0 -> m0").Node("Add", "m0 b0 -> a0").Node("Tanh", "a0 -> t0").
		Node("MatMul", "t0 w1 -> m1").Node("Tanh", "m1 -> t1").Node("MatMul", "t1 w1 -> m2").Node("Add", "m2 t1 -> s").
		Node("MatMul", "s w2 -> y").
		Output("y", onnxio.Float32, "N", 6, 7).Model()
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(19, 1, 40, 6, 16)}}
}

// oddNet has kernels whose input channels groups and blocks of 4 do not divide: 6, 5 in each of 2 groups, and 7 in one dimension.
func oddNet() (*onnxio.Model, arrays) {
	m := testmodel.New(21).Input("x", onnxio.Float32, "N", 6, 6, 6).
		Init("w0", randoms(21, 0.3, 10, 6, 3, 3)).Init("w1", randoms(22, 0.3, 14, 5, 3, 3)).Init("w2", randoms(23, 0.2, 6, 7, 3)).
		Node("Conv", "x w0 -> c0", "pads", []int64{1, 1, 1, 1}).Node("Relu", "c0 -> r0").
		Node("Conv", "r0 w1 -> c1", "pads", []int64{1, 1, 1, 1}, "group", 2).Node("Relu", "c1 -> r1").
		Int64s("shape", 0, 7, -1).Node("Reshape", "r1 shape -> s").
		Node("Conv", "s w2 -> c2", "strides", []int64{2}).Int64s("axes", 2).Node("ReduceMean", "c2 axes -> y", "keepdims", 0).
		Output("y", onnxio.Float32, "N", 6).Model()
	return m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(29, 1, 24, 6, 6, 6)}}
}

var testNets = map[string]func() (*onnxio.Model, arrays){"conv": convNet, "dense": denseNet, "odd": oddNet}

func recipeOf(t *testing.T, text string) *Recipe {
	t.Helper()
	r, err := ParseRecipe("recipe.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// recipes are what the invariants are tested on.
var recipes = []string{
	"sparsity: 0.5",
	"nm: 2:4",
	"{block: 4, sparsity: 0.5}",
	"{sparsity: 0.4, method: magnitude}",
	"{sparsity: 0.4, method: sparsegpt}",
	"{nm: 1:2, method: sparsegpt}",
	"weights: {bits: 4}",
	"weights: {bits: 8, symmetric: true}",
	"weights: {bits: 4, granularity: group, group: 4}",
	"weights: {bits: 5, granularity: tensor}",
	"{weights: {bits: 3}, method: gptq}",
	"{weights: {bits: 3}, method: rtn}",
	"{nm: 2:4, weights: {bits: 4}}",
	"{sparsity: 0.5, refine: true}",
	"{nm: 2:4, weights: {bits: 4}, refine: true}",
	"{sparsity: 0.3, weights: {bits: 4}, refine: true}",
	"{weights: {bits: 3, search: loss}, refine: true}",
	"{sparsity: 0.3, weights: {bits: 3, search: loss}}",
	"{nm: 2:4, method: magnitude, weights: {bits: 4, granularity: group, group: 3}}",
	"{block: 4, sparsity: 0.5, method: sparsegpt}",
	"{nm: 2:4, weights: {bits: 4, granularity: group, group: 3}, refine: true}",
	"{block: 4, sparsity: 0.5, refine: true}",
	"{weights: {bits: 8}, activations: {bits: 8}}",
	"{nm: 2:4, weights: {bits: 8}, activations: {bits: 8, range: percentile}}",
	"{weights: {bits: 4}, activations: {bits: 4, range: mse}}",
	"{sparsity: 0.5, target: flops=2x}",
	"{block: 4, sparsity: 0.5, weights: {bits: 8}, target: flops=1.3x}",
	"{nm: 2:4, target: bops=7x}",
	"{target: size=5x}",
	"{scope: model, sparsity: 0.5}",
	"{mode: sequential, nm: 2:4}",
	"{mode: sequential, weights: {bits: 8}, activations: {bits: 8}}",
}

func TestCompressNothing(t *testing.T) {
	m, data := convNet()
	r := recipeOf(t, "{sparsity: 0.5}")
	for what, run := range map[string]func() (*Result, error){
		"model":  func() (*Result, error) { return Compress(t.Context(), nil, data, r, Options{}) },
		"data":   func() (*Result, error) { return Compress(t.Context(), m, nil, r, Options{}) },
		"recipe": func() (*Result, error) { return Compress(t.Context(), m, data, nil, Options{}) },
	} {
		if _, err := run(); err == nil || !strings.Contains(err.Error(), "no ") || !strings.Contains(err.Error(), what) {
			t.Errorf("no %s: %v", what, err)
		}
	}
}

func TestCompressKeepsTheModel(t *testing.T) {
	for name, net := range testNets {
		for _, text := range recipes {
			t.Run(name+"/"+text, func(t *testing.T) {
				m, data := net()
				before, _ := proto.Marshal(m.Proto)
				res, err := Compress(t.Context(), m, data, recipeOf(t, text), Options{})
				if err != nil {
					t.Fatal(err)
				}
				if after, _ := proto.Marshal(m.Proto); !bytes.Equal(before, after) {
					t.Error("the model that was given has changed")
				}
				keptWhole(t, m, res)
				reasonsGiven(t, m, res.Report)
			})
		}
	}
}

// keptWhole checks that inputs, outputs, names and nodes are as before, and that the model still runs.
func keptWhole(t *testing.T, m *onnxio.Model, res *Result) {
	t.Helper()
	a, b := m.Proto.Graph, res.Model.Proto.Graph
	for i := range a.Output {
		if !proto.Equal(a.Output[i], b.Output[i]) {
			t.Errorf("output %q has become %v", a.Output[i].GetName(), b.Output[i])
		}
	}
	for i := range a.Input {
		if !proto.Equal(a.Input[i], b.Input[i]) {
			t.Errorf("input %q has become %v", a.Input[i].GetName(), b.Input[i])
		}
	}
	nodes := map[string]string{}
	for _, n := range b.Node {
		nodes[n.GetName()] = n.GetOpType()
	}
	for _, n := range a.Node {
		if _, ok := nodes[n.GetName()]; !ok {
			t.Errorf("node %q is gone", n.GetName())
		}
	}
	if _, err := graph.New(res.Model.Clone()); err != nil {
		t.Errorf("the result is no valid graph: %v", err)
	}
}

// reasonsGiven checks that every layer and candidate is either reported or kept for a reason.
func reasonsGiven(t *testing.T, m *onnxio.Model, r *Report) {
	t.Helper()
	g, err := graph.New(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, l := range r.Layers {
		told[l.Name] = true
		if !(l.Loss >= 0) || math.IsInf(l.Loss, 0) || !(l.RelativeLoss >= 0 && l.RelativeLoss < 1.5) {
			t.Errorf("%s: loss %v, relative %v", l.Name, l.Loss, l.RelativeLoss)
		}
	}
	for _, k := range r.Kept {
		if told[k.Name] || k.Reason == "" {
			t.Errorf("%s is kept (%q) and reported", k.Name, k.Reason)
		}
		told[k.Name] = true
	}
	layers, skipped := graph.Layers(g)
	for _, l := range layers {
		if !told[l.Name] {
			t.Errorf("layer %s is neither reported nor kept", l.Name)
		}
	}
	for _, k := range skipped {
		if !told[k.Node.Name()] {
			t.Errorf("candidate %v is neither reported nor kept", k.Node)
		}
	}
}

// TestReportedLoss recomputes each layer's loss from the dense and the written weight and a Hessian captured afresh.
func TestReportedLoss(t *testing.T) {
	for name, net := range testNets {
		for _, text := range recipes {
			m, data := net()
			res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, text)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			dense, written := layersOf(t, m), layersOf(t, res.Model)
			stats := captured(t, m, data)
			for _, l := range res.Report.Layers {
				if strings.Contains(text, "sequential") {
					break // losses are those of the targets, which are not the dense weights
				}
				a, _ := dense[l.Name].Matrix()
				b, err := written[l.Name].Matrix()
				if err != nil {
					t.Fatal(err)
				}
				want := 0.0
				n := l.Rows * l.Cols
				for g, h := range stats[l.Name].Hessians {
					want += lossOf(a[g*n:(g+1)*n], b[g*n:(g+1)*n], h, l.Cols)
				}
				if math.Abs(l.Loss-want) > 1e-4*want+1e-12 {
					t.Errorf("%s, %s, %s: loss %v reported, the weights have %v", name, text, l.Name, l.Loss, want)
				}
			}
		}
	}
}

func withoutCorrection(r *Recipe) *Recipe {
	r.Correction = "none"
	return r
}

func layersOf(t *testing.T, m *onnxio.Model) map[string]*graph.Layer {
	t.Helper()
	g, err := graph.New(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*graph.Layer{}
	layers, _ := graph.Layers(g)
	for _, l := range layers {
		byName[l.Name] = l
	}
	return byName
}

func captured(t *testing.T, m *onnxio.Model, data calib.Dataset) map[string]*calib.Stats {
	t.Helper()
	g, err := graph.New(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := graph.Layers(g)
	stats, err := calib.Capture(t.Context(), g, layers, data, calib.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*calib.Stats{}
	for l, s := range stats {
		byName[l.Name] = s
	}
	return byName
}

// lossOf is 1/2 tr(dW H dW^T), the plain way.
func lossOf(a, b []float32, h []float64, d int) float64 {
	sum := 0.0
	for r := 0; r < len(a); r += d {
		for i := range d {
			for j := range d {
				sum += float64(a[r+i]-b[r+i]) * h[i*d+j] * float64(a[r+j]-b[r+j])
			}
		}
	}
	return sum / 2
}

func TestSameBytesForAnyThreads(t *testing.T) {
	for name, net := range testNets {
		for _, text := range recipes {
			var first []byte
			for _, o := range []Options{{Threads: 1}, {Threads: 2}, {Threads: 3, MemoryLimit: 1}} {
				m, data := net()
				res, err := Compress(t.Context(), m, data, recipeOf(t, text), o)
				if err != nil {
					t.Fatal(err)
				}
				got, err := proto.MarshalOptions{Deterministic: true}.Marshal(res.Model.Proto)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = got
				}
				if !bytes.Equal(first, got) {
					t.Errorf("%s, %s: %+v gives another model", name, text, o)
				}
			}
		}
	}
}

// TestSameBytesForAnyBatch runs the calibration data in batches of several sizes, with and without a sample left over.
func TestSameBytesForAnyBatch(t *testing.T) {
	for name, net := range testNets {
		for _, text := range []string{"nm: 2:4", "weights: {bits: 4}", "{weights: {bits: 8}, activations: {bits: 8}}", "{mode: sequential, weights: {bits: 8}, activations: {bits: 8}}"} {
			var first []byte
			for _, batch := range []int{5, 8, 23, 24} {
				m, data := net()
				res, err := Compress(t.Context(), m, data, recipeOf(t, text), Options{Batch: batch})
				if err != nil {
					t.Fatal(err)
				}
				got, err := proto.MarshalOptions{Deterministic: true}.Marshal(res.Model.Proto)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = got
				}
				if !bytes.Equal(first, got) {
					t.Errorf("%s, %s: batches of %d give another model", name, text, batch)
				}
			}
		}
	}
}

func TestPatternsInTheWrittenWeights(t *testing.T) {
	for name, net := range testNets {
		m, data := net()
		res, err := Compress(t.Context(), m, data, recipeOf(t, "nm: 2:4"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		written := layersOf(t, res.Model)
		for _, l := range res.Report.Layers {
			w, _ := written[l.Name].Matrix()
			for _, u := range unitsOf(w, written[l.Name].ChannelsIn, 4) {
				if n := nonZeros(u); n > 2 {
					t.Fatalf("%s, %s: %d of 4 weights are not zero", name, l.Name, n)
				}
			}
		}
		if res, err = Compress(t.Context(), m, data, recipeOf(t, "sparsity: 0.6"), Options{}); err != nil {
			t.Fatal(err)
		}
		for _, l := range res.Report.Layers {
			if l.Sparsity < 0.6 || l.Sparsity > 0.6+1/float64(l.Cols) {
				t.Errorf("%s, %s: %v of the weights are zero", name, l.Name, l.Sparsity)
			}
		}
	}
}

// unitsOf cuts a weight into its whole runs of m input channels at one kernel position.
func unitsOf(w []float32, channels, m int) (units [][]float32) {
	for ; len(w) > 0; w = w[channels:] {
		for c := 0; c+m <= channels; c += m {
			units = append(units, w[c:c+m])
		}
	}
	return units
}

func nonZeros(w []float32) int {
	n := 0
	for _, v := range w {
		if v != 0 {
			n++
		}
	}
	return n
}

// TestCompensationPays compares the exact methods with those that do not compensate.
func TestCompensationPays(t *testing.T) {
	for name, net := range testNets {
		for _, what := range []string{"sparsity: 0.5", "nm: 2:4", "weights: {bits: 3}"} {
			total := map[string]float64{}
			for _, method := range []string{"obs", "rtn"} {
				m, data := net()
				res, err := Compress(t.Context(), m, data, recipeOf(t, fmt.Sprintf("{%s, method: %s}", what, method)), Options{})
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range res.Report.Layers {
					total[method] += l.RelativeLoss
				}
			}
			if total["obs"] > 0.8*total["rtn"] {
				t.Errorf("%s, %s: relative losses %v", name, what, total)
			}
		}
	}
}

func TestNothingChanged(t *testing.T) {
	m, data := convNet()
	_, err := Compress(t.Context(), m, data, recipeOf(t, "{nm: 2:4, min_size: 100000}"), Options{})
	if !errors.Is(err, ErrNothingChanged) || !strings.Contains(err.Error(), "min_size") {
		t.Errorf("error is %v", err)
	}
	m = testmodel.New(17).Input("x", onnxio.Float32, "N", 4).Node("Relu", "x -> y").Outputs("y").Model()
	_, err = Compress(t.Context(), m, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(1, 1, 3, 4)}}, recipeOf(t, "nm: 2:4"), Options{})
	if !errors.Is(err, ErrNothingChanged) {
		t.Errorf("error is %v", err)
	}
}

func TestCompressCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, data := convNet()
	calls := 0
	_, err := Compress(ctx, m, data, recipeOf(t, "nm: 2:4"), Options{Progress: func(Progress) {
		if calls++; calls == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
