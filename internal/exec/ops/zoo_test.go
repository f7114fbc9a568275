package ops_test

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
)

// TestWild compares real files with the outputs that ONNX Runtime gave for them: within 1e-4 of the output's range.
func TestWild(t *testing.T) {
	dir := filepath.Join(testkit.Shared(t), "zoo", "wild")
	files, _ := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if len(files) == 0 {
		t.Fatalf("no models in %s", dir)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".onnx")
		t.Run(name, func(t *testing.T) {
			arrays := readNPZ(t, filepath.Join(dir, name+".io.npz"))
			g, e, err := open(file)
			if err != nil {
				t.Fatal(err)
			}
			feeds := map[string]*onnxio.Tensor{}
			for _, v := range g.Inputs {
				if x := arrays["in__"+v.Name]; x != nil {
					feeds[v.Name] = x
				}
			}
			got, err := e.Run(context.Background(), feeds, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range g.Outputs {
				want := arrays["out__"+v.Name]
				if want == nil {
					t.Fatalf("no recorded output %q", v.Name)
				}
				if err := same(got[v.Name], want, 0, 1e-4*spread(want)); err != nil {
					t.Errorf("output %q: %v", v.Name, err)
				}
			}
		})
	}
}

// spread is the range of a tensor's values, zero included.
func spread(x *onnxio.Tensor) float64 {
	y, err := x.ConvertTo(onnxio.Float64)
	if err != nil {
		return 0
	}
	lo, hi := 0.0, 0.0
	for _, v := range y.Float64s() {
		lo, hi = math.Min(lo, v), math.Max(hi, v)
	}
	return hi - lo
}
