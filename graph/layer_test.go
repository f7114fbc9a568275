package graph

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func iota32(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(i + 1)
	}
	return s
}

func onlyLayer(t *testing.T, g *Graph) *Layer {
	t.Helper()
	layers, skipped := Layers(g)
	if len(layers) != 1 {
		t.Fatalf("%d layers, skipped %v", len(layers), skipped)
	}
	return layers[0]
}

func x() *testmodel.Builder { return testmodel.New(21).Input("x", onnxio.Float32, "N", 3) }

// TestLayerBehindViews: whatever views lie between, the matrix is the one that is multiplied by, and writing it removes them.
func TestLayerBehindViews(t *testing.T) {
	w := iota32(6) // as 2 outputs x 3 inputs
	want := fmt.Sprint(w)
	codes := onnxio.TensorOf([]int8{1, 2, 3, 4, 5, 6}, 2, 3)
	i64 := func(v ...int64) []int64 { return v }
	for name, b := range map[string]*testmodel.Builder{
		"transpose":      x().Floats("w", w, 2, 3).Node("Transpose", "w -> t").Node("MatMul", "x t -> y"),
		"identity":       x().Floats("w", w, 2, 3).Node("Identity", "w -> i").Node("Gemm", "x i -> y", "transB", 1),
		"constant node":  x().Node("Constant", "-> w", "value", onnxio.TensorOf(w, 2, 3)).Node("Gemm", "x w -> y", "transB", 1),
		"reshape":        x().Floats("w", w, 6).Int64s("s", 2, -1).Node("Reshape", "w s -> r").Node("Gemm", "x r -> y", "transB", 1),
		"squeeze":        x().Floats("w", w, 1, 2, 3).Int64s("s", 0).Node("Squeeze", "w s -> r").Node("Gemm", "x r -> y", "transB", 1),
		"all squeezed":   x().Floats("w", w, 1, 2, 1, 3).Node("Squeeze", "w -> r").Node("Gemm", "x r -> y", "transB", 1),
		"unsqueeze":      x().Floats("w", w, 2, 3).Int64s("s", 0, -1).Node("Unsqueeze", "w s -> r").Node("Flatten", "r -> f", "axis", 2).Node("Gemm", "x f -> y", "transB", 1),
		"cast":           x().Init("w", onnxio.TensorOf([]float64{1, 2, 3, 4, 5, 6}, 2, 3)).Node("Cast", "w -> c", "to", 1).Node("Gemm", "x c -> y", "transB", 1),
		"dequantized":    x().Init("w", codes).Init("s", onnxio.TensorOf([]float32{1})).Node("DequantizeLinear", "w s -> d").Node("Gemm", "x d -> y", "transB", 1),
		"per channel":    x().Init("w", onnxio.TensorOf([]int8{4, 6, 8, 4, 5, 6}, 2, 3)).Floats("s", []float32{0.5, 1}, 2).Init("z", onnxio.TensorOf([]int8{2, 0}, 2)).Node("DequantizeLinear", "w s z -> d", "axis", 0).Node("Gemm", "x d -> y", "transB", 1),
		"blocked":        x().Init("w", onnxio.TensorOf([]int8{1, 4, 1, 5, 1, 3}, 3, 2)).Floats("s", []float32{1, 1, 3, 2}, 2, 2).Node("DequantizeLinear", "w s -> d", "axis", 0, "block_size", 2).Node("MatMul", "x d -> y"),
		"two views":      x().Init("w", codes).Init("s", onnxio.TensorOf([]float32{1})).Node("DequantizeLinear", "w s -> d").Node("Transpose", "d -> t", "perm", i64(1, 0)).Node("MatMul", "x t -> y"),
		"float16 weight": x().Init("w", half(w, 2, 3)).Node("Gemm", "x w -> y", "transB", 1),
	} {
		g := mustNew(t, b.Outputs("y"))
		l := onlyLayer(t, g)
		m, err := l.Matrix()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "blocked" { // rows 1 1 3 / 4 5 6 with the scales above
			if got := fmt.Sprint(m); got != "[1 1 3 4 5 6]" {
				t.Errorf("%s: matrix %s", name, got)
			}
		} else if got := fmt.Sprint(m); got != want {
			t.Errorf("%s: matrix %s, want %s", name, got, want)
		}
		m[5] = 9
		if err := l.SetMatrix(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := g.Sync(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		again := onlyLayer(t, mustModel(t, g.Model))
		if got, _ := again.Matrix(); !slices.Equal(got, m) {
			t.Errorf("%s: reads back %v, want %v", name, got, m)
		}
		if name != "constant node" {
			if p := g.Model.Proto.Graph; len(p.Node) != 1 || len(p.Initializer) != 1 || p.Initializer[0].GetName() != "w" {
				t.Errorf("%s: views stay behind: %v", name, p)
			}
		}
	}
}

func half(v []float32, shape ...int) *onnxio.Tensor {
	t, err := onnxio.TensorOf(v, shape...).ConvertTo(onnxio.Float16)
	if err != nil {
		panic(err)
	}
	return t
}

func mustModel(t *testing.T, m *onnxio.Model) *Graph {
	t.Helper()
	g, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSetMatrixKeepsType(t *testing.T) {
	g := mustNew(t, x().Init("w", half(iota32(6), 2, 3)).Node("Gemm", "x w -> y", "transB", 1).Outputs("y"))
	l := onlyLayer(t, g)
	if err := l.SetMatrix([]float32{1.0001, 2, 3, 4, 5, 6}); err != nil {
		t.Fatal(err)
	}
	if m, _ := l.Matrix(); l.Weight.Type != onnxio.Float16 || m[0] != 1 {
		t.Errorf("%v %v", l.Weight, m)
	}
	if err := l.SetMatrix(make([]float32, 5)); err == nil {
		t.Error("a matrix of the wrong size is accepted")
	}
}

// TestSharedWeights: one layer for all nodes that multiply by a weight in the same way, wherever they are.
func TestSharedWeights(t *testing.T) {
	g := mustNew(t, x().Floats("w", iota32(9), 3, 3).Init("c", onnxio.TensorOf([]bool{true})).
		Node("MatMul", "x w -> a").Node("MatMul", "a w -> b").Node("Transpose", "w -> t").Node("MatMul", "b t -> d").
		Node("Transpose", "w -> t2").Node("MatMul", "d t2 -> e").
		Node("If", "c -> y", "then_branch", testmodel.New(0).Node("MatMul", "x w -> r").Outputs("r"),
			"else_branch", testmodel.New(0).Node("Gather", "w c -> s").Outputs("s")).Outputs("e", "y"))
	layers, skipped := Layers(g)
	if len(layers) != 2 || len(skipped) != 0 {
		t.Fatalf("%d layers, skipped %v", len(layers), skipped)
	}
	a, b := layers[0], layers[1]
	if len(a.Nodes) != 3 || a.Nodes[2].Graph == g || len(b.Nodes) != 2 || b.Nodes[1].Name() != "n_e" {
		t.Errorf("nodes %v and %v", a.Nodes, b.Nodes)
	}
	var others []string
	for _, n := range a.Others {
		others = append(others, n.Op())
	}
	if got := strings.Join(others, " "); got != "Transpose Transpose Gather" {
		t.Errorf("other readers: %s", got)
	}
	m, _ := a.Matrix()
	m[1] = 100
	if err := a.SetMatrix(m); err != nil {
		t.Fatal(err)
	}
	w, _ := g.Value("w").Const()
	if w.Float32s()[3] != 4 {
		t.Error("a weight that others read was changed")
	}
	for _, n := range a.Nodes {
		if n.In(1) != a.Weight {
			t.Errorf("%v does not read the new weight", n)
		}
	}
	if m, _ := b.Matrix(); m[0] != 1 || m[1] != 2 || m[3] != 4 {
		t.Errorf("the other layer's matrix is %v", m)
	}
	if err := b.SetMatrix(m); err != nil {
		t.Fatal(err)
	}
	if err := g.Sync(); err != nil {
		t.Fatal(err)
	}
	if g.Node("n_t") != nil || g.Node("n_t2") != nil {
		t.Error("transposes that nothing reads stay")
	}
}

func TestSkippedReasons(t *testing.T) {
	w := func() *testmodel.Builder { return x().Floats("w", iota32(6), 3, 2) }
	for want, b := range map[string]*testmodel.Builder{
		`not constant: "v" is an input`:               x().Input("v", onnxio.Float32, 3, 2).Node("MatMul", "x v -> y"),
		`not constant: "v" is computed by node "n_v"`: x().Node("Relu", "x -> v").Node("MatMul", "x v -> y"),
		`computed from constants by node "n_v" (Mul)`: w().Node("Mul", "w w -> v").Node("MatMul", "x v -> y"),
		"both operands are constant":                  w().Node("MatMul", "w w -> y"),
		"integer type":                                x().Init("w", onnxio.TensorOf([]int32{1, 2, 3}, 3, 1)).Node("MatMul", "x w -> y"),
		"has batch dimensions":                        x().Floats("w", iota32(12), 2, 3, 2).Node("MatMul", "x w -> y"),
		"too small":                                   x().Floats("w", iota32(4), 4, 1, 1, 1).Node("Conv", "x w -> y", "group", 4),
		"recurrent":                                   w().Node("LSTM", "x w w -> y"),
		"Einsum is not supported":                     w().Node("Einsum", "x w -> y", "equation", "ij,jk->ik"),
		"quantized already":                           w().Node("QLinearMatMul", "x w w w -> y"),
		"cannot be split into 2 groups":               x().Floats("w", iota32(6), 3, 1, 2).Node("Conv", "x w -> y", "group", 2),
		"attribute strides is":                        x().Floats("w", iota32(6), 3, 1, 2).Node("Conv", "x w -> y", "strides", []int64{0}),
		"expected two dimensions":                     x().Floats("w", iota32(6), 6).Node("Gemm", "x w -> y"),
		"weight is not constant: it is omitted":       x().Node("Conv", "x _ -> y"),
	} {
		g := mustNew(t, b.Outputs("y"))
		layers, skipped := Layers(g)
		if len(layers) != 0 || len(skipped) != 1 || !strings.Contains(skipped[0].Reason, want) {
			t.Errorf("%s: %d layers, skipped %v", want, len(layers), skipped)
		}
	}
}

func TestLayerAxes(t *testing.T) {
	c := func(op string, shape ...int) *Layer {
		return onlyLayer(t, mustNew(t, x().Floats("w", iota32(volume(shape)), shape...).Node(op, "x w -> y").Outputs("y")))
	}
	left := onlyLayer(t, mustNew(t, x().Floats("w", iota32(6), 2, 3).Node("MatMul", "w x -> y").Outputs("y")))
	transB := onlyLayer(t, mustNew(t, x().Floats("w", iota32(6), 2, 3).Node("Gemm", "x w -> y", "transB", 1).Outputs("y")))
	for name, k := range map[string]struct {
		l                   *Layer
		channel, input, out int // axes; out for rank 4
	}{
		"Conv": {c("Conv", 2, 3, 1, 1), 0, 1, 1}, "ConvTranspose": {c("ConvTranspose", 2, 3, 1, 1), 1, 0, 1}, "MatMul": {c("MatMul", 3, 2), 1, 0, 3},
		"batched": {c("MatMul", 1, 3, 2), 2, 1, 3}, "vector": {c("MatMul", 3), -1, 0, -1}, "left": {left, 0, 1, 2},
		"Gemm": {c("Gemm", 3, 2), 1, 0, 1}, "transB": {transB, 0, 1, 1},
	} {
		if a, b, o := k.l.ChannelAxis(), k.l.InputAxis(), k.l.OutAxis(4); a != k.channel || b != k.input || o != k.out {
			t.Errorf("%s: channels on axis %d, inputs on %d, output channels on %d", name, a, b, o)
		}
	}
	if left.InputIndex() != 1 || left.WeightIndex() != 0 {
		t.Error("a constant on the left is input 0")
	}
}

func TestMACs(t *testing.T) {
	g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, "N", 4, 8, 8).Floats("w", iota32(6*2*9), 6, 2, 3, 3).
		Node("Conv", "x w -> y", "group", 2).Output("y", onnxio.Float32, "N", 6, 6, 6))
	if got := onlyLayer(t, g).MACs(); got != 6*2*9*36 {
		t.Errorf("Conv: %v", got)
	}
	g = mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, "N", 4, 5, 5).Floats("w", iota32(4*3*4), 4, 3, 2, 2).
		Node("ConvTranspose", "x w -> y", "strides", []int64{2, 2}).Output("y", onnxio.Float32, "N", 3, 10, 10))
	if got := onlyLayer(t, g).MACs(); got != 4*3*4*25 {
		t.Errorf("ConvTranspose: %v", got)
	}
	g = mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, "N", "S", 4).Floats("w", iota32(12), 4, 3).
		Node("MatMul", "x w -> y").Output("y", onnxio.Float32, "N", "S", 3))
	if got := onlyLayer(t, g).SymbolicMACs().String(); got != "12*S" {
		t.Errorf("MatMul: %v", got)
	}
}

func TestBias(t *testing.T) {
	for name, c := range map[string]struct {
		b    *testmodel.Builder
		want []float32
	}{
		"Conv":         {x().Floats("w", iota32(6), 2, 3, 1).Floats("b", []float32{1, 2}, 2).Node("Conv", "x w b -> y"), []float32{1, 2}},
		"none":         {x().Floats("w", iota32(6), 2, 3, 1).Node("Conv", "x w -> y"), []float32{0, 0}},
		"Gemm":         {x().Floats("w", iota32(6), 2, 3).Floats("b", []float32{1, 2}, 1, 2).Node("Gemm", "x w b -> y", "transB", 1, "beta", 0.5), []float32{0.5, 1}},
		"Gemm scalar":  {x().Floats("w", iota32(6), 2, 3).Floats("b", []float32{3}).Node("Gemm", "x w b -> y", "transB", 1), []float32{3, 3}},
		"Gemm left":    {x().Floats("w", iota32(6), 2, 3).Floats("b", []float32{1, 2}, 2, 1).Node("Gemm", "w x b -> y"), []float32{1, 2}},
		"beta of 0":    {x().Floats("w", iota32(6), 2, 3).Floats("b", []float32{1, 2}, 2).Node("Gemm", "x w b -> y", "transB", 1, "beta", 0.0), []float32{0, 0}},
		"MatMul":       {x().Floats("w", iota32(6), 3, 2).Floats("b", []float32{1, 2}, 2).Node("MatMul", "x w -> m").Node("Add", "b m -> y"), []float32{1, 2}},
		"MatMul, none": {x().Floats("w", iota32(6), 3, 2).Node("MatMul", "x w -> y"), []float32{0, 0}},
		"shared bias":  {x().Floats("w", iota32(6), 2, 3, 1).Floats("b", []float32{1, 2}, 2).Node("Conv", "x w b -> y").Node("Neg", "b -> z"), []float32{1, 2}},
	} {
		g := mustNew(t, c.b.Outputs("y"))
		l := onlyLayer(t, g)
		n := l.Nodes[0]
		if got, err := l.BiasVector(n); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: bias %v %v, want %v", name, got, err, c.want)
		}
		if err := l.SetBias(n, []float32{7, 8}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := g.Sync(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		g2 := mustModel(t, g.Model)
		l = onlyLayer(t, g2)
		if got, err := l.BiasVector(l.Nodes[0]); err != nil || !slices.Equal(got, []float32{7, 8}) {
			t.Errorf("%s: reads back %v %v", name, got, err)
		}
		if neg := g2.Node("n_z"); neg != nil {
			if b, _ := neg.In(0).Const(); b.Float32s()[0] != 1 {
				t.Errorf("%s: a bias that another node reads was changed", name)
			}
		}
	}
}

// TestZooLayers: the public models have the layers that their exporters put in.
func TestZooLayers(t *testing.T) {
	dir := filepath.Join(testkit.Shared(t), "zoo")
	for file, want := range map[string]string{
		"fmnist-resnet/model.onnx":      "Conv 15, Gemm 1",
		"fmnist-resnet/model_bn.onnx":   "Conv 15, Gemm 1",
		"efficientnet-lite0/model.onnx": "Conv 49, Gemm 1",
		"minilm/model.onnx":             "MatMul 36",
	} {
		m, err := onnxio.Load(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		layers, skipped := Layers(mustModel(t, m))
		count := map[LayerKind]int{}
		for _, l := range layers {
			count[l.Kind]++
			if _, err := l.Matrix(); err != nil {
				t.Error(err)
			}
		}
		var got []string
		for k := Conv; k <= MatMul; k++ {
			if count[k] > 0 {
				got = append(got, fmt.Sprint(k, " ", count[k]))
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s, want %s; skipped %v", file, s, want, skipped)
		}
		m.Close()
	}
}
