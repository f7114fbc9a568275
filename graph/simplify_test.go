package graph_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

func random(r *rand.Rand, shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = r.Float32()*2 - 1
	}
	return t
}

func newGraph(t *testing.T, m *onnxio.Model) *graph.Graph {
	t.Helper()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// run gives the outputs, computed node by node: without the roundings of products that run on codes.
func run(t *testing.T, m *onnxio.Model, feeds map[string]*onnxio.Tensor) map[string]*onnxio.Tensor {
	t.Helper()
	e, err := exec.New(newGraph(t, m), exec.Options{Threads: 1})
	if missing := (*exec.UnsupportedError)(nil); errors.As(err, &missing) {
		t.Log(err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	each := testrun.NodeByNode
	out, err := e.Run(context.Background(), feeds, each)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ops lists the operators of the main graph.
func ops(g *graph.Graph) string {
	var list []string
	for _, n := range g.Nodes {
		list = append(list, n.Op())
	}
	return strings.Join(list, " ")
}

// simplified simplifies a model and checks that it still computes the same and keeps the names of its interface.
func simplified(t *testing.T, name string, m *onnxio.Model, o graph.SimplifyOptions, feeds map[string]*onnxio.Tensor) (*graph.Graph, graph.Changes) {
	t.Helper()
	want := run(t, m, feeds)
	g := newGraph(t, m.Clone())
	changes, err := graph.Simplify(g, o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := g.Sync(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if want == nil {
		return g, changes
	}
	got := run(t, g.Model, feeds)
	if len(got) != len(want) {
		t.Errorf("%s: outputs %d, expected %d", name, len(got), len(want))
	}
	for out, w := range want {
		compare(t, name+" "+out, got[out], w)
	}
	return g, changes
}

func compare(t *testing.T, name string, got, want *onnxio.Tensor) {
	t.Helper()
	if got == nil || got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) {
		t.Errorf("%s: %v, expected %v", name, got, want)
		return
	}
	a, b := got.Float32s(), want.Float32s()
	var scale, diff float64
	for i := range b {
		scale = max(scale, math.Abs(float64(b[i])))
		diff = max(diff, math.Abs(float64(a[i]-b[i])))
	}
	if diff > 2e-5*max(scale, 1) {
		t.Errorf("%s: differs by %g of %g", name, diff, scale)
	}
}

// TestBatchNormFolds: into each kind of layer, with and without bias, and only where the result stays the same.
func TestBatchNormFolds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	build := func(shape ...any) *testmodel.Builder {
		positive := random(r, 4)
		for i, v := range positive.Float32s() {
			positive.Float32s()[i] = v*v + 0.1
		}
		return testmodel.New(18).Input("x", onnxio.Float32, shape...).Init("s", random(r, 4)).Init("b", random(r, 4)).
			Init("m", random(r, 4)).Init("v", positive).Init("bias", random(r, 4))
	}
	const bn = "BatchNormalization"
	for name, c := range map[string]struct {
		b    *testmodel.Builder
		x    []int
		want string
	}{
		"Conv":          {build("N", 2, 5).Init("w", random(r, 4, 2, 3)).Node("Conv", "x w -> c").Node(bn, "c s b m v -> y"), []int{1, 2, 5}, "Conv"},
		"with bias":     {build("N", 2, 5).Init("w", random(r, 4, 1, 3)).Node("Conv", "x w bias -> c", "group", 2).Node(bn, "c s b m v -> y", "epsilon", 0.1), []int{2, 2, 5}, "Conv"},
		"depthwise":     {build("N", 4, 5).Init("w", random(r, 4, 1, 1)).Node("Conv", "x w -> c", "group", 4).Node(bn, "c s b m v -> y"), []int{2, 4, 5}, "Conv"},
		"ConvTranspose": {build("N", 6, 5).Init("w", random(r, 6, 2, 3)).Node("ConvTranspose", "x w -> c", "group", 2, "strides", []int64{2}).Node(bn, "c s b m v -> y"), []int{1, 6, 5}, "ConvTranspose"},
		"Gemm":          {build("N", 3).Init("w", random(r, 4, 3)).Node("Gemm", "x w bias -> c", "transB", 1, "alpha", 0.5, "beta", 2.0).Node(bn, "c s b m v -> y"), []int{2, 3}, "Gemm"},
		"MatMul":        {build("N", 3).Init("w", random(r, 3, 4)).Node("MatMul", "x w -> c").Node(bn, "c s b m v -> y"), []int{2, 3}, "MatMul Add"},
		"MatMul Add":    {build("N", 3).Init("w", random(r, 3, 4)).Node("MatMul", "x w -> c").Node("Add", "bias c -> d").Node(bn, "d s b m v -> y"), []int{2, 3}, "MatMul Add"},
		"behind view":   {build("N", 3).Init("w", random(r, 4, 3)).Node("Transpose", "w -> wt").Node("MatMul", "x wt -> c").Node(bn, "c s b m v -> y"), []int{2, 3}, "MatMul Add"},
		"two readers":   {build("N", 2, 5).Init("w", random(r, 4, 2, 3)).Node("Conv", "x w -> c").Node(bn, "c s b m v -> d").Node("Add", "c d -> y"), []int{1, 2, 5}, "Conv BatchNormalization Add"},
		"first":         {build("N", 4, 5).Init("w", random(r, 4, 4, 3)).Node(bn, "x s b m v -> c").Node("Conv", "c w -> y"), []int{1, 4, 5}, "BatchNormalization Conv"},
		"other axis":    {build("N", 4, 5).Init("w", random(r, 5, 4)).Node("MatMul", "x w -> c").Node(bn, "c s b m v -> y"), []int{2, 4, 5}, "MatMul BatchNormalization"},
		"added map":     {build("N", 3).Init("w", random(r, 3, 4)).Init("q", random(r, 2, 4)).Node("MatMul", "x w -> c").Node("Add", "c q -> d").Node(bn, "d s b m v -> y"), []int{2, 3}, "MatMul Add BatchNormalization"},
		"Add of bias":   {build("N", 2, 5).Init("w", random(r, 4, 2, 3)).Init("q", random(r, 4, 1)).Node("Conv", "x w -> c").Node("Add", "c q -> d").Node(bn, "d s b m v -> y"), []int{1, 2, 5}, "Conv"},
		"Add of number": {build("N", 2, 5).Init("w", random(r, 4, 2, 3)).Init("q", random(r, 1)).Node("Conv", "x w bias -> c").Node("Add", "q c -> d").Node(bn, "d s b m v -> y"), []int{1, 2, 5}, "Conv"},
		"Add of a map":  {build("N", 2, 5).Init("w", random(r, 4, 2, 3)).Init("q", random(r, 3)).Node("Conv", "x w -> c").Node("Add", "c q -> y"), []int{1, 2, 5}, "Conv Add"},
		"shared weight": {build("N", 4, 5).Init("w", random(r, 4, 4, 1)).Node("Conv", "x w -> c").Node("Conv", "c w -> e").Node(bn, "e s b m v -> y"), []int{1, 4, 5}, "Conv Conv"},
	} {
		feeds := map[string]*onnxio.Tensor{"x": random(r, c.x...)}
		g, changes := simplified(t, name, c.b.Outputs("y").Model(), graph.SimplifyOptions{FoldConstants: exec.Fold}, feeds)
		if got := ops(g); got != c.want {
			t.Errorf("%s: %s, want %s (%v)", name, got, c.want, changes)
		}
		if name == "Add of a map" {
			continue
		}
		if !strings.Contains(c.want, bn) && g.Value("s") != nil {
			t.Errorf("%s: the parameters stay behind", name)
		}
		kept, _ := simplified(t, name, c.b.Model(), graph.SimplifyOptions{KeepBatchNorm: true}, feeds)
		if !strings.Contains(ops(kept), bn) {
			t.Errorf("%s: not kept on request", name)
		}
	}
}

func TestSimplifyFolds(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	x := func() *testmodel.Builder { return testmodel.New(18).Input("x", onnxio.Float32, "N", 3) }
	w := func() *testmodel.Builder { return x().Init("w", random(r, 3, 3)) }
	big := onnxio.TensorOf([]int64{2000, 3}, 2)
	for name, c := range map[string]struct {
		b           *testmodel.Builder
		want, inits string
	}{
		"weight expression": {w().Init("g", random(r, 3, 1)).Node("Mul", "w g -> v").Node("MatMul", "x v -> y"), "MatMul", "w"},
		"views":             {w().Node("Transpose", "w -> v").Node("Transpose", "v -> u").Node("MatMul", "x u -> y"), "MatMul", "w"},
		"shared":            {w().Node("Transpose", "w -> v").Node("MatMul", "x v -> c").Node("MatMul", "c w -> y"), "MatMul MatMul", "w v"},
		"too big":           {w().Init("s", big).Init("one", onnxio.TensorOf([]float32{1}, 1)).Node("Expand", "one s -> e").Node("ReduceSum", "e -> f").Node("Add", "x f -> y"), "Add", "f"},
		"quantized weight":  {x().Init("q", onnxio.TensorOf(make([]int8, 9), 3, 3)).Init("s", onnxio.TensorOf([]float32{1})).Node("DequantizeLinear", "q s -> v").Node("MatMul", "x v -> y"), "DequantizeLinear MatMul", "q s"},
		"fake quantization": {w().Init("s", onnxio.TensorOf([]float32{0.1})).Node("QuantizeLinear", "w s -> q").Node("DequantizeLinear", "q s -> v").Node("MatMul", "x v -> y"), "DequantizeLinear MatMul", "s q"},
		"constant":          {x().Node("Constant", "-> c", "value_float", 2.0).Node("Mul", "x c -> y"), "Constant Mul", ""},
		"identities":        {w().Node("Identity", "x -> a").Node("Dropout", "a -> b m").Node("MatMul", "b w -> c").Node("Identity", "c -> y"), "MatMul", "w"},
		"input to output":   {x().Node("Identity", "x -> y"), "Identity", ""},
		"mask in use":       {x().Node("Dropout", "x -> a m").Node("Cast", "m -> f", "to", 1).Node("Add", "a f -> y"), "Dropout Cast Add", ""},
	} {
		g, changes := simplified(t, name, c.b.Outputs("y").Model(), graph.SimplifyOptions{FoldConstants: exec.Fold},
			map[string]*onnxio.Tensor{"x": random(r, 2, 3)})
		var inits []string
		for _, v := range g.Inits {
			inits = append(inits, v.Name)
		}
		if name == "too big" {
			if !strings.Contains(ops(g), "Add") {
				t.Errorf("%s: %s", name, ops(g))
			}
			continue
		}
		if got, gi := ops(g), strings.Join(inits, " "); got != c.want || gi != c.inits {
			t.Errorf("%s: %s with %q, want %s with %q (%v)", name, got, gi, c.want, c.inits, changes)
		}
	}
}

// TestSimplifyBoundsGrowth: a small expression that stands for a large tensor stays an expression, and is not even computed
// when it is huge.
func TestSimplifyBoundsGrowth(t *testing.T) {
	for _, shape := range [][]int64{{1000, 300}, {1 << 20, 1 << 20, 1 << 20}} {
		asked := false
		g := newGraph(t, testmodel.New(18).Int64s("s", shape...).Node("ConstantOfShape", "s -> y").Outputs("y").Model())
		changes, err := graph.Simplify(g, graph.SimplifyOptions{FoldConstants: func(n *graph.Node, in []*onnxio.Tensor) ([]*onnxio.Tensor, error) {
			asked = true
			return exec.Fold(n, in)
		}})
		if err != nil || len(changes) != 0 || asked != (len(shape) == 2) {
			t.Errorf("%v: changes %v, error %v, computed %v", shape, changes, err, asked)
		}
	}
}

// TestSimplifyKeepsRandom: a random tensor of constant shape is no constant.
func TestSimplifyKeepsRandom(t *testing.T) {
	g := newGraph(t, testmodel.New(18).Floats("w", []float32{1, 2}, 2).Node("RandomUniformLike", "w -> a").Node("RandomNormal", "-> b", "shape", []int64{2}).
		Node("Add", "a b -> y").Outputs("y").Model())
	changes, err := graph.Simplify(g, graph.SimplifyOptions{FoldConstants: func(n *graph.Node, in []*onnxio.Tensor) ([]*onnxio.Tensor, error) {
		return []*onnxio.Tensor{in[0]}, nil
	}})
	if err != nil || len(changes) != 0 {
		t.Errorf("%v %v", changes, err)
	}
}

func TestSimplifyInSubgraphs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	body := func(op string) *testmodel.Builder {
		return testmodel.New(0).Node("Transpose", "w -> t").Node("MatMul", "x t -> p").Node(op, "p -> q").Node("Identity", "q -> r").Outputs("r")
	}
	m := testmodel.New(18).Input("x", onnxio.Float32, 2, 3).Input("c", onnxio.Bool).Init("w", random(r, 3, 3)).
		Node("If", "c -> y", "then_branch", body("Relu"), "else_branch", body("Neg")).Outputs("y").Model()
	for _, cond := range []bool{false, true} {
		g, changes := simplified(t, "If", m, graph.SimplifyOptions{},
			map[string]*onnxio.Tensor{"x": random(r, 2, 3), "c": onnxio.TensorOf([]bool{cond})})
		if got := changes.String(); got != "2 Identity, 2 Transpose" {
			t.Error(got)
		}
		if layers, skipped := graph.Layers(g); len(layers) != 2 {
			t.Errorf("%d layers in the branches, skipped %v", len(layers), skipped)
		}
	}
}

// TestSimplifySweepsOuterConstants folds nodes of branches whose constants stand outside and go with them.
func TestSimplifySweepsOuterConstants(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	body := func(c string) *testmodel.Builder {
		return testmodel.New(0).Node("Neg", c+" -> n"+c).Node("Add", "x n"+c+" -> r"+c).Outputs("r" + c)
	}
	b := testmodel.New(18).Input("x", onnxio.Float32, 2, 3).Input("c", onnxio.Bool)
	for _, name := range []string{"one", "two"} {
		b.Node("Constant", "-> "+name, "value", random(r, 2, 3))
	}
	m := b.Node("If", "c -> y", "then_branch", body("one"), "else_branch", body("two")).Node("Relu", "y -> z").Outputs("z").Model()
	for _, cond := range []bool{false, true} {
		g, changes := simplified(t, "If", m, graph.SimplifyOptions{FoldConstants: exec.Fold},
			map[string]*onnxio.Tensor{"x": random(r, 2, 3), "c": onnxio.TensorOf([]bool{cond})})
		if got := changes.String(); got != "2 Neg" || len(g.Nodes) != 2 {
			t.Errorf("%s, %d nodes are left", got, len(g.Nodes))
		}
	}
}

// TestSimplifySharesParts: parts of a weight that branches read are left where they would stand in the file once a branch, and computed
// where the weight goes with them.
func TestSimplifySharesParts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	const n = 128
	body := func(p string) *testmodel.Builder {
		b := testmodel.New(0).Int64s(p+"axis", 0)
		for i, part := range []string{"a", "b"} {
			b.Int64s(p+part+"from", int64(i*n)).Int64s(p+part+"to", int64(i*n+n)).
				Node("Slice", fmt.Sprintf("w %[1]s%[2]sfrom %[1]s%[2]sto %[1]saxis -> %[1]s%[2]s", p, part))
		}
		return b.Node("Add", p+"a "+p+"b -> "+p+"s").Node("Mul", "x "+p+"s -> "+p+"r").Outputs(p + "r")
	}
	for branches, want := range map[int]string{1: "1 Add, 2 Slice", 2: ""} {
		b := testmodel.New(18).Input("x", onnxio.Float32, n, n).Input("c", onnxio.Bool).Init("w", random(r, 2*n, n))
		other := testmodel.New(0).Node("Neg", "x -> neg").Outputs("neg")
		if branches == 2 {
			other = body("else_")
		}
		m := b.Node("If", "c -> y", "then_branch", body("then_"), "else_branch", other).Outputs("y").Model()
		_, changes := simplified(t, "If", m, graph.SimplifyOptions{FoldConstants: exec.Fold},
			map[string]*onnxio.Tensor{"x": random(r, n, n), "c": onnxio.TensorOf([]bool{true})})
		if got := changes.String(); got != want {
			t.Errorf("%d branches: folded %q, want %q", branches, got, want)
		}
	}
}

// TestSimplifyZoo: the public models compute the same after it, and the BatchNormalization of exports that keep it is gone.
func TestSimplifyZoo(t *testing.T) {
	zoo := filepath.Join(testkit.Shared(t), "zoo")
	feeds := map[string]map[string]*onnxio.Tensor{}
	r := rand.New(rand.NewPCG(4, 4))
	image := random(r, 2, 1, 28, 28)
	feeds["fmnist-resnet/model.onnx"] = map[string]*onnxio.Tensor{"x": image, "input": image}
	feeds["fmnist-resnet/model_bn.onnx"] = feeds["fmnist-resnet/model.onnx"]
	feeds["wild/ch_ppocr_mobile_v2.0_cls.onnx"] = map[string]*onnxio.Tensor{"x": random(r, 1, 3, 48, 192)}
	feeds["wild/ch_PP-OCRv4_det.onnx"] = map[string]*onnxio.Tensor{"x": random(r, 1, 3, 64, 64)}
	for file, in := range feeds {
		m, err := onnxio.Load(filepath.Join(zoo, file))
		if err != nil {
			t.Fatal(err)
		}
		own := map[string]*onnxio.Tensor{}
		for _, v := range newGraph(t, m.Clone()).Inputs {
			if x := in[v.Name]; x != nil {
				own[v.Name] = x
			}
		}
		g, changes := simplified(t, file, m, graph.SimplifyOptions{FoldConstants: exec.Fold}, own)
		t.Logf("%s: %v", file, changes)
		if strings.Contains(ops(g), "BatchNormalization") {
			t.Errorf("%s: BatchNormalization stays", file)
		}
	}
}

// TestSimplifyVectors: on all official vectors Simplify either leaves a valid model or tells why not.
func TestSimplifyVectors(t *testing.T) {
	models := 0
	err := filepath.WalkDir(testkit.Vectors(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".onnx" {
			return err
		}
		m, err := onnxio.Load(path)
		if err != nil {
			return err
		}
		defer m.Close()
		g, err := graph.New(m)
		if err != nil {
			return err
		}
		before := m.Clone().Proto.Graph
		if _, err := graph.Simplify(g, graph.SimplifyOptions{FoldConstants: exec.Fold}); err != nil {
			t.Error(err)
		}
		if err := g.Sync(); err != nil {
			t.Error(err)
		}
		now := m.Proto.Graph
		if n := len(before.Input); len(now.Input) < n || fmt.Sprint(now.Input[:n], now.Output) != fmt.Sprint(before.Input, before.Output) {
			t.Errorf("%s: inputs or outputs changed", path)
		} else if added := now.Input[n:]; slices.ContainsFunc(added, func(v *onnxpb.ValueInfoProto) bool {
			return m.Proto.GetIrVersion() >= 4 || g.Value(v.GetName()).Init == nil
		}) {
			t.Errorf("%s: new inputs %v are no initializers of an old file", path, added)
		}
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		models++
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d models", models)
}
