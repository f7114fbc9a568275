package passes

import (
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestUnreached has a layer in a branch that no sample takes: it stays dense with its reason, the other branch's is compressed.
func TestUnreached(t *testing.T) {
	branch := func(weight string) *testmodel.Builder {
		return testmodel.New(0).Node("MatMul", "x "+weight+" -> "+weight+"_out").Outputs(weight + "_out")
	}
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 16).
		Init("taken", randoms(1, 0.3, 16, 8)).Init("never", randoms(2, 0.3, 16, 8)).Init("large", onnxio.TensorOf([]float32{1e9})).
		Node("ReduceMax", "x -> top", "keepdims", 0).Node("Less", "top large -> c").
		Node("If", "c -> y", "then_branch", branch("taken"), "else_branch", branch("never")).
		Output("y", onnxio.Float32, "N", 8).Model()
	data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(3, 1, 40, 16)}}
	r := DefaultRecipe()
	r.NM = "2:4"
	res, err := Compress(t.Context(), m, data, r, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Report.Layers) != 1 || res.Report.Layers[0].Weight != "taken" {
		t.Errorf("compressed %+v, expected the weight of the branch that is taken", res.Report.Layers)
	}
	if len(res.Report.Kept) != 1 || res.Report.Kept[0].Reason != unreached {
		t.Errorf("kept %+v, expected the other branch's layer with its reason", res.Report.Kept)
	}
}

// TestCarriedInput quantizes a product in a Loop whose input is the carried value itself: no node computes it.
func TestCarriedInput(t *testing.T) {
	body := testmodel.New(0).Input("i", onnxio.Int64).Input("go", onnxio.Bool).Input("h", onnxio.Float32, "N", 8).
		Node("MatMul", "h w -> p").Node("Tanh", "p -> next").Node("Identity", "go -> on").Outputs("on", "next")
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 8).Init("w", randoms(1, 0.5, 8, 8)).Init("three", onnxio.TensorOf([]int64{3})).
		Node("Loop", "three _ x -> y", "body", body).Output("y", onnxio.Float32, "N", 8).Model()
	data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(3, 1, 40, 8)}}
	r := DefaultRecipe()
	r.Weights.Bits, r.Activations.Bits = 8, 8
	res, err := Compress(t.Context(), m, data, r, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if l := res.Report.Layers; len(l) != 1 || l[0].ActBits != 8 {
		t.Fatalf("compressed %+v, kept %+v: expected the product with 8-bit inputs", l, res.Report.Kept)
	}
	if e := outputError(t, m, res.Model, data); e > 1e-3 || e == 0 {
		t.Errorf("the outputs' relative error is %v", e)
	}
}
