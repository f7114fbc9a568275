package graph

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// dims reads "N 3 ? 4" as a shape; "..." is the unknown one.
func dims(s string) Shape {
	if s == "..." {
		return nil
	}
	out := Shape{}
	for _, f := range strings.Fields(s) {
		var n int64
		if _, err := fmt.Sscan(f, &n); err == nil {
			out = append(out, D(n))
		} else if f == "?" {
			out = append(out, Unknown)
		} else {
			out = append(out, Sym(f))
		}
	}
	return out
}

func TestBroadcast(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"2 3", "3", "[2 3]"}, {"", "4", "[4]"}, {"", "", "[]"}, {"N 1", "1 5", "[N 5]"}, {"N", "N", "[N]"}, {"N", "4", "[4]"},
		{"N", "M", "[?]"}, {"?", "1", "[?]"}, {"...", "3", "[...]"}, {"2", "3", "error"}, {"0", "1", "[0]"}, {"3 1 2", "4 1", "[3 4 2]"},
	} {
		got, err := Broadcast(dims(c.a), dims(c.b))
		s := got.String()
		if err != nil {
			s = "error"
		}
		if s != c.want {
			t.Errorf("Broadcast(%s; %s) = %s, want %s", c.a, c.b, s, c.want)
		}
	}
}

func TestMatMulShape(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"2 3", "3 4", "[2 4]"}, {"3", "3 4", "[4]"}, {"2 3", "3", "[2]"}, {"3", "3", "[]"}, {"N 8 2 3", "3 4", "[N 8 2 4]"},
		{"N 1 2 K", "5 K 4", "[N 5 2 4]"}, {"2 3", "4 5", "error"}, {"", "3", "error"}, {"...", "3", "[...]"},
	} {
		got, err := MatMulShape(dims(c.a), dims(c.b))
		s := got.String()
		if err != nil {
			s = "error"
		}
		if s != c.want {
			t.Errorf("MatMulShape(%s; %s) = %s, want %s", c.a, c.b, s, c.want)
		}
	}
}

func TestReshapeShape(t *testing.T) {
	for _, c := range []struct {
		in, want, out string
		zero          bool
	}{
		{"2 3 4", "6 4", "[6 4]", false}, {"2 3 4", "0 ?", "[2 12]", false}, {"N 3 4", "N ?", "[N 12]", false}, {"N 3 4", "0 ?", "[N 12]", false},
		{"N 3 4", "? 12", "[N 12]", false}, {"N 3 4", "? 6", "[2*N 6]", false}, {"N S 12 32", "0 0 ?", "[N S 384]", false},
		{"? ? 12 32", "0 ? 384", "[? ? 384]", false}, {"? 12", "0 3 ?", "[? 3 4]", false}, {"? 4 6", "0 ? 8", "[? 3 8]", false},
		{"2 3", "4 ?", "error", false}, {"2 3", "5", "error", false}, {"2", "0 0", "error", false}, {"0 3", "0 4", "[0 4]", true},
		{"...", "2 ?", "[2 ?]", false}, {"...", "0 ?", "[? ?]", false}, {"", "1 1", "[1 1]", false},
	} {
		got, err := ReshapeShape(dims(c.in), dims(c.want), c.zero)
		s := got.String()
		if err != nil {
			s = "error"
		}
		if s != c.out {
			t.Errorf("ReshapeShape(%s; %s) = %s, want %s", c.in, c.want, s, c.out)
		}
	}
}

func TestAxes(t *testing.T) {
	if got, err := Axes([]int64{-1, 0}, 3); err != nil || !slices.Equal(got, []int{2, 0}) {
		t.Error(got, err)
	}
	for _, bad := range [][]int64{{3}, {-4}, {0, -3}} {
		if _, err := Axes(bad, 3); err == nil {
			t.Errorf("axes %v are accepted for rank 3", bad)
		}
	}
}

// window reads the window of a one-node model with the given attributes.
func window(t *testing.T, kernel []int, attrs ...any) (Window, error) {
	t.Helper()
	n := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, 1).Node("Conv", "x -> y", attrs...).Outputs("y")).Nodes[0]
	return ReadWindow(n, kernel)
}

func TestWindow(t *testing.T) {
	i64 := func(v ...int64) []int64 { return v }
	for _, c := range []struct {
		name      string
		kernel    []int
		attrs     []any
		transpose bool
		in        []int
		out, pads []int
	}{
		{"plain", []int{3, 3}, nil, false, []int{5, 7}, []int{3, 5}, []int{0, 0, 0, 0}},
		{"strides, pads", []int{3}, []any{"strides", i64(2), "pads", i64(1, 0)}, false, []int{6}, []int{3}, []int{1, 0}},
		{"dilated", []int{3}, []any{"dilations", i64(2)}, false, []int{5}, []int{1}, []int{0, 0}},
		{"same upper", []int{4}, []any{"auto_pad", "SAME_UPPER", "strides", i64(2)}, false, []int{5}, []int{3}, []int{1, 2}},
		{"same lower", []int{4}, []any{"auto_pad", "SAME_LOWER", "strides", i64(2)}, false, []int{5}, []int{3}, []int{2, 1}},
		{"valid ignores pads", []int{3}, []any{"auto_pad", "VALID", "pads", i64(1, 1)}, false, []int{5}, []int{3}, []int{0, 0}},
		{"ceil", []int{2}, []any{"ceil_mode", 1, "strides", i64(2)}, false, []int{5}, []int{3}, []int{0, 0}},
		{"ceil, last window beyond the input", []int{1}, []any{"ceil_mode", 1, "strides", i64(2), "pads", i64(0, 1)}, false, []int{4}, []int{2}, []int{0, 1}},
		{"transpose", []int{3}, []any{"strides", i64(2), "pads", i64(1, 1), "output_padding", i64(1)}, true, []int{4}, []int{8}, []int{1, 1}},
		{"transpose, output shape", []int{3}, []any{"strides", i64(2), "output_shape", i64(8)}, true, []int{4}, []int{8}, []int{1, 0}},
		{"transpose, same upper", []int{3}, []any{"strides", i64(2), "auto_pad", "SAME_UPPER"}, true, []int{4}, []int{8}, []int{0, 1}},
	} {
		w, err := window(t, c.kernel, c.attrs...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		resolve := w.Resolve
		if c.transpose {
			resolve = w.ResolveTranspose
		}
		out, pads, err := resolve(c.in)
		if err != nil || !slices.Equal(out, c.out) || !slices.Equal(pads, c.pads) {
			t.Errorf("%s: out %v pads %v err %v, want %v %v", c.name, out, pads, err, c.out, c.pads)
		}
		if s, err := w.OutShape(ShapeOf(c.in...), c.transpose); err != nil || !s.Same(ShapeOf(c.out...)) {
			t.Errorf("%s: OutShape %v %v", c.name, s, err)
		}
	}
	if w, _ := window(t, []int{5}); w.Kernel[0] != 5 {
		t.Error("kernel")
	} else if _, _, err := w.Resolve([]int{4}); err == nil {
		t.Error("a kernel larger than the input is accepted")
	}
	for _, bad := range [][]any{{"strides", i64(0)}, {"pads", i64(1)}, {"auto_pad", "SAME"}, {"kernel_shape", i64(2)}, {"dilations", i64(1, 1)}} {
		if _, err := window(t, []int{3}, bad...); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	for _, c := range []struct {
		attrs     []any
		transpose bool
		want      string
	}{
		{[]any{"pads", i64(1, 1)}, false, "[L]"}, {nil, false, "[?]"}, {[]any{"auto_pad", "SAME_UPPER"}, false, "[L]"},
		{[]any{"auto_pad", "SAME_UPPER", "strides", i64(2)}, true, "[2*L]"}, {[]any{"output_shape", i64(9)}, true, "[9]"},
	} {
		w, err := window(t, []int{3}, c.attrs...)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := w.OutShape(Shape{Sym("L")}, c.transpose); err != nil || s.String() != c.want {
			t.Errorf("%v of a symbolic size: %v %v, want %s", c.attrs, s, err, c.want)
		}
	}
}

// testRules stand in for the executor's: they know the operators of the tests below.
func testRules(n *Node) InferRule {
	vec := func(t onnxio.DataType, s ...Dim) InferRule {
		return func(n *Node) error { n.SetOut(0, t, s); return nil }
	}
	x := n.In(0)
	switch n.Op() {
	case "Shape":
		return vec(onnxio.Int64, D(int64(len(x.Shape))))
	case "Gather":
		return func(n *Node) error { n.SetOut(0, onnxio.Int64, n.In(1).Shape); return nil }
	case "Unsqueeze", "ReduceProd":
		return vec(onnxio.Int64, D(1))
	case "Mul", "Add", "Sub", "Div", "Identity", "Cast":
		return func(n *Node) error { n.SetOut(0, x.Type, x.Shape); return nil }
	case "Slice":
		return vec(onnxio.Int64, Unknown)
	case "Concat":
		return vec(onnxio.Int64, D(int64(len(n.Inputs))))
	case "Reshape":
		return func(n *Node) error {
			want, _ := n.In(1).Contents()
			s, err := ReshapeShape(n.In(0).Shape, want, false)
			n.SetOut(0, n.In(0).Type, s)
			return err
		}
	case "Relu":
		return func(n *Node) error { return fmt.Errorf("no good") }
	}
	return nil
}

// TestInferFollowsComputedShapes: view(batch, -1, heads, size/heads) with a symbolic batch, as exporters write it.
func TestInferFollowsComputedShapes(t *testing.T) {
	scalar := func(v int64) *onnxio.Tensor { return onnxio.TensorOf([]int64{v}) }
	g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, "batch", "seq", 384).
		Init("i0", scalar(0)).Init("i2", scalar(-1)).Init("twelve", scalar(12)).Int64s("ax", 0).Int64s("m1", -1).Int64s("heads", 12).
		Node("Shape", "x -> s").Node("Gather", "s i0 -> b").Node("Unsqueeze", "b ax -> bu").
		Node("Gather", "s i2 -> e").Node("Div", "e twelve -> h").Node("Unsqueeze", "h ax -> hu").
		Node("Concat", "bu m1 heads hu -> want", "axis", 0).Node("Reshape", "x want -> y").
		Node("Mul", "b twelve -> bh").Node("Unsqueeze", "bh ax -> bhu").Node("Concat", "bhu m1 hu -> want2", "axis", 0).
		Node("Reshape", "y want2 -> z").Outputs("z"))
	if err := Infer(g, testRules); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"y": "[batch seq 12 32]", "z": "[12*batch seq 32]"} {
		if got := g.Value(name).Shape.String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	g.Inputs[0].Shape[0] = D(2) // narrowed by the caller
	if err := Infer(g, testRules); err != nil || g.Value("z").Shape.String() != "[24 seq 32]" {
		t.Error(g.Value("z").Shape, err)
	}
}

func TestInferContents(t *testing.T) {
	g := mustNew(t, testmodel.New(13).Input("x", onnxio.Float32, "N", 3, 8, 9).Int64s("lo", 1).Int64s("hi", -1).Int64s("z", 0).Int64s("two", 2).
		Node("Shape", "x -> s").Node("Slice", "s lo hi z -> sl").Node("ReduceProd", "sl -> p").Node("Mul", "s two -> m").
		Node("Add", "s two -> a").Node("Sub", "s two -> u").Node("Div", "s two -> d").Node("Identity", "d -> i").Outputs("m"))
	if err := Infer(g, testRules); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": "[N 3 8 9]", "sl": "[3 8]", "p": "[24]", "m": "[2*N 6 16 18]", "a": "[? 5 10 11]",
		"u": "[? 1 6 7]", "d": "[? 1 4 4]", "i": "[? 1 4 4]"} {
		if got := Shape(g.Value(name).Ints).String(); got != want {
			t.Errorf("contents of %s are %s, want %s", name, got, want)
		}
	}
}

func TestInferErrorNamesNode(t *testing.T) {
	g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, 2).Node("Relu", "x -> y").Outputs("y"))
	if err := Infer(g, testRules); err == nil || err.Error() != `test.onnx: node "n_y" (Relu): no good` {
		t.Error(err)
	}
}

func TestDimArithmetic(t *testing.T) {
	n, m := Sym("N"), Sym("M")
	for _, c := range []struct {
		got  Dim
		want string
	}{
		{n.Mul(m), "M*N"}, {m.Mul(n), "M*N"}, {n.Mul(D(4)).Mul(D(3)), "12*N"}, {n.Mul(D(0)), "0"}, {n.Mul(Unknown), "?"},
		{n.Mul(m).Mul(D(6)).Div(m.Mul(D(2))), "3*N"}, {n.Div(n), "1"}, {n.Div(D(2)), "?"}, {n.Mul(n).Div(n), "N"}, {n.Div(D(0)), "?"},
		{D(7).Div(D(2)), "?"}, {n.Add(D(0)), "N"}, {n.Add(m), "?"}, {D(1 << 62).Mul(D(4)), "?"}, {D(1 << 62).Add(D(1 << 62)), "?"},
	} {
		if c.got.String() != c.want {
			t.Errorf("got %v, want %s", c.got, c.want)
		}
	}
}
