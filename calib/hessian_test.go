package calib

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func randomTensor(r *rand.Rand, shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(r.NormFloat64())
	}
	return t
}

// oneLayer builds a model of a single node and gives its layer and the node.
func oneLayer(t testing.TB, build func(b *testmodel.Builder)) (*graph.Graph, *graph.Layer) {
	t.Helper()
	b := testmodel.New(18)
	build(b)
	g, err := graph.New(b.Outputs("y").Model())
	if err != nil {
		t.Fatal(err)
	}
	layers, skipped := graph.Layers(g)
	if len(layers) != 1 {
		t.Fatalf("layers %v, skipped %v", layers, skipped)
	}
	return g, layers[0]
}

// plainHessian is 2/N X^T X in float64, from the unfolded rows of the batches.
func plainHessian(t testing.TB, l *graph.Layer, batches ...*onnxio.Tensor) [][]float64 {
	t.Helper()
	h := make([][]float64, l.Groups)
	n := 0
	for _, x := range batches {
		xs, err := l.Unfold(l.Nodes[0], x)
		if err != nil {
			t.Fatal(err)
		}
		n += len(xs[0]) / l.Cols
		for g, rows := range xs {
			if h[g] == nil {
				h[g] = make([]float64, l.Cols*l.Cols)
			}
			for ; len(rows) > 0; rows = rows[l.Cols:] {
				for i, a := range rows[:l.Cols] {
					for j, b := range rows[:l.Cols] {
						h[g][i*l.Cols+j] += float64(a) * float64(b)
					}
				}
			}
		}
	}
	for _, m := range h {
		for i := range m {
			m[i] *= 2 / float64(n)
		}
	}
	return h
}

// sameMatrices compares with a tolerance relative to the geometric mean of the diagonal entries, as for correlations.
func sameMatrices(t testing.TB, what string, got, want [][]float64, d int) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d matrices, want %d", what, len(got), len(want))
	}
	for g := range want {
		for i := range d {
			for j := range d {
				a, b := got[g][i*d+j], want[g][i*d+j]
				scale := math.Sqrt(want[g][i*d+i] * want[g][j*d+j])
				if !(math.Abs(a-b) <= 1e-5*scale) {
					t.Fatalf("%s: group %d (%d, %d) is %v, want %v (scale %v)", what, g, i, j, a, b, scale)
				}
			}
		}
	}
}

func fastHessian(t testing.TB, l *graph.Layer, threads int, batches ...*onnxio.Tensor) [][]float64 {
	t.Helper()
	r := &rowsOf{layer: l, node: l.Nodes[0], gram: newGram(l.Groups, l.Cols, threads)}
	for _, x := range batches {
		s := &source{grams: []*gram{r.gram}}
		if err := s.take(r, x, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r.finish()
}

// convCase draws a convolution of any kind and batches that fit it.
func convCase(t testing.TB, r *rand.Rand) (*graph.Layer, []*onnxio.Tensor, string) {
	t.Helper()
	dims := 1 + r.IntN(3)
	groups := []int{1, 1, 2, 3, 5}[r.IntN(5)]
	cin, cout := 1+r.IntN(4), 1+r.IntN(3)
	if groups == 1 && r.IntN(4) == 0 {
		cin = 17
	}
	if groups == 5 {
		cin, cout = 1, 1
	}
	op, weight := "Conv", []int{groups * cout, cin}
	if r.IntN(3) == 0 {
		op, weight = "ConvTranspose", []int{groups * cin, cout}
	}
	var k, strides, dilations, pads, size []int64
	in := []int{2, groups * cin}
	for range dims {
		k = append(k, 1+r.Int64N(4))
		strides = append(strides, 1+r.Int64N(2)*r.Int64N(3))
		dilations = append(dilations, 1+r.Int64N(2)*r.Int64N(2))
		size = append(size, (k[len(k)-1]-1)*dilations[len(k)-1]+1+r.Int64N(7-2*int64(dims)+1))
	}
	for range 2 * dims {
		pads = append(pads, r.Int64N(3))
	}
	for i := range dims {
		weight, in = append(weight, int(k[i])), append(in, int(size[i]))
		if op == "ConvTranspose" { // pads cut the output: keep some of it
			pads[i], pads[dims+i] = min(pads[i], k[i]-1), 0
		}
	}
	attrs := []any{"group", int64(groups), "strides", strides, "dilations", dilations, "kernel_shape", k}
	switch auto := r.IntN(6); {
	case auto == 0:
		attrs = append(attrs, "auto_pad", "SAME_UPPER")
	case auto == 1:
		attrs = append(attrs, "auto_pad", "SAME_LOWER")
	case auto == 2:
		attrs = append(attrs, "auto_pad", "VALID")
	default:
		attrs = append(attrs, "pads", pads)
	}
	if weight[1] == 1 && elements(weight[2:]) == 1 || cin*elements(weight[2:]) < 2 {
		return convCase(t, r)
	}
	_, l := oneLayer(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32).Init("w", randomTensor(r, weight...)).Node(op, "x w -> y", attrs...)
	})
	batches := []*onnxio.Tensor{randomTensor(r, in...), randomTensor(r, in...)}
	return l, batches, fmt.Sprintf("%s weight %v in %v %v", op, weight, in, attrs)
}

func TestConvHessian(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 120 {
		l, batches, what := convCase(t, r)
		sameMatrices(t, what, fastHessian(t, l, 1+r.IntN(2), batches...), plainHessian(t, l, batches...), l.Cols)
	}
}

func TestMatrixHessian(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		op, wires string
		w, x      []int
		attrs     []any
	}{
		{"Gemm", "x w -> y", []int{7, 3}, []int{300, 7}, nil},
		{"Gemm", "x w -> y", []int{3, 7}, []int{20, 7}, []any{"transB", 1}},
		{"Gemm", "x w -> y", []int{7, 3}, []int{7, 20}, []any{"transA", 1}},
		{"Gemm", "w x -> y", []int{3, 7}, []int{7, 300}, nil},
		{"Gemm", "w x -> y", []int{7, 3}, []int{20, 7}, []any{"transA", 1, "transB", 1}},
		{"MatMul", "x w -> y", []int{7, 3}, []int{2, 5, 60, 7}, nil},
		{"MatMul", "x w -> y", []int{1, 7, 3}, []int{9, 7}, nil},
		{"MatMul", "x w -> y", []int{7, 3}, []int{7}, nil},
		{"MatMul", "w x -> y", []int{3, 7}, []int{4, 3, 7, 30}, nil},
		{"MatMul", "w x -> y", []int{3, 7}, []int{7}, nil},
	} {
		_, l := oneLayer(t, func(b *testmodel.Builder) {
			b.Input("x", onnxio.Float32).Init("w", randomTensor(r, c.w...)).Node(c.op, c.wires, c.attrs...)
		})
		batches := []*onnxio.Tensor{randomTensor(r, c.x...), randomTensor(r, c.x...)}
		sameMatrices(t, fmt.Sprint(c), fastHessian(t, l, 2, batches...), plainHessian(t, l, batches...), l.Cols)
		half := convert(t, batches[0], onnxio.Float16)
		sameMatrices(t, fmt.Sprint(c, "float16"), fastHessian(t, l, 1, half), plainHessian(t, l, convert(t, half, onnxio.Float32)), l.Cols)
		bad := randomTensor(r, append(c.x[:len(c.x)-1:len(c.x)-1], 5)...)
		bad2 := randomTensor(r, append([]int{5}, c.x[1:]...)...)
		g := &rowsOf{layer: l, node: l.Nodes[0], gram: newGram(1, l.Cols, 1)}
		_, err := g.take(bad, nil)
		_, err2 := g.take(bad2, nil)
		if err == nil && err2 == nil && len(c.x) == 2 {
			t.Errorf("%v: inputs of another size were taken", c)
		}
	}
}

// TestHessianBatches checks that the sums do not depend on how samples were cut into batches, nor on threads: bit for bit.
func TestHessianBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	_, l := oneLayer(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32).Init("w", randomTensor(r, 3, 5, 3, 3)).Node("Conv", "x w -> y", "pads", []int64{1, 1, 1, 1})
	})
	all := randomTensor(r, 24, 5, 7, 7)
	cut := func(sizes ...int) (list []*onnxio.Tensor) {
		at := 0
		for _, n := range sizes {
			list = append(list, onnxio.TensorOf(all.Float32s()[at*245:(at+n)*245], n, 5, 7, 7))
			at += n
		}
		return list
	}
	want := fastHessian(t, l, 1, all)
	for _, sizes := range [][]int{{24}, {1, 23}, {7, 9, 8}, {12, 12}} {
		got := fastHessian(t, l, 2, cut(sizes...)...)
		for i, v := range want[0] {
			if got[0][i] != v {
				t.Fatalf("batches %v: element %d is %v, want %v", sizes, i, got[0][i], v)
			}
		}
	}
}

func TestMaskedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	_, l := oneLayer(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32).Init("w", randomTensor(r, 6, 4)).Node("MatMul", "x w -> y")
	})
	mask := onnxio.TensorOf([]int64{1, 1, 0, 0, 1, 1, 1, 0}, 2, 4)
	x := randomTensor(r, 2, 4, 6)
	var kept []float32
	for i, m := range mask.Int64s() {
		if m != 0 {
			kept = append(kept, x.Float32s()[i*6:i*6+6]...)
		}
	}
	want := plainHessian(t, l, onnxio.TensorOf(kept, 5, 6))
	for _, shape := range [][]int{{2, 4, 6}, {8, 6}} {
		y := &onnxio.Tensor{Type: x.Type, Shape: shape, Data: x.Data}
		g := &rowsOf{layer: l, node: l.Nodes[0], gram: newGram(1, 6, 1)}
		skipped, err := g.take(y, keepRows(mask, y.Shape))
		if err != nil || skipped != 3 || g.n != 5 {
			t.Errorf("%v: %d skipped, %d taken, %v", shape, skipped, g.n, err)
		}
		sameMatrices(t, fmt.Sprint(shape), g.finish(), want, 6)
	}
	for _, shape := range [][]int{{2, 6}, {2, 4}, {4, 6}, {2, 5, 6}, {1, 4, 6}} {
		if keepRows(mask, shape) != nil {
			t.Errorf("the mask was applied to shape %v", shape)
		}
	}
	if k := keepRows(mask, []int{2, 3, 4, 5}); len(k) != 24 || k[2] || !k[8] || k[12+3] || !k[12+2] {
		t.Errorf("heads: %v", k)
	}
}
