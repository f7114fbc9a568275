package ops_test

import (
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestML compares the operators of ai.onnx.ml with what ONNX Runtime gave: testdata/recorded/ml.py says for what.
func TestML(t *testing.T) { runRecorded(t, "ml") }

func TestMLErrors(t *testing.T) {
	x := f32(dims(1, 2), 1, 2)
	tree := func(yes int) []any { // one node over two leaves
		return []any{"n_targets", 1, "tree_roots", []int64{0}, "nodes_featureids", []int64{1}, "nodes_splits", f32(dims(1), 0.5),
			"nodes_modes", onnxio.TensorOf([]uint8{0}, 1), "nodes_truenodeids", []int64{int64(yes)}, "nodes_trueleafs", []int64{0},
			"nodes_falsenodeids", []int64{1}, "nodes_falseleafs", []int64{1}, "leaf_targetids", []int64{0, 0}, "leaf_weights", f32(dims(2), 1, 2)}
	}
	runNodeCases(t, []nodeCase{
		{name: "features", op: "ai.onnx.ml::Scaler", opset: 1, in: []*onnxio.Tensor{x}, attrs: []any{"offset", []float32{1, 2, 3}, "scale", []float32{1}}, fails: "3 values for 2 features"},
		{name: "lengths", op: "ai.onnx.ml::LabelEncoder", opset: 2, in: []*onnxio.Tensor{x}, attrs: []any{"keys_floats", []float32{1}, "values_int64s", []int64{1, 2}}, fails: "one length"},
		{name: "category", op: "ai.onnx.ml::OneHotEncoder", opset: 1, in: []*onnxio.Tensor{x}, attrs: []any{"cats_int64s", []int64{1}, "zeros", 0}, fails: "is no category"},
		{name: "one label", op: "ai.onnx.ml::LinearClassifier", opset: 1, in: []*onnxio.Tensor{x},
			attrs: []any{"coefficients", []float32{1, 2}, "intercepts", []float32{0}, "classlabels_ints", []int64{7}}, fails: "1 intercepts for 1 labels"},
		{name: "other leaf", op: "ai.onnx.ml::TreeEnsemble", opset: 5, in: []*onnxio.Tensor{x}, attrs: tree(7), fails: "leads nowhere"},
		{name: "cycle", op: "ai.onnx.ml::TreeEnsemble", opset: 5, in: []*onnxio.Tensor{f32(dims(1, 2), 0, 0)}, attrs: tree(0), fails: "cycle"},
		{name: "false branch", op: "ai.onnx.ml::TreeEnsemble", opset: 5, in: []*onnxio.Tensor{x}, attrs: tree(0), want: []*onnxio.Tensor{f32(dims(1, 1), 2)}},
	})
}
