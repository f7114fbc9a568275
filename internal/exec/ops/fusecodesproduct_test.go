package ops_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/internal/testrun"
	"github.com/obc-onnx/obc/onnxio"
)

// productCases are QDQ graphs with products, and the operator that each equals bit by bit; without one they do not run together.
var productCases = []struct {
	name            string
	build, operator func(b *testmodel.Builder)
	together        string
}{
	{"codes", func(b *testmodel.Builder) { matMulQDQ(b).Node("QuantizeLinear", "p sy zy -> y") },
		func(b *testmodel.Builder) { b.Node("QLinearMatMul", "x sx zx m sm zm sy zy -> y") }, "DequantizeLinear+DequantizeLinear+MatMul+QuantizeLinear"},
	{"relu that the codes absorb", func(b *testmodel.Builder) { matMulQDQ(b).Node("Relu", "p -> d").Node("QuantizeLinear", "d sy z0 -> y") },
		func(b *testmodel.Builder) { b.Node("QLinearMatMul", "x sx zx m sm zm sy z0 -> y") }, "DequantizeLinear+DequantizeLinear+MatMul+Relu+QuantizeLinear"},
	{"floats", func(b *testmodel.Builder) { matMulQDQ(b).Node("Identity", "p -> y") },
		func(b *testmodel.Builder) { b.Node("com.microsoft::MatMulIntegerToFloat", "x m sx sm zx zm -> y") }, "DequantizeLinear+DequantizeLinear+MatMul"},
	{"bias", func(b *testmodel.Builder) { matMulQDQ(b).Node("Add", "p bias -> y") },
		func(b *testmodel.Builder) { b.Node("com.microsoft::MatMulIntegerToFloat", "x m sx sm zx zm bias -> y") }, "DequantizeLinear+DequantizeLinear+MatMul+Add"},
	{"bias, addend and limits", func(b *testmodel.Builder) {
		matMulQDQ(b).Node("Add", "p bias -> a").Node("Add", "a add -> u").Node("Relu", "u -> y")
	}, func(b *testmodel.Builder) {
		b.Node("com.microsoft::MatMulIntegerToFloat", "x m sx sm zx zm bias -> a").Node("Add", "a add -> u").Node("Relu", "u -> y")
	}, "DequantizeLinear+DequantizeLinear+MatMul+Add+Add+Relu"},
	{"gemm", func(b *testmodel.Builder) { gemmQDQ(b).Node("QuantizeLinear", "p sy zy -> y") },
		func(b *testmodel.Builder) {
			b.Node("Reshape", "x flat -> xr").Node("com.microsoft::QGemm", "xr sx zx t sm zm gb sy zy -> y", "transB", 1)
		}, "DequantizeLinear+DequantizeLinear+DequantizeLinear+Gemm+QuantizeLinear"},
	{"gemm to floats", func(b *testmodel.Builder) { gemmQDQ(b).Node("Identity", "p -> y") },
		func(b *testmodel.Builder) {
			b.Node("Reshape", "x flat -> xr").Node("com.microsoft::QGemm", "xr sx zx t sm zm gb -> y", "transB", 1)
		}, "DequantizeLinear+DequantizeLinear+DequantizeLinear+Gemm"},
	{"no zero points", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx -> xf").Node("DequantizeLinear", "m sm -> mf", "axis", 1).Node("MatMul", "xf mf -> y")
	}, func(b *testmodel.Builder) { b.Node("com.microsoft::MatMulIntegerToFloat", "x m sx sm -> y") }, "DequantizeLinear+DequantizeLinear+MatMul"},
	{"weights of 4 bits", func(b *testmodel.Builder) { fourBitQDQ(b).Node("MatMul", "xf mf -> y") },
		func(b *testmodel.Builder) { fourBitQDQ(b).Node("Identity", "mf -> mi").Node("MatMul", "xf mi -> y") }, "DequantizeLinear+MatMul"},
	{"grids along the wrong axis", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "t sm zm -> mf", "axis", 0).Node("Transpose", "mf -> mt").Node("MatMul", "xf mt -> y")
	}, nil, ""},
}

func matMulQDQ(b *testmodel.Builder) *testmodel.Builder {
	return b.Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "m sm zm -> mf", "axis", 1).Node("MatMul", "xf mf -> p")
}

// fourBitQDQ has codes of 8 bits beside weights of 4: ONNX Runtime multiplies them in float, without MatMulNBits.
func fourBitQDQ(b *testmodel.Builder) *testmodel.Builder {
	m := onnxio.NewTensor(onnxio.Int4, 8, 10)
	for i := range m.Data.([]int8) {
		m.Data.([]int8)[i] = int8(i*7%16 - 8)
	}
	return b.Init("m4", m).Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "m4 sm -> mf", "axis", 1)
}

func gemmQDQ(b *testmodel.Builder) *testmodel.Builder {
	return b.Node("Reshape", "x flat -> xr").Node("DequantizeLinear", "xr sx zx -> xf").Node("DequantizeLinear", "t sm zm -> mf", "axis", 0).
		Node("DequantizeLinear", "gb sgb zgb -> gf", "axis", 0).Node("Gemm", "xf mf gf -> p", "transB", 1)
}

// productBuilder has codes x [3 4 9 8], weights m [8 10] and t, its transpose, with asymmetric grids by column.
func productBuilder() *testmodel.Builder {
	const rows, cols = 8, 10
	m, t, gb := onnxio.NewTensor(onnxio.Int8, rows, cols), onnxio.NewTensor(onnxio.Int8, cols, rows), onnxio.NewTensor(onnxio.Int32, cols)
	zm, sm, sgb := onnxio.NewTensor(onnxio.Int8, cols), make([]float32, cols), make([]float32, cols)
	for i, v := range noise(9, rows*cols).Float32s() {
		c := int8(max(-127, min(127, 40*v)))
		m.Data.([]int8)[i], t.Data.([]int8)[i%cols*rows+i/cols] = c, c
	}
	for j := range sm {
		sm[j] = 0.011 + 0.003*float32(j)
		sgb[j] = sm[j] * 0.0237
		zm.Data.([]int8)[j] = int8(j%3 - 1)
		gb.Data.([]int32)[j] = int32(300*j - 1500)
	}
	return codesBuilder().Init("m", m).Init("t", t).Init("zm", zm).Init("gb", gb).Init("zgb", onnxio.NewTensor(onnxio.Int32, cols)).
		Floats("sm", sm, cols).Floats("sgb", sgb, cols).Init("bias", noise(11, cols)).Input("add", onnxio.Float32, 3, 4, 9, cols).
		Init("flat", onnxio.TensorOf([]int64{108, rows}, 2))
}

func runProduct(t *testing.T, build func(b *testmodel.Builder), threads int, h *exec.Hooks) (y *onnxio.Tensor, together []string) {
	t.Helper()
	b := productBuilder()
	build(b)
	o := exec.Options{Threads: threads, Trace: func(nodes []*graph.Node, _ time.Duration) {
		var ops []string
		for _, n := range nodes {
			ops = append(ops, n.Op())
		}
		together = append(together, strings.Join(ops, "+"))
	}}
	feeds := codeFeeds()
	feeds["add"] = noise(30, 3, 4, 9, 10)
	return testrun.Model(t, b.Outputs("y").Model(), feeds, o, h)["y"], together
}

func TestFusionOfCodeProducts(t *testing.T) {
	for _, c := range productCases {
		t.Run(c.name, func(t *testing.T) {
			got, together := runProduct(t, c.build, 1, nil)
			if c.operator == nil {
				if slices.ContainsFunc(together, func(s string) bool { return strings.Contains(s, "+MatMul") }) {
					t.Errorf("ran together: %v", together)
				}
				return
			}
			if !slices.Contains(together, c.together) {
				t.Errorf("ran together: %v, want %s", together, c.together)
			}
			want, _ := runProduct(t, c.operator, 1, nil)
			again, _ := runProduct(t, c.build, 3, nil)
			single, _ := runProduct(t, c.build, 2, testrun.NodeByNode)
			g, w, a, s := values(t, got), values(t, want), values(t, again), values(t, single)
			if !slices.Equal(g, w) {
				t.Errorf("the result is not that of the operator")
			}
			if !slices.Equal(g, a) {
				t.Errorf("another result with three threads")
			}
			for i, v := range g {
				near := 1e-4
				if got.Type == onnxio.Uint8 {
					near = 1
				}
				if d := v - s[i]; d > near || d < -near {
					t.Fatalf("element %d is %v, node by node %v", i, v, s[i])
				}
			}
		})
	}
}

func values(t *testing.T, x *onnxio.Tensor) []float64 {
	t.Helper()
	d, err := x.ConvertTo(onnxio.Float64)
	if err != nil {
		t.Fatal(err)
	}
	return d.Float64s()
}
