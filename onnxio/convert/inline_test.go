package convert_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	tm "github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// ref makes attribute name of node i refer to the attribute from of the function around it.
func ref(b *tm.Builder, i int, name, from string, t onnxpb.AttributeProto_AttributeType) *tm.Builder {
	n := b.Proto().Graph.Node[i]
	n.Attribute = append(n.Attribute, &onnxpb.AttributeProto{Name: &name, RefAttrName: &from, Type: t.Enum()})
	return b
}

// TestInline compares calls with what their bodies give when written out by hand: x = (-1, 2).
func TestInline(t *testing.T) {
	leaky := func() *tm.Builder {
		return ref(tm.New(18).Node("LeakyRelu", "a -> b"), 0, "alpha", "slope", onnxpb.AttributeProto_FLOAT)
	}
	x := func(opset int) *tm.Builder { return tm.New(opset).Import("my", 1).Input("x", onnxio.Float32, 2) }
	for name, c := range map[string]struct {
		model *tm.Builder
		want  []float32
		calls int
	}{
		"attribute of the call": {x(18).Function("my", "Leaky", "a -> b", []string{"slope"}, leaky()).
			Node("my::Leaky", "x -> y", "slope", 0.5), []float32{-0.5, 2}, 1},
		"attribute left out": {x(18).Function("my", "Leaky", "a -> b", []string{"slope"}, leaky()).
			Node("my::Leaky", "x -> y"), []float32{-0.01, 2}, 1},
		"default": {withDefault(x(18).Function("my", "Leaky", "a -> b", nil, leaky()), 0.25).
			Node("my::Leaky", "x -> y"), []float32{-0.25, 2}, 1},
		"inner names like outer ones": {x(18).Function("my", "F", "y -> x", nil, tm.New(18).Node("Neg", "y -> t").Node("Add", "t t -> x")).
			Node("my::F", "x -> t").Node("my::F", "t -> y"), []float32{-4, 8}, 2},
		"functions that call functions": {x(18).
			Function("my", "G", "a -> b", nil, tm.New(18).Import("my", 1).Node("my::F", "a -> c").Node("my::F", "c -> b")).
			Function("my", "F", "a -> b", nil, tm.New(18).Node("Add", "a a -> b")).
			Node("my::G", "x -> y"), []float32{-4, 8}, 3},
		"output that is an input": {x(18).Function("my", "Two", "a -> b a", nil, tm.New(18).Node("Neg", "a -> b")).
			Node("my::Two", "x -> t u").Node("Sub", "t u -> y"), []float32{2, -4}, 1},
		"output not asked for": {x(18).Function("my", "Two", "a -> b c", nil, tm.New(18).Node("Neg", "a -> c").Node("Neg", "c -> b")).
			Node("my::Two", "x -> y"), []float32{-1, 2}, 1},
		"input left out": {x(18).Function("my", "Cut", "a lo hi -> b", nil, tm.New(18).Node("Clip", "a lo hi -> b")).Floats("one", []float32{1}).
			Node("my::Cut", "x _ one -> y"), []float32{-1, 1}, 1},
		"subgraph in a body": {x(18).Init("yes", onnxio.TensorOf([]bool{true})).
			Function("my", "F", "a c -> b", []string{"slope"}, tm.New(18).Node("Neg", "a -> n").Node("If", "c -> b",
				"then_branch", ref(tm.New(18).Node("LeakyRelu", "n -> t"), 0, "alpha", "slope", onnxpb.AttributeProto_FLOAT).Outputs("t"),
				"else_branch", tm.New(18).Node("Identity", "a -> t").Outputs("t"))).
			Node("my::F", "x yes -> y", "slope", 0.5), []float32{1, -1}, 1},
		"call in a subgraph": {x(18).Init("yes", onnxio.TensorOf([]bool{true})).
			Function("my", "F", "a -> b", nil, tm.New(18).Node("Neg", "a -> b")).
			Node("If", "yes -> y", "then_branch", tm.New(18).Node("my::F", "x -> t").Outputs("t"),
				"else_branch", tm.New(18).Node("Identity", "x -> t").Outputs("t")), []float32{1, -2}, 1},
		"older operator set": {x(18).Int64s("axes", 0). // ReduceSum had its axes as an attribute before 13
								Function("my", "Sum", "a -> b", nil, tm.New(11).Node("ReduceSum", "a -> s", "axes", []int64{0}).Node("Add", "a s -> b")).
								Node("my::Sum", "x -> y"), []float32{0, 3}, 1},
		"name of a standard operator": {tm.New(18).Input("x", onnxio.Float32, 2).Function("", "Relu", "a -> b", nil, tm.New(18).Node("Neg", "a -> b")).
			Node("Relu", "x -> y"), []float32{1, -2}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.model.Outputs("y").Model()
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			calls, err := convert.Inline(m)
			if err != nil || calls != c.calls {
				t.Fatalf("%d calls, want %d: %v", calls, c.calls, err)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			if m.Opset("my") != 0 || len(m.Proto.Functions) > 0 {
				t.Errorf("functions are left: %v", m.Proto)
			}
			if got := run(t, m); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func withDefault(b *tm.Builder, v float64) *tm.Builder {
	f := b.Proto().Functions[0]
	f.AttributeProto = append(f.AttributeProto, tm.Attr("slope", v))
	return b
}

func run(t *testing.T, m *onnxio.Model) []float32 {
	t.Helper()
	x := onnxio.TensorOf([]float32{-1, 2}, 2)
	return testrun.Model(t, m, map[string]*onnxio.Tensor{"x": x}, exec.Options{}, nil)["y"].Float32s()
}

// TestInlineErrors are calls that have no finite or no right body.
func TestInlineErrors(t *testing.T) {
	doubling := tm.New(18).Import("my", 1).Input("x", onnxio.Float32, 2).Function("my", "F0", "a -> b", nil, tm.New(18).Node("Neg", "a -> b"))
	for i := range 30 {
		call := fmt.Sprintf("my::F%d", i)
		doubling.Function("my", fmt.Sprintf("F%d", i+1), "a -> b", nil, tm.New(18).Import("my", 1).Node(call, "a -> c").Node(call, "c -> b"))
	}
	for name, c := range map[string]struct {
		model *tm.Builder
		want  string
	}{
		"itself": {tm.New(18).Import("my", 1).Input("x", onnxio.Float32, 2).
			Function("my", "F", "a -> b", nil, tm.New(18).Import("my", 1).Node("my::F", "a -> b")).Node("my::F", "x -> y"), "calls itself"},
		"2^30 nodes": {doubling.Node("my::F30", "x -> y"), "functions that call functions grow"},
		"newer operator set": {tm.New(15).Import("my", 1).Input("x", onnxio.Float32, 2).
			Function("my", "F", "a -> b", nil, tm.New(18).Node("Neg", "a -> b")).Node("my::F", "x -> y"), "it imports operator set 18, the model 15"},
		"other domain's version": {tm.New(18).Import("my", 1).Import("com.microsoft", 1).Input("x", onnxio.Float32, 2).
			Function("my", "F", "a -> b", nil, tm.New(18).Import("com.microsoft", 2).Node("com.microsoft::Gelu", "a -> b")).
			Node("my::F", "x -> y"), `version 2 of "com.microsoft", the model 1`},
	} {
		_, err := convert.Inline(c.model.Outputs("y").Model())
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `node "n_y" calls function`) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestInlineNothing leaves models without calls as they are.
func TestInlineNothing(t *testing.T) {
	m := tm.New(18).Import("my", 1).Input("x", onnxio.Float32, 2).Function("my", "F", "a -> b", nil, tm.New(18).Node("Neg", "a -> b")).
		Node("Relu", "x -> y").Outputs("y").Model()
	before := m.Clone()
	if calls, err := convert.Inline(m); calls != 0 || err != nil || !proto.Equal(m.Proto, before.Proto) {
		t.Errorf("%d calls, %v", calls, err)
	}
}
