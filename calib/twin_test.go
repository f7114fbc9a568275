package calib

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestTwin compares both sums with the plain products of unfolded inputs.
func TestTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		l, xs, name := convCase(t, r)
		n := l.Nodes[0]
		twin := NewTwin(l, n, 2)
		h, cross := make([][]float64, l.Groups), make([][]float64, l.Groups)
		rows := 0
		for g := range h {
			h[g], cross[g] = make([]float64, l.Cols*l.Cols), make([]float64, l.Cols*l.Cols)
		}
		for _, x := range xs {
			y := onnxio.NewTensor(onnxio.Float32, x.Shape...)
			for i, v := range x.Float32s() {
				y.Float32s()[i] = v + float32(0.3*r.NormFloat64())
			}
			samples := x.Shape[0]
			if err := twin.Add(x, y, nil, samples, r.IntN(samples+1)); err != nil {
				t.Fatal(err)
			}
			ux, err := l.Unfold(n, x)
			if err != nil {
				t.Fatal(err)
			}
			uy, _ := l.Unfold(n, y)
			for g := range ux {
				addProduct(h[g], uy[g], uy[g], l.Cols)
				addProduct(cross[g], ux[g], uy[g], l.Cols)
			}
			rows += len(ux[0]) / l.Cols
		}
		got := Joined(twin.Finish())
		gotH, gotC := got.H, got.C
		if got.N != int64(rows) {
			t.Fatalf("%s: %d columns, expected %d", name, got.N, rows)
		}
		for g := range h {
			for i := range h[g] {
				wantH, wantC := 2*h[g][i]/float64(rows), 2*cross[g][i]/float64(rows)
				if math.Abs(gotH[g][i]-wantH) > 1e-4*(1+math.Abs(wantH)) || math.Abs(gotC[g][i]-wantC) > 1e-4*(1+math.Abs(wantC)) {
					t.Fatalf("%s: element %d of group %d is %v and %v, expected %v and %v", name, i, g, gotH[g][i], gotC[g][i], wantH, wantC)
				}
			}
		}
	}
}

// addProduct adds X^T Y.
func addProduct(sum []float64, x, y []float32, d int) {
	for ; len(x) > 0; x, y = x[d:], y[d:] {
		for i := range d {
			for j := range d {
				sum[i*d+j] += float64(x[i]) * float64(y[j])
			}
		}
	}
}
