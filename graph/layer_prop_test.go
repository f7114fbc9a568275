package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func randomTensor(r *rand.Rand, shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = r.Float32()*2 - 1
	}
	return t
}

// convCase is a random convolution: x is (batch, group*cin, in...), w is in the file's layout.
type convCase struct {
	transpose                      bool
	group, rows, cin, batch        int
	in, kernel, strides, dilations []int
	pads                           []int64
	autoPad                        string
	x, w                           *onnxio.Tensor
}

func randomConv(r *rand.Rand) convCase {
	d := 1 + r.IntN(3)
	c := convCase{transpose: r.IntN(2) == 0, group: 1 + r.IntN(3), rows: 1 + r.IntN(3), cin: 1 + r.IntN(3), batch: 1 + r.IntN(2)}
	for range d {
		c.in = append(c.in, 3+r.IntN(4))
		c.kernel = append(c.kernel, 1+r.IntN(3))
		c.strides = append(c.strides, 1+r.IntN(3))
		c.dilations = append(c.dilations, 1+r.IntN(2))
	}
	for range 2 * d {
		c.pads = append(c.pads, int64(r.IntN(2)))
	}
	for i := range c.in {
		c.in[i] = max(c.in[i], (c.kernel[i]-1)*c.dilations[i]+1)
	}
	c.autoPad = []string{"NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}[r.IntN(5)]
	shape := []int{c.group * c.rows, c.cin}
	if c.transpose {
		shape = []int{c.group * c.cin, c.rows}
	}
	c.w = randomTensor(r, append(shape, c.kernel...)...)
	c.x = randomTensor(r, append([]int{c.batch, c.group * c.cin}, c.in...)...)
	if r.IntN(4) == 0 && c.group*c.rows > 1 { // a channel of zeros
		clear(c.x.Float32s()[:volume(c.in)])
	}
	return c
}

func (c convCase) graph(t *testing.T) *Graph {
	i64 := func(v []int) (out []int64) {
		for _, x := range v {
			out = append(out, int64(x))
		}
		return out
	}
	op := "Conv"
	if c.transpose {
		op = "ConvTranspose"
	}
	attrs := []any{"group", c.group, "strides", i64(c.strides), "dilations", i64(c.dilations), "auto_pad", c.autoPad}
	if c.autoPad == "NOTSET" {
		attrs = append(attrs, "pads", c.pads)
	}
	return mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, 1).Init("w", c.w).Node(op, "x w -> y", attrs...).Outputs("y"))
}

// naive computes the output in float64 by adding each product where it belongs, and its spatial sizes. It resolves padding on
// its own: pads holds the begins.
func (c convCase) naive(out, begins []int) []float64 {
	kv, ov, iv := volume(c.kernel), volume(out), volume(c.in)
	y := make([]float64, c.batch*c.group*c.rows*ov)
	for b := range c.batch {
		for ch := range c.group * c.rows {
			g, m := ch/c.rows, ch%c.rows
			for ci := range c.cin {
				for k := range kv {
					wi := (ch*c.cin+ci)*kv + k
					if c.transpose {
						wi = ((g*c.cin+ci)*c.rows+m)*kv + k
					}
					for p := range iv { // each input position meets each kernel position once
						o, ok := c.target(coords(p, c.in), coords(k, c.kernel), out, begins)
						if ok {
							y[(b*c.group*c.rows+ch)*ov+o] += float64(c.w.Float32s()[wi]) * float64(c.x.Float32s()[(b*c.group*c.cin+g*c.cin+ci)*iv+p])
						}
					}
				}
			}
		}
	}
	return y
}

// target is the output position to which input position p contributes through kernel position k.
func (c convCase) target(p, k, out, begins []int) (o int, ok bool) {
	for i := range p {
		var q int
		if c.transpose {
			q = p[i]*c.strides[i] + k[i]*c.dilations[i] - begins[i]
		} else {
			q = p[i] + begins[i] - k[i]*c.dilations[i]
			if q%c.strides[i] != 0 {
				return 0, false
			}
			q /= c.strides[i]
		}
		if q < 0 || q >= out[i] {
			return 0, false
		}
		o = o*out[i] + q
	}
	return o, true
}

// TestUnfoldTimesMatrixIsConv: X W^T equals the convolution itself, for random shapes of all kinds.
func TestUnfoldTimesMatrixIsConv(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		c := randomConv(r)
		name := fmt.Sprintf("case %d %+v", i, struct {
			T           bool
			G, R, C     int
			In, K, S, D []int
			P           []int64
			Auto        string
		}{c.transpose, c.group, c.rows, c.cin, c.in, c.kernel, c.strides, c.dilations, c.pads, c.autoPad})
		g := c.graph(t)
		layers, skipped := Layers(g)
		if c.cin*volume(c.kernel) < 2 {
			if len(layers) != 0 || len(skipped) != 1 {
				t.Errorf("%s: one column a row should be too small", name)
			}
			continue
		}
		if len(layers) != 1 {
			t.Fatalf("%s: %v", name, skipped)
		}
		l := layers[0]
		w, err := l.Window(l.Nodes[0])
		if err != nil {
			t.Fatal(err)
		}
		out, pads, err := w.Resolve(c.in)
		if c.transpose {
			out, pads, err = w.ResolveTranspose(c.in)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkProduct(t, name, l, c.x, c.naive(out, pads[:len(c.in)]), func(s, g, row int) int {
			ov := volume(out)
			return ((s/ov*c.group+g)*c.rows+row)*ov + s%ov
		})
	}
}

// checkProduct compares X W^T with want, where at gives the place in want of sample s and row of group g.
func checkProduct(t *testing.T, name string, l *Layer, x *onnxio.Tensor, want []float64, at func(s, g, row int) int) {
	t.Helper()
	w, err := l.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := l.Unfold(l.Nodes[0], x)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	samples := len(groups[0]) / l.Cols
	if samples*l.Groups*l.Rows != len(want) {
		t.Fatalf("%s: %d samples x %d x %d, output has %d elements", name, samples, l.Groups, l.Rows, len(want))
	}
	for g, rows := range groups {
		for s := range samples {
			for r := range l.Rows {
				var sum float64
				for j := range l.Cols {
					sum += float64(rows[s*l.Cols+j]) * float64(w[(g*l.Rows+r)*l.Cols+j])
				}
				if got := want[at(s, g, r)]; math.Abs(sum-got) > 1e-5 {
					t.Fatalf("%s: sample %d group %d row %d: %g, expected %g", name, s, g, r, sum, got)
				}
			}
		}
	}
}

// TestUnfoldTimesMatrixIsProduct does the same for Gemm and MatMul in all their forms.
func TestUnfoldTimesMatrixIsProduct(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	at := func(t *onnxio.Tensor, trans bool, i, j, rows, cols int) float64 {
		if trans {
			return float64(t.Float32s()[j*rows+i])
		}
		return float64(t.Float32s()[i*cols+j])
	}
	for i := range 200 {
		m, k, n := 1+r.IntN(5), 2+r.IntN(5), 1+r.IntN(5)
		left, transA, transB, batch := r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0, 1
		gemm := i%2 == 0
		alpha := 1.0
		aShape, bShape := []int{m, k}, []int{k, n}
		var attrs []any
		op := "MatMul"
		if gemm {
			op, alpha = "Gemm", 0.5
			if transA {
				aShape = []int{k, m}
			}
			if transB {
				bShape = []int{n, k}
			}
			attrs = []any{"alpha", alpha, "transA", b2i(transA), "transB", b2i(transB)}
		} else {
			transA, transB, batch = false, false, 1+r.IntN(3)
			if lead := []int{1, batch}; left {
				bShape = append(lead, bShape...)
			} else {
				aShape = append(lead, aShape...)
			}
		}
		a, b := randomTensor(r, aShape...), randomTensor(r, bShape...)
		x, w, wires := a, b, "x w -> y"
		if left {
			x, w, wires = b, a, "w x -> y"
		}
		g := mustNew(t, testmodel.New(18).Input("x", onnxio.Float32, 1).Init("w", w).Node(op, wires, attrs...).Outputs("y"))
		layers, skipped := Layers(g)
		if len(layers) != 1 {
			t.Fatal(skipped)
		}
		want := make([]float64, batch*m*n)
		for s := range batch {
			as, bs := a, b
			if left {
				bs = onnxio.TensorOf(b.Float32s()[s*k*n:(s+1)*k*n], k, n)
			} else {
				as = onnxio.TensorOf(a.Float32s()[s*m*k:(s+1)*m*k], m, k)
			}
			for i := range m {
				for j := range n {
					for q := range k {
						want[(s*m+i)*n+j] += alpha * at(as, transA, i, q, m, k) * at(bs, transB, q, j, k, n)
					}
				}
			}
		}
		checkProduct(t, fmt.Sprintf("%s left %v transA %v transB %v", op, left, transA, transB), layers[0], x, want, func(s, _, row int) int {
			if left { // samples are columns
				return (s/n*m+row)*n + s%n
			}
			return s*n + row
		})
	}
}

// TestLayoutRoundTrip: writing a matrix back gives the very weight, and blocks land where their weights do.
func TestLayoutRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		c := randomConv(r)
		layers, _ := Layers(c.graph(t))
		if len(layers) == 0 {
			continue
		}
		l := layers[0]
		before, _ := l.Weight.Const()
		want := append([]float32{}, before.Float32s()...)
		m, err := l.Matrix()
		if err != nil {
			t.Fatal(err)
		}
		if err := l.SetMatrix(m); err != nil {
			t.Fatal(err)
		}
		after, _ := l.Weight.Const()
		for i := range want {
			if want[i] != after.Float32s()[i] {
				t.Fatalf("weight %d became %g, was %g", i, after.Float32s()[i], want[i])
			}
		}
		// A block's number, spread over its weights in the matrix, must be the same number that lands in the file's block.
		for size := 1; size <= l.ChannelsIn; size++ {
			if l.ChannelsIn%size != 0 {
				if _, ok := BlocksToFileLayout(l, m, size); ok && len(l.Kernel) > 0 && volume(l.Kernel) > 1 {
					t.Error("blocks over the edge of a kernel position are accepted")
				}
				continue
			}
			blocks := make([]int, len(m)/size)
			spread := make([]int, len(m))
			for i := range blocks {
				blocks[i] = i
			}
			for i := range spread {
				spread[i] = i / size
			}
			stored, ok := BlocksToFileLayout(l, blocks, size)
			if !ok || len(stored) != len(blocks) {
				t.Fatal("no block layout")
			}
			full := ToFileLayout(l, spread)
			axis, inner := l.InputAxis(), 1
			for _, d := range after.Shape[axis+1:] {
				inner *= d
			}
			d := after.Shape[axis]
			for i, b := range full {
				outer, c := i/inner/d, i/inner%d
				if want := stored[(outer*(d/size)+c/size)*inner+i%inner]; b != want {
					t.Fatalf("weight %d is of block %d, file says %d", i, b, want)
				}
			}
		}
	}
}
