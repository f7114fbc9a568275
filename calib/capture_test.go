package calib

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// memory is a dataset in memory; batches counts how often it was read.
type memory struct {
	feeds   map[string]*onnxio.Tensor
	batches int
}

func (m *memory) Len() int {
	for _, t := range m.feeds {
		return t.Shape[0]
	}
	return 0
}

func (m *memory) Inputs() (names []string) {
	for n := range m.feeds {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (m *memory) Batch(_ context.Context, lo, hi int) (map[string]*onnxio.Tensor, error) {
	m.batches++
	out := map[string]*onnxio.Tensor{}
	for name, t := range m.feeds {
		size := elements(t.Shape[1:])
		part := onnxio.NewTensor(t.Type, append([]int{hi - lo}, t.Shape[1:]...)...)
		switch d := t.Data.(type) {
		case []float32:
			copy(part.Float32s(), d[lo*size:hi*size])
		case []int64:
			copy(part.Int64s(), d[lo*size:hi*size])
		case []bool:
			copy(part.Data.([]bool), d[lo*size:hi*size])
		}
		out[name] = part
	}
	return out, nil
}

// smallNet has two convolutions, one of them depthwise, a shared weight, and layers that read the same value.
func smallNet(r *rand.Rand) *testmodel.Builder {
	return testmodel.New(18).Input("x", onnxio.Float32, "N", 3, 6, 6).
		Init("w1", randomTensor(r, 4, 3, 3, 3)).Init("b1", randomTensor(r, 4)).Init("w2", randomTensor(r, 4, 1, 3, 3)).
		Init("w3", randomTensor(r, 6, 5)).Init("w4", randomTensor(r, 6, 2)).
		Node("Conv", "x w1 b1 -> c1", "pads", []int64{1, 1, 1, 1}).Node("Relu", "c1 -> r1").
		Node("Conv", "r1 w2 -> c2", "group", 4, "strides", []int64{2, 2}, "pads", []int64{1, 1, 0, 0}).
		Node("MatMul", "r1 w3 -> m1").Node("MatMul", "r1 w4 -> m2").Node("MatMul", "c1 w3 -> m3").
		Outputs("c2", "m1", "m2", "m3")
}

func mustGraph(t testing.TB, b *testmodel.Builder) (*graph.Graph, []*graph.Layer) {
	t.Helper()
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	layers, skipped := graph.Layers(g)
	if len(skipped) > 0 {
		t.Fatalf("skipped: %v", skipped)
	}
	return g, layers
}

// valuesOf runs the model over the data and collects all batches of each named value.
func valuesOf(t testing.TB, g *graph.Graph, ds Dataset, batch int, names ...string) map[string][]*onnxio.Tensor {
	t.Helper()
	all := map[string][]*onnxio.Tensor{}
	err := Observe(context.Background(), g, names, ds, CaptureOptions{Batch: batch}, func(name string, x *onnxio.Tensor, _ []bool) error {
		all[name] = append(all[name], x.Clone())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCapture(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	g, layers := mustGraph(t, smallNet(r))
	ds := &memory{feeds: map[string]*onnxio.Tensor{"x": randomTensor(r, 10, 3, 6, 6)}}
	values := valuesOf(t, g, ds, 10, "x", "r1", "c1", "c2")
	ds.batches = 0
	stats, err := Capture(context.Background(), g, layers, ds, CaptureOptions{Batch: 4, Outputs: true})
	if err != nil {
		t.Fatal(err)
	}
	if ds.batches != 3 {
		t.Errorf("%d batches were read, want 3", ds.batches)
	}
	byName := map[string]*Stats{}
	for _, l := range layers {
		byName[l.Name] = stats[l]
		if len(l.Nodes) > 1 {
			continue
		}
		want := plainHessian(t, l, values[l.Nodes[0].Inputs[0].Name]...)
		sameMatrices(t, l.Name, stats[l].Hessians, want, l.Cols)
	}
	both := append(append([]*onnxio.Tensor{}, values["r1"]...), values["c1"]...)
	for _, l := range layers {
		if len(l.Nodes) == 2 {
			sameMatrices(t, "shared", stats[l].Hessians, plainHessian(t, l, both...), l.Cols)
		}
	}
	if s := byName["n_c1"]; s.N != 360 {
		t.Errorf("N is %d, want 360", s.N)
	}
	lo, hi := limits(values["r1"][0].Float32s())
	if s := byName["n_c2"]; s.Min != lo || s.Max != hi || s.N != 90 {
		t.Errorf("range %v to %v of %d, want %v to %v of 90", s.Min, s.Max, s.N, lo, hi)
	}
	checkMoments(t, byName["n_c1"].Output, values["c1"][0])
}

// checkMoments compares with the plain two-pass mean and variance of an NCHW tensor.
func checkMoments(t *testing.T, m *Moments, y *onnxio.Tensor) {
	t.Helper()
	inner := elements(y.Shape[2:])
	for c := range y.Shape[1] {
		var values []float64
		for b := range y.Shape[0] {
			for _, v := range y.Float32s()[(b*y.Shape[1]+c)*inner:][:inner] {
				values = append(values, float64(v))
			}
		}
		mean, variance := 0.0, 0.0
		for _, v := range values {
			mean += v / float64(len(values))
		}
		for _, v := range values {
			variance += (v - mean) * (v - mean) / float64(len(values))
		}
		if math.Abs(m.Mean()[c]-mean) > 1e-6 || math.Abs(m.Var()[c]-variance) > 1e-6*variance {
			t.Errorf("channel %d: mean %v, variance %v, want %v, %v", c, m.Mean()[c], m.Var()[c], mean, variance)
		}
	}
}

// TestCaptureInPasses checks that a small limit costs passes over the data, not different numbers.
func TestCaptureInPasses(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	g, layers := mustGraph(t, smallNet(r))
	ds := &memory{feeds: map[string]*onnxio.Tensor{"x": randomTensor(r, 8, 3, 6, 6)}}
	ctx := context.Background()
	want, err := Capture(ctx, g, layers, ds, CaptureOptions{})
	if err != nil || ds.batches != 1 {
		t.Fatalf("%d batches, %v", ds.batches, err)
	}
	for threads := 1; threads <= 2; threads++ {
		ds.batches = 0
		var order []string
		last, total := 0, 0
		o := CaptureOptions{MemoryLimit: 1, Threads: threads, Progress: func(d, n int) { last, total = d, n }}
		err = CaptureEach(ctx, g, layers, ds, o, func(l *graph.Layer, s *Stats) error {
			order = append(order, l.Name)
			for i := range s.Hessians {
				if !slices.Equal(s.Hessians[i], want[l].Hessians[i]) {
					t.Errorf("%s: group %d differs", l.Name, i)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if ds.batches != len(layers)-0 || last != total || total != ds.batches {
			t.Errorf("%d batches for %d layers, progress %d of %d", ds.batches, len(layers), last, total)
		}
		for i, l := range layers {
			if order[i] != l.Name {
				t.Errorf("order %v", order)
			}
		}
	}
}

func TestSameInputIsSharedOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	g, layers := mustGraph(t, testmodel.New(18).Input("x", onnxio.Float32, "N", 4).Init("q", randomTensor(r, 4, 3)).Init("k", randomTensor(r, 4, 5)).
		Node("MatMul", "x q -> a").Node("MatMul", "x k -> b").Outputs("a", "b"))
	stats, err := Capture(context.Background(), g, layers, &memory{feeds: map[string]*onnxio.Tensor{"x": randomTensor(r, 9, 4)}}, CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if &stats[layers[0]].Hessians[0][0] != &stats[layers[1]].Hessians[0][0] || stats[layers[0]].N != 9 {
		t.Error("two layers of one input were gathered twice")
	}
}

func TestCaptureInSubgraph(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	branch := func() *testmodel.Builder {
		return testmodel.New(18).Init("w", randomTensor(r, 3, 2)).Node("MatMul", "x w -> o").Outputs("o")
	}
	model := testmodel.New(18).Input("x", onnxio.Float32, "N", 3).Input("yes", onnxio.Bool, 1)
	g, layers := mustGraph(t, model.Node("If", "yes -> y", "then_branch", branch(), "else_branch", branch()).Outputs("y"))
	if len(layers) != 2 {
		t.Fatalf("layers %v", layers)
	}
	x := randomTensor(r, 1, 3)
	ds := &memory{feeds: map[string]*onnxio.Tensor{"x": x, "yes": onnxio.TensorOf([]bool{true}, 1)}}
	stats, err := Capture(context.Background(), g, layers[:1], ds, CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sameMatrices(t, "then", stats[layers[0]].Hessians, plainHessian(t, layers[0], x), 3)
	if _, err := Capture(context.Background(), g, layers, ds, CaptureOptions{}); err == nil || !strings.Contains(err.Error(), "no calibration sample reached it") {
		t.Errorf("a branch that is never taken: %v", err)
	}
}

func TestCaptureMask(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	g, layers := mustGraph(t, testmodel.New(18).Input("x", onnxio.Float32, "N", "S", 6).Input("attention_mask", onnxio.Int64, "N", "S").
		Init("w", randomTensor(r, 6, 4)).Node("MatMul", "x w -> y").Outputs("y"))
	x := randomTensor(r, 2, 3, 6)
	x.Float32s()[7] = 1e6 // in a padded position
	mask := onnxio.TensorOf([]int64{1, 0, 1, 1, 1, 0}, 2, 3)
	set, err := Open(npz(t, map[string]*onnxio.Tensor{"x": x, "attention_mask": mask}), g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	stats, err := Capture(context.Background(), g, layers, set, CaptureOptions{Outputs: true})
	if err != nil {
		t.Fatal(err)
	}
	s := stats[layers[0]]
	if s.N != 4 || s.Masked != 2 || s.Max > 1e5 || s.Output.N != 4 {
		t.Errorf("N %d, masked %d, max %v, outputs %d", s.N, s.Masked, s.Max, s.Output.N)
	}
	all := &memory{feeds: map[string]*onnxio.Tensor{"x": x, "attention_mask": onnxio.TensorOf(make([]int64, 6), 2, 3)}}
	five := append(slices.Repeat(layers, 4), layers...)
	if _, err := Capture(context.Background(), g, five, all, CaptureOptions{Mask: "attention_mask"}); err == nil ||
		!strings.Contains(err.Error(), "and 2 more layers: no calibration sample reached it") || !strings.Contains(err.Error(), "everything masked") {
		t.Errorf("everything masked: %v", err)
	}
	stats, err = Capture(context.Background(), g, layers, set, CaptureOptions{Mask: "none"})
	if err != nil || stats[layers[0]].N != 6 || stats[layers[0]].Max != 1e6 {
		t.Errorf("without mask: %+v, %v", stats[layers[0]], err)
	}
	if _, err := Capture(context.Background(), g, layers, set, CaptureOptions{Mask: "other"}); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("unknown mask: %v", err)
	}
}

func TestCaptureErrors(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	g, layers := mustGraph(t, smallNet(r))
	ds := &memory{feeds: map[string]*onnxio.Tensor{"x": randomTensor(r, 8, 3, 6, 6)}}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Capture(ctx, g, layers, ds, CaptureOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	none := &memory{feeds: map[string]*onnxio.Tensor{"x": onnxio.NewTensor(onnxio.Float32, 0, 3, 6, 6)}}
	if _, err := Capture(context.Background(), g, layers, none, CaptureOptions{}); err == nil || !strings.Contains(err.Error(), "no samples") {
		t.Errorf("no samples: %v", err)
	}
	boom := errors.New("boom")
	if err := CaptureEach(context.Background(), g, layers, ds, CaptureOptions{}, func(*graph.Layer, *Stats) error { return boom }); err != boom {
		t.Errorf("callback error: %v", err)
	}
	if err := Observe(context.Background(), g, []string{"c1", "nothing"}, ds, CaptureOptions{}, nil); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("unknown value: %v", err)
	}
}

// TestCaptureMemory checks that what is alive does not grow with the number of samples.
func TestCaptureMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	g, layers := mustGraph(t, testmodel.New(18).Input("x", onnxio.Float32, "N", 8, 32, 32).Init("w", randomTensor(r, 8, 8, 3, 3)).
		Node("Conv", "x w -> y", "pads", []int64{1, 1, 1, 1}).Outputs("y"))
	live := func(samples int) uint64 {
		ds := &generated{n: samples, shape: []int{8, 32, 32}}
		peak := uint64(0)
		o := CaptureOptions{Batch: 4, Threads: 1, Progress: func(int, int) {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}}
		if _, err := Capture(context.Background(), g, layers, ds, o); err != nil {
			t.Fatal(err)
		}
		return peak
	}
	few, many := live(8), live(160)
	if many > few+4<<20 {
		t.Errorf("%d bytes alive with 8 samples, %d with 160: activations are kept", few, many)
	}
}

// generated makes its samples up when they are asked for.
type generated struct {
	n     int
	shape []int
}

func (g *generated) Len() int         { return g.n }
func (g *generated) Inputs() []string { return []string{"x"} }
func (g *generated) Batch(_ context.Context, lo, hi int) (map[string]*onnxio.Tensor, error) {
	return map[string]*onnxio.Tensor{"x": randomTensor(rand.New(rand.NewPCG(uint64(lo), 1)), append([]int{hi - lo}, g.shape...)...)}, nil
}

func TestMoments(t *testing.T) {
	var m Moments
	if err := m.Add(counting(2, 3), 1, []bool{true, false}); err != nil {
		t.Fatal(err)
	}
	if m.N != 1 || fmt.Sprint(m.Mean()) != "[0 1 2]" || fmt.Sprint(m.Var()) != "[0 0 0]" {
		t.Errorf("%+v", m)
	}
	if err := m.Add(counting(2, 4), 1, nil); err == nil {
		t.Error("another number of channels was taken")
	}
	if err := m.Add(counting(2, 3), 2, nil); err == nil {
		t.Error("an axis that is not there was taken")
	}
}

func TestEachKept(t *testing.T) {
	x := []float32{0, 1, 2, 3, 4, 5, 6, 7}
	for _, c := range []struct {
		keep []bool
		want string
	}{
		{nil, "[[0 1 2 3 4 5 6 7]]"}, {[]bool{true, false, true, true}, "[[0 1] [4 5 6 7]]"}, {[]bool{false, false}, "[]"},
		{[]bool{true, false, true}, "[[0 1 2 3 4 5 6 7]]"}, // does not divide
	} {
		runs := [][]float32{}
		EachKept(x, c.keep, func(run []float32) { runs = append(runs, run) })
		if got := fmt.Sprint(runs); got != c.want {
			t.Errorf("keep %v: %s, want %s", c.keep, got, c.want)
		}
	}
	EachKept(nil, nil, func([]float32) { t.Error("called without elements") })
}
