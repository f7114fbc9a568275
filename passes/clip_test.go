package passes

import (
	"slices"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestClipBeforeFewBits quantizes inputs behind Clips to 4 bits. A Clip that only the quantizer reads ends where uint8 does, so that runtimes
// drop it, and the model computes what it does with the Clip's old limit; one with another reader stays as it was.
func TestClipBeforeFewBits(t *testing.T) {
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 4, 6, 6).
		Init("w0", randoms(71, 0.8, 8, 4, 3, 3)).Init("w1", randoms(72, 0.4, 8, 8, 3, 3)).Init("w2", randoms(73, 0.3, 4, 8, 1, 1)).
		Floats("zero", []float32{0}).Floats("top", []float32{2}).
		Node("Conv", "x w0 -> c0").Node("Clip", "c0 zero top -> a0").
		Node("Conv", "a0 w1 -> c1").Node("Clip", "c1 zero top -> a1").
		Node("Conv", "a1 w2 -> c2").Node("Sigmoid", "a1 -> s").Outputs("c2", "s").Model()
	data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(74, 1, 16, 4, 6, 6)}}
	res, err := Compress(t.Context(), m, data, recipeOf(t, "{weights: {bits: 4}, activations: {bits: 4}, correction: none}"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.New(res.Model.Clone())
	if err != nil {
		t.Fatal(err)
	}
	wide := g.Node("n_a0")
	if top := Ceiling(wide.Out(0)); !(top >= 255*2/15.0*0.5) || len(wide.Out(0).Uses) != 1 || wide.Out(0).Uses[0].Node.Op() != "QuantizeLinear" {
		t.Fatalf("the Clip that the quantizer alone reads ends at %v; readers %v", top, wide.Out(0).Uses)
	}
	scale, _ := wide.Out(0).Uses[0].Node.In(1).Const()
	if top := Ceiling(wide.Out(0)); top < 255*float64(scale.Float32s()[0]) {
		t.Errorf("the Clip ends at %v, before the last code of uint8 in steps of %v", top, scale.Float32s()[0])
	}
	if top := Ceiling(g.Node("n_a1").Out(0)); top != 2 {
		t.Errorf("the Clip that others read too ends at %v, expected 2", top)
	}
	got := outputsOf(t, res.Model, data)
	wide.SetInput(2, g.Value("top"))
	if err := g.Sync(); err != nil {
		t.Fatal(err)
	}
	if old := outputsOf(t, g.Model, data); !slices.Equal(got, old) {
		t.Error("the Clip's limit changes what the model computes")
	}
}
