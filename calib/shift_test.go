package calib

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// shiftCase is a convolution of stride 1.
type shiftCase struct {
	channels, groups int // channels of a group
	kernel, size     []int64
	pads, dilations  []int64
}

var shiftCases = []shiftCase{
	{16, 1, []int64{3, 3}, []int64{14, 14}, []int64{1, 1, 1, 1}, nil},
	{20, 1, []int64{3, 3}, []int64{7, 7}, []int64{1, 1, 1, 1}, nil},
	{50, 1, []int64{3, 3}, []int64{5, 20}, []int64{1, 1, 1, 1}, nil},
	{16, 1, []int64{3, 3}, []int64{40, 20}, nil, nil}, // more than one block of pixels
	{16, 1, []int64{5, 5}, []int64{9, 10}, []int64{2, 2, 2, 2}, nil},
	{16, 1, []int64{7, 7}, []int64{9, 8}, []int64{3, 3, 3, 3}, nil},
	{16, 1, []int64{5, 3}, []int64{6, 5}, []int64{0, 1, 3, 2}, nil},
	{16, 1, []int64{3, 3}, []int64{2, 3}, []int64{2, 2, 2, 2}, nil},
	{16, 1, []int64{7, 7}, []int64{3, 3}, []int64{3, 3, 3, 3}, nil}, // no pixel is seen from all positions
	{16, 1, []int64{3, 3}, []int64{12, 12}, []int64{2, 2, 2, 2}, []int64{2, 2}},
	{16, 1, []int64{3, 2}, []int64{9, 8}, []int64{3, 0, 1, 5}, []int64{3, 1}},
	{16, 1, []int64{3, 3}, []int64{1, 9}, []int64{1, 1, 1, 1}, nil},
	{16, 1, []int64{5}, []int64{50}, []int64{2, 2}, nil},
	{18, 2, []int64{3, 3}, []int64{14, 14}, []int64{1, 1, 1, 1}, nil},
	{1, 6, []int64{3, 3}, []int64{14, 14}, []int64{1, 1, 1, 1}, nil},
	{1, 5, []int64{5, 5}, []int64{7, 7}, []int64{2, 2, 2, 2}, nil},
	{2, 3, []int64{3, 3}, []int64{30, 30}, []int64{1, 0, 0, 2}, nil},
	{4, 1, []int64{3, 3}, []int64{8, 8}, []int64{1, 1, 1, 1}, []int64{2, 1}},
}

func (c shiftCase) layer(t testing.TB, r *rand.Rand) *graph.Layer {
	weight := []int{c.groups * 2, c.channels}
	attrs := []any{"group", int64(c.groups)}
	for _, k := range c.kernel {
		weight = append(weight, int(k))
	}
	if c.pads != nil {
		attrs = append(attrs, "pads", c.pads)
	}
	if c.dilations != nil {
		attrs = append(attrs, "dilations", c.dilations)
	}
	_, l := oneLayer(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32).Init("w", randomTensor(r, weight...)).Node("Conv", "x w -> y", attrs...)
	})
	return l
}

func (c shiftCase) input(r *rand.Rand, n int) *onnxio.Tensor {
	shape := []int{n, c.channels * c.groups}
	for _, s := range c.size {
		shape = append(shape, int(s))
	}
	return randomTensor(r, shape...)
}

// shifted is the Hessian by offsets.
func (c shiftCase) shifted(t *testing.T, l *graph.Layer, threads int, batches ...*onnxio.Tensor) [][]float64 {
	t.Helper()
	r := &rowsOf{layer: l, node: l.Nodes[0], gram: newGram(l.Groups, l.Cols, threads)}
	for i, x := range batches {
		if i == 0 {
			u, err := newUnfolding(l, l.Nodes[0], x.Shape[2:])
			if err != nil {
				t.Fatal(err)
			}
			if !u.shifting() {
				t.Errorf("%+v: sums by offset are not chosen", c)
			}
			r.u, r.shape = u, x.Shape[2:]
			r.shift = newShiftGram(u, l.Groups, threads)
			r.shifted = append(r.shifted, r.shift)
		}
		if err := r.takeImages(x); err != nil {
			t.Fatal(err)
		}
	}
	return r.finish()
}

// Sums by offset make the Hessian of the plain unfolding, in the same bytes for any batches and threads.
func TestShiftedHessian(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, c := range shiftCases {
		l := c.layer(t, r)
		a, b := c.input(r, 3), c.input(r, 2)
		want := plainHessian(t, l, a, b)
		got := c.shifted(t, l, 2, a, b)
		sameMatrices(t, fmt.Sprintf("%+v", c), got, want, l.Cols)
		all := onnxio.TensorOf(append(append([]float32(nil), a.Float32s()...), b.Float32s()...), append([]int{5}, a.Shape[1:]...)...)
		for g, h := range c.shifted(t, l, 3, all) {
			for i, v := range h {
				if v != got[g][i] {
					t.Fatalf("%+v: element %d of group %d is %v in one batch, %v in two", c, i, g, v, got[g][i])
				}
			}
		}
	}
}

// Inputs that are never seen leave exact zeros, by which dead columns are found.
func TestShiftedHessianKeepsZeros(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	c := shiftCase{16, 1, []int64{3, 3}, []int64{12, 12}, []int64{1, 1, 1, 1}, nil}
	l, x := c.layer(t, r), c.input(r, 2)
	for i := range x.Float32s() {
		if i%12 != 11 { // all but the last column
			x.Float32s()[i] = 0
		}
	}
	want := plainHessian(t, l, x)
	zeros := 0
	for i, v := range c.shifted(t, l, 2, x)[0] {
		if want[0][i] == 0 {
			zeros++
			if v != 0 {
				t.Fatalf("element %d is %v, want exactly 0", i, v)
			}
		}
	}
	if zeros == 0 {
		t.Error("the example has no zeros")
	}
}

// Images may change their size from batch to batch.
func TestShiftedHessianChangesShape(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, c := range []shiftCase{{16, 1, []int64{3, 3}, nil, []int64{1, 1, 1, 1}, nil}, {1, 4, []int64{3, 3}, nil, []int64{1, 1, 1, 1}, nil}} {
		l := c.layer(t, r)
		var batches []*onnxio.Tensor
		for _, n := range []int64{14, 9, 2, 14} {
			c.size = []int64{n, n + 1}
			batches = append(batches, c.input(r, 2))
		}
		sameMatrices(t, fmt.Sprintf("%+v", c), fastHessian(t, l, 2, batches...), plainHessian(t, l, batches...), l.Cols)
	}
}

// BenchmarkConvHessian is the Hessian of one batch of images; compare with bench/solver.py.
func BenchmarkConvHessian(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ channels, size, kernel, groups int }{
		{64, 56, 3, 1}, {128, 28, 3, 1}, {256, 14, 3, 1}, {512, 7, 3, 1}, {64, 28, 5, 1}, {64, 28, 7, 1}, {1, 28, 3, 128},
	} {
		k, p := int64(c.kernel), int64(c.kernel/2)
		s := shiftCase{c.channels, c.groups, []int64{k, k}, []int64{int64(c.size), int64(c.size)}, []int64{p, p, p, p}, nil}
		l, x := s.layer(b, r), s.input(r, 32)
		b.Run(fmt.Sprintf("channels=%d/groups=%d/size=%d/kernel=%d", c.channels, c.groups, c.size, c.kernel), func(b *testing.B) {
			for b.Loop() {
				g := &rowsOf{layer: l, node: l.Nodes[0], gram: newGram(l.Groups, l.Cols, 2)}
				if err := g.takeImages(x); err != nil {
					b.Fatal(err)
				}
				g.finish()
			}
		})
	}
}
