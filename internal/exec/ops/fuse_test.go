package ops_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func noise(seed uint64, shape ...int) *onnxio.Tensor {
	r := rand.New(rand.NewPCG(seed, 7))
	x := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range x.Float32s() {
		x.Float32s()[i] = float32(r.NormFloat64())
	}
	return x
}

// fuseCase is a graph with input x (and r, a second one), constants of its own and output y.
type fuseCase struct {
	name  string
	x, r  *onnxio.Tensor
	build func(b *testmodel.Builder)
	want  string  // a set of operators that must run together; "": none may
	tol   float64 // 0: equal bits
}

var convWeights = func(b *testmodel.Builder) *testmodel.Builder {
	return b.Init("w", noise(1, 13, 12, 3, 3)).Init("b", noise(2, 13)).Floats("zero", []float32{0}).Floats("six", []float32{6})
}

var linearWeights = func(b *testmodel.Builder) *testmodel.Builder {
	return b.Init("w", noise(1, 20, 31)).Init("b", noise(2, 31)).Floats("root", []float32{math.Sqrt2}).
		Floats("inverse", []float32{math.Sqrt2 / 2}).Floats("one", []float32{1}).Floats("half", []float32{0.5})
}

var pads = []int64{1, 1, 1, 1}

var fuseCases = []fuseCase{
	{"conv relu", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", pads).Node("Relu", "c -> y")
	}, "Conv+Relu", 0},
	{"conv clip", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w -> c", "strides", []int64{2, 2}).Node("Clip", "c zero six -> y")
	}, "Conv+Clip", 0},
	{"conv of a spread kernel without padding", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "dilations", []int64{2, 3}).Node("Relu", "c -> y")
	}, "Conv+Relu", 0},
	{"conv that cuts its image", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", []int64{-1, 0, -1, -1}).Node("Relu", "c -> y")
	}, "", 0},
	{"conv add relu", noise(3, 2, 12, 9, 8), noise(4, 2, 13, 9, 8), func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", pads).Node("Add", "r c -> a").Node("Relu", "a -> y")
	}, "Conv+Add+Relu", 0},
	{"conv add of another shape runs apart", noise(3, 2, 12, 9, 8), noise(4, 2, 1, 9, 8), func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", pads).Node("Add", "c r -> a").Node("Relu", "a -> y")
	}, "", 0},
	{"depthwise add clip", noise(3, 2, 12, 9, 8), noise(4, 2, 12, 9, 8), func(b *testmodel.Builder) {
		convWeights(b).Init("d", noise(5, 12, 1, 3, 3)).Node("Conv", "x d -> c", "pads", pads, "group", 12).Node("Add", "c r -> a").Node("Clip", "a zero six -> y")
	}, "Conv+Add+Clip", 0},
	{"expand, depthwise, project, add", noise(3, 5, 12, 9, 8), noise(4, 5, 12, 5, 4), func(b *testmodel.Builder) {
		convWeights(b).Init("e", noise(6, 30, 12, 1, 1)).Init("d", noise(5, 30, 1, 3, 3)).Init("p", noise(7, 12, 30, 1, 1)).
			Node("Conv", "x e -> c").Node("Clip", "c zero six -> cc").Node("Conv", "cc d -> k", "pads", pads, "strides", []int64{2, 2}, "group", 30).
			Node("Relu", "k -> kk").Node("Conv", "kk p -> q").Node("Add", "q r -> y")
	}, "Conv+Clip+Conv+Relu+Conv+Add", 0},
	{"expand and depthwise of a large image, in bands", noise(3, 2, 8, 180, 180), nil, func(b *testmodel.Builder) {
		convWeights(b).Init("e", noise(6, 17, 8, 1, 1)).Init("eb", noise(8, 17)).Init("d", noise(5, 17, 1, 3, 3)).Init("p", noise(7, 12, 17, 1, 1)).
			Node("Conv", "x e eb -> c").Node("Clip", "c zero six -> cc").Node("Conv", "cc d -> k", "pads", pads, "strides", []int64{2, 2}, "group", 17).
			Node("Conv", "k p -> y")
	}, "Conv+Clip+Conv+Conv", 1e-5},
	{"what is read twice stays", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", pads).Node("Relu", "c -> a").Node("Add", "a c -> y")
	}, "", 0},
	{"outputs of the graph stay", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		convWeights(b).Node("Conv", "x w b -> c", "pads", pads).Node("Relu", "c -> y").Outputs("c")
	}, "", 0},
	{"matmul bias", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Node("MatMul", "x w -> m").Node("Add", "b m -> y")
	}, "MatMul+Add", 0},
	{"matmul bias add relu", noise(3, 3, 5, 20), noise(4, 3, 5, 31), func(b *testmodel.Builder) {
		linearWeights(b).Node("MatMul", "x w -> m").Node("Add", "m b -> n").Node("Add", "n r -> a").Node("Relu", "a -> y")
	}, "MatMul+Add+Add+Relu", 0},
	{"gemm relu", noise(3, 3, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Init("t", noise(6, 31, 20)).Node("Gemm", "x t b -> m", "transB", 1).Node("Relu", "m -> y")
	}, "Gemm+Relu", 1e-6},
	{"conv of codes", noise(3, 2, 12, 9, 8), nil, func(b *testmodel.Builder) {
		codes, bias := onnxio.NewTensor(onnxio.Int8, 13, 12, 3, 3), onnxio.NewTensor(onnxio.Int32, 13)
		for i, v := range noise(8, 13*12*9).Float32s() {
			codes.Data.([]int8)[i] = int8(20 * v)
			bias.Data.([]int32)[i%13] = int32(i)
		}
		convWeights(b).Init("q", codes).Init("qb", bias).Init("s", noise(5, 13)).Node("DequantizeLinear", "q s -> d", "axis", 0).
			Node("DequantizeLinear", "qb s -> e", "axis", 0).Node("Conv", "x d e -> y", "pads", pads)
	}, "DequantizeLinear+DequantizeLinear+Conv", 0},
	{"matmul of codes", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		codes := onnxio.NewTensor(onnxio.Uint8, 20, 31)
		for i := range codes.Data.([]uint8) {
			codes.Data.([]uint8)[i] = uint8(7 * i)
		}
		linearWeights(b).Init("q", codes).Init("z", onnxio.TensorOf([]uint8{128}, 1)).Floats("s", []float32{0.1}, 1).
			Node("DequantizeLinear", "q s z -> d").Node("MatMul", "x d -> m").Node("Add", "m b -> y")
	}, "DequantizeLinear+MatMul+Add", 1}, // rows are rounded to 8 bits: see TestFusionOfWeightCodes
	{"matmul gelu", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Node("MatMul", "x w -> m").Node("Add", "m b -> a").Node("Div", "a root -> d").Node("Erf", "d -> e").
			Node("Add", "e one -> p").Node("Mul", "half p -> h").Node("Mul", "a h -> y")
	}, "MatMul+Add+Div+Erf+Add+Mul+Mul", 2e-6},
	{"gelu halved last", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Node("Mul", "x inverse -> d").Node("Erf", "d -> e").Node("Add", "one e -> p").Node("Mul", "x p -> h").Node("Mul", "h half -> y")
	}, "Mul+Erf+Add+Mul+Mul", 2e-6},
	{"gelu halved first", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Node("Mul", "x half -> h").Node("Div", "x root -> d").Node("Erf", "d -> e").Node("Add", "one e -> p").Node("Mul", "h p -> y")
	}, "Mul+Div+Erf+Add+Mul", 2e-6},
	{"no gelu with another number", noise(3, 3, 5, 20), nil, func(b *testmodel.Builder) {
		linearWeights(b).Node("Mul", "x half -> d").Node("Erf", "d -> e").Node("Add", "one e -> p").Node("Mul", "x p -> h").Node("Mul", "h half -> y")
	}, "", 0},
}

// TestFusion runs each graph with nodes fused and, watched by hooks, node by node: the results agree, and hooks see every node.
func TestFusion(t *testing.T) {
	for _, c := range fuseCases {
		t.Run(c.name, func(t *testing.T) {
			b := testmodel.New(18).Input("x", onnxio.Float32, "a", "b", "c", "d")
			b.Proto().Graph.Input[0].Type = nil // any rank
			feeds := map[string]*onnxio.Tensor{"x": c.x}
			if c.r != nil {
				b.Input("r", onnxio.Float32)
				b.Proto().Graph.Input[1].Type = nil
				feeds["r"] = c.r
			}
			c.build(b)
			b.Outputs("y")
			g, err := graph.New(b.Model())
			if err != nil {
				t.Fatal(err)
			}
			var together []string
			e, err := exec.New(g, exec.Options{Threads: 2, Trace: func(nodes []*graph.Node, _ time.Duration) {
				var ops []string
				for _, n := range nodes {
					ops = append(ops, n.Op())
				}
				together = append(together, strings.Join(ops, "+"))
			}})
			if err != nil {
				t.Fatal(err)
			}
			compare := func() {
				t.Helper()
				together = nil
				fused, err := e.Run(context.Background(), feeds, nil)
				if err != nil {
					t.Fatal(err)
				}
				if i := slices.IndexFunc(together, func(s string) bool { return strings.Contains(s, "+") }); c.want == "" && i >= 0 || c.want != "" && !slices.Contains(together, c.want) {
					t.Errorf("ran together: %v, want %q", together, c.want)
				}
				seen := map[*graph.Node]bool{}
				single, err := e.Run(context.Background(), feeds, &exec.Hooks{After: func(n *graph.Node, in, out []*onnxio.Tensor) error {
					seen[n] = true
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				if len(seen) != len(g.Nodes) {
					t.Errorf("hooks saw %d of %d nodes", len(seen), len(g.Nodes))
				}
				for name, want := range single {
					if err := same(fused[name], want, c.tol, c.tol); err != nil {
						t.Errorf("output %s: %v", name, err)
					}
				}
			}
			compare()
			// Another weight, as after a layer was solved.
			v := g.Value("w")
			if v == nil || len(v.Uses) == 0 {
				return
			}
			w, err := v.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			if err := g.SetInit(v, noise(9, w.Shape...)); err != nil {
				t.Fatal(err)
			}
			if err := e.Refresh(v.Uses[0].Node); err != nil {
				t.Fatal(err)
			}
			compare()
		})
	}
}
