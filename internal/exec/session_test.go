package exec_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func newExecutor(t testing.TB, b *testmodel.Builder, o exec.Options) (*graph.Graph, *exec.Executor) {
	t.Helper()
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	e, err := exec.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	return g, e
}

// ladder is y = relu(x w1) w2 + x, whose input is still needed at the end.
func ladder() *testmodel.Builder {
	return testmodel.New(18).Input("x", onnxio.Float32, "N", 2).Floats("w1", []float32{1, 2, -3, 4}, 2, 2).Floats("w2", []float32{1, 0, 2, -1}, 2, 2).
		Node("MatMul", "x w1 -> a").Node("Relu", "a -> b").Node("MatMul", "b w2 -> c").Node("Add", "c x -> y").Outputs("y")
}

func feeds(x ...float32) map[string]*onnxio.Tensor {
	return map[string]*onnxio.Tensor{"x": onnxio.TensorOf(x, len(x)/2, 2)}
}

// want is what ladder gives, worked out by hand: a = (1 2)(1 2; -3 4) = (-5 10), b = (0 10), c = (20 -10).
var want = []float32{21, -8}

func TestRun(t *testing.T) {
	for _, threads := range []int{0, 1, 3} {
		_, e := newExecutor(t, ladder(), exec.Options{Threads: threads})
		for range 2 {
			out, err := e.Run(context.Background(), feeds(1, 2), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := out["y"].Float32s(); !slices.Equal(got, want) {
				t.Errorf("%d threads: y is %v, want %v", threads, got, want)
			}
		}
	}
}

func TestFloat64(t *testing.T) {
	_, e := newExecutor(t, ladder(), exec.Options{Float64: true})
	out, err := e.Run(context.Background(), feeds(1, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if y := out["y"]; y.Type != onnxio.Float64 || y.Float64s()[0] != 21 || y.Float64s()[1] != -8 {
		t.Errorf("y is %v %v", y, y.Data)
	}
}

// TestPieces stops before each node in turn, resumes there in a new session and finds the same end.
func TestPieces(t *testing.T) {
	g, e := newExecutor(t, ladder(), exec.Options{})
	ctx := context.Background()
	stops := append(slices.Clone(g.Nodes), nil)
	for i, stop := range stops {
		s := e.Start(feeds(1, 2))
		if err := s.RunUntil(ctx, stop, nil); err != nil {
			t.Fatal(err)
		}
		live := s.Live()
		var names []string
		for name := range live {
			names = append(names, name)
		}
		slices.Sort(names)
		expected := [][]string{{"x"}, {"a", "x"}, {"b", "x"}, {"c", "x"}, {"y"}}[i]
		if !slices.Equal(names, expected) {
			t.Errorf("stopped at %d: live values are %v, want %v", i, names, expected)
		}
		r := e.Resume(live, stop)
		if err := r.RunUntil(ctx, nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := r.Outputs()["y"].Float32s(); !slices.Equal(got, want) {
			t.Errorf("resumed at %d: y is %v, want %v", i, got, want)
		}
	}
	if err := e.Resume(nil, g.Nodes[3]).RunUntil(ctx, nil, nil); err == nil || !strings.Contains(err.Error(), "has no value") {
		t.Errorf("resumed without values: error is %v", err)
	}
	other, _ := newExecutor(t, ladder(), exec.Options{})
	if err := e.Start(feeds(1, 2)).RunUntil(ctx, other.Nodes[1], nil); err == nil {
		t.Error("a node of another graph is taken as a place to stop")
	}
}

// TestStopAtConstant stops before a Constant node, which is no step of a run, in the middle and at the end.
func TestStopAtConstant(t *testing.T) {
	half := onnxio.TensorOf([]float32{0.5}, 1)
	m := testmodel.New(18).Input("x", onnxio.Float32, "N", 2).Node("Relu", "x -> a").Node("Constant", "-> h", "value", half).
		Node("Mul", "a h -> y").Node("Constant", "-> z", "value", half).Outputs("y", "z")
	g, e := newExecutor(t, m, exec.Options{})
	for i, live := range map[int]string{1: "a", 3: "y"} {
		s := e.Start(feeds(2, 4))
		if err := s.RunUntil(t.Context(), g.Nodes[i], nil); err != nil {
			t.Fatal(err)
		}
		at := s.Live()
		if at[live] == nil {
			t.Errorf("stopped at node %d: live values are %v", i, at)
		}
		r := e.Resume(at, g.Nodes[i])
		if err := r.RunUntil(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		if got := r.Outputs()["y"].Float32s(); !slices.Equal(got, []float32{1, 2}) {
			t.Errorf("resumed at node %d: y is %v", i, got)
		}
	}
}

// TestHooks sees every node in order with its true values, also where nodes would be fused, and can stop the run.
func TestHooks(t *testing.T) {
	_, e := newExecutor(t, ladder(), exec.Options{})
	var seen []string
	h := &exec.Hooks{
		Before: func(n *graph.Node, in []*onnxio.Tensor) error {
			seen = append(seen, fmt.Sprint("before ", n.Op(), " ", in[0].Float32s()))
			return nil
		},
		After: func(n *graph.Node, in, out []*onnxio.Tensor) error {
			seen = append(seen, fmt.Sprint("after ", n.Op(), " ", in[0].Float32s(), " ", out[0].Float32s()))
			return nil
		},
	}
	if _, err := e.Run(context.Background(), feeds(1, 2), h); err != nil {
		t.Fatal(err)
	}
	expected := []string{"before MatMul [1 2]", "after MatMul [1 2] [-5 10]", "before Relu [-5 10]", "after Relu [-5 10] [0 10]",
		"before MatMul [0 10]", "after MatMul [0 10] [20 -10]", "before Add [20 -10]", "after Add [20 -10] [21 -8]"}
	if !slices.Equal(seen, expected) {
		t.Errorf("hooks saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(expected, "\n"))
	}
	enough := errors.New("enough")
	h = &exec.Hooks{Before: func(n *graph.Node, _ []*onnxio.Tensor) error {
		if n.Op() == "Add" {
			return enough
		}
		return nil
	}}
	if _, err := e.Run(context.Background(), feeds(1, 2), h); !errors.Is(err, enough) {
		t.Errorf("error is %v, want the hook's", err)
	}
}

// TestRefresh runs with a weight that was changed after the executor was made.
func TestRefresh(t *testing.T) {
	g, e := newExecutor(t, ladder(), exec.Options{})
	n := g.Nodes[0]
	if err := g.SetInit(n.In(1), onnxio.TensorOf([]float32{1, 0, 0, 1}, 2, 2)); err != nil {
		t.Fatal(err)
	}
	if err := e.Refresh(n); err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(context.Background(), feeds(1, 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := out["y"].Float32s(); !slices.Equal(got, []float32{6, 0}) { // b = (1 2), c = (5 -2)
		t.Errorf("y is %v, want [6 0]", got)
	}
	other, _ := newExecutor(t, ladder(), exec.Options{})
	if err := e.Refresh(other.Nodes[0]); err == nil {
		t.Error("a node of another graph is refreshed")
	}
}

// TestFeeds refuses what does not fit the inputs, by name.
func TestFeeds(t *testing.T) {
	b := ladder().Input("k", onnxio.Int64, 3)
	_, e := newExecutor(t, b, exec.Options{})
	k := onnxio.TensorOf([]int64{1, 2, 3}, 3)
	x := onnxio.TensorOf([]float32{1, 2}, 1, 2)
	for _, c := range []struct {
		name  string
		feeds map[string]*onnxio.Tensor
		want  string
	}{
		{"missing", map[string]*onnxio.Tensor{"x": x}, `input "k"`},
		{"unknown", map[string]*onnxio.Tensor{"x": x, "k": k, "z": x}, `"z" is no input`},
		{"type", map[string]*onnxio.Tensor{"x": x, "k": x}, "element type is float32"},
		{"rank", map[string]*onnxio.Tensor{"x": onnxio.TensorOf([]float32{1, 2}, 2), "k": k}, "shape is [2]"},
		{"size", map[string]*onnxio.Tensor{"x": x, "k": onnxio.TensorOf([]int64{1}, 1)}, "shape is [1]"},
	} {
		if _, err := e.Run(context.Background(), c.feeds, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestConcurrent runs sessions side by side.
func TestConcurrent(t *testing.T) {
	_, e := newExecutor(t, ladder(), exec.Options{Threads: 2})
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				out, err := e.Run(context.Background(), feeds(1, 2), nil)
				if err != nil || !slices.Equal(out["y"].Float32s(), want) {
					t.Errorf("session %d: %v %v", k, out, err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

// TestUnsupported names every missing operator and where it is.
func TestUnsupported(t *testing.T) {
	g, err := graph.New(testmodel.New(18).Input("x", onnxio.Float32, 2).Node("NoSuchOp", "x -> a").Node("vendor::Other", "a -> b").Node("NoSuchOp", "b -> y").Outputs("y").Import("vendor", 1).Model())
	if err != nil {
		t.Fatal(err)
	}
	_, err = exec.New(g, exec.Options{})
	var u *exec.UnsupportedError
	if !errors.As(err, &u) || len(u.Ops) != 2 || len(u.Ops[0].Nodes) != 2 {
		t.Fatalf("error is %v", err)
	}
	for _, part := range []string{"NoSuchOp", "vendor.Other", "n_a", "n_y", "n_b"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
}
