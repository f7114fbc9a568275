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
