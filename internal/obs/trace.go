package obs

import (
	"context"
	"fmt"
	"math"
	"sort"
)

// Trace is the whole elimination of a layer: every row pruned step by step, cheapest block of C columns first, until
// nothing is left. From it any sparsity of any row can be had.
type Trace struct {
	Rows, Cols, C int
	Steps         int       // blocks a row: Cols / C
	Cost          []float64 // Rows x Steps: rise of the (damped) loss by each step, in order
	Order         []int32   // Rows x Steps: the block that each step removes
	w             Matrix
	p             *Prepared
	o             Options
	kept          []float32 // Rows x Steps x Cols
}

// NewTrace eliminates every row of w completely. c = 1 is unstructured.
func NewTrace(ctx context.Context, w Matrix, p *Prepared, c int, o Options) (*Trace, error) {
	if c < 1 {
		return nil, fmt.Errorf("block size is %d, expected at least 1", c)
	}
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	steps := w.Cols / c
	t := &Trace{Rows: w.Rows, Cols: w.Cols, C: c, Steps: steps, Cost: make([]float64, w.Rows*steps), Order: make([]int32, w.Rows*steps),
		w: w, p: p, o: o, kept: make([]float32, w.Rows*steps*w.Cols)}
	err := eachRow(ctx, w.Rows, o, func() struct{} { return struct{}{} }, func(_ struct{}, r int) error {
		e, s := newPlain(w.Row(r), p), 0
		e.trace(c, func(block int, cost float64) {
			t.Cost[r*steps+s], t.Order[r*steps+s] = cost, int32(block)
			for i, v := range e.w {
				t.kept[(r*steps+s)*w.Cols+i] = float32(v)
			}
			s++
		})
		return nil
	})
	return t, err
}

// Counts is how many blocks each row loses when ceil(Rows*Steps*share) steps are taken, those of least cost over all rows.
func (t *Trace) Counts(share float64) []int {
	order := make([]int, len(t.Cost))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return t.Cost[order[a]] < t.Cost[order[b]] })
	counts := make([]int, t.Rows)
	for _, i := range order[:int(math.Ceil(float64(len(order))*share))] {
		counts[i/t.Steps]++
	}
	return counts
}

// At is the weight matrix with counts[r] blocks of row r removed.
func (t *Trace) At(ctx context.Context, counts []int) (Matrix, error) {
	ms, err := t.Levels(ctx, [][]int{counts})
	if err != nil {
		return Matrix{}, err
	}
	return ms[0], nil
}

// Levels is At for several levels at once: the way to fill a level database, since a trace that did not fit into memory is run again only once.
func (t *Trace) Levels(ctx context.Context, counts [][]int) ([]Matrix, error) {
	out := make([]Matrix, len(counts))
	for l, cs := range counts {
		if len(cs) != t.Rows {
			return nil, fmt.Errorf("level %d has counts for %d rows, expected %d", l, len(cs), t.Rows)
		}
		out[l] = NewMatrix(t.Rows, t.Cols)
		for r, n := range cs {
			if n < 0 || n > t.Steps {
				return nil, fmt.Errorf("level %d removes %d blocks of row %d, expected 0 to %d", l, n, r, t.Steps)
			}
			if n == 0 {
				t.p.start(t.w, r, out[l].Row(r))
				continue
			}
			copy(out[l].Row(r), t.kept[(r*t.Steps+n-1)*t.Cols:])
		}
	}
	return out, ctx.Err()
}
