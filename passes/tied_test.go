package passes

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// tiedNet is a language model with one table for the words that come in and for those that go out, which two heads read in different ways.
func tiedNet(words int) (*onnxio.Model, arrays) {
	const width = 32
	m := testmodel.New(18).Input("ids", onnxio.Int64, "N", 6).Init("E", randoms(1, 0.3, words, width)).Init("W", randoms(2, 0.2, width, width)).
		Init("b", randoms(3, 0.1, words)).Int64s("flat", -1, width).
		Node("Gather", "E ids -> x").Node("MatMul", "x W -> h0").Node("Tanh", "h0 -> h").
		Node("Transpose", "E -> Et", "perm", []int64{1, 0}).Node("MatMul", "h Et -> y").
		Node("Reshape", "h flat -> hf").Node("Gemm", "hf E b -> z", "transB", 1).
		Output("x", onnxio.Float32, "N", 6, width).Output("y", onnxio.Float32, "N", 6, words).Output("z", onnxio.Float32, "M", words).Model()
	ids := make([]int64, 48*6)
	for i := range ids {
		ids[i] = int64(i * 37 % words)
	}
	return m, arrays{[]string{"ids"}, []*onnxio.Tensor{onnxio.TensorOf(ids, 48, 6)}}
}

// TestTiedWeights: what one table is for several nodes is compressed once, the embedding keeps the words that it had, and the file does not
// grow; where it has to, since the user asks for it, the report says so.
func TestTiedWeights(t *testing.T) {
	for _, words := range []int{64, 900} {
		m, data := tiedNet(words)
		before, err := m.Size()
		if err != nil {
			t.Fatal(err)
		}
		feeds := map[string]*onnxio.Tensor{"ids": data.data[0]}
		want := testrun.Model(t, m, feeds, exec.Options{}, testrun.NodeByNode)
		table, scales := int64(words*32*4), int64(words*16)
		for recipe, c := range map[string]struct {
			grows int64   // at most
			rows  float64 // of the embedding's rows, relative error at most
			heads float64 // of the outputs
			notes string
			kept  bool
		}{
			"nm: 2:4": {1 << 10, 0, 0.6, "", true},
			"{nm: 2:4, rules: [{match: [n_y], keep: false}]}": {table + 1<<10, 0, 0.6, `its weight "E" is in the file twice, as float32 for the layer and as it was for node "n_x" (Gather)`, false},
			"weights: {bits: 8}":                              {3<<10 + scales - table/2, 0.01, 0.05, "E (", false},
			"weights: {bits: 4}":                              {3<<10 + scales - table*5/8, 0.01, 0.3, "E (", false},
			"{weights: {bits: 8}, activations: {bits: 8}}":    {5<<10 + scales - table/2, 0.01, 0.1, "E (", false},
			"{weights: {bits: 8}, embeddings: float}":         {table/4 + scales + 5<<10, 0, 0.05, `its weight "E" is in the file twice, as uint8 for the layer and as it was for node "n_x" (Gather)`, false},
		} {
			res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, recipe)), Options{})
			if err != nil {
				t.Fatalf("%d words, %s: %v", words, recipe, err)
			}
			size, err := res.Model.Size()
			if err != nil || size-before > c.grows {
				t.Errorf("%d words, %s: from %d to %d bytes (%v), at most %d more are right", words, recipe, before, size, err, c.grows)
			}
			if notes := fmt.Sprint(res.Report.Passes); !strings.Contains(notes, c.notes) || !strings.Contains(notes, `node "n_z" (MatMul) reads its weight as the other nodes do that share it`) {
				t.Errorf("%d words, %s: notes %s", words, recipe, notes)
			}
			kept := slices.ContainsFunc(res.Report.Kept, func(k KeptLayer) bool {
				return k.Name == "n_y" && strings.Contains(k.Reason, `read by node "n_x" (Gather) too`)
			})
			if kept != c.kept || len(res.Report.Layers) != map[bool]int{true: 1, false: 2}[kept] {
				t.Errorf("%d words, %s: layers %+v, kept %+v", words, recipe, res.Report.Layers, res.Report.Kept)
			}
			got := testrun.Model(t, res.Model, feeds, exec.Options{}, testrun.NodeByNode)
			for out, limit := range map[string]float64{"x": c.rows, "y": c.heads, "z": c.heads} {
				var noise, signal float64
				for i, v := range want[out].Float32s() {
					d := float64(v - got[out].Float32s()[i])
					noise, signal = noise+d*d, signal+float64(v)*float64(v)
				}
				if e := math.Sqrt(noise / signal); !(e <= limit) {
					t.Errorf("%d words, %s: output %s is off by %.3g of its size, at most %v is right", words, recipe, out, e, limit)
				}
			}
		}
	}
}

// TestReluBeforeSmallTypes: a quantizer to a type of fewer than 8 bits has zero point 0 behind a Relu, which ONNX Runtime 1.32 drops there.
// Where nodes that share a weight share a grid with another one, the codes stay in uint8.
func TestReluBeforeSmallTypes(t *testing.T) {
	m := testmodel.New(21).Input("x", onnxio.Float32, "N", 16).Init("W", randoms(1, 0.2, 16, 16)).Init("V", randoms(2, 0.2, 16, 16)).
		Node("MatMul", "x W -> a").Node("Relu", "a -> r").Node("MatMul", "r W -> b").
		Node("Relu", "b -> s").Node("MatMul", "s V -> y").Output("y", onnxio.Float32, "N", 16).Model()
	data := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(9, 1, 40, 16)}}
	res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, "{weights: {bits: 8}, activations: {bits: 4}, container: exact}")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.New(res.Model)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]onnxio.DataType{} // by what is quantized
	for _, n := range g.Nodes {
		if n.Op() != "QuantizeLinear" {
			continue
		}
		zero, ok := n.In(2).Const()
		if !ok {
			t.Fatalf("%v has no zero point", n)
		}
		kinds[n.In(0).Name] = zero.Type
		wide, err := zero.ConvertTo(onnxio.Int64)
		if err != nil {
			t.Fatal(err)
		}
		if relu := n.In(0).Producer != nil && n.In(0).Producer.Op() == "Relu"; relu && zero.Type.Bits() < 8 && wide.Int64s()[0] != 0 {
			t.Errorf("%v: %v behind a Relu with zero point %d", n, zero.Type, wide.Int64s()[0])
		}
	}
	if kinds["x"] != onnxio.Uint4 || kinds["r"] != onnxio.Uint8 || kinds["s"] != onnxio.Uint4 {
		t.Errorf("rounded in %v", kinds)
	}
	if notes := fmt.Sprint(res.Report.Passes); !strings.Contains(notes, `value "r" (float32[N 16]) is rounded to 4 bits in uint8`) {
		t.Errorf("notes %s", notes)
	}
}
