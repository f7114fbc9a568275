package ops_test

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func TestFlexAttention(t *testing.T) {
	const flex = "ai.onnx.preview::FlexAttention"
	q := f32(dims(1, 2, 1, 2), 2, 0, 0, 2)
	k := f32(dims(1, 1, 2, 2), 1, 0, 0, 1)
	v := f32(dims(1, 1, 2, 1), 10, 20)
	e := float32(1 / (1 + math.Exp(-2))) // weight of the key that fits, with scale 1
	in := []*onnxio.Tensor{q, k, v}
	one := []any{"scale", float32(1)}
	double := testmodel.New(26).Input("s", onnxio.Float32, "B", "H", "L", "S").Floats("two", []float32{2}).Node("Mul", "s two -> t").Output("t", onnxio.Float32, "B", "H", "L", "S")
	reshape := testmodel.New(26).Input("s", onnxio.Float32, "B", "H", "L", "S").Int64s("n", -1).Node("Reshape", "s n -> t").Output("t", onnxio.Float32, "n")
	runNodeCases(t, []nodeCase{
		{name: "two heads on one", op: flex, opset: 1, in: in, attrs: one, want: []*onnxio.Tensor{f32(dims(1, 2, 1, 1), 10*e+20*(1-e), 20*e+10*(1-e))}},
		{name: "probabilities doubled", op: flex, opset: 1, in: in, attrs: append([]any{"prob_mod", double}, one...),
			want: []*onnxio.Tensor{f32(dims(1, 2, 1, 1), 20*e+40*(1-e), 40*e+20*(1-e))}},
		{name: "scores doubled", op: flex, opset: 1, in: in, attrs: []any{"score_mod", double, "scale", float32(0.5)},
			want: []*onnxio.Tensor{f32(dims(1, 2, 1, 1), 10*e+20*(1-e), 20*e+10*(1-e))}},
		{name: "other shape", op: flex, opset: 1, in: in, attrs: []any{"score_mod", reshape}, fails: "score_mod gives"},
		{name: "heads", op: flex, opset: 1, in: []*onnxio.Tensor{q, f32(dims(1, 3, 1, 2), 1, 2, 3, 4, 5, 6), f32(dims(1, 3, 1, 1), 1, 2, 3)}, fails: "do not fit"},
	})
}
