package graph_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func random(r *rand.Rand, shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(r.NormFloat64())
	}
	return t
}

// layersOf builds the graph and finds its layers.
func layersOf(t *testing.T, b *testmodel.Builder) ([]*graph.Layer, []graph.Skipped) {
	t.Helper()
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	return graph.Layers(g)
}

// product computes the layer's output rows X W^T, a matrix a group.
func product(t *testing.T, l *graph.Layer, x *onnxio.Tensor) [][]float64 {
	t.Helper()
	w, err := l.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	xs, err := l.Unfold(l.Nodes[0], x)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float64, l.Groups)
	for g := range out {
		for row := 0; row < len(xs[g]); row += l.Cols {
			for r := range l.Rows {
				sum := 0.0
				for c := range l.Cols {
					sum += float64(xs[g][row+c]) * float64(w[(g*l.Rows+r)*l.Cols+c])
				}
				out[g] = append(out[g], sum)
			}
		}
	}
	return out
}

// TestConvLayers compares X W^T with the plain definition of both convolutions: every pair of an input and a kernel element
// adds to one output element.
func TestConvLayers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		rank, groups, cin, cout := 1+r.IntN(3), 1+r.IntN(3), 1+r.IntN(3), 1+r.IntN(3)
		transpose := i%2 == 1
		ints := func(lo, hi int) []int64 {
			l := make([]int64, rank)
			for d := range l {
				l[d] = int64(lo + r.IntN(hi-lo+1))
			}
			return l
		}
		kernel, strides, dilations, pads := ints(1, 3), ints(1, 3), ints(1, 2), append(ints(0, 1), ints(0, 1)...)
		in := []int{2, groups * cin}
		for range rank {
			in = append(in, 5+r.IntN(3))
		}
		ws := []int{groups * cout, cin}
		op := "Conv"
		if transpose {
			op, ws = "ConvTranspose", []int{groups * cin, cout}
		}
		for _, k := range kernel {
			ws = append(ws, int(k))
		}
		x, w := random(r, in...), random(r, ws...)
		b := testmodel.New(18).Input("x", onnxio.Float32, anys(in)...).Init("w", w).Outputs("y").
			Node(op, "x w -> y", "group", groups, "strides", strides, "dilations", dilations, "pads", pads)
		layers, skipped := layersOf(t, b)
		if len(layers) != 1 || len(skipped) != 0 {
			t.Fatalf("layers %v, skipped %v", layers, skipped)
		}
		l := layers[0]
		if l.Groups != groups || l.Rows != cout || l.ChannelsIn != cin {
			t.Fatalf("%v: %d groups, %d rows, %d channels, expected %d, %d, %d", l, l.Groups, l.Rows, l.ChannelsIn, groups, cout, cin)
		}
		win, err := l.Window(l.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		resolve := win.Resolve
		if transpose {
			resolve = win.ResolveTranspose
		}
		out, p, err := resolve(in[2:])
		if err != nil {
			continue // the kernel does not fit
		}
		want := plainConv(x, w, transpose, groups, cin, cout, out, p, asInts(strides), asInts(dilations))
		got := product(t, l, x)
		pix := size(out)
		for g := range got {
			for k, v := range got[g] {
				row, ch := k/cout, k%cout
				at := ((row/pix*groups+g)*cout+ch)*pix + row%pix
				if math.Abs(v-want[at]) > 1e-9 {
					t.Fatalf("%s in %v weight %v strides %v dilations %v pads %v: output %d is %v, expected %v", op, in, ws, strides, dilations, pads, at, v, want[at])
				}
			}
		}
		roundTrip(t, l)
	}
}

func plainConv(x, w *onnxio.Tensor, transpose bool, groups, cin, cout int, out, pads, strides, dilations []int) []float64 {
	in, kernel := x.Shape[2:], w.Shape[2:]
	y := make([]float64, x.Shape[0]*groups*cout*size(out))
	small, big := out, in // the convolution goes from big to small
	if transpose {
		small, big = in, out
	}
	for n := range x.Shape[0] {
		for g := range groups {
			for c := range cin {
				for m := range cout {
					for s := range size(small) {
						for k := range size(kernel) {
							at, ok := 0, true
							ps, pk := coords(s, small), coords(k, kernel)
							for d := range big {
								p := ps[d]*strides[d] + pk[d]*dilations[d] - pads[d]
								ok = ok && p >= 0 && p < big[d]
								at = at*big[d] + p
							}
							if !ok {
								continue
							}
							xi, yi, wi := at, s, ((g*cout+m)*cin+c)*size(kernel)+k
							if transpose {
								xi, yi, wi = s, at, ((g*cin+c)*cout+m)*size(kernel)+k
							}
							y[((n*groups+g)*cout+m)*size(out)+yi] += float64(x.Float32s()[((n*groups+g)*cin+c)*size(in)+xi]) * float64(w.Float32s()[wi])
						}
					}
				}
			}
		}
	}
	return y
}

func coords(i int, shape []int) []int {
	p := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		p[d] = i % shape[d]
		i /= shape[d]
	}
	return p
}

func size(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

func anys(s []int) []any {
	out := make([]any, len(s))
	for i, d := range s {
		out[i] = d
	}
	return out
}

func asInts(l []int64) []int {
	out := make([]int, len(l))
	for i, v := range l {
		out[i] = int(v)
	}
	return out
}

// roundTrip checks that SetMatrix writes what Matrix reads and that both layouts are permutations of each other.
func roundTrip(t *testing.T, l *graph.Layer) {
	t.Helper()
	before, _ := l.Weight.Tensor()
	stored := slices.Clone(before.Float32s())
	w, err := l.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	if got := graph.ToFileLayout(l, w); !slices.Equal(got, stored) {
		t.Fatalf("%v: ToFileLayout(Matrix) is not the stored weight", l)
	}
	for i := range w {
		w[i]++
	}
	if err := l.SetMatrix(w); err != nil {
		t.Fatal(err)
	}
	after, _ := l.Weight.Tensor()
	for i, v := range after.Float32s() {
		if v != stored[i]+1 {
			t.Fatalf("%v: element %d is %v after SetMatrix, expected %v", l, i, v, stored[i]+1)
		}
	}
	if err := l.SetMatrix(w[1:]); err == nil {
		t.Errorf("%v: SetMatrix took too few weights", l)
	}
}

// TestMatrixLayers: the product of stored operands equals X W^T for all ways to write one.
func TestMatrixLayers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const k, n, m = 3, 4, 5 // x has m vectors of k, the layer n outputs
	for _, c := range []struct {
		op, wires        string
		attrs            []any
		x, w             []int
		transX, transOut bool // x is (k, m); the output is (n, m)
		transW           bool // w is (n, k)
	}{
		{"MatMul", "x w -> y", nil, []int{m, k}, []int{k, n}, false, false, false},
		{"MatMul", "x w -> y", nil, []int{m, k}, []int{1, k, n}, false, false, false},
		{"MatMul", "w x -> y", nil, []int{k, m}, []int{n, k}, true, true, true},
		{"Gemm", "x w -> y", nil, []int{m, k}, []int{k, n}, false, false, false},
		{"Gemm", "x w -> y", []any{"transB", 1}, []int{m, k}, []int{n, k}, false, false, true},
		{"Gemm", "x w -> y", []any{"transA", 1}, []int{k, m}, []int{k, n}, true, false, false},
		{"Gemm", "w x -> y", nil, []int{k, m}, []int{n, k}, true, true, true},
		{"Gemm", "w x -> y", []any{"transA", 1, "transB", 1}, []int{m, k}, []int{k, n}, false, true, false},
	} {
		t.Run(fmt.Sprint(c.op, c.wires, c.attrs), func(t *testing.T) {
			x, w := random(r, c.x...), random(r, c.w...)
			layers, skipped := layersOf(t, testmodel.New(18).Input("x", onnxio.Float32, anys(c.x)...).Init("w", w).Outputs("y").Node(c.op, c.wires, c.attrs...))
			if len(layers) != 1 || len(skipped) != 0 {
				t.Fatalf("layers %v, skipped %v", layers, skipped)
			}
			l := layers[0]
			if l.Rows != n || l.Cols != k {
				t.Fatalf("%d x %d, expected %d x %d", l.Rows, l.Cols, n, k)
			}
			got := product(t, l, x)[0]
			for i := range m {
				for j := range n {
					want := 0.0
					for p := range k {
						xi, wi := i*k+p, p*n+j
						if c.transX {
							xi = p*m + i
						}
						if c.transW {
							wi = j*k + p
						}
						want += float64(x.Float32s()[xi]) * float64(w.Float32s()[wi])
					}
					if math.Abs(got[i*n+j]-want) > 1e-12 {
						t.Fatalf("output (%d, %d) is %v, expected %v", i, j, got[i*n+j], want)
					}
				}
			}
			ch := l.WeightShape()[l.ChannelAxis()]
			if ch != n || l.WeightShape()[l.InputAxis()] != k {
				t.Errorf("channel axis %d and input axis %d of %v", l.ChannelAxis(), l.InputAxis(), l.WeightShape())
			}
			roundTrip(t, l)
		})
	}
}

func TestBatchedVectors(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	w := random(r, 3, 4)
	l, _ := layersOf(t, testmodel.New(18).Input("x", onnxio.Float32, "b", "s", 3).Init("w", w).Outputs("y").Node("MatMul", "x w -> y"))
	xs, err := l[0].Unfold(l[0].Nodes[0], random(r, 2, 5, 3))
	if err != nil || len(xs[0]) != 30 {
		t.Fatalf("%d numbers, %v", len(xs[0]), err)
	}
	if _, err := l[0].Unfold(l[0].Nodes[0], random(r, 2, 5, 4)); err == nil {
		t.Error("an input of the wrong width was taken")
	}
	l, _ = layersOf(t, testmodel.New(18).Input("x", onnxio.Float32, 2, 4, 5).Init("w", w).Outputs("y").Node("MatMul", "w x -> y"))
	x := random(r, 2, 4, 5)
	xs, err = l[0].Unfold(l[0].Nodes[0], x)
	if err != nil || len(xs[0]) != 40 || xs[0][4] != x.Float32s()[1] || xs[0][1] != x.Float32s()[5] {
		t.Fatalf("columns of the right operand are not the rows of X: %v", err)
	}
}

func TestSharedWeight(t *testing.T) {
	w := random(rand.New(rand.NewPCG(7, 8)), 4, 4)
	b := testmodel.New(18).Input("x", onnxio.Float32, "b", 4).Init("w", w).Outputs("z").
		Node("MatMul", "x w -> y").Node("Relu", "y -> r").Node("MatMul", "r w -> z")
	layers, skipped := layersOf(t, b)
	if len(layers) != 1 || len(layers[0].Nodes) != 2 || len(skipped) != 0 {
		t.Fatalf("layers %v, skipped %v: expected one layer of two nodes", layers, skipped)
	}
	b.Node("Gather", "w i -> q").Int64s("i", 0)
	layers, skipped = layersOf(t, b)
	if len(layers) != 0 || len(skipped) != 2 || !strings.Contains(skipped[0].Reason, "Gather") {
		t.Fatalf("layers %v, skipped %v: expected none, because Gather reads the weight too", layers, skipped)
	}
}

func TestSkipped(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	f := func() *testmodel.Builder {
		return testmodel.New(18).Input("x", onnxio.Float32, 2, 4).Input("v", onnxio.Float32, 4, 4).Outputs("y")
	}
	for want, b := range map[string]*testmodel.Builder{
		"not constant":      f().Node("MatMul", "x v -> y"),
		"integer type":      f().Init("w", onnxio.NewTensor(onnxio.Int32, 4, 4)).Node("MatMul", "x w -> y"),
		"both operands":     f().Init("w", random(r, 4, 4)).Node("MatMul", "w w -> y"),
		"recurrent":         f().Init("w", random(r, 1, 4, 4)).Node("LSTM", "x w w -> y"),
		"batch of matrices": f().Init("w", random(r, 3, 4, 4)).Node("MatMul", "x w -> y"),
		"output of the":     f().Init("w", random(r, 4, 4)).Outputs("w").Node("MatMul", "x w -> y"),
		"computes on":       f().Init("w", onnxio.NewTensor(onnxio.Int8, 4, 4)).Node("MatMulInteger", "x w -> y"),
		"is empty":          f().Init("w", onnxio.NewTensor(onnxio.Float32, 4, 0)).Node("MatMul", "x w -> y"),
		"kernel_shape":      f().Init("w", random(r, 4, 4, 3)).Node("Conv", "x w -> y", "kernel_shape", []int64{5}),
		"cannot be split":   f().Init("w", random(r, 4, 4, 3)).Node("Conv", "x w -> y", "group", 3),
		"has no layout":     f().Init("w", random(r, 4, 4)).Node("Einsum", "x w -> y", "equation", "ab,bc->ac"),
		"fused operator":    f().Import("com.microsoft", 1).Init("w", random(r, 4, 4)).Node("com.microsoft::FusedMatMul", "x w -> y"),
		"also its input 2":  f().Init("w", random(r, 4, 4)).Node("Gemm", "x w w -> y"),
		"no convolution's":  f().Init("w", random(r, 4, 4)).Node("Conv", "x w -> y"),
	} {
		layers, skipped := layersOf(t, b)
		if len(layers) != 0 || len(skipped) != 1 || !strings.Contains(skipped[0].Reason, want) {
			t.Errorf("layers %v, skipped %v: expected the reason %q", layers, skipped, want)
		}
	}
	if layers, skipped := layersOf(t, f().Node("Relu", "x -> y")); len(layers)+len(skipped) != 0 {
		t.Errorf("layers %v, skipped %v: Relu has no weights", layers, skipped)
	}
}

func TestLayersInSubgraphs(t *testing.T) {
	w := random(rand.New(rand.NewPCG(11, 12)), 4, 4)
	branch := func(op string) *testmodel.Builder {
		return testmodel.New(18).Init("w"+op, w).Outputs("o"+op).Node("MatMul", "x w"+op+" -> o"+op)
	}
	b := testmodel.New(18).Input("x", onnxio.Float32, "b", 4).Input("c", onnxio.Bool).Outputs("y").
		Node("If", "c -> y", "then_branch", branch("a"), "else_branch", branch("b"))
	layers, _ := layersOf(t, b)
	if len(layers) != 2 {
		t.Fatalf("layers %v, expected one in each branch", layers)
	}
}

func TestHalfWeights(t *testing.T) {
	w, err := random(rand.New(rand.NewPCG(13, 14)), 4, 2).ConvertTo(onnxio.Float16)
	if err != nil {
		t.Fatal(err)
	}
	layers, _ := layersOf(t, testmodel.New(18).Input("x", onnxio.Float16, "b", 4).Init("w", w).Outputs("y").Node("MatMul", "x w -> y"))
	m, err := layers[0].Matrix()
	if err != nil {
		t.Fatal(err)
	}
	if err := layers[0].SetMatrix(m); err != nil {
		t.Fatal(err)
	}
	after, _ := layers[0].Weight.Tensor()
	if after.Type != onnxio.Float16 || !slices.Equal(after.Data.([]uint16), w.Data.([]uint16)) {
		t.Errorf("a float16 weight changed on its way through Matrix and SetMatrix: %v", after)
	}
}
