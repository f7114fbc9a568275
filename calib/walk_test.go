package calib

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestWalkInPieces stops before every node, spilling and not, and ends with what one run gives.
func TestWalkInPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	g, _ := mustGraph(t, testmodel.New(17).Input("x", onnxio.Float32, "N", 3, 6, 6).
		Init("w", randomTensor(r, 4, 3, 3, 3)).Init("v", randomTensor(r, 4, 4, 1, 1)).
		Node("Conv", "x w -> a").Node("Relu", "a -> b").Node("Conv", "b v -> c").Node("Add", "c b -> d").Node("Sigmoid", "d -> y").
		Outputs("y"))
	data := &memory{feeds: map[string]*onnxio.Tensor{"x": randomTensor(r, 7, 3, 6, 6)}}
	for _, limit := range []int64{0, walkMemory} {
		w, err := NewWalker(g, data, CaptureOptions{Batch: 2})
		if err != nil {
			t.Fatal(err)
		}
		w.keep = limit
		var stops []*graph.Node
		stops = append(stops, g.Nodes...)
		stops = append(stops, nil)
		got := map[int][]float32{}
		for _, stop := range stops {
			if err := w.To(t.Context(), stop, nil, nil, func(v *Visit) error {
				if stop == nil {
					got[v.Batch] = slices.Clone(v.Live["y"].Float32s())
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.To(t.Context(), nil, nil, nil, nil); err == nil {
			t.Error("a walk that has ended goes on")
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		e, err := exec.New(g, exec.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for b := range w.Batches() {
			lo, hi := w.run.samples(b)
			feeds, _ := data.Batch(t.Context(), lo, hi)
			out, err := e.Run(t.Context(), feeds, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(out["y"].Float32s(), got[b]) {
				t.Errorf("limit %d, batch %d: the walk ends with other values than a run", limit, b)
			}
		}
	}
}
