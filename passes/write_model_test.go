package passes

import (
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/inspect"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// quantized is the residual model with 8-bit weights and the given quantizers of all layer inputs, 8-bit links between them.
func quantized(t *testing.T, bits int) *State {
	t.Helper()
	s := testState(t, residualModel())
	onGrid(t, s, obs.GridSpec{Bits: 8, Symmetric: true, Signed: true, Narrow: true})
	grid := func(bits int, lo, hi float64) *ActGrid { g := spanGrid(bits, lo, hi); return &g }
	for i, l := range s.Layers {
		l.Input = []*ActGrid{grid(bits, -4, 4), grid(bits, 0, 7), grid(bits, -13, 14), grid(bits, 0, 5.99)}[i]
	}
	s.Links = map[*graph.Value]*ActGrid{}
	for _, v := range LinkValues(s.Layers) {
		s.Links[v] = map[string]*ActGrid{"r1": grid(8, 0, 7), "c2": grid(8, -13, 13), "sum": grid(8, -13, 14), "r3": grid(8, 0, 5.99)}[v.Name]
	}
	return s
}

// Every convolution reads codes through DequantizeLinear and is read by one quantizer alone, possibly behind its Relu or Clip;
// its bias is int32 in steps of the product; the Add of the two branches is surrounded by quantizers too.
func TestWriteQDQ(t *testing.T) {
	for _, bits := range []int{8, 4} {
		s := quantized(t, bits)
		want := runModel(t, residualModel())
		m := written(t, s)
		g, err := graph.New(m)
		if err != nil {
			t.Fatal(err)
		}
		convs := 0
		for _, n := range g.Nodes {
			if n.Op() != "Conv" && n.Op() != "Gemm" && n.Op() != "Add" {
				continue
			}
			for i, v := range n.Inputs {
				if v.Producer == nil || v.Producer.Op() != "DequantizeLinear" {
					t.Errorf("%d bits: %v: input %d, %v, is not dequantized", bits, n, i, v)
				}
			}
			if n.Op() == "Gemm" {
				continue
			}
			convs++
			y := absorbed(n.Out(0))
			if len(y.Uses) == 0 || slices.ContainsFunc(y.Uses, func(u graph.Use) bool { return u.Node.Op() != "QuantizeLinear" }) {
				t.Errorf("%d bits: %v is read by %v", bits, n, y.Uses)
			}
			if n.In(2) != nil {
				checkBias(t, n)
			}
		}
		if convs != 4 {
			t.Errorf("%d convolutions and additions, expected 4", convs)
		}
		limit := map[int]float64{8: 0.05, 4: 0.5}[bits]
		if diff, most := difference(t, want, runModel(t, m)); diff > limit*most || diff == 0 {
			t.Errorf("%d bits: outputs differ by %g of %g", bits, diff, most)
		}
		clips := map[int]int{8: 1, 4: 5}[bits] // the model's own, and one for each input of fewer bits
		if n := count32(m, "Clip"); n != clips {
			t.Errorf("%d bits: %d Clip nodes, expected %d", bits, n, clips)
		}
		if len(m.Proto.Graph.QuantizationAnnotation) < 8 {
			t.Errorf("%d bits: quantization_annotation %v", bits, m.Proto.Graph.QuantizationAnnotation)
		}
	}
}

func checkBias(t *testing.T, n *graph.Node) {
	t.Helper()
	scale := func(v *graph.Value) []float32 {
		x, err := v.Producer.In(1).Tensor()
		if err != nil {
			t.Fatal(err)
		}
		return x.Float32s()
	}
	codes, err := n.In(2).Producer.In(0).Tensor()
	if err != nil || codes.Type != onnxio.Int32 {
		t.Fatalf("%v: bias codes %v, %v", n, codes, err)
	}
	x, w, b := scale(n.In(0))[0], scale(n.In(1)), scale(n.In(2))
	for i := range b {
		if b[i] != x*w[i] {
			t.Errorf("%v: scale %d of the bias is %v, expected %v x %v", n, i, b[i], x, w[i])
		}
	}
}

func count32(m *onnxio.Model, op string) int {
	n := 0
	for _, p := range m.Proto.Graph.Node {
		if p.GetOpType() == op {
			n++
		}
	}
	return n
}

// Whatever the form: inputs, outputs, nodes and the values that initializers held keep their names.
func TestWriteKeepsNames(t *testing.T) {
	for _, form := range []string{"float", "auto", "matmulnbits"} {
		for _, act := range []bool{false, true} {
			if act && form == "matmulnbits" {
				continue
			}
			s := quantized(t, 8)
			if !act {
				s.Links = nil
				for _, l := range s.Layers {
					l.Input = nil
				}
			}
			s.Recipe.Form = form
			before := s.Model.Clone()
			m := written(t, s)
			g, err := graph.New(m)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range before.Proto.Graph.Input {
				if !proto.Equal(v, m.Proto.Graph.Input[i]) {
					t.Errorf("%s: input %v became %v", form, v, m.Proto.Graph.Input[i])
				}
			}
			for i, v := range before.Proto.Graph.Output {
				if !proto.Equal(v, m.Proto.Graph.Output[i]) {
					t.Errorf("%s: output %v became %v", form, v, m.Proto.Graph.Output[i])
				}
			}
			names := map[string]bool{}
			for _, n := range m.Proto.Graph.Node {
				names[n.GetName()] = true
			}
			for _, n := range before.Proto.Graph.Node {
				if !names[n.GetName()] {
					t.Errorf("%s: node %q is gone", form, n.GetName())
				}
			}
			for _, p := range before.Proto.Graph.Initializer {
				if v := g.Lookup(p.GetName()); v == nil && form != "matmulnbits" {
					t.Errorf("%s: nothing is called %q any more", form, p.GetName())
				}
			}
		}
	}
}

func TestWriteRaisesOpset(t *testing.T) {
	model := func(opset int, op string, outputs int) *onnxio.Model {
		return testmodel.New(opset).Input("x", onnxio.Float32, 3, 32).Init("w", normalTensor(1, 0.3, 32, outputs)).
			Node("MatMul", "x w -> t").Node(op, "t -> y").Outputs("y").Model()
	}
	for _, c := range []struct {
		opset     int
		op        string
		outputs   int
		container string
		bits      int
		want      int
		form      string
		err       string
	}{
		{18, "Relu", 8, "auto", 8, 18, "int8", ""},
		{18, "Relu", 8, "int8", 4, 18, "int8 (4 bits)", ""},
		{18, "Relu", 8, "auto", 4, 21, "int4", ""},
		{18, "Relu", 8, "auto", 2, 21, "int4 (2 bits)", ""},
		{18, "Relu", 8, "exact", 2, 25, "int2", ""},
		{18, "Relu", 6, "exact", 2, 21, "int4 (2 bits)", ""}, // ONNX Runtime 1.32 reads 2-bit weights of 6 outputs wrongly
		{22, "Relu", 8, "auto", 4, 22, "int4", ""},
		{11, "Relu", 8, "int8", 8, 13, "int8", ""},
		{18, "NotAnOperator", 8, "auto", 4, 18, "int8 (4 bits)", ""},
		{18, "NotAnOperator", 8, "exact", 4, 0, "", "need operator set 21"},
		{11, "NotAnOperator", 8, "auto", 8, 0, "", "form: float"},
	} {
		s := testState(t, model(c.opset, c.op, c.outputs))
		s.Recipe.Container = c.container
		onGrid(t, s, obs.GridSpec{Bits: c.bits, Symmetric: true, Signed: true})
		_, err := write{}.Apply(t.Context(), s)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: error %v", c, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got, form := s.Model.Opset(""), s.Layers[0].Report.Form; got != c.want || form != c.form {
			t.Errorf("%+v: operator set %d, form %s", c, got, form)
		}
	}
}

func TestAnnotations(t *testing.T) {
	for _, ir := range []int64{8, 10} {
		s := quantized(t, 8)
		s.Model.Proto.IrVersion = proto.Int64(ir)
		s.Model.Proto.MetadataProps = []*onnxpb.StringStringEntryProto{entry("recipe", "old"), {Key: proto.String("author"), Value: proto.String("me")}}
		s.Report.Version, s.Report.RecipeHash = "1.2.3", "abc"
		s.Layers[0].Report.Method, s.Layers[0].Report.Bits, s.Layers[0].Report.RelativeLoss = "obs", 8, 0.0125
		m := written(t, s)
		sum, err := inspect.Model(m)
		if err != nil {
			t.Fatal(err)
		}
		if a := sum.Annotations; a["tool"] != "obc" || a["version"] != "1.2.3" || a["recipe"] != "abc" {
			t.Errorf("ir %d: annotations %v", ir, a)
		}
		if !slices.ContainsFunc(m.Proto.MetadataProps, func(p *onnxpb.StringStringEntryProto) bool { return p.GetKey() == "author" }) {
			t.Errorf("ir %d: metadata of others is gone: %v", ir, m.Proto.MetadataProps)
		}
		if len(sum.Layers) != 4 || len(s.Report.Layers) != 4 {
			t.Fatalf("ir %d: %d layers", ir, len(sum.Layers))
		}
		a := sum.Layers[0].Annotations
		if a["method"] != "obs" || a["bits"] != "8" || a["activation_bits"] != "8" || a["relative_loss"] != "0.0125" || a["form"] != "int8" {
			t.Errorf("ir %d: annotations of the layer: %v, of the model %v", ir, a, sum.Annotations)
		}
	}
}

func TestCost(t *testing.T) {
	s := quantized(t, 8)
	for i := range s.Layers[1].Solution.W {
		if i%2 == 0 {
			s.Layers[1].Solution.W[i] = 0
		}
	}
	s.Layers[2].Solution, s.Layers[2].Input = nil, nil // left dense
	written(t, s)
	macs := []float64{8 * 27 * 64, 8 * 72 * 64, 8 * 8 * 16, 5 * 8}
	dense, compressed := 0.0, 0.0
	for i, m := range macs {
		dense += m * 32
		share := 1.0
		if s.Layers[i].Solution != nil {
			share = 1 - zeros(s.Layers[i].Solution.W)
		}
		compressed += m * share * map[bool]float64{true: 32, false: 8}[i == 2]
	}
	r := s.Report
	if math.Abs(r.Dense.BOPs-dense) > 1e-6*dense || math.Abs(r.Compressed.BOPs-compressed) > 1e-6*compressed {
		t.Errorf("BOPs %v and %v, expected %v and %v", r.Dense.BOPs, r.Compressed.BOPs, dense, compressed)
	}
	if r.Dense.Weights != 216+576+64+40 || r.Compressed.Weights != r.Dense.Weights || r.Compressed.Bytes == 0 {
		t.Errorf("costs %+v, %+v", r.Dense, r.Compressed)
	}
	if half := 0.5 * 576 / 896; math.Abs(r.Compressed.Sparsity-half) > 0.02 {
		t.Errorf("sparsity %v, expected about %v", r.Compressed.Sparsity, half)
	}
}

// Where a bias is 2^40 steps of its row's product, the row's scale grows until the bias fits into int32.
func TestWriteWidensScales(t *testing.T) {
	m := testmodel.New(18).Input("x", onnxio.Float32, 1, 2, 4, 4).
		Floats("w", []float32{1e-13, -1e-13, 0.5, 0.25}, 2, 2, 1, 1).Floats("b", []float32{3, 1}, 2).
		Node("Conv", "x w b -> c").Node("Relu", "c -> y").Outputs("y").Model()
	want := runModel(t, m.Clone())
	s := testState(t, m)
	onGrid(t, s, obs.GridSpec{Bits: 8, Symmetric: true, Signed: true})
	g := spanGrid(8, -4, 4)
	s.Layers[0].Input = &g
	out := written(t, s)
	if len(s.Report.Passes[0].Notes) == 0 || count32(out, "DequantizeLinear") != 3 {
		t.Errorf("notes %v", s.Report.Passes[0].Notes)
	}
	if diff, _ := difference(t, want, runModel(t, out)); diff > 0.03 {
		t.Errorf("outputs differ by %v", diff)
	}
}

func TestWriteSparseInitializer(t *testing.T) {
	s := testState(t, layouts()["gemm"]())
	s.Recipe.Sparse = true
	l := s.Layers[0]
	l.Solution = &Solution{W: weightOf(l)}
	for i := range l.Solution.W {
		if i%8 != 3 {
			l.Solution.W[i] = 0
		}
	}
	m := written(t, s)
	if len(m.Proto.Graph.SparseInitializer) != 1 || m.Proto.Graph.SparseInitializer[0].GetValues().GetName() != "w" {
		t.Fatalf("sparse initializers %v", m.Proto.Graph.SparseInitializer)
	}
	sameWeights(t, "sparse", m, l)
	s = testState(t, layouts()["gemm"]())
	s.Recipe.Sparse = true
	s.Layers[0].Solution = &Solution{W: weightOf(s.Layers[0])}
	if m = written(t, s); len(m.Proto.Graph.SparseInitializer) != 0 || len(s.Report.Passes[0].Notes) != 1 {
		t.Errorf("a dense weight was stored as sparse: notes %v", s.Report.Passes[0].Notes)
	}
}

// A MatMul of two dimensions and its Add become one Gemm in runtimes, which computes in integers only with an int32 bias.
func TestWriteMatMulBias(t *testing.T) {
	for _, rank := range []int{2, 3} {
		shape := []any{2, 3, 32}[3-rank:]
		m := testmodel.New(18).Input("x", onnxio.Float32, shape...).Init("w", normalTensor(1, 0.3, 32, 6)).Init("b", normalTensor(2, 0.3, 6)).
			Node("MatMul", "x w -> t").Node("Add", "t b -> y").Outputs("y").Model()
		want := runModel(t, m.Clone())
		s := testState(t, m)
		onGrid(t, s, obs.GridSpec{Bits: 8, Symmetric: true, Signed: true})
		g := spanGrid(8, -4, 4)
		s.Layers[0].Input = &g
		out := written(t, s)
		if n := count32(out, "DequantizeLinear"); n != 5-rank {
			t.Errorf("rank %d: %d DequantizeLinear", rank, n)
		}
		if diff, most := difference(t, want, runModel(t, out)); diff > 0.02*most {
			t.Errorf("rank %d: outputs differ by %g of %g", rank, diff, most)
		}
	}
}

// TestTwoBitsBesideBytes stores 2-bit weights in 4 bits where the inputs are quantized: ONNX Runtime 1.32 fuses both into an operator
// that takes no 2-bit weights, and refuses the file.
func TestTwoBitsBesideBytes(t *testing.T) {
	for recipe, want := range map[string]string{
		"{weights: {bits: 2}, container: exact}":                         "uint2",
		"{weights: {bits: 2}, activations: {bits: 8}, container: exact}": "(2 bits)",
	} {
		m, data := convNet()
		res, err := Compress(t.Context(), m, data, recipeOf(t, recipe), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range res.Report.Layers {
			if l.Op == "Conv" && !strings.Contains(l.Form, want) {
				t.Errorf("%s: %s is stored as %s, want %s", recipe, l.Name, l.Form, want)
			}
		}
	}
}

// TestBlocksBesideBytes: ONNX Runtime 1.32 cannot run a MatMul of quantized inputs by 8-bit weights with a scale for each block.
func TestBlocksBesideBytes(t *testing.T) {
	for weights, want := range map[string]struct {
		kind   onnxio.DataType
		blocks bool
	}{
		"{bits: 8, granularity: group, group: 4}": {onnxio.Int8, false}, "{bits: 5, granularity: group, group: 4}": {onnxio.Int8, false},
		"{bits: 4, granularity: group, group: 4, symmetric: true}": {onnxio.Int4, true},
	} {
		m := testmodel.New(17).Input("x", onnxio.Float32, "N", 8).Init("w", randoms(1, 1, 8, 6)).Node("MatMul", "x w -> y").Output("y", onnxio.Float32).Model()
		data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(2, 1, 32, 8)}}
		res, err := Compress(t.Context(), m, data, recipeOf(t, "{activations: {bits: 8}, weights: "+weights+"}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := graph.New(res.Model)
		if err != nil {
			t.Fatal(err)
		}
		d := g.Value("w").Producer
		if kind, blocks := d.In(0).Type, d.Int("block_size", 0) > 0; kind != want.kind || blocks != want.blocks {
			t.Errorf("%s: stored as %v, in blocks %v", weights, kind, blocks)
		}
	}
}
