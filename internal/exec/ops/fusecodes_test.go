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

// codesCase is a QDQ graph from codes x (and r) to codes y and the operator that it is to equal; without one it must stay apart.
type codesCase struct {
	name     string
	build    func(b *testmodel.Builder)
	operator string
}

const convOfCodes = "QLinearConv/x sx zx w sw zw sy zy b -> y"

func convQDQ(b *testmodel.Builder, between string, out string) {
	b.Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "w sw zw -> wf", "axis", 0).Node("DequantizeLinear", "b sb zb -> bf", "axis", 0).
		Node("Conv", "xf wf bf -> c", "pads", pads, "group", 2)
	if between != "" {
		b.Node(strings.Fields(between)[0], strings.Join(strings.Fields(between)[1:], " "))
	}
	b.Node("QuantizeLinear", out)
}

var codesCases = []codesCase{
	{"conv", func(b *testmodel.Builder) { convQDQ(b, "", "c sy zy -> y") }, convOfCodes},
	{"relu that the codes absorb", func(b *testmodel.Builder) { convQDQ(b, "Relu c -> d", "d sy z0 -> y") }, "QLinearConv/x sx zx w sw zw sy z0 b -> y"},
	{"clip that the codes absorb", func(b *testmodel.Builder) { convQDQ(b, "Clip c wide0 wide1 -> d", "d sy zy -> y") }, convOfCodes},
	{"relu that changes codes", func(b *testmodel.Builder) { convQDQ(b, "Relu c -> d", "d sy zy -> y") }, ""},
	{"clip that changes codes", func(b *testmodel.Builder) { convQDQ(b, "Clip c wide0 six -> d", "d sy zy -> y") }, ""},
	{"sum that is an output", func(b *testmodel.Builder) { convQDQ(b, "", "c sy zy -> y"); b.Outputs("c") }, ""},
	{"sum that is read twice", func(b *testmodel.Builder) { convQDQ(b, "", "c sy zy -> y"); b.Node("Neg", "c -> n").Outputs("n") }, ""},
	{"bias in other steps", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "w sw zw -> wf", "axis", 0).Node("DequantizeLinear", "b sw zb -> bf", "axis", 0).
			Node("Conv", "xf wf bf -> c", "pads", pads, "group", 2).Node("QuantizeLinear", "c sy zy -> y")
	}, ""},
	{"input that float nodes read too", func(b *testmodel.Builder) { convQDQ(b, "", "c sy zy -> y"); b.Node("Neg", "xf -> n").Outputs("n") }, convOfCodes},
	{"no zero points", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx -> xf").Node("DequantizeLinear", "w sw -> wf", "axis", 0).Node("DequantizeLinear", "b sb -> bf", "axis", 0).
			Node("Conv", "xf wf bf -> c", "pads", pads, "group", 2).Node("QuantizeLinear", "c sy zy -> y")
	}, "QLinearConv/x sx z0 w sw zw sy zy b -> y"},
	{"add", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx zx -> xf").Node("DequantizeLinear", "r sr zr -> rf").Node("Add", "xf rf -> a").Node("QuantizeLinear", "a sy zy -> y")
	}, "com.microsoft::QLinearAdd/x sx zx r sr zr sy zy -> y"},
	{"add of a tensor to itself, relu", func(b *testmodel.Builder) {
		b.Node("DequantizeLinear", "x sx zx -> xf").Node("Add", "xf xf -> a").Node("Relu", "a -> d").Node("QuantizeLinear", "d sy z0 -> y")
	}, "com.microsoft::QLinearAdd/x sx zx x sx zx sy z0 -> y"},
}

func codesBuilder() *testmodel.Builder {
	w, bias := onnxio.NewTensor(onnxio.Int8, 6, 2, 3, 3), onnxio.NewTensor(onnxio.Int32, 6)
	for i, v := range noise(8, w.Len()).Float32s() {
		w.Data.([]int8)[i] = int8(max(-127, min(127, 40*v)))
	}
	sw, sb := make([]float32, 6), make([]float32, 6)
	for i := range sw {
		sw[i] = 0.011 + 0.003*float32(i)
		sb[i] = sw[i] * 0.0237
		bias.Data.([]int32)[i] = int32(700*i - 1500)
	}
	b := testmodel.New(18).Import("com.microsoft", 1).Input("x", onnxio.Uint8, 3, 4, 9, 8).Input("r", onnxio.Uint8, 3, 4, 9, 8)
	for name, z := range map[string]uint8{"zx": 117, "zr": 131, "zy": 122, "z0": 0} {
		b.Init(name, onnxio.TensorOf([]uint8{z}))
	}
	return b.Init("w", w).Init("b", bias).Init("zw", onnxio.NewTensor(onnxio.Int8, 6)).Init("zb", onnxio.NewTensor(onnxio.Int32, 6)).
		Floats("sw", sw, 6).Floats("sb", sb, 6).Floats("sx", []float32{0.0237}).Floats("sr", []float32{0.031}).Floats("sy", []float32{0.047}).
		Floats("wide0", []float32{-100}).Floats("wide1", []float32{100}).Floats("six", []float32{3})
}

func codeFeeds() map[string]*onnxio.Tensor {
	feeds := map[string]*onnxio.Tensor{}
	for k, name := range []string{"x", "r"} {
		t := onnxio.NewTensor(onnxio.Uint8, 3, 4, 9, 8)
		for i, v := range noise(uint64(20+k), t.Len()).Float32s() {
			t.Data.([]uint8)[i] = uint8(max(0, min(255, 120+50*v)))
		}
		feeds[name] = t
	}
	return feeds
}

// runCodes is output y, and the sets of nodes that ran together.
func runCodes(t *testing.T, build func(b *testmodel.Builder), threads int, h *exec.Hooks) (y []uint8, together []string) {
	t.Helper()
	b := codesBuilder()
	build(b)
	o := exec.Options{Threads: threads, Trace: func(nodes []*graph.Node, _ time.Duration) {
		var ops []string
		for _, n := range nodes {
			ops = append(ops, n.Op())
		}
		together = append(together, strings.Join(ops, "+"))
	}}
	return testrun.Model(t, b.Outputs("y").Model(), codeFeeds(), o, h)["y"].Data.([]uint8), together
}

// TestFusionOfCodes: what runs together between the codes equals the operator on codes bit by bit, for any number of threads, and the
// nodes one by one within one code; what must not run together does not.
func TestFusionOfCodes(t *testing.T) {
	for _, c := range codesCases {
		t.Run(c.name, func(t *testing.T) {
			got, together := runCodes(t, c.build, 1, nil)
			if fused := slices.ContainsFunc(together, func(s string) bool { return strings.HasSuffix(s, "+QuantizeLinear") }); fused != (c.operator != "") {
				t.Fatalf("ran together: %v", together)
			}
			single, _ := runCodes(t, c.build, 2, testrun.NodeByNode)
			inner := 0
			for i, v := range got {
				if d := int(v) - int(single[i]); d < -1 || d > 1 {
					t.Fatalf("code %d is %d, node by node %d", i, v, single[i])
				}
				if v > 0 && v < 255 {
					inner++
				}
			}
			if c.operator != "" && inner < len(got)/4 {
				t.Errorf("only %d of %d codes lie within the range: the case says little", inner, len(got))
			}
			for _, threads := range []int{2, 5} {
				if again, _ := runCodes(t, c.build, threads, nil); !slices.Equal(again, got) {
					t.Errorf("other codes with %d threads", threads)
				}
			}
			if c.operator == "" {
				return
			}
			op, wires, _ := strings.Cut(c.operator, "/")
			want, _ := runCodes(t, func(b *testmodel.Builder) {
				if op == "QLinearConv" {
					b.Node(op, wires, "pads", pads, "group", 2)
				} else {
					b.Node(op, wires)
				}
			}, 1, nil)
			if !slices.Equal(got, want) {
				t.Errorf("the codes are not those of %s", op)
			}
		})
	}
}

// TestSparedDequantize: a DequantizeLinear whose readers all compute on the codes does not run; where they turn out not to, it does.
func TestSparedDequantize(t *testing.T) {
	product := func(b *testmodel.Builder, k int, out string) {
		w := onnxio.NewTensor(onnxio.Int8, 8, 5)
		for i, v := range noise(uint64(30+k), w.Len()).Float32s() {
			w.Data.([]int8)[i] = int8(max(-127, min(127, 40*v)))
		}
		s := strings.ReplaceAll
		b.Init(s("wN", "N", out), w).Node("DequantizeLinear", s("wN sx -> wfN", "N", out)).Node("MatMul", s("vf wfN -> mN", "N", out)).
			Node("QuantizeLinear", s("mN sy zy -> N", "N", out))
	}
	for _, c := range []struct {
		name  string
		rank  int
		alone bool // a DequantizeLinear ran by itself
	}{{"matrix", 2, false}, {"vector, which the kernel on codes refuses", 1, true}} {
		t.Run(c.name, func(t *testing.T) {
			shape := []int{3, 8}[2-c.rank:]
			dims := []any{3, 8}[2-c.rank:]
			b := codesBuilder().Input("v", onnxio.Uint8, dims...)
			b.Node("DequantizeLinear", "v sx zx -> vf")
			product(b, 0, "y")
			product(b, 1, "z")
			feeds := codeFeeds()
			feeds["v"] = onnxio.NewTensor(onnxio.Uint8, shape...)
			for i := range feeds["v"].Data.([]uint8) {
				feeds["v"].Data.([]uint8)[i] = uint8(37 * i)
			}
			alone := 0
			o := exec.Options{Threads: 1, Trace: func(nodes []*graph.Node, _ time.Duration) {
				if len(nodes) == 1 && nodes[0].Op() == "DequantizeLinear" && nodes[0].In(0).Name == "v" {
					alone++
				}
			}}
			m := b.Outputs("y", "z").Model()
			got := testrun.Model(t, m, feeds, o, nil)
			if want := map[bool]int{true: 1}[c.alone]; alone != want {
				t.Errorf("DequantizeLinear ran %d times, want %d", alone, want)
			}
			single := testrun.Model(t, m, feeds, exec.Options{Threads: 1}, testrun.NodeByNode)
			for _, name := range []string{"y", "z"} {
				for i, v := range got[name].Data.([]uint8) {
					if d := int(v) - int(single[name].Data.([]uint8)[i]); d < -1 || d > 1 {
						t.Errorf("code %d of %s is %d, node by node %d", i, name, v, single[name].Data.([]uint8)[i])
					}
				}
			}
		})
	}
}
