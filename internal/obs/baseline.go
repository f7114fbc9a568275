package obs

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sort"
	"sync"

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
	out, nb := w.Clone(), p.whole(c)/c
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
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols - p.whole(c)}, nil
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
	out, nb := w.Clone(), p.whole(m)/m
	for i := range w.Rows * nb {
		b := blockOf(out, i, nb, m)
		for _, j := range leastOf(m-n, m, func(j int) float64 { return math.Abs(float64(b[j])) }) {
			b[j] = 0
		}
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols - p.whole(m)}, nil
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
	f, err := p.fixedOrder(actOrder)
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
	f, err := p.fixedOrder(false)
	if err != nil {
		return nil, err
	}
	out := NewMatrix(w.Rows, w.Cols)
	err = eachRow(ctx, w.Rows, o, func() []float32 { return make([]float32, w.Cols) }, func(x []float32, r int) error {
		p.start(w, r, x)
		gone := make([]bool, w.Cols)
		for c := range p.whole(m) {
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
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols - p.whole(m)}, nil
}

// sparseGPTBlock is how many columns SparseGPTBlocks chooses among at a time (the method's published block size).
const sparseGPTBlock = 128

// SparseGPTBlocks removes the given share of the blocks of c columns of several matrices of equal shape, each with its own Hessian, in
// fixed column order: within each stretch of 128 columns the blocks of least cost over all rows of all matrices are chosen when the
// stretch is reached, then removed in their turn. With L_BB the factor's part of block B, its cost is
//
//	1/2 |L_BB^-1 w_B|^2, for single weights w^2/(2 [L]_pp^2)
func SparseGPTBlocks(ctx context.Context, ws []Matrix, ps []*Prepared, c int, share float64, o Options) ([]*Result, error) {
	if err := checkShare(share); err != nil {
		return nil, err
	}
	fs, out := make([]*fixed, len(ws)), make([]*Result, len(ws))
	for k, w := range ws {
		if w.Cols != ws[0].Cols || c < 1 {
			return nil, fmt.Errorf("matrices of %d and %d columns, blocks of %d: expected equal columns and a block of at least 1", ws[0].Cols, w.Cols, c)
		}
		if err := checkShapes(w, ps[k]); err != nil {
			return nil, err
		}
		var err error
		if fs[k], err = ps[k].fixedOrder(false); err != nil {
			return nil, err
		}
		out[k] = &Result{W: ps[k].clean(w), LeftDense: w.Cols - ps[k].whole(c)}
	}
	o.Progress = nil
	stretch := max(sparseGPTBlock/c, 1) * c
	for lo := 0; len(ws) > 0 && lo < ps[0].whole(c); lo += stretch {
		if err := sparseGPTStretch(ctx, fs, out, c, lo, min(lo+stretch, ps[0].whole(c)), share, o); err != nil {
			return nil, err
		}
	}
	for k, w := range ws {
		out[k].Loss = Loss(w, out[k].W, ps[k].H)
	}
	return out, nil
}

// sparseGPTStretch chooses and removes blocks within columns lo..hi-1.
func sparseGPTStretch(ctx context.Context, fs []*fixed, out []*Result, c, lo, hi int, share float64, o Options) error {
	blocks := (hi - lo) / c // of a row
	type place struct{ k, row int }
	var rows []place
	for k, r := range out {
		for row := range r.W.Rows {
			rows = append(rows, place{k, row})
		}
	}
	cost := make([]float64, len(rows)*blocks)
	for i := range cost {
		at := rows[i/blocks]
		cost[i] = fs[at.k].blockScore(out[at.k].W.Row(at.row), lo+i%blocks*c, c)
	}
	gone := make([]bool, len(cost))
	if take := int(math.Ceil(float64(len(cost)) * share)); take > 0 {
		last, below := kth(cost, take-1)
		ties := take - below // blocks that cost as much as the last one taken
		for i, c := range cost {
			if gone[i] = c < last || c == last && ties > 0; c == last {
				ties--
			}
		}
	}
	return eachRow(ctx, len(rows), o, func() struct{} { return struct{}{} }, func(_ struct{}, i int) error {
		f, x := fs[rows[i].k], out[rows[i].k].W.Row(rows[i].row)
		for p := lo; p < hi; p++ {
			if gone[i*blocks+(p-lo)/c] {
				f.step(x, p, 0)
				x[p] = 0
			}
		}
		return nil
	})
}

// fixed is the elimination of all columns in one order that all rows share: Hinv[order,order] = L L^T with L lower
// triangular, and eliminating column t moves the later ones by -(x_t - v)/L_tt * L[:,t]; rows of u are the columns of L.
type fixed struct {
	order []int
	u     []float32 // d x d, u[t*d+c] = L[column c, step t], 0 for columns eliminated before
}

// fixedFactors keeps the factors of a Prepared, one for each order of columns, for the next level of the same layer.
type fixedFactors struct {
	mu         sync.Mutex
	own, byDia *fixed
}

// fixedOrder is newFixed, computed once.
func (p *Prepared) fixedOrder(byDiagonal bool) (*fixed, error) {
	if p.fixed == nil {
		return newFixed(p, byDiagonal)
	}
	p.fixed.mu.Lock()
	defer p.fixed.mu.Unlock()
	f := &p.fixed.own
	if byDiagonal {
		f = &p.fixed.byDia
	}
	if *f == nil {
		made, err := newFixed(p, byDiagonal)
		if err != nil {
			return nil, err
		}
		*f = made
	}
	return *f, nil
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

// blockScore is the cost of removing columns lo..lo+c-1, times two, when order is the columns' own: |L_BB^-1 w_B|^2 by forward substitution.
func (f *fixed) blockScore(x []float32, lo, c int) float64 {
	if c == 1 {
		return f.score(x, lo)
	}
	d, sum := len(f.order), 0.0
	y := make([]float64, c)
	for i := range y {
		v := float64(x[lo+i])
		for t := range i {
			v -= float64(f.u[(lo+t)*d+lo+i]) * y[t]
		}
		y[i] = v / float64(f.u[(lo+i)*d+lo+i])
		sum += y[i] * y[i]
	}
	return sum
}

// score is the cost of removing column c, times two, when order is the columns' own.
func (f *fixed) score(x []float32, c int) float64 {
	s := float64(x[c]) / float64(f.u[c*len(f.order)+c])
	return s * s
}
