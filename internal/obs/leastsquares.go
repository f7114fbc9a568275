package obs

import (
	"context"
	"errors"
	"fmt"

	"github.com/obc-onnx/obc/internal/kernel"
)

var errSingular = errors.New("raise the damping")

// LeastSquares is the exact optimum of the kept weights of a given mask (rows*cols, true = zero), with H damped as p says:
//
//	w_K = (H_KK)^-1 H_K: w0
//
// k^3/6 multiply-adds a row of k kept weights.
func LeastSquares(ctx context.Context, w Matrix, mask []bool, p *Prepared, o Options) (*Result, error) {
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	if len(mask) != len(w.Data) {
		return nil, fmt.Errorf("mask has %d elements, the weight matrix %d", len(mask), len(w.Data))
	}
	type scratch struct{ a, b, x []float64 }
	h, d := p.damped(), w.Cols
	out := NewMatrix(w.Rows, d)
	err := eachRow(ctx, w.Rows, o, func() *scratch { return &scratch{} }, func(s *scratch, r int) error {
		s.x = resize(s.x, d)
		var kept []int
		for c, v := range w.Row(r) {
			s.x[c] = float64(v)
			if p.Dead[c] {
				s.x[c] = 0
			}
			if !mask[r*d+c] && !p.Dead[c] {
				kept = append(kept, c)
			}
		}
		s.a, s.b = gather(s.a, h, d, kept, kept), resize(s.b, len(kept))
		for i, c := range kept {
			s.b[i] = dot(h[c*d:(c+1)*d], s.x)
		}
		if len(kept) > 0 && !solveDefinite(s.a, s.b, len(kept)) {
			return fmt.Errorf("row %d: the Hessian of its %d kept columns is singular: %w", r, len(kept), errSingular)
		}
		for i, c := range kept {
			out.Row(r)[c] = float32(s.b[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Result{W: out, Loss: Loss(w, out, p.H)}, nil
}

// solveDefinite solves A x = b in place for symmetric positive definite A, n x n, and tells whether it was.
func solveDefinite(a, b []float64, n int) bool {
	if kernel.Cholesky64(a, n, 1) != nil {
		return false
	}
	for i := range n {
		b[i] = (b[i] - dot(a[i*n:i*n+i], b)) / a[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		b[i] /= a[i*n+i]
		axpy(-b[i], a[i*n:i*n+i], b)
	}
	return true
}
