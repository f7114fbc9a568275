package ops

import (
	"fmt"
	"math"
	"slices"

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

// productOf multiplies inputs a and b of the call, whose zero points are inputs za and zb, with sums in int32. It also
// returns the number of rows of a matrix of a.
func productOf(c *exec.Call, a, za, b, zb int) (y *tensor, _ int, err error) {
	p, err := planMatMul(c.In[a].Shape, c.In[b].Shape)
	if err != nil {
		return nil, 0, err
	}
	rows, cols := 1, 1
	if s := c.In[a].Shape; len(s) > 1 {
		rows = s[len(s)-2]
	}
	if s := c.In[b].Shape; len(s) > 1 {
		cols = s[len(s)-1]
	}
	zeroA, err := zeroList(c.Input(za))
	if err != nil {
		return nil, 0, err
	}
	zeroB, err := zeroList(c.Input(zb))
	if err != nil {
		return nil, 0, err
	}
	av, err := pairRows(c, c.In[a], rows, p.k, zeroA)
	if err != nil {
		return nil, 0, err
	}
	bv, err := pairCols(c, c.In[b], p.k, cols, zeroB)
	if err != nil {
		return nil, 0, err
	}
	y = c.New(onnxio.Int32, p.out...)
	out, m, n, k := data[int32](y), p.m, p.n, kernel.PairLen(p.k)
	one := func(threads int) func(i, j, o int) {
		return func(i, j, o int) {
			kernel.IntProduct(m, n, k, av[i*m*k:(i+1)*m*k], bv[j*k*n:(j+1)*k*n], out[o*m*n:(o+1)*m*n], threads)
		}
	}
	if count := size(p.batch); count < c.Threads {
		p.batches(0, count, one(c.Threads))
	} else {
		c.Parallel(count, m*n*k/4, func(lo, hi int) { p.batches(lo, hi, one(1)) })
	}
	return y, rows, nil
}

func matMulInteger(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	y, _, err := productOf(c, 0, 2, 1, 3)
	c.Out[0] = y
	return err
}

// qLinearMatMul: y = saturate(round((a - za)(b - zb) sa sb / sy) + zy).
func qLinearMatMul(c *exec.Call) error {
	if err := need(c, 8); err != nil {
		return err
	}
	if c.In[0].Type.IsFloat() || c.In[3].Type.IsFloat() || c.In[7].Type.IsFloat() {
		return qFloatMatMul(c)
	}
	sums, m, err := productOf(c, 0, 2, 3, 5)
	if err != nil {
		return err
	}
	var scales [3][]float64
	for i, in := range []int{1, 4, 6} {
		if scales[i], err = floats(c.In[in]); err != nil {
			return err
		}
	}
	sa, sb, sy := scales[0], scales[1], scales[2]
	n := 1
	if s := c.In[3].Shape; len(s) > 1 {
		n = s[len(s)-1]
	}
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
	if len(sb) == 1 && len(zero) == 1 && is8(c.In[7].Type) {
		y := c.New(c.In[7].Type, sums.Shape...)
		c.Out[0] = y
		requantRows(c, y, data[int32](sums), n, int32(zero[0]), func(r int) float64 { return pick(sa, r%m) * sb[0] / pick(sy, r%m) })
		return nil
	}
	return requantize(c, sums, c.In[7].Type, func(i int) (float64, float64) {
		r, col := i/n%m, i%n
		return pick(sa, r) * pick(sb, col) / pick(sy, r), pick(zero, r)
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
		exec.Op{Name: "MatMulInteger", Since: 10, Infer: inferMatMul(onnxio.Int32), Prepare: always(matMulInteger), Native: true},
		exec.Op{Name: "QLinearMatMul", Since: 10, Infer: inferProduct(0, 3, 7), Prepare: always(qLinearMatMul), Native: true},
	)
}
