package calib

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
)

// zoo lists the models that Capture is measured on, with the data that calibrates them.
var zoo = []struct {
	name, model, data string
	opts              Options
}{
	{"fmnist-resnet", "fmnist-resnet/model.onnx", "fmnist-resnet/calib.npz", Options{}},
	{"efficientnet-lite0", "efficientnet-lite0/model.onnx", "efficientnet-lite0/calib", Options{Preprocess: &Preprocess{Mean: []float32{127}, Std: []float32{128}}}},
	{"minilm", "minilm/model.onnx", "minilm/calib.npz", Options{}},
}

// openZoo opens model number i and its data, limited to some samples (0: all).
func openZoo(t testing.TB, i, samples int) (*graph.Graph, *Set) {
	t.Helper()
	dir := filepath.Join(testkit.Shared(t), "zoo")
	m, err := onnxio.Load(filepath.Join(dir, zoo[i].model))
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	o := zoo[i].opts
	o.Samples = samples
	ds, err := Open(filepath.Join(dir, zoo[i].data), g, o)
	if err != nil {
		t.Fatal(err)
	}
	return g, ds
}

// BenchmarkCapture runs all calibration data of each model of the zoo once. The first figure to compare it with is
// BenchmarkForward, the same without any capturing.
func BenchmarkCapture(b *testing.B) { benchmarkZoo(b, true) }

// BenchmarkForward runs all calibration data of each model of the zoo once, capturing nothing.
func BenchmarkForward(b *testing.B) { benchmarkZoo(b, false) }

func benchmarkZoo(b *testing.B, capture bool) {
	for i := range zoo {
		b.Run(zoo[i].name, func(b *testing.B) {
			g, ds := openZoo(b, i, 0)
			defer ds.Close()
			layers, _ := graph.Layers(g)
			if !capture {
				layers = nil
			}
			for b.Loop() {
				r, err := newRunner(g, ds, CaptureOptions{})
				if err == nil {
					_, err = r.capture(context.Background(), layers, 0, 1)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.Sys)/(1<<20), "sysMiB")
			b.ReportMetric(float64(ds.Len())*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}
