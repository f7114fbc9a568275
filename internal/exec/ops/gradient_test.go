package ops_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestGradient compares with central differences, for one operator at a time and for a chain of them.
func TestGradient(t *testing.T) {
	for name, build := range map[string]func(b *testmodel.Builder){
		"Add": one("Add", "a b"), "Sub": one("Sub", "a b"), "Mul": one("Mul", "a b"), "Div": one("Div", "a b"), "Pow": one("Pow", "a b"),
		"MatMul": one("MatMul", "a b"), "Identity": one("Identity", "a"), "Neg": one("Neg", "a"), "Exp": one("Exp", "a"), "Log": one("Log", "a"),
		"Sqrt": one("Sqrt", "a"), "Sin": one("Sin", "a"), "Cos": one("Cos", "a"), "Tanh": one("Tanh", "a"), "Sigmoid": one("Sigmoid", "a"), "Relu": one("Relu", "a"),
		"chain": func(b *testmodel.Builder) {
			b.Floats("k", []float32{2}).Node("Mul", "a b -> p").Node("Tanh", "p -> q").Node("Mul", "q a -> r").Node("Mul", "r k -> y")
		},
	} {
		t.Run(name, func(t *testing.T) { checkGradient(t, build) })
	}
}

func one(op, in string) func(b *testmodel.Builder) {
	return func(b *testmodel.Builder) { b.Node(op, in+" -> y") }
}

func checkGradient(t *testing.T, build func(b *testmodel.Builder)) {
	b := testmodel.New(13).Import("ai.onnx.preview.training", 1).Input("a", onnxio.Float32, 2, 2).Input("b", onnxio.Float32, 2, 2)
	build(b)
	b.Node("ai.onnx.preview.training::Gradient", "a b -> da db", "xs", []string{"a", "b"}, "y", "y").Outputs("y", "da", "db")
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	e, err := exec.New(g, exec.Options{Float64: true})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string][]float64{"a": {0.5, 1.5, 2, 0.25}, "b": {1, 0.75, 3, 0.5}}
	run := func() map[string]*onnxio.Tensor {
		feeds := map[string]*onnxio.Tensor{}
		for name, v := range at {
			feeds[name] = onnxio.TensorOf(append([]float64{}, v...), 2, 2)
		}
		out, err := e.Run(context.Background(), feeds, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	sum := func() (s float64) {
		for _, v := range run()["y"].Float64s() {
			s += v
		}
		return s
	}
	got := run()
	for name, v := range at {
		for i := range v {
			const h = 1e-6
			old := v[i]
			v[i] = old + h
			up := sum()
			v[i] = old - h
			down := sum()
			v[i] = old
			if want, have := (up-down)/(2*h), got["d"+name].Float64s()[i]; math.Abs(want-have) > 1e-6*(1+math.Abs(want)) {
				t.Errorf("gradient by %s[%d] is %v, differences give %v", name, i, have, want)
			}
		}
	}
}

func TestGradientErrors(t *testing.T) {
	for part, build := range map[string]func(b *testmodel.Builder){
		"its gradient is not known":    func(b *testmodel.Builder) { b.Node("Erf", "a -> y") },
		"the graph does not have":      func(b *testmodel.Builder) { b.Node("Neg", "a -> z") },
		"is neither in xs nor in zs":   func(b *testmodel.Builder) { b.Input("c", onnxio.Float32, 2).Node("Add", "a c -> y") },
		"known for matrices only, not": func(b *testmodel.Builder) { b.Input("c", onnxio.Float32, 2).Node("MatMul", "a a -> y") },
	} {
		b := testmodel.New(13).Import("ai.onnx.preview.training", 1).Input("a", onnxio.Float32, 2)
		build(b)
		b.Node("ai.onnx.preview.training::Gradient", "a -> da", "xs", []string{"a"}, "y", "y").Outputs("da")
		g, err := graph.New(b.Model())
		if err != nil {
			t.Fatal(err)
		}
		e, err := exec.New(g, exec.Options{})
		if err == nil {
			x := f32(dims(2), 1, 2)
			_, err = e.Run(context.Background(), map[string]*onnxio.Tensor{"a": x, "c": x}, nil)
		}
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error is %v, expected %q in it", err, part)
		}
	}
}

// TestOptimizers: one step by hand. With a rate of 1 and no history the weights 3 and gradients 2 move as follows.
func TestOptimizers(t *testing.T) {
	r, none, x, g, zero := f32(nil, 1), i64(nil, 0), f32(dims(1), 3), f32(dims(1), 2), f32(dims(1), 0)
	const p = "ai.onnx.preview.training::"
	runNodeCases(t, []nodeCase{
		{name: "step", op: p + "Adagrad", opset: 1, in: []*onnxio.Tensor{r, none, x, g, zero}, attrs: []any{"epsilon", float32(0)},
			want: []*onnxio.Tensor{f32(dims(1), 2), f32(dims(1), 4)}},
		{name: "step", op: p + "Adam", opset: 1, in: []*onnxio.Tensor{r, none, x, g, zero, zero}, attrs: []any{"alpha", float32(0.5), "beta", float32(0.75), "epsilon", float32(0)},
			want: []*onnxio.Tensor{f32(dims(1), 2), f32(dims(1), 1), f32(dims(1), 1)}},
		{name: "standard", op: p + "Momentum", opset: 1, in: []*onnxio.Tensor{r, none, x, g, f32(dims(1), 1)},
			attrs: []any{"alpha", float32(0.5), "beta", float32(9), "norm_coefficient", float32(0), "mode", "standard"},
			want:  []*onnxio.Tensor{f32(dims(1), 0.5), f32(dims(1), 2.5)}},
		{name: "nesterov", op: p + "Momentum", opset: 1, in: []*onnxio.Tensor{r, i64(nil, 1), x, g, f32(dims(1), 1)},
			attrs: []any{"alpha", float32(0.5), "beta", float32(1), "norm_coefficient", float32(1), "mode", "nesterov"},
			want:  []*onnxio.Tensor{f32(dims(1), -4.75), f32(dims(1), 5.5)}},
		{name: "shapes", op: p + "Adagrad", opset: 1, in: []*onnxio.Tensor{r, none, x, f32(dims(2), 1, 2), zero}, fails: "has shape [2]"},
		{name: "inputs", op: p + "Adam", opset: 1, in: []*onnxio.Tensor{r, none, x, g, zero}, fails: "has 5 inputs"},
	})
}
