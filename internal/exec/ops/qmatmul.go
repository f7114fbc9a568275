package ops

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// centred is an 8-bit tensor as int32 with its zero point taken off. zero has one entry, or one for each index of the axis
// that is second from last (rows) or last (columns); rows says which.
func centred(x, zero *tensor, rows bool) ([]int32, error) {
	wide, err := x.ConvertTo(onnxio.Int32)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(data[int32](wide))
	if x.Type != onnxio.Int8 && x.Type != onnxio.Uint8 {
		return nil, fmt.Errorf("element type %v given where int8 or uint8 is expected", x.Type)
	}
	if zero == nil {
		return out, nil
	}
	z, err := zero.ConvertTo(onnxio.Int32)
	if err != nil {
		return nil, err
	}
	zs := data[int32](z)
	n := 1
	if len(x.Shape) > 0 {
		n = x.Shape[len(x.Shape)-1]
	}
	m := 1
	if len(x.Shape) > 1 {
		m = x.Shape[len(x.Shape)-2]
	}
	count := n
	if rows {
		count = m
	}
	switch {
	case len(zs) == 1:
		for i := range out {
			out[i] -= zs[0]
		}
	case len(zs) == count && rows:
		for i := range out {
			out[i] -= zs[i/n%m]
		}
	case len(zs) == count:
		for i := range out {
			out[i] -= zs[i%n]
		}
	default:
		return nil, fmt.Errorf("%d zero points for data of shape %v", len(zs), x.Shape)
	}
	return out, nil
}

// intProduct adds the product of a (m x k) and b (k x n) to y, with sums in int32.
func intProduct(y, a, b []int32, m, n, k int) {
	for i := range m {
		row := y[i*n : (i+1)*n]
		for j, av := range a[i*k : (i+1)*k] {
			if av == 0 {
				continue
			}
			for col, bv := range b[j*n : (j+1)*n] {
				row[col] += av * bv
			}
		}
	}
}

// product8 is a product of 8-bit matrices: sum (a - za)(b - zb).
type product8 struct {
	p    matmulPlan
	rows int // of one matrix of a
	a    kernel.Codes
	za   []int32 // one, or for each of p.m rows
	b    []*kernel.IntMatrix
}

// constIntMatrix lays out a constant matrix (with trans: its transpose) at the first run; nil where it or its zero points, inputs b and zb,
// are not constant.
func constIntMatrix(p *exec.Prep, b, zb int, trans bool) func() *kernel.IntMatrix {
	t, zero := p.Const(b), p.Const(zb)
	if t == nil || !is8(t.Type) || len(t.Shape) != 2 || t.Len() == 0 || p.Given(zb) && zero == nil {
		return nil
	}
	z, err := zeroList(zero)
	if k, n := columnsOf(t, trans); err != nil || len(z) > 1 && len(z) != n {
		return nil
	} else {
		return sync.OnceValue(func() *kernel.IntMatrix { return intMatrix(turned(t, trans), k, n, 0, z) })
	}
}

// columnsOf are the rows and columns of a matrix, or of its transpose.
func columnsOf(t *tensor, trans bool) (k, n int) {
	if trans {
		return t.Shape[1], t.Shape[0]
	}
	return t.Shape[0], t.Shape[1]
}

// turned is an 8-bit matrix, or its transpose.
func turned(t *tensor, trans bool) *tensor {
	if !trans {
		return t
	}
	y := onnxio.NewTensor(t.Type, t.Shape[1], t.Shape[0])
	from, to := rawBytes(t), rawBytes(y)
	for i := range t.Shape[0] {
		for j, v := range from[i*t.Shape[1] : (i+1)*t.Shape[1]] {
			to[j*t.Shape[0]+i] = v
		}
	}
	return y
}

// newProduct8 looks at inputs a and b of the call, whose zero points are inputs za and zb; packed, if any, is b.
func newProduct8(c *exec.Call, a, za, b, zb int, packed func() *kernel.IntMatrix) (*product8, error) {
	p, err := planMatMul(c.In[a].Shape, c.In[b].Shape)
	if err != nil {
		return nil, err
	}
	q := &product8{p: p, rows: 1}
	cols := 1
	if s := c.In[a].Shape; len(s) > 1 {
		q.rows = s[len(s)-2]
	}
	if s := c.In[b].Shape; len(s) > 1 {
		cols = s[len(s)-1]
	}
	zeroA, err := zeroList(c.Input(za))
	if err != nil {
		return nil, err
	}
	zeroB, err := zeroList(c.Input(zb))
	if err != nil {
		return nil, err
	}
	if err := checkZeros(c.In[a], zeroA, q.rows); err != nil {
		return nil, err
	}
	if err := checkZeros(c.In[b], zeroB, cols); err != nil {
		return nil, err
	}
	for q.za = zeroA; len(zeroA) > 1 && len(q.za) < p.m; {
		q.za = append(q.za, zeroA...)
	}
	q.a, _ = codesFrom(c.In[a], 0)
	if packed != nil {
		q.b = []*kernel.IntMatrix{packed()}
		return q, nil
	}
	q.b = make([]*kernel.IntMatrix, size(c.In[b].Shape)/max(1, p.k*p.n))
	if p.k*p.n == 0 {
		q.b = make([]*kernel.IntMatrix, 1)
	}
	c.Parallel(len(q.b), p.k*p.n, func(lo, hi int) {
		for j := lo; j < hi; j++ {
			q.b[j] = intMatrix(c.In[b], p.k, p.n, j*p.k*p.n, zeroB)
		}
	})
	return q, nil
}

// each calls fn for each matrix of the result with that of a and with the threads for it.
func (q *product8) each(c *exec.Call, fn func(b *kernel.IntMatrix, a kernel.Codes, from, to, threads int)) {
	m, n, k := q.p.m, q.p.n, q.p.k
	one := func(threads int) func(i, j, o int) {
		return func(i, j, o int) {
			a := q.a
			a.Bytes = a.Bytes[i*m*k : (i+1)*m*k]
			fn(q.b[min(j, len(q.b)-1)], a, o*m*n, (o+1)*m*n, threads)
		}
	}
	if count := size(q.p.batch); count < c.Threads {
		q.p.batches(0, count, one(c.Threads))
	} else {
		c.Parallel(count, m*n*k/4, func(lo, hi int) { q.p.batches(lo, hi, one(1)) })
	}
}

// sums are the products as int32.
func (q *product8) sums(c *exec.Call) *tensor {
	y := c.New(onnxio.Int32, q.p.out...)
	out := data[int32](y)
	q.each(c, func(b *kernel.IntMatrix, a kernel.Codes, from, to, threads int) {
		b.Sums(q.p.m, a, q.za, out[from:to], threads)
	})
	return y
}

// floats sets y to (sums + add)*scale + bias with one number for each column, then applies e; add, bias and e may be nil.
func (q *product8) floats(c *exec.Call, y []float32, add []int32, scale, bias []float32, e *kernel.Epilogue) {
	if bias == nil {
		bias = make([]float32, q.p.n)
	}
	q.each(c, func(b *kernel.IntMatrix, a kernel.Codes, from, to, threads int) {
		b.Floats(q.p.m, a, q.za, add, scale, bias, e, y[from:to], threads)
	})
}

// codes rounds (sums + add)*factor to codes of type t with one zero point.
func (q *product8) codes(c *exec.Call, add []int32, factor []float32, t onnxio.DataType, zero float64) {
	y := c.New(t, q.p.out...)
	steps := c.Scratch(y.Len())
	q.floats(c, steps, add, factor, nil, nil)
	g := byteGrid{scale: 1, zero: zero, typ: t}
	out := rawBytes(y)
	c.Parallel(len(out), 2, func(lo, hi int) { g.codes(out[lo:hi], steps[lo:hi]) })
	c.Out[0] = y
}

func prepareMatMulInteger(_ *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	packed := constIntMatrix(p, 1, 3, false)
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		q, err := newProduct8(c, 0, 2, 1, 3, packed)
		if err != nil {
			return err
		}
		c.Out[0] = q.sums(c)
		return nil
	}, nil
}

// prepareQLinearMatMul: y = saturate(round((a - za)(b - zb) sa sb / sy) + zy).
func prepareQLinearMatMul(_ *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	packed := constIntMatrix(p, 3, 5, false)
	return func(c *exec.Call) error {
		if err := need(c, 8); err != nil {
			return err
		}
		if c.In[0].Type.IsFloat() || c.In[3].Type.IsFloat() || c.In[7].Type.IsFloat() {
			return qFloatMatMul(c)
		}
		q, err := newProduct8(c, 0, 2, 3, 5, packed)
		if err != nil {
			return err
		}
		return q.rounded(c)
	}, nil
}

// rounded writes the codes of a QLinearMatMul.
func (q *product8) rounded(c *exec.Call) error {
	var scales [3][]float64
	for i, in := range []int{1, 4, 6} {
		var err error
		if scales[i], err = floats(c.In[in]); err != nil {
			return err
		}
	}
	sa, sb, sy := scales[0], scales[1], scales[2]
	m, n := q.rows, q.p.n
	if len(sa) != 1 && len(sa) != m || len(sb) != 1 && len(sb) != n || len(sy) != 1 && len(sy) != m {
		return fmt.Errorf("%d, %d and %d scales for a product of %d x %d", len(sa), len(sb), len(sy), m, n)
	}
	zero, err := floats(c.In[7])
	if err != nil {
		return err
	}
	if len(zero) != 1 && len(zero) != m {
		return fmt.Errorf("%d zero points for a product of %d x %d", len(zero), m, n)
	}
	if len(sa)*len(sy)*len(zero) == 1 && is8(c.In[7].Type) {
		factor := make([]float32, n)
		for j := range factor {
			factor[j] = float32(rescale(sa[0], pick(sb, j), sy[0]))
		}
		q.codes(c, nil, factor, c.In[7].Type, zero[0])
		return nil
	}
	return requantize(c, q.sums(c), c.In[7].Type, func(i int) (float64, float64) {
		r, col := i/n%m, i%n
		return rescale(pick(sa, r), pick(sb, col), pick(sy, r)), pick(zero, r)
	})
}

// pick is entry i of a list, or its only one.
func pick(l []float64, i int) float64 {
	if len(l) == 1 {
		return l[0]
	}
	return l[i]
}

// requantize rounds int32 sums times a factor to codes of type t; of gives factor and zero point of element i.
func requantize(c *exec.Call, sums *tensor, t onnxio.DataType, of func(i int) (factor, zero float64)) error {
	lo, hi, ok := codeRange(t)
	if !ok || t.Bits() != 8 {
		return fmt.Errorf("cannot write codes of type %v, expected int8 or uint8", t)
	}
	y := c.New(t, sums.Shape...)
	in := data[int32](sums)
	code := func(i int) float64 {
		f, z := of(i)
		return max(lo, min(hi, math.RoundToEven(float64(float32(in[i])*float32(f)))+z))
	}
	c.Parallel(len(in), 8, func(from, to int) {
		switch out := y.Data.(type) {
		case []uint8:
			for i := from; i < to; i++ {
				out[i] = uint8(code(i))
			}
		case []int8:
			for i := from; i < to; i++ {
				out[i] = int8(code(i))
			}
		}
	})
	c.Out[0] = y
	return nil
}

// inferProduct: output 0 is the matrix product of inputs a and b, with the type of input like.
func inferProduct(a, b, like int) graph.InferRule {
	return func(n *graph.Node) error {
		s, err := matmulDims(shapeOf(n, a), shapeOf(n, b))
		n.SetOut(0, typeOf(n, like), s)
		return err
	}
}

func init() {
	exec.Register(
		exec.Op{Name: "MatMulInteger", Since: 10, Infer: inferMatMul(onnxio.Int32), Prepare: prepareMatMulInteger, Native: true},
		exec.Op{Name: "QLinearMatMul", Since: 10, Infer: inferProduct(0, 3, 7), Prepare: prepareQLinearMatMul, Native: true},
	)
}
