package passes

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// onGrid gives each layer of s a solution on a fitted grid, rounded to nearest.
func onGrid(t *testing.T, s *State, spec obs.GridSpec) {
	t.Helper()
	for _, l := range s.Layers {
		spec := spec
		if spec.Granularity == obs.PerGroup && l.ChannelsIn%spec.Group != 0 && l.Cols != l.ChannelsIn {
			spec.Granularity = obs.PerChannel
		}
		sol := &Solution{}
		n := l.Rows * l.Cols
		for g := range l.Groups {
			grid, err := obs.FitGrid(obs.Matrix{Rows: l.Rows, Cols: l.Cols, Data: weightOf(l)[g*n : (g+1)*n]}, spec)
			if err != nil {
				t.Fatal(err)
			}
			sol.Grids = append(sol.Grids, grid)
			for i, x := range weightOf(l)[g*n : (g+1)*n] {
				code, value := grid.Quant(i/l.Cols, i%l.Cols, x)
				sol.Codes, sol.W = append(sol.Codes, code), append(sol.W, value)
			}
		}
		l.Solution = sol
		l.Report = layerReport(l.Layer)
	}
}

// written applies the writing passes and reads the result back from bytes.
func written(t *testing.T, s *State) *onnxio.Model {
	t.Helper()
	if err := s.apply(context.Background(), []Pass{write{}, annotate{}, count{}}); err != nil {
		t.Fatal(err)
	}
	data, err := s.Model.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxio.Decode("written.onnx", data)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

// runModel computes the outputs for inputs drawn from a fixed seed; unknown dimensions are 2.
func runModel(t *testing.T, m *onnxio.Model) map[string]*onnxio.Tensor {
	t.Helper()
	return runWith(t, m, nil)
}

// runNodes is runModel node by node: what the file says, without the roundings of runtimes that multiply codes.
func runNodes(t *testing.T, m *onnxio.Model) map[string]*onnxio.Tensor {
	t.Helper()
	return runWith(t, m, testrun.NodeByNode)
}

func runWith(t *testing.T, m *onnxio.Model, h *exec.Hooks) map[string]*onnxio.Tensor {
	t.Helper()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[string]*onnxio.Tensor{}
	for i, v := range g.Inputs {
		if v.IsConst() {
			continue
		}
		var shape []int
		for _, d := range v.Shape {
			if !d.Known() {
				d = graph.D(2)
			}
			shape = append(shape, int(d.N))
		}
		if feeds[v.Name], err = normalTensor(uint64(77+i), 1, shape...).ConvertTo(v.Type); err != nil {
			t.Fatal(err)
		}
	}
	return testrun.Model(t, m, feeds, exec.Options{}, h)
}

// difference is the largest absolute difference, and the largest magnitude.
func difference(t *testing.T, a, b map[string]*onnxio.Tensor) (diff, most float64) {
	t.Helper()
	for name, x := range a {
		if b[name] == nil {
			t.Fatalf("no output %q", name)
		}
		f, err := x.ConvertTo(onnxio.Float64)
		if err != nil {
			t.Fatal(err)
		}
		g, err := b[name].ConvertTo(onnxio.Float64)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range f.Float64s() {
			diff = max(diff, math.Abs(v-g.Float64s()[i]))
			most = max(most, math.Abs(v))
		}
	}
	return diff, most
}

// layouts are models of one layer each, in every way that a file can hold its weight.
func layouts() map[string]func() *onnxio.Model {
	one := func(opset int, x []any, w *onnxio.Tensor, op, wires string, attrs ...any) func() *onnxio.Model {
		return func() *onnxio.Model {
			b := testmodel.New(opset).Input("x", w.Type, x...).Init("w", w)
			bias, err := normalTensor(9, 0.2, 64).ConvertTo(w.Type)
			if err != nil {
				panic(err)
			}
			if strings.Contains(wires, " b ") {
				n := map[string]int{"Conv": w.Shape[0], "ConvTranspose": w.Shape[1] * 2, "Gemm": 6}[op]
				b.Init("b", &onnxio.Tensor{Type: w.Type, Shape: []int{n}, Data: cut(bias.Data, n)})
			}
			return b.Node(op, wires, attrs...).Node("Identity", "t -> y").Outputs("y").Model()
		}
	}
	w := func(shape ...int) *onnxio.Tensor { return normalTensor(uint64(len(shape)), 0.3, shape...) }
	half, err := w(4, 32, 3, 3).ConvertTo(onnxio.Float16)
	if err != nil {
		panic(err)
	}
	return map[string]func() *onnxio.Model{
		"conv":             one(18, []any{1, 32, 6, 6}, w(4, 32, 3, 3), "Conv", "x w b -> t"),
		"conv grouped":     one(18, []any{1, 32, 6, 6}, w(6, 16, 3, 3), "Conv", "x w b -> t", "group", 2),
		"depthwise":        one(18, []any{1, 4, 6, 6}, w(4, 1, 3, 3), "Conv", "x w -> t", "group", 4),
		"conv 1d":          one(18, []any{1, 32, 9}, w(4, 32, 3), "Conv", "x w -> t"),
		"conv float16":     one(18, []any{1, 32, 6, 6}, half, "Conv", "x w b -> t"),
		"transpose":        one(18, []any{1, 32, 4, 4}, w(32, 5, 2, 3), "ConvTranspose", "x w -> t"),
		"transpose groups": one(18, []any{1, 32, 4, 4}, w(32, 3, 2, 2), "ConvTranspose", "x w b -> t", "group", 2),
		"gemm":             one(18, []any{3, 32}, w(32, 6), "Gemm", "x w b -> t"),
		"gemm transB":      one(18, []any{3, 32}, w(6, 32), "Gemm", "x w b -> t", "transB", 1),
		"gemm alpha":       one(18, []any{32, 3}, w(6, 32), "Gemm", "x w b -> t", "transA", 1, "transB", 1, "alpha", 0.5, "beta", 2.0),
		"gemm left":        one(18, []any{32, 3}, w(6, 32), "Gemm", "w x -> t"),
		"gemm left transA": one(18, []any{32, 3}, w(32, 6), "Gemm", "w x -> t", "transA", 1),
		"matmul":           one(18, []any{2, 3, 48}, w(48, 6), "MatMul", "x w -> t"),
		"matmul batch":     one(18, []any{2, 3, 32}, w(1, 32, 6), "MatMul", "x w -> t"),
		"matmul batches":   one(18, []any{2, 3, 32}, w(1, 1, 32, 6), "MatMul", "x w -> t"),
		"matmul left":      one(18, []any{2, 32, 3}, w(6, 32), "MatMul", "w x -> t"),
		"matmul vector":    one(18, []any{3, 32}, w(32), "MatMul", "x w -> t"),
		"behind views": func() *onnxio.Model {
			return testmodel.New(18).Input("x", onnxio.Float32, 3, 32).Init("v", w(6, 32)).
				Node("Transpose", "v -> w", "perm", []int64{1, 0}).Node("MatMul", "x w -> y").Outputs("y").Model()
		},
		"shared with others": func() *onnxio.Model {
			return testmodel.New(18).Input("x", onnxio.Float32, 3, 32).Init("w", w(32, 6)).
				Node("MatMul", "x w -> y").Node("Relu", "w -> r").Outputs("y", "r").Model()
		},
		"constant node": func() *onnxio.Model {
			return testmodel.New(18).Input("x", onnxio.Float32, 3, 32).
				Node("Constant", "-> w", "value", w(32, 6)).Node("MatMul", "x w -> y").Outputs("y").Model()
		},
		"shared by layers": func() *onnxio.Model {
			return testmodel.New(18).Input("x", onnxio.Float32, 3, 32).Init("w", w(32, 32)).Init("b", w(32)).
				Node("Gemm", "x w b -> t", "transB", 1).Node("Gemm", "t w b -> y", "transB", 1).Outputs("y").Model()
		},
	}
}

func cut(data any, n int) any {
	switch d := data.(type) {
	case []float32:
		return d[:n]
	case []uint16:
		return d[:n]
	}
	panic("unexpected type")
}

// Each layout, grid and container: the weights that are read back are the solution's, bit for bit, and the model computes the same
// as one that holds them as float.
func TestWriteCodesExactly(t *testing.T) {
	specs := []obs.GridSpec{
		{Bits: 8, Symmetric: true, Signed: true, Narrow: true}, {Bits: 8}, {Bits: 8, Granularity: obs.PerTensor},
		{Bits: 5}, {Bits: 4, Symmetric: true}, {Bits: 4}, {Bits: 3, Signed: true}, {Bits: 2}, {Bits: 2, Symmetric: true, Signed: true},
		{Bits: 4, Granularity: obs.PerGroup, Group: 16}, {Bits: 8, Granularity: obs.PerGroup, Group: 32}, {Bits: 2, Granularity: obs.PerGroup, Group: 8},
	}
	for name, model := range layouts() {
		t.Run(name, func(t *testing.T) {
			for _, spec := range specs {
				for _, container := range []string{"auto", "int8", "exact"} {
					what := fmt.Sprintf("%+v in %s", spec, container)
					float := testState(t, model())
					onGrid(t, float, spec)
					float.Recipe.Form = "float"
					want := runNodes(t, written(t, float))

					s := testState(t, model())
					s.Recipe.Container = container
					onGrid(t, s, spec)
					m := written(t, s)
					if s.Layers[0].Report.Form == s.Layers[0].Weight.Type.String() {
						t.Fatalf("%s: written as float: %v", what, s.Report.Passes)
					}
					sameWeights(t, what, m, s.Layers[0])
					if diff, most := difference(t, want, runNodes(t, m)); diff > 1e-5*most {
						t.Errorf("%s: outputs differ by %g of %g", what, diff, most)
					}
				}
			}
		})
	}
}

// sameWeights finds the layer in a written model and compares its weights with the solution.
func sameWeights(t *testing.T, what string, m *onnxio.Model, l *LayerState) {
	t.Helper()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	layers, skipped := graph.Layers(g)
	if len(layers) != 1 {
		t.Fatalf("%s: %d layers in the written file, skipped %v", what, len(layers), skipped)
	}
	got, err := layers[0].Matrix()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := onnxio.TensorOf(l.Solution.W, len(l.Solution.W)).ConvertTo(l.Weight.Type)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ref.ToFloat32()
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range want.Float32s() {
		if got[i] != x {
			t.Fatalf("%s: weight %d is %v, the solution has %v", what, i, got[i], x)
		}
	}
}

// Zeros in place: same graph, same element type, untouched nodes byte for byte, all names.
func TestWriteFloat(t *testing.T) {
	for name, model := range layouts() {
		m := model()
		before := m.Clone()
		s := testState(t, m)
		l := s.Layers[0]
		l.Solution = &Solution{W: weightOf(l)}
		for i := range l.Solution.W {
			if i%4 < 2 {
				l.Solution.W[i] = 0
			}
		}
		out := written(t, s)
		sameWeights(t, name, out, l)
		old, now := before.Proto.Graph, out.Proto.Graph
		if name == "behind views" || name == "shared with others" { // the weight moves: see graph.Layer.SetMatrix
			continue
		}
		if len(old.Node) != len(now.Node) {
			t.Errorf("%s: %d nodes, %d before", name, len(now.Node), len(old.Node))
		}
		for i, n := range now.Node {
			n.MetadataProps = nil
			if n.GetOpType() != "Constant" && !proto.Equal(n, old.Node[i]) {
				t.Errorf("%s: node %v became %v", name, old.Node[i], n)
			}
		}
		for i, p := range now.Initializer {
			if p.GetName() != old.Initializer[i].GetName() || p.GetDataType() != old.Initializer[i].GetDataType() {
				t.Errorf("%s: initializer %s (%d) became %s (%d)", name, old.Initializer[i].GetName(), old.Initializer[i].GetDataType(), p.GetName(), p.GetDataType())
			}
		}
	}
}

// MatMulNBits computes what float weights do.
func TestWriteMatMulNBits(t *testing.T) {
	for _, name := range []string{"gemm", "gemm transB", "matmul", "shared by layers", "behind views", "shared with others"} {
		for _, spec := range []obs.GridSpec{{Bits: 4}, {Bits: 8}, {Bits: 3, Symmetric: true, Signed: true}, {Bits: 4, Granularity: obs.PerGroup, Group: 16},
			{Bits: 8, Granularity: obs.PerGroup, Group: 48}} {
			float := testState(t, layouts()[name]())
			onGrid(t, float, spec)
			float.Recipe.Form = "float"
			want := runModel(t, written(t, float))

			s := testState(t, layouts()[name]())
			s.Recipe.Form = "matmulnbits"
			onGrid(t, s, spec)
			m := written(t, s)
			if f := s.Layers[0].Report.Form; !strings.HasPrefix(f, "MatMulNBits") {
				t.Fatalf("%s: written as %s: %v", name, f, s.Report.Passes)
			}
			if m.Opset("com.microsoft") != 1 || m.Opset("") != 18 {
				t.Errorf("%s: operator sets %v", name, m.Proto.OpsetImport)
			}
			if diff, most := difference(t, want, runModel(t, m)); diff > 1e-5*most {
				t.Errorf("%s %+v: outputs differ by %g of %g", name, spec, diff, most)
			}
		}
	}
	s := testState(t, layouts()["conv"]())
	s.Recipe.Form = "matmulnbits"
	onGrid(t, s, obs.GridSpec{Bits: 4})
	written(t, s)
	if notes := strings.Join(s.Report.Passes[0].Notes, "; "); s.Layers[0].Report.Form != "int8 (4 bits)" || !strings.Contains(notes, "no matrix product") {
		t.Errorf("a Conv became %s, notes %q", s.Layers[0].Report.Form, notes)
	}
}
