package graph

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

func mustNew(t testing.TB, b *testmodel.Builder) *Graph {
	t.Helper()
	g, err := New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func order(g *Graph) string {
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Op())
	}
	return strings.Join(names, " ")
}

func TestNewLinksValuesAndNodes(t *testing.T) {
	g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, "N", 3).Floats("w", make([]float32, 6), 3, 2).
		Node("MatMul", "x w -> m").Node("Relu", "m -> y").Output("y", onnxio.Float32, "N", 2))
	m := g.Node("n_m")
	if m == nil || m.In(0) != g.Inputs[0] || m.In(1) != g.Value("w") || m.In(2) != nil || m.Out(0).Uses[0].Node != g.Nodes[1] {
		t.Fatal("values and nodes are not linked as the file says")
	}
	if w, ok := m.In(1).Const(); !ok || w.Shape[0] != 3 || g.Inputs[0].IsConst() {
		t.Error("w should be constant and x should not")
	}
	if got := g.Inputs[0].Shape.String(); got != "[N 3]" {
		t.Errorf("shape of x is %s", got)
	}
	if m.Opset() != 18 || m.String() != `node "n_m" (MatMul)` {
		t.Errorf("opset %d, %v", m.Opset(), m)
	}
}

func TestNewErrors(t *testing.T) {
	x := func() *testmodel.Builder { return testmodel.New(18).Input("x", onnxio.Float32, 2) }
	for name, c := range map[string]struct {
		model *testmodel.Builder
		want  []string
	}{
		"cycle": {x().Node("Add", "x b -> a").Node("Relu", "a -> c").Node("Neg", "c -> b").Outputs("a"),
			[]string{"cycle", `"n_a" (Add) -> node "n_c" (Relu) -> node "n_b" (Neg) -> node "n_a"`}},
		"self":             {x().Node("Add", "x a -> a").Outputs("a"), []string{`cycle`, `"n_a"`}},
		"missing input":    {x().Node("Add", "x z -> a").Outputs("a"), []string{`node "n_a" (Add)`, `input 1`, `"z"`}},
		"missing output":   {x().Node("Relu", "x -> a").Outputs("q"), []string{`output "q"`}},
		"produced twice":   {x().Node("Relu", "x -> a").Node("Neg", "x -> a").Outputs("a"), []string{`"a"`, `(Relu)`, `(Neg)`}},
		"shadows input":    {x().Node("Relu", "x -> x").Outputs("x"), []string{`"x"`, "graph input", "(Relu)"}},
		"input twice":      {x().Input("x", onnxio.Float32, 2).Outputs("x"), []string{`"x"`, "twice"}},
		"initializer once": {x().Floats("w", nil, 0).Floats("w", nil, 0).Outputs("x"), []string{`"w"`, "initializer"}},
		"unnamed":          {x().Floats("", nil, 0).Outputs("x"), []string{"no name"}},
		"no operator":      {x().Node("", "x -> y").Outputs("y"), []string{`"n_y"`, "no operator"}},
		"in subgraph": {x().Init("c", onnxio.TensorOf([]bool{true})).Node("If", "c -> y",
			"then_branch", testmodel.New(0).Node("Relu", "nope -> r").Outputs("r"),
			"else_branch", testmodel.New(0).Node("Relu", "x -> r").Outputs("r")).Outputs("y"),
			[]string{`"n_y" (If)`, "then_branch", `"n_r" (Relu)`, `"nope"`}},
		"cycle through subgraph": {x().Init("c", onnxio.TensorOf([]bool{true})).Node("If", "c -> y",
			"then_branch", testmodel.New(0).Node("Relu", "y -> r").Outputs("r"),
			"else_branch", testmodel.New(0).Node("Relu", "x -> s").Outputs("s")).Outputs("y"),
			[]string{"cycle", `"n_y" (If)`}},
	} {
		_, err := New(c.model.Model())
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range append(c.want, "test.onnx: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %s", name, err, want)
			}
		}
	}
	if _, err := New(onnxio.New("empty.onnx", &onnxpb.ModelProto{})); err == nil || !strings.Contains(err.Error(), "empty.onnx: has no graph") {
		t.Error(err)
	}
}

func TestOrder(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float32, 2).Node("Neg", "b -> c").Node("Exp", "x -> e").Node("Relu", "x -> b").
		Node("Add", "c e -> y").Outputs("y")
	if got := order(mustNew(t, b)); got != "Exp Relu Neg Add" {
		t.Errorf("wrong order: %s", got)
	}
	valid := testmodel.New(18).Input("x", onnxio.Float32, 2).Node("Neg", "x -> c").Node("Exp", "x -> e").Outputs("e", "c")
	if got := order(mustNew(t, valid)); got != "Neg Exp" {
		t.Errorf("a valid order was changed: %s", got)
	}
}

func TestSubgraphs(t *testing.T) {
	inner := testmodel.New(0).Node("Add", "x local -> r").Outputs("r")
	g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, 2).Init("c", onnxio.TensorOf([]bool{true})).
		Node("If", "c -> y",
			"then_branch", testmodel.New(0).Floats("local", []float32{1, 2}, 2).Node("If", "c -> q", "then_branch", inner,
				"else_branch", testmodel.New(0).Outputs("x")).Outputs("q"),
			"else_branch", testmodel.New(0).Node("Neg", "late -> x").Outputs("x")).
		Node("Relu", "x -> late").Outputs("y"))
	if got := order(g); got != "Relu If" {
		t.Errorf("a subgraph's reads do not order the nodes: %s", got)
	}
	outer := g.Node("n_y")
	var names []string
	for _, v := range outer.Captures() {
		names = append(names, v.Name)
	}
	if got := strings.Join(names, " "); got != "c x late" {
		t.Errorf("captures %s", got)
	}
	add := outer.Subgraphs["then_branch"].Nodes[0].Subgraphs["then_branch"].Nodes[0]
	if add.In(0) != g.Value("x") || add.In(1).Graph != outer.Subgraphs["then_branch"] {
		t.Error("outer names are not resolved")
	}
	if !g.Value("x").IsOutput {
		t.Error("x is the output of a subgraph and must keep its name")
	}
	if e := outer.Subgraphs["else_branch"]; e.Outputs[0].Graph != e {
		t.Error("an inner definition of x should hide the outer one")
	}
	var visited []string
	g.Walk(func(n *Node) { visited = append(visited, n.Op()) })
	if got := strings.Join(visited, " "); got != "Relu If If Add Neg" {
		t.Errorf("visited %s", got)
	}
}

func TestAttributes(t *testing.T) {
	n := mustNew(t, testmodel.New(18).Node("Constant", "-> y", "i", 3, "f", 0.5, "s", "hi", "is", []int64{1, 2},
		"fs", []float32{1, 2}, "ss", []string{"a"}, "value", onnxio.TensorOf([]float32{7}, 1)).Outputs("y")).Nodes[0]
	if n.Int("i", 0) != 3 || n.Float("f", 0) != 0.5 || n.Str("s", "") != "hi" || len(n.Ints("is")) != 2 ||
		len(n.Floats("fs")) != 2 || n.Strings("ss")[0] != "a" || n.Int("none", 9) != 9 || n.Ints("none") != nil || n.AttrErr() != nil {
		t.Error("attributes are not read as written")
	}
	if c, ok := n.Out(0).Const(); !ok || c.Float32s()[0] != 7 {
		t.Error("the Constant's tensor is not its output's")
	}
	if n.Int("f", 4) != 4 || n.AttrErr() == nil || !strings.Contains(n.AttrErr().Error(), `"f" is FLOAT, expected INT`) {
		t.Errorf("wrong type: %v", n.AttrErr())
	}
	n.SetInts("is", 5)
	n.SetInt("new", 1)
	n.DelAttr("s")
	if n.Ints("is")[0] != 5 || n.Int("new", 0) != 1 || n.HasAttr("s") {
		t.Error("attributes are not written")
	}
}

// TestSyncKeepsFiles: each model of the zoo and of the operator vectors is viewed, and written back the same.
func TestSyncKeepsFiles(t *testing.T) {
	for name, dir := range map[string]string{"zoo": filepath.Join(testkit.Shared(t), "zoo"), "vectors": testkit.Vectors(t)} {
		models := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".onnx" {
				return err
			}
			m, err := onnxio.Load(path)
			if err != nil {
				return err
			}
			defer m.Close()
			models++
			before := proto.Clone(m.Proto)
			g, err := New(m)
			if err != nil {
				t.Error(err)
				return nil
			}
			if err := g.Sync(); err != nil {
				t.Error(err)
			}
			if !proto.Equal(before, m.Proto) {
				t.Errorf("%s: Sync without an edit changed the model", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d models", name, models)
	}
}

// TestOldInitializers: before ir_version 4 a new initializer is listed among the inputs, as all must be; later it is not.
func TestOldInitializers(t *testing.T) {
	for ir, want := range map[int64][]string{3: {"x", "b", "new"}, 4: {"x", "b"}} {
		b := testmodel.New(8).Input("x", onnxio.Float32, 2).Input("b", onnxio.Float32, 2).Floats("b", []float32{1, 2}, 2).
			Node("Add", "x b -> t").Node("Add", "t b -> y").Outputs("y")
		b.Proto().IrVersion = &ir
		m := b.Model()
		g, err := New(m)
		if err != nil {
			t.Fatal(err)
		}
		g.Nodes[0].SetInput(1, g.AddInit("new", onnxio.TensorOf([]float32{3, 4}, 2)))
		for range 2 {
			if err := g.Sync(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range m.Proto.Graph.Input {
				got = append(got, v.GetName())
			}
			if !slices.Equal(got, want) {
				t.Errorf("ir_version %d: inputs %v, want %v", ir, got, want)
			}
		}
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	}
}
