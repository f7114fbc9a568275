package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

func TestDetection(t *testing.T) {
	// Box 1 is box 0 moved by a tenth of its side, box 2 lies apart, box 3 is box 2 with its corners the other way round.
	boxes := f32(dims(1, 4, 4), 0, 0, 1, 1, 0, 0.1, 1, 1.1, 5, 5, 6, 6, 6, 6, 5, 5)
	scores := f32(dims(1, 1, 4), 0.9, 0.8, 0.7, 0.7)
	most, half := i64(dims(1), 9), f32(dims(1), 0.5)
	map4 := ramp(1, 1, 4, 4)
	whole := f32(dims(1, 4), 0, 0, 4, 4)
	runNodeCases(t, []nodeCase{
		{name: "overlap", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{boxes, scores, most, half},
			want: []*onnxio.Tensor{i64(dims(2, 3), 0, 0, 0, 0, 0, 2)}},
		{name: "loose", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{boxes, scores, most, f32(dims(1), 0.9)},
			want: []*onnxio.Tensor{i64(dims(3, 3), 0, 0, 0, 0, 0, 1, 0, 0, 2)}},
		{name: "score and count", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{boxes, scores, i64(dims(1), 1), half, f32(dims(1), 0.75)},
			want: []*onnxio.Tensor{i64(dims(1, 3), 0, 0, 0)}},
		{name: "no count keeps none", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{boxes, scores}, want: []*onnxio.Tensor{i64(dims(0, 3))}},
		{name: "centres", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{f32(dims(1, 2, 4), 1, 1, 2, 2, 1, 1, 2, 1), f32(dims(1, 1, 2), 0.1, 0.2), most, f32(dims(1), 0.49)},
			attrs: []any{"center_point_box", 1}, want: []*onnxio.Tensor{i64(dims(1, 3), 0, 0, 1)}},
		{name: "shapes", op: "NonMaxSuppression", opset: 11, in: []*onnxio.Tensor{boxes, f32(dims(1, 1, 2), 1, 2), most}, fails: "[batch classes boxes]"},

		// On a plane that rises evenly the mean of a bin is the plane's value at the bin's centre.
		{name: "ramp", op: "RoiAlign", opset: 16, in: []*onnxio.Tensor{map4, f32(dims(1, 4), 1, 1, 3, 3), i64(dims(1), 0)},
			attrs: []any{"output_height", 2, "output_width", 2, "sampling_ratio", 2}, want: []*onnxio.Tensor{f32(dims(1, 1, 2, 2), 5, 6, 9, 10)}},
		{name: "not shifted", op: "RoiAlign", opset: 10, in: []*onnxio.Tensor{map4, f32(dims(1, 4), 1, 1, 3, 3), i64(dims(1), 0)},
			attrs: []any{"sampling_ratio", 1}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 10)}},
		{name: "largest", op: "RoiAlign", opset: 16, in: []*onnxio.Tensor{map4, f32(dims(1, 4), 0.5, 0.5, 4.5, 4.5), i64(dims(1), 0)},
			attrs: []any{"mode", "max", "sampling_ratio", 2}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 15)}},
		{name: "batch entry", op: "RoiAlign", opset: 16, in: []*onnxio.Tensor{map4, whole, i64(dims(1), 1)}, fails: "batch entry 1 of 1"},
		{name: "infinite", op: "RoiAlign", opset: 16, in: []*onnxio.Tensor{map4, f32(dims(1, 4), 0, 0, float32(math.Inf(1)), 4), i64(dims(1), 0)},
			fails: "coordinate"},

		{name: "quarters", op: "MaxRoiPool", opset: 1, in: []*onnxio.Tensor{map4, f32(dims(1, 5), 0, 0, 0, 3, 3)}, attrs: []any{"pooled_shape", []int64{2, 2}},
			want: []*onnxio.Tensor{f32(dims(1, 1, 2, 2), 5, 7, 13, 15)}},
		{name: "scaled", op: "MaxRoiPool", opset: 22, in: []*onnxio.Tensor{map4, f32(dims(1, 5), 0, 2, 2, 4, 4)},
			attrs: []any{"pooled_shape", []int64{1, 1}, "spatial_scale", float32(0.5)}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 10)}},
		{name: "outside", op: "MaxRoiPool", opset: 1, in: []*onnxio.Tensor{map4, f32(dims(1, 5), 0, 8, 8, 9, 9)}, attrs: []any{"pooled_shape", []int64{1, 1}},
			want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 0)}},
	})
}

func TestSample(t *testing.T) {
	x := ramp(1, 1, 2, 2)
	ends := f32(dims(1, 2, 2, 2), -1, -1, 1, -1, -1, 1, 1, 1)
	beside := f32(dims(1, 1, 2, 2), -2, -1, 1.25, 1)
	nan := f32(dims(1, 1, 1, 2), float32(math.NaN()), 0)
	aligned := []any{"align_corners", 1}
	with := func(attrs ...any) []any { return append(attrs, "align_corners", 1) }
	runNodeCases(t, []nodeCase{
		{name: "identity", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, ends}, attrs: aligned, want: []*onnxio.Tensor{x}},
		{name: "identity, cubic", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, ends}, attrs: with("mode", "cubic"), want: []*onnxio.Tensor{x}},
		{name: "centre", op: "GridSample", opset: 16, in: []*onnxio.Tensor{x, f32(dims(1, 1, 1, 2), 0, 0)}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 1.5)}},
		{name: "corners fade", op: "GridSample", opset: 16, in: []*onnxio.Tensor{x, f32(dims(1, 1, 1, 2), 1, 1)}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 0.75)}},
		{name: "zeros", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, beside}, attrs: aligned, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 2), 0, 2.625)}},
		{name: "border", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, beside}, attrs: with("padding_mode", "border"),
			want: []*onnxio.Tensor{f32(dims(1, 1, 1, 2), 0, 3)}},
		{name: "reflection", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, beside}, attrs: with("padding_mode", "reflection"),
			want: []*onnxio.Tensor{f32(dims(1, 1, 1, 2), 0.5, 2.875)}},
		{name: "nearest strings", op: "GridSample", opset: 20, in: []*onnxio.Tensor{strs(dims(1, 1, 1, 3), "a", "b", "c"), f32(dims(1, 1, 2, 2), 0.9, 0, 3, 0)},
			attrs: []any{"mode", "nearest"}, want: []*onnxio.Tensor{strs(dims(1, 1, 1, 2), "c", "")}},
		{name: "no number", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, nan}, want: []*onnxio.Tensor{f32(dims(1, 1, 1, 1), 0)}},
		{name: "one dimension", op: "GridSample", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 1, 3), 1, 2, 4), f32(dims(1, 1, 1), 0.5)}, attrs: aligned,
			want: []*onnxio.Tensor{f32(dims(1, 1, 1), 3)}},
		{name: "ranks", op: "GridSample", opset: 20, in: []*onnxio.Tensor{x, ramp(1, 2, 2, 3)}, fails: "grid of shape"},
		{name: "linear strings", op: "GridSample", opset: 20, in: []*onnxio.Tensor{strs(dims(1, 1, 1, 1), "a"), ramp(1, 1, 1, 2)}, fails: "element type string"},

		{name: "corners", op: "AffineGrid", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 2, 3), 1, 0, 0, 0, 1, 0), i64(dims(4), 1, 1, 2, 2)}, attrs: aligned, want: []*onnxio.Tensor{ends}},
		{name: "centres, moved", op: "AffineGrid", opset: 20, in: []*onnxio.Tensor{f32(dims(1, 2, 3), 2, 0, 1, 0, 1, 0), i64(dims(4), 1, 1, 1, 2)},
			want: []*onnxio.Tensor{f32(dims(1, 1, 2, 2), 0, 0, 2, 0)}},
		{name: "size", op: "AffineGrid", opset: 20, in: []*onnxio.Tensor{ramp(1, 2, 3), i64(dims(1), 1)}, fails: "theta has shape"},
	})
}

// TestDeformConv: without offsets it is Conv; with whole ones it reads other elements.
func TestDeformConv(t *testing.T) {
	x, w, b := ramp(2, 4, 5, 6), ramp(2, 2, 3, 2), f32(dims(2), 1, -2)
	attrs := []any{"pads", []int64{1, 0, 1, 1}, "strides", []int64{2, 1}, "dilations", []int64{1, 2}, "group", 2}
	conv, err := eval("Conv", 22, 1, []*onnxio.Tensor{x, w, b}, attrs...)
	if err != nil {
		t.Fatal(err)
	}
	still := onnxio.NewTensor(onnxio.Float32, append([]int{2, 2 * 6 * 2}, conv[0].Shape[2:]...)...)
	ones := onnxio.NewTensor(onnxio.Float32, append([]int{2, 2 * 6}, conv[0].Shape[2:]...)...)
	for i := range ones.Float32s() {
		ones.Float32s()[i] = 1
	}
	runNodeCases(t, []nodeCase{
		{name: "still", op: "DeformConv", opset: 22, in: []*onnxio.Tensor{x, w, still, b, ones}, attrs: append(attrs, "offset_group", 2), want: conv},
		{name: "moved", op: "DeformConv", opset: 19, in: []*onnxio.Tensor{ramp(1, 1, 3, 3), f32(dims(1, 1, 1, 1), 2), f32(dims(1, 2, 3, 3),
			1, 0, 0, 0, 0.5, 0, 0, 0, 3, 0, -1, 0, 0, 0, 0, 0, 0, 0)},
			want: []*onnxio.Tensor{f32(dims(1, 1, 3, 3), 6, 0, 4, 6, 11, 10, 12, 14, 0)}},
		{name: "offsets", op: "DeformConv", opset: 22, in: []*onnxio.Tensor{x, w, ramp(2, 3, 3, 5)}, attrs: attrs, fails: "offset has shape"},
	})
}
