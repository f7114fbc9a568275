package score

import (
	"math"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

func tensor(data []float32, shape ...int) *onnxio.Tensor { return onnxio.TensorOf(data, shape...) }

func TestComparison(t *testing.T) {
	for _, c := range []struct {
		name     string
		ref, got []float32
		shape    []int
		want     Difference
	}{
		{"equal", []float32{1, 2, 3, 4}, []float32{1, 2, 3, 4}, []int{2, 2}, Difference{2, 0, 0, 3, 1, MaxSNR, 1, 1, 0}},
		{"zero", []float32{0, 0}, []float32{0, 0}, []int{1, 2}, Difference{1, 0, 0, 0, 1, MaxSNR, 1, 1, 0}},
		{"opposite", []float32{3, 4}, []float32{-3, -4}, []int{1, 2}, Difference{1, 50, 8, 1, -1, 10 * math.Log10(0.25), 0, 1, 0}},
		{"one of two rows", []float32{1, 0, 0, 1}, []float32{1, 0, 1, 0}, []int{2, 2}, Difference{2, 0.5, 1, 1, 0.5, 0, 0.5, 1, 0}},
		{"no signal", []float32{0, 0}, []float32{1, 0}, []int{2}, Difference{2, 0.5, 1, 0, 0.5, -MaxSNR, 1, 1, 0}},
		{"tail of six", []float32{9, 1, 2, 3, 4, 5}, []float32{0, 1, 2, 3, 4, 5}, []int{1, 6}, Difference{1, 81. / 6, 9, 8, 55 / math.Sqrt(136*55), 10 * math.Log10(136./81), 0, 0, 0}},
		{"scalar", []float32{2}, []float32{1}, nil, Difference{1, 1, 1, 0, 1, 10 * math.Log10(4), 1, 1, 0}},
		{"empty", nil, nil, []int{0, 3}, Difference{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var whole Comparison
			if err := whole.Add(tensor(c.ref, c.shape...), tensor(c.got, c.shape...), nil); err != nil {
				t.Fatal(err)
			}
			if got := whole.Result(); !near(got, c.want) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			if len(c.shape) != 2 {
				return
			}
			var parts Comparison // row by row must give the same
			for r := range c.shape[0] {
				n := c.shape[1]
				if err := parts.Add(tensor(c.ref[r*n:(r+1)*n], 1, n), tensor(c.got[r*n:(r+1)*n], 1, n), nil); err != nil {
					t.Fatal(err)
				}
			}
			if got := parts.Result(); !near(got, c.want) {
				t.Errorf("row by row: got %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func near(a, b Difference) bool {
	for _, p := range [][2]float64{{a.MSE, b.MSE}, {a.MaxAbs, b.MaxAbs}, {a.Range, b.Range}, {a.Cosine, b.Cosine}, {a.SNR, b.SNR}, {a.Agreement, b.Agreement}, {a.TopFive, b.TopFive}} {
		if math.Abs(p[0]-p[1]) > 1e-6 {
			return false
		}
	}
	return a.Rows == b.Rows && a.NotFinite == b.NotFinite
}

func TestComparisonErrors(t *testing.T) {
	var c Comparison
	for _, shape := range [][]int{{4}, {1, 4}, {4, 1}} {
		if err := c.Add(tensor(make([]float32, 4), 2, 2), tensor(make([]float32, 4), shape...), nil); err == nil || !strings.Contains(err.Error(), "shape") {
			t.Errorf("shape %v: %v", shape, err)
		}
	}
	words := onnxio.TensorOf([]string{"a", "b", "c", "d"}, 2, 2)
	if err := c.Add(tensor(make([]float32, 4), 2, 2), words, nil); err == nil {
		t.Error("strings were compared")
	}
}

func TestComparisonSeesNaN(t *testing.T) {
	nan := float32(math.NaN())
	var c Comparison
	if err := c.Add(tensor([]float32{1, 2, 3}, 1, 3), tensor([]float32{1, nan, nan}, 1, 3), nil); err != nil {
		t.Fatal(err)
	}
	if r := c.Result(); r.NotFinite != 2 || r.MaxAbs != 0 || r.Agreement != 0 || r.TopFive != 0 {
		t.Errorf("got %+v", r)
	}
	var all Comparison
	if err := all.Add(tensor([]float32{nan}, 1), tensor([]float32{nan}, 1), nil); err != nil {
		t.Fatal(err)
	}
	if r := all.Result(); r != (Difference{Rows: 1, NotFinite: 1}) {
		t.Errorf("got %+v", r)
	}
}

// TestComparisonPadding: what does not count changes nothing, whether its row is left out in part or wholly.
func TestComparisonPadding(t *testing.T) {
	ref := []float32{1, 2, 3, 4, 9, 9, 7, 7, 5, 6, 8, 8}
	got := []float32{1, 1, 3, 5, -9, 0, 0, 7, 5, 7, 0, 8}
	var all, some Comparison
	for r, rows := range [][2]int{{0, 4}, {8, 10}} { // what counts, a row each
		n := rows[1] - rows[0]
		if err := all.Add(tensor(ref[rows[0]:rows[1]], 1, n/2, 2), tensor(got[rows[0]:rows[1]], 1, n/2, 2), nil); err != nil {
			t.Fatal(r, err)
		}
	}
	if err := some.Add(tensor(ref, 3, 2, 2), tensor(got, 3, 2, 2), []bool{true, true, false, false, true, false}); err != nil {
		t.Fatal(err)
	}
	if a, b := all.Result(), some.Result(); a != b {
		t.Errorf("with padding %+v, without %+v", b, a)
	}
}

func TestAccuracy(t *testing.T) {
	var a Accuracy
	out := []float32{
		0, 1, 2, 3, 4, 5, 6, // right
		6, 5, 4, 3, 2, 1, 0, // fifth
		6, 5, 4, 3, 2, 1, 0, // sixth
		1, 1, 1, 1, 1, 1, 1, // ties go to the lower index: sixth
	}
	if err := a.Add(tensor(out[:14], 2, 7, 1, 1), []int64{6, 4}); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(tensor(out[14:], 2, 7), []int64{5, 5}); err != nil {
		t.Fatal(err)
	}
	if top1, top5 := a.Result(); top1 != 0.25 || top5 != 0.5 {
		t.Errorf("top-1 %v, top-5 %v", top1, top5)
	}
	for name, err := range map[string]error{
		"count":  a.Add(tensor(out, 4, 7), []int64{1}),
		"class":  a.Add(tensor(out[:7], 1, 7), []int64{7}),
		"below":  a.Add(tensor(out[:7], 1, 7), []int64{-1}),
		"vector": a.Add(tensor(out[:7], 7), make([]int64, 7)),
		"map":    a.Add(tensor(out[:4], 1, 2, 2), []int64{0}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
