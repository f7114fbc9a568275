package passes

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// embedder picks rows of a table, in a branch too, and passes them on to a layer; other reads the table as well.
func embedder(table *onnxio.Tensor, other bool) *testmodel.Builder {
	body := testmodel.New(0).Node("Gather", "table ids -> picked").Outputs("picked")
	empty := testmodel.New(0).Node("Neg", "rows -> neg").Outputs("neg")
	b := testmodel.New(18).Input("ids", onnxio.Int64, "N", 3).Input("c", onnxio.Bool).Init("table", table).Init("w", normalTensor(3, 0.3, table.Shape[1], 8)).
		Node("Gather", "table ids -> rows").Node("If", "c -> more", "then_branch", body, "else_branch", empty).
		Node("Add", "rows more -> sum").Node("MatMul", "sum w -> y").Outputs("y", "rows")
	if other {
		b.Node("ReduceSum", "table -> all", "keepdims", 0).Outputs("all")
	}
	return b
}

// TestQuantizeEmbeddings: rows come back within half a step of each row's own scale, the names stay, and no runtime decodes the table.
func TestQuantizeEmbeddings(t *testing.T) {
	const vocabulary, width = 200, 24
	table := normalTensor(7, 1, vocabulary, width)
	for i := range width {
		table.Float32s()[i] = 0                  // a row of zeros
		table.Float32s()[width+i] *= 1e4         // a row of large values
		table.Float32s()[2*width+i] = 1.0 / 1024 // all equal
	}
	s := testState(t, embedder(table, false).Model())
	r, err := quantizeEmbeddings{}.Apply(context.Background(), s)
	if err != nil || r.Changes != 1 || !strings.Contains(strings.Join(r.Notes, ""), "table (200 x 24) is stored as int8") {
		t.Fatal(r, err)
	}
	if err := s.Graph.Sync(); err != nil {
		t.Fatal(err)
	}
	pick := rand.New(rand.NewPCG(1, 2))
	ids := make([]int64, vocabulary/2*3)
	for i := range ids {
		ids[i] = int64(pick.IntN(vocabulary))
	}
	copy(ids, []int64{0, 1, 2})
	feeds := map[string]*onnxio.Tensor{"ids": onnxio.TensorOf(ids, vocabulary/2, 3), "c": onnxio.TensorOf([]bool{true})}
	got := testrun.Model(t, s.Model, feeds, exec.Options{}, nil)["rows"].Float32s()
	for i, id := range ids {
		row := table.Float32s()[int(id)*width : int(id+1)*width]
		top := 0.0
		for _, v := range row {
			top = max(top, math.Abs(float64(v)))
		}
		for c, v := range row {
			if d := math.Abs(float64(got[i*width+c] - v)); d > top/127*0.5001 {
				t.Fatalf("row %d column %d: %v, want %v within half of %v", id, c, got[i*width+c], v, top/127)
			}
		}
	}
	if v := s.Graph.Value("table"); v == nil || v.Type != onnxio.Int8 || len(v.Uses) != 2 {
		t.Errorf("the table is %v", v)
	}
}

// TestQuantizeEmbeddingsLeaves: what is no table of rows, or cannot be rounded, stays.
func TestQuantizeEmbeddingsLeaves(t *testing.T) {
	bad := normalTensor(7, 1, 200, 24)
	bad.Float32s()[77] = float32(math.NaN())
	for name, c := range map[string]struct {
		model *onnxio.Model
		note  string
	}{
		"read otherwise": {embedder(normalTensor(7, 1, 200, 24), true).Model(), "read by"},
		"not finite":     {embedder(bad, false).Model(), "not numbers"},
		"small":          {embedder(normalTensor(7, 1, 20, 24), false).Model(), ""},
	} {
		s := testState(t, c.model)
		r, err := quantizeEmbeddings{}.Apply(context.Background(), s)
		if err != nil || r.Changes != 0 || !strings.Contains(strings.Join(r.Notes, ""), c.note) || c.note == "" && len(r.Notes) > 0 {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

// TestEmbeddingsChoice: auto follows the model's weights.
func TestEmbeddingsChoice(t *testing.T) {
	for _, c := range []struct {
		set  func(r *Recipe)
		want bool
	}{
		{func(r *Recipe) {}, false},
		{func(r *Recipe) { r.Weights.Bits = 4 }, true},
		{func(r *Recipe) { r.Weights.Bits = 4; r.Form = "float" }, false},
		{func(r *Recipe) { r.Weights.Bits = 8; r.Include = []string{"layer1*"} }, false},
		{func(r *Recipe) { r.Weights.Bits = 8; r.Embeddings = "float" }, false},
		{func(r *Recipe) { r.Embeddings = "int8" }, true},
	} {
		r := DefaultRecipe()
		if c.set(r); r.quantizesEmbeddings() != c.want {
			t.Errorf("%+v: %v", r, !c.want)
		}
	}
}
