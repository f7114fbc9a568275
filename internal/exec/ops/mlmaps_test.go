package ops_test

import (
	"testing"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

func mapOf(keys, values *onnxio.Tensor) *onnxio.Tensor {
	return &onnxio.Tensor{Data: &exec.Map{Keys: keys, Values: values}}
}

// TestMaps: dictionaries to rows of a tensor.
func TestMaps(t *testing.T) {
	words := mapOf(strs(dims(2), "b", "z"), f32(dims(2), 2, 9))
	codes := mapOf(i64(dims(3), 4, 1, 0), f32(dims(3), 40.5, 10, 0.5))
	texts := mapOf(i64(dims(2), 1, 0), strs(dims(2), "1.5", "-2"))
	runNodeCases(t, []nodeCase{
		{name: "words", op: "ai.onnx.ml::DictVectorizer", opset: 1, in: []*onnxio.Tensor{words}, attrs: []any{"string_vocabulary", []string{"a", "b", "z"}},
			want: []*onnxio.Tensor{f32(dims(1, 3), 0, 2, 9)}},
		{name: "codes", op: "ai.onnx.ml::DictVectorizer", opset: 1, in: []*onnxio.Tensor{codes}, attrs: []any{"int64_vocabulary", []int64{4, 7, 0}},
			want: []*onnxio.Tensor{f32(dims(1, 3), 40.5, 0, 0.5)}},
		{name: "key type", op: "ai.onnx.ml::DictVectorizer", opset: 1, in: []*onnxio.Tensor{codes}, attrs: []any{"string_vocabulary", []string{"a"}}, fails: "the keys are int64"},
		{name: "tensor", op: "ai.onnx.ml::DictVectorizer", opset: 1, in: []*onnxio.Tensor{ramp(1)}, attrs: []any{"string_vocabulary", []string{"a"}}, fails: "expected a map"},
		{name: "dense", op: "ai.onnx.ml::CastMap", opset: 1, in: []*onnxio.Tensor{codes}, attrs: []any{"cast_to", "TO_FLOAT"},
			want: []*onnxio.Tensor{f32(dims(1, 3), 0.5, 10, 40.5)}},
		{name: "sparse", op: "ai.onnx.ml::CastMap", opset: 1, in: []*onnxio.Tensor{codes}, attrs: []any{"cast_to", "TO_INT64", "map_form", "SPARSE", "max_map", 4},
			want: []*onnxio.Tensor{i64(dims(1, 4), 0, 10, 0, 0)}},
		{name: "texts", op: "ai.onnx.ml::CastMap", opset: 1, in: []*onnxio.Tensor{texts}, attrs: []any{"cast_to", "TO_FLOAT"},
			want: []*onnxio.Tensor{f32(dims(1, 2), -2, 1.5)}},
		{name: "to text", op: "ai.onnx.ml::CastMap", opset: 1, in: []*onnxio.Tensor{codes}, attrs: []any{"cast_to", "TO_STRING"},
			want: []*onnxio.Tensor{strs(dims(1, 3), "0.5", "10", "40.5")}},
		{name: "columns", op: "ai.onnx.ml::ZipMap", opset: 1, in: []*onnxio.Tensor{ramp(2, 3)}, attrs: []any{"classlabels_int64s", []int64{1, 2}}, fails: "3 columns for 2 keys"},
	})
	out, err := eval("ai.onnx.ml::ZipMap", 1, 1, []*onnxio.Tensor{ramp(2, 3)}, "classlabels_strings", []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	rows := out[0].Data.(*exec.Sequence).Elems
	for r, want := range []*onnxio.Tensor{f32(dims(3), 0, 1, 2), f32(dims(3), 3, 4, 5)} {
		m := rows[r].Data.(*exec.Map)
		if err := same(m.Values, want, 0, 0); err != nil || len(rows) != 2 || onnxio.Slice[string](m.Keys)[2] != "c" {
			t.Errorf("row %d is %v to %v (%v)", r, m.Keys, m.Values, err)
		}
	}
}
