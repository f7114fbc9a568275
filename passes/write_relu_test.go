package passes

import (
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestUnfuse: products by codes that a Relu follows are written such that ONNX Runtime does not fuse them with it; others stay as they are,
// and so do products beside quantized inputs. The outputs are those of the codes.
func TestUnfuse(t *testing.T) {
	m := testmodel.New(21).Input("x", onnxio.Float32, "N", 32).
		Init("w1", randoms(1, 0.2, 32, 32)).Init("w2", randoms(2, 0.2, 32, 32)).Init("w3", randoms(3, 0.2, 32, 32)).Init("w4", randoms(4, 0.2, 32, 32)).
		Init("w5", randoms(5, 0.2, 32, 8)).Init("b", randoms(6, 0.1, 32)).
		Node("Gemm", "x w1 b -> a", "transB", 1).Node("Relu", "a -> ra").
		Node("MatMul", "ra w2 -> p").Node("Add", "p b -> c").Node("Relu", "c -> rc").
		Node("Gemm", "rc w3 -> d").Node("Relu", "d -> rd").
		Node("Gemm", "rd w4 b -> e", "transB", 1).Node("Tanh", "e -> te").
		Node("Gemm", "te w5 -> y", "alpha", 0.5).Node("Relu", "y -> z").Output("z", onnxio.Float32, "N", 8).Model()
	data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(9, 1, 64, 32)}}
	for recipe, want := range map[string]string{
		"weights: {bits: 4}":                           "MatMul Sum Relu MatMul Sum Relu MatMul Relu Gemm Tanh Gemm Relu",
		"weights: {bits: 8}":                           "MatMul Sum Relu MatMul Sum Relu MatMul Relu Gemm Tanh Gemm Relu",
		"{weights: {bits: 8}, activations: {bits: 8}}": "Gemm Relu MatMul Add Relu Gemm Relu Gemm Tanh Gemm Relu",
		"nm: 2:4": "Gemm Relu MatMul Add Relu Gemm Relu Gemm Tanh Gemm Relu",
	} {
		res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, recipe)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := graph.New(res.Model)
		if err != nil {
			t.Fatal(err)
		}
		var ops []string
		for _, n := range g.Nodes {
			if !strings.HasSuffix(n.Op(), "uantizeLinear") && n.Op() != "Mul" { // a Mul of equalization
				ops = append(ops, n.Op())
			}
		}
		if got := strings.Join(ops, " "); got != want {
			t.Errorf("%s: %s, want %s", recipe, got, want)
		}
		limit := 0.2
		if strings.Contains(recipe, "4") {
			limit = 0.9
		}
		if diff, most := difference(t, runNodes(t, m), runNodes(t, res.Model)); !(diff <= limit*most) {
			t.Errorf("%s: outputs differ by %v of %v", recipe, diff, most)
		}
	}
}
