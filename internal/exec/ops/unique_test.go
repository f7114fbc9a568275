package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

func TestUnique(t *testing.T) {
	nan := float32(math.NaN())
	rows := f32(dims(3, 2), 1, 0, 1, 0, 0, 9)
	runNodeCases(t, []nodeCase{
		{name: "sorted", op: "Unique", opset: 11, in: []*onnxio.Tensor{f32(dims(2, 3), 2, 1, 1, 3, 4, 3)},
			want: []*onnxio.Tensor{f32(dims(4), 1, 2, 3, 4), i64(dims(4), 1, 0, 3, 4), i64(dims(6), 1, 0, 0, 2, 3, 2), i64(dims(4), 2, 1, 2, 1)}},
		{name: "as they come", op: "Unique", opset: 11, in: []*onnxio.Tensor{strs(dims(4), "b", "a", "b", "")}, attrs: []any{"sorted", 0},
			want: []*onnxio.Tensor{strs(dims(3), "b", "a", ""), i64(dims(3), 0, 1, 3), i64(dims(4), 0, 1, 0, 2), i64(dims(3), 2, 1, 1)}},
		{name: "rows", op: "Unique", opset: 28, in: []*onnxio.Tensor{rows}, attrs: []any{"axis", 0},
			want: []*onnxio.Tensor{f32(dims(2, 2), 0, 9, 1, 0), i64(dims(2), 2, 0), i64(dims(3), 1, 1, 0), i64(dims(2), 1, 2)}},
		{name: "columns, as they come", op: "Unique", opset: 28, in: []*onnxio.Tensor{rows}, attrs: []any{"axis", -1, "sorted", 0},
			want: []*onnxio.Tensor{rows, i64(dims(2), 0, 1), i64(dims(2), 0, 1), i64(dims(2), 1, 1)}},
		{name: "signs and no numbers", op: "Unique", opset: 11, in: []*onnxio.Tensor{f32(dims(6), nan, 0, -1, float32(math.Copysign(0, -1)), nan, -3)},
			want: []*onnxio.Tensor{f32(dims(4), -3, -1, 0, nan), i64(dims(4), 5, 2, 1, 0)}},
		{name: "large integers", op: "Unique", opset: 11, in: []*onnxio.Tensor{i64(dims(3), math.MaxInt64, math.MinInt64, math.MaxInt64-1)},
			want: []*onnxio.Tensor{i64(dims(3), math.MinInt64, math.MaxInt64-1, math.MaxInt64)}},
		{name: "nothing", op: "Unique", opset: 11, in: []*onnxio.Tensor{f32(dims(0))}, want: []*onnxio.Tensor{f32(dims(0)), i64(dims(0))}},
		{name: "axis", op: "Unique", opset: 11, in: []*onnxio.Tensor{rows}, attrs: []any{"axis", 2}, fails: "axis 2"},
	})
}

func TestTfIdf(t *testing.T) {
	pool := []any{"mode", "TF", "min_gram_length", 1, "max_gram_length", 2, "max_skip_count", 1, "ngram_counts", []int64{0, 2},
		"ngram_indexes", []int64{0, 1, 3}, "pool_int64s", []int64{2, 3, 5, 6}}
	set := func(pairs ...any) []any { // pool with other attributes
		out := append([]any{}, pool...)
		for i := 0; i < len(pairs); i += 2 {
			for k := 0; k < len(out); k += 2 {
				if out[k] == pairs[i] {
					out[k+1] = pairs[i+1]
					pairs[i] = nil
				}
			}
			if pairs[i] != nil {
				out = append(out, pairs[i], pairs[i+1])
			}
		}
		return out
	}
	x := i64(dims(2, 4), 2, 5, 6, 2, 5, 3, 6, 3)
	runNodeCases(t, []nodeCase{
		{name: "counts", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{x}, attrs: pool, want: []*onnxio.Tensor{f32(dims(2, 4), 2, 0, 0, 1, 0, 2, 0, 1)}},
		{name: "no skips", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{x}, attrs: set("max_skip_count", 0),
			want: []*onnxio.Tensor{f32(dims(2, 4), 2, 0, 0, 1, 0, 2, 0, 0)}},
		{name: "weights", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{x}, attrs: set("mode", "TFIDF", "weights", []float32{2, 3, 1, 5}),
			want: []*onnxio.Tensor{f32(dims(2, 4), 4, 0, 0, 5, 0, 6, 0, 5)}},
		{name: "presence of pairs", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{i64(dims(4), 5, 6, 5, 6)}, attrs: set("mode", "IDF", "min_gram_length", 2),
			want: []*onnxio.Tensor{f32(dims(4), 0, 0, 0, 1)}},
		{name: "mode", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{x}, attrs: set("mode", "IDFTF"), fails: "IDFTF"},
		{name: "pool", op: "TfIdfVectorizer", opset: 9, in: []*onnxio.Tensor{x}, attrs: set("ngram_counts", []int64{0, 7}), fails: "ngram_counts"},
	})
}
