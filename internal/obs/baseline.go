package obs

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sort"

	"github.com/obc-onnx/obc/internal/kernel"
)

// MagnitudeUnstructured removes the ceil(rows*cols*share) weights of least magnitude; nothing compensates.
func MagnitudeUnstructured(w Matrix, p *Prepared, share float64) (*Result, error) {
	return MagnitudeBlocks(w, p, 1, share)
}

// MagnitudeBlocks removes the ceil(rows*(cols/c)*share) blocks of c columns with the least sum of squares.
func MagnitudeBlocks(w Matrix, p *Prepared, c int, share float64) (*Result, error) {
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	if c < 1 || !(share >= 0 && share <= 1) {
		return nil, fmt.Errorf("blocks of %d, share %v: expected a block of at least 1 and a share of 0 to 1", c, share)
	}
	out, nb := w.Clone(), w.Cols/c
	norm := make([]float64, w.Rows*nb)
	order := make([]int, len(norm))
	for i := range norm {
		order[i] = i
		for _, v := range blockOf(w, i, nb, c) {
			norm[i] += float64(v) * float64(v)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return norm[order[a]] < norm[order[b]] })
	for _, i := range order[:int(math.Ceil(float64(len(order))*share))] {
		clear(blockOf(out, i, nb, c))
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols % c}, nil
}

// blockOf is block i of m, counting nb blocks of c columns a row.
func blockOf(m Matrix, i, nb, c int) []float32 {
	return m.Row(i / nb)[i%nb*c : (i%nb+1)*c]
}

// MagnitudeNM keeps the n largest of every m consecutive weights.
func MagnitudeNM(w Matrix, p *Prepared, n, m int) (*Result, error) {
	if err := checkNM(n, m); err != nil {
		return nil, err
	}
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	out := w.Clone()
	for i := range w.Rows * (w.Cols / m) {
		b := blockOf(out, i, w.Cols/m, m)
		for _, j := range leastOf(m-n, m, func(j int) float64 { return math.Abs(float64(b[j])) }) {
			b[j] = 0
		}
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols % m}, nil
}

// leastOf is the k of 0..m-1 with the least score, the earlier of equals.
func leastOf(k, m int, score func(int) float64) []int {
	at := make([]int, m)
	for i := range at {
		at[i] = i
	}
	sort.SliceStable(at, func(a, b int) bool { return score(at[a]) < score(at[b]) })
	return at[:k]
}

// RTN rounds every weight to the nearest point of g; masked weights become zero.
func RTN(w Matrix, p *Prepared, g *Grid, mask []bool) (*Result, error) {
	if err := checkQuantize(w, p, g, mask); err != nil {
		return nil, err
	}
	out := NewMatrix(w.Rows, w.Cols)
	for r := range w.Rows {
		for c, v := range w.Row(r) {
			if mask == nil || !mask[r*w.Cols+c] {
				_, out.Row(r)[c] = g.Quant(r, c, v)
			}
		}
	}
	return quantized(w, out, p, g), nil
}

// GPTQ quantizes the columns of every row in the same fixed order, so that one Cholesky factor serves all rows: columns
// by falling diagonal of H when actOrder is set, else as they stand. Masked weights become zero in their turn.
func GPTQ(ctx context.Context, w Matrix, p *Prepared, g *Grid, mask []bool, actOrder bool, o Options) (*Result, error) {
	if err := checkQuantize(w, p, g, mask); err != nil {
		return nil, err
	}
	f, err := newFixed(p, actOrder)
	if err != nil {
		return nil, err
	}
	out := NewMatrix(w.Rows, w.Cols)
	err = eachRow(ctx, w.Rows, o, func() []float32 { return make([]float32, w.Cols) }, func(x []float32, r int) error {
		p.start(w, r, x)
		for t, c := range f.order {
			v := float32(0)
			if mask == nil || !mask[r*w.Cols+c] {
				_, v = g.Quant(r, c, x[c])
			}
			out.Row(r)[c] = v
			f.step(x, t, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return quantized(w, out, p, g), nil
}

// SparseGPTNM keeps n of every m columns in fixed column order: when a group is reached, its m-n columns of least
// w^2/[L]_pp^2 are chosen, then removed in their turn.
func SparseGPTNM(ctx context.Context, w Matrix, p *Prepared, n, m int, o Options) (*Result, error) {
	if err := checkNM(n, m); err != nil {
		return nil, err
	}
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	f, err := newFixed(p, false)
	if err != nil {
		return nil, err
	}
	out := NewMatrix(w.Rows, w.Cols)
	err = eachRow(ctx, w.Rows, o, func() []float32 { return make([]float32, w.Cols) }, func(x []float32, r int) error {
		p.start(w, r, x)
		gone := make([]bool, w.Cols)
		for c := range w.Cols - w.Cols%m {
			if c%m == 0 {
				for _, j := range leastOf(m-n, m, func(j int) float64 { return f.score(x, c+j) }) {
					gone[c+j] = true
				}
			}
			if gone[c] {
				f.step(x, c, 0)
				x[c] = 0
			}
		}
		copy(out.Row(r), x)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols % m}, nil
}

// sparseGPTBlock is how many columns SparseGPTUnstructured chooses among at a time (the method's published block size).
const sparseGPTBlock = 128

// SparseGPTUnstructured removes the given share in fixed column order: within each block of 128 columns the weights of
// least w^2/[L]_pp^2 over all rows are chosen when the block is reached, then removed in their turn.
func SparseGPTUnstructured(ctx context.Context, w Matrix, p *Prepared, share float64, o Options) (*Result, error) {
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	if err := checkShare(share); err != nil {
		return nil, err
	}
	f, err := newFixed(p, false)
	if err != nil {
		return nil, err
	}
	out := NewMatrix(w.Rows, w.Cols)
	for r := range w.Rows {
		p.start(w, r, out.Row(r))
	}
	for lo := 0; lo < w.Cols; lo += sparseGPTBlock {
		hi := min(lo+sparseGPTBlock, w.Cols)
		gone := make([]bool, w.Rows*(hi-lo))
		k := int(math.Ceil(float64(len(gone)) * share))
		for _, i := range leastOf(k, len(gone), func(i int) float64 { return f.score(out.Row(i/(hi-lo)), lo+i%(hi-lo)) }) {
			gone[i] = true
		}
		block := o
		block.Progress = nil
		err := eachRow(ctx, w.Rows, block, func() struct{} { return struct{}{} }, func(_ struct{}, r int) error {
			x := out.Row(r)
			for c := lo; c < hi; c++ {
				if gone[r*(hi-lo)+c-lo] {
					f.step(x, c, 0)
					x[c] = 0
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &Result{W: out, Loss: Loss(w, out, p.H)}, nil
}

// fixed is the elimination of all columns in one order that all rows share: Hinv[order,order] = L L^T with L lower
// triangular, and eliminating column t moves the later ones by -(x_t - v)/L_tt * L[:,t]; rows of u are the columns of L.
type fixed struct {
	order []int
	u     []float32 // d x d, u[t*d+c] = L[column c, step t], 0 for columns eliminated before
}

func newFixed(p *Prepared, byDiagonal bool) (*fixed, error) {
	d := p.D
	f := &fixed{order: make([]int, d), u: make([]float32, d*d)}
	for i := range f.order {
		f.order[i] = i
	}
	if byDiagonal {
		sort.SliceStable(f.order, func(a, b int) bool { return p.H[f.order[a]*(d+1)] > p.H[f.order[b]*(d+1)] })
	}
	a := gather(nil, p.Hinv, d, f.order, f.order)
	if err := kernel.Cholesky64(a, d, runtime.GOMAXPROCS(0)); err != nil {
		return nil, fmt.Errorf("inverse Hessian cannot be factorised: %w: raise the damping", err)
	}
	for s, c := range f.order {
		for t, v := range a[s*d : s*d+s+1] {
			f.u[t*d+c] = float32(v)
		}
	}
	return f, nil
}

// step moves x for giving the column of step t the value v.
func (f *fixed) step(x []float32, t int, v float32) {
	d, c := len(f.order), f.order[t]
	u := f.u[t*d : (t+1)*d]
	e := (x[c] - v) / u[c]
	kernel.Axpy(-e, u, x)
}

// score is the cost of removing column c, times two, when order is the columns' own.
func (f *fixed) score(x []float32, c int) float64 {
	s := float64(x[c]) / float64(f.u[c*len(f.order)+c])
	return s * s
}
