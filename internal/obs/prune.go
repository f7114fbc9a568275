package obs

import (
	"context"
	"fmt"
)

// Unstructured removes ceil(rows*cols*share) weights, one mask over all rows: each row's greedy trace is computed, and the
// cheapest steps over all rows are taken.
func Unstructured(ctx context.Context, w Matrix, p *Prepared, share float64, o Options) (*Result, error) {
	return Blocks(ctx, w, p, 1, share, o)
}

// Blocks is Unstructured over blocks of c consecutive columns that become zero together: ceil(rows*(cols/c)*share) blocks
// go. Trailing columns that do not fill a block are left alone.
func Blocks(ctx context.Context, w Matrix, p *Prepared, c int, share float64, o Options) (*Result, error) {
	if err := checkShare(share); err != nil {
		return nil, err
	}
	t, err := NewTrace(ctx, w, p, c, o)
	if err != nil {
		return nil, err
	}
	defer t.Release()
	out, err := t.At(ctx, t.Counts(share))
	if err != nil {
		return nil, err
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols - p.whole(c)}, nil
}

// NM keeps n of every m consecutive columns of each row, removing the cheapest column whose group may still lose one.
// Trailing columns that do not fill a group are left alone.
func NM(ctx context.Context, w Matrix, p *Prepared, n, m int, o Options) (*Result, error) {
	if err := checkNM(n, m); err != nil {
		return nil, err
	}
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	out, err := nm32or64(ctx, w, p, n, m, o)
	if err != nil {
		return nil, err
	}
	return &Result{W: out, Loss: Loss(w, out, p.H), LeftDense: w.Cols - p.whole(m)}, nil
}

func nm32or64(ctx context.Context, w Matrix, p *Prepared, n, m int, o Options) (Matrix, error) {
	return inPrecision(p,
		func() (Matrix, error) {
			return solveRows(ctx, w, p, o, func() rule[float32] { return &groups[float32]{n: n, m: m} })
		},
		func() (Matrix, error) {
			return solveRows(ctx, w, p, o, func() rule[float64] { return &groups[float64]{n: n, m: m} })
		})
}

func checkNM(n, m int) error {
	if n < 1 || m < 2 || n >= m {
		return fmt.Errorf("%d:%d sparsity: expected N:M with 1 <= N < M, such as 2:4 (N of M weights are kept)", n, m)
	}
	return nil
}

func checkShare(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("share of weights to remove is %v, expected 0 to 1", share)
	}
	return nil
}
