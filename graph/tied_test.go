package graph_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// TestTie: nodes that sum over one axis of a constant become one layer, whatever way they read it, and compute what they did; others stay.
func TestTie(t *testing.T) {
	const rows, cols = 40, 16
	values := func(n, seed int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32((i*7+seed)%23-11) / 8
		}
		return x
	}
	model := func(inner string, build func(b *testmodel.Builder)) *onnxio.Model {
		b := testmodel.New(18).Input("x", onnxio.Float32, 3, cols).Input("wide", onnxio.Float32, 3, rows).Input("ids", onnxio.Int64, 2).
			Floats("E", values(rows*cols, 3), rows, cols).Floats("bias", values(rows, 5), rows).Floats("full", values(3*rows, 6), 3, rows)
		build(b)
		return b.Outputs(strings.Fields(inner)...).Model()
	}
	for name, c := range map[string]struct {
		outputs string
		build   func(b *testmodel.Builder)
		layers  []string // its nodes
		ops     string
	}{
		"transposed MatMul and Gemm": {"a b e", func(b *testmodel.Builder) {
			b.Node("Gemm", "x E bias -> a", "transB", 1).Node("Transpose", "E -> Et", "perm", []int64{1, 0}).Node("MatMul", "x Et -> b").Node("Gather", "E ids -> e")
		}, []string{"n_a n_b"}, "Transpose MatMul Add MatMul Gather"},
		"bias of another shape": {"a b", func(b *testmodel.Builder) {
			b.Node("Transpose", "E -> Et").Node("MatMul", "x Et -> b").Node("Gemm", "x E full -> a", "transB", 1)
		}, []string{"n_b n_a"}, "Transpose MatMul MatMul Add"},
		"two transposes, written differently": {"a b", func(b *testmodel.Builder) {
			b.Node("Transpose", "E -> T1").Node("Transpose", "E -> T2", "perm", []int64{1, 0}).Node("MatMul", "x T1 -> a").Node("MatMul", "x T2 -> b")
		}, []string{"n_a n_b"}, "Transpose MatMul MatMul"},
		"Gemm with and without transB": {"a b", func(b *testmodel.Builder) {
			b.Node("Transpose", "E -> Et").Node("Gemm", "x Et bias -> a", "alpha", 0.5).Node("Gemm", "x E -> b", "transB", 1)
		}, []string{"n_a n_b"}, "Transpose Gemm Gemm"},
		"MatMul and Gemm of the constant itself": {"a b", func(b *testmodel.Builder) {
			b.Node("Gemm", "wide E -> a").Node("MatMul", "wide E -> b")
		}, []string{"n_a n_b"}, "MatMul MatMul"},
		"the other axis": {"a b", func(b *testmodel.Builder) {
			b.Node("MatMul", "wide E -> a").Node("Transpose", "E -> Et").Node("MatMul", "x Et -> b")
		}, []string{"n_a", "n_b"}, "MatMul Transpose MatMul"},
		"a Gemm with alpha": {"a b", func(b *testmodel.Builder) {
			b.Node("Transpose", "E -> Et").Node("MatMul", "x Et -> b").Node("Gemm", "x E bias -> a", "transB", 1, "alpha", 2.0)
		}, []string{"n_b", "n_a"}, "Transpose MatMul Gemm"},
	} {
		m := model(c.outputs, c.build)
		feeds := map[string]*onnxio.Tensor{"x": onnxio.TensorOf(values(3*cols, 1), 3, cols), "wide": onnxio.TensorOf(values(3*rows, 2), 3, rows), "ids": onnxio.TensorOf([]int64{0, 39}, 2)}
		want := testrun.Model(t, m, feeds, exec.Options{}, nil)
		g := newGraph(t, m.Clone())
		if _, err := graph.Tie(g); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := g.Sync(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		layers, _ := graph.Layers(g)
		var found []string
		for _, l := range layers {
			var nodes []string
			for _, n := range l.Nodes {
				nodes = append(nodes, n.Name())
			}
			found = append(found, strings.Join(nodes, " "))
		}
		if !slices.Equal(found, c.layers) || ops(g) != c.ops {
			t.Errorf("%s: layers %q of %s, want %q of %s", name, found, ops(g), c.layers, c.ops)
		}
		got := testrun.Model(t, g.Model, feeds, exec.Options{}, nil)
		for out, w := range want {
			for i, v := range w.Float32s() {
				if d := v - got[out].Float32s()[i]; d > 1e-4 || d < -1e-4 {
					t.Errorf("%s: output %s is %v, was %v", name, out, got[out].Float32s()[i], v)
					break
				}
			}
		}
	}
}

// TestSharers names what reads a layer's constant beside it, behind views too.
func TestSharers(t *testing.T) {
	m := testmodel.New(18).Input("x", onnxio.Float32, 3, 16).Input("ids", onnxio.Int64, 2).
		Floats("E", make([]float32, 640), 40, 16).Node("Gather", "E ids -> e").Node("Transpose", "E -> Et").Node("MatMul", "x Et -> y").
		Node("Gemm", "x E -> z", "transB", 1, "alpha", 2.0).Outputs("e", "y", "z").Model()
	layers, _ := graph.Layers(newGraph(t, m))
	if got := fmt.Sprint(layers[0].Sharers(), layers[1].Sharers()); got != `[node "n_e" (Gather) node "n_z" (Gemm)] [node "n_e" (Gather) node "n_y" (MatMul)]` {
		t.Errorf("found %s", got)
	}
	if layers[0].Source().Name != "E" {
		t.Errorf("source %v", layers[0].Source())
	}
}
