package obs

import (
	"context"
	"fmt"
)

// leastFall is the share of a row's loss below which an exchange is not worth a step.
const leastFall = 1e-7

// refineRows refines the masks of all rows: mask is where res is zero, change alters the mask of a tableau so that the damped loss falls, and a
// row takes the new weights if its undamped loss fell.
func refineRows(ctx context.Context, w Matrix, res *Result, p *Prepared, m int, o Options, change func(s *tableau, row int) bool) (*Result, error) {
	if err := checkRefine(w, res, p); err != nil {
		return nil, err
	}
	h := p.damped()
	out := res.W.Clone()
	loss := Loss(w, out, p.H)
	err := eachRow(ctx, w.Rows, o, func() *tableau { return newTableau(p, h, m) }, func(s *tableau, row int) error {
		kept := make([]bool, w.Cols)
		for c, v := range out.Row(row) {
			kept[c] = v != 0
		}
		if !s.start(w.Row(row), kept) || !change(s, row) {
			return nil // H_KK is numerically singular: the row stays as it is
		}
		keepBetter(w, out, row, loss, s, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Result{W: out, Loss: loss, LeftDense: res.LeftDense}, nil
}

// keepBetter gives row of out the weights of s if that lowers its undamped loss.
func keepBetter(w, out Matrix, row int, loss []float64, s *tableau, p *Prepared) {
	x := NewMatrix(1, w.Cols)
	s.weights(x.Data)
	l := Loss(Matrix{1, w.Cols, w.Row(row)}, x, p.H)[0]
	if l < loss[row] {
		loss[row] = l
		copy(out.Row(row), x.Data)
	}
}

func checkRefine(w Matrix, res *Result, p *Prepared) error {
	if err := checkShapes(w, p); err != nil {
		return err
	}
	if res.W.Rows != w.Rows || res.W.Cols != w.Cols || len(res.W.Data) != len(w.Data) {
		return fmt.Errorf("result to refine is %d x %d, the weight matrix %d x %d", res.W.Rows, res.W.Cols, w.Rows, w.Cols)
	}
	return checkFinite(res.W)
}

// RefineNM lowers the loss of an N:M result by exchanges: in some group one kept weight is removed and one removed weight brought back, the
// exchange of the greatest fall in the whole row each time, until none is left. The weights are then the least squares of their mask.
// An exchange costs 2 pivots of a tableau; see there. Rows whose undamped loss would not fall stay as they are.
func RefineNM(ctx context.Context, w Matrix, res *Result, p *Prepared, n, m int, o Options) (*Result, error) {
	if err := checkNM(n, m); err != nil {
		return nil, err
	}
	return refineRows(ctx, w, res, p, m, o, func(s *tableau, row int) bool { return s.exchangeInGroups(n) })
}

// exchangeInGroups takes exchanges until none lowers the loss. It returns false if the kept columns' Hessian became singular.
func (s *tableau) exchangeInGroups(n int) bool {
	least := leastFall * s.loss()
	s.likely = func(c int) float64 {
		_, _, fall := s.bestInGroup(c-c%s.m, n)
		return fall
	}
	for range s.d {
		q, r, fall := s.bestInGroups(n)
		if !(fall > least) {
			return true
		}
		if !s.pivot(r) || q >= 0 && !s.pivot(q) {
			return false
		}
	}
	return true
}

// loss is the damped loss, from the gradient: 1/2 (w-w0)^T g = -1/2 w0_R^T g_R, as g is zero on the kept columns.
func (s *tableau) loss() float64 {
	sum := 0.0
	for i := range s.d {
		if !s.kept[i] {
			sum -= s.w0[i] * s.z[i]
		}
	}
	return sum / 2
}

// undampedLoss is the loss without what damping adds: loss - ridge/2 |w-w0|^2.
func (s *tableau) undampedLoss() float64 {
	if s.ridge == 0 {
		return s.loss()
	}
	sum := 0.0
	for i, w0 := range s.w0 {
		switch {
		case s.dead[i]:
		case s.kept[i]:
			sum += (s.z[i] + w0) * (s.z[i] + w0)
		default:
			sum += w0 * w0
		}
	}
	return s.loss() - s.ridge/2*sum
}

// bestInGroups is the exchange of kept column q and removed column r of one group that lowers the loss most; q is -1 where a group has
// fewer than n kept columns, as dead columns leave it.
func (s *tableau) bestInGroups(n int) (q, r int, fall float64) {
	q, r = -1, -1
	for lo := 0; lo < s.whole; lo += s.m {
		if a, b, f := s.bestInGroup(lo, n); f > fall {
			q, r, fall = a, b, f
		}
	}
	return q, r, fall
}

func (s *tableau) bestInGroup(lo, n int) (q, r int, fall float64) {
	m, kept := s.m, 0
	q, r = -1, -1
	if lo >= s.whole {
		return q, r, 0
	}
	for i := lo; i < lo+m; i++ {
		if s.kept[i] && !s.dead[i] {
			kept++
		}
	}
	for b := lo; b < lo+m; b++ {
		if s.kept[b] || s.dead[b] || !(s.diag[b] > 0) {
			continue
		}
		gain := s.gain(b)
		if kept < n && gain > fall {
			q, r, fall = -1, b, gain
		}
		if kept < n || gain <= fall {
			continue
		}
		for a := lo; a < lo+m; a++ {
			if s.kept[a] && !s.dead[a] {
				if f := gain + s.gainAfter(a, b, s.near[a*m+b-lo]); f > fall {
					q, r, fall = a, b, f
				}
			}
		}
	}
	return q, r, fall
}

// gainAfter is gain(a) as it will be after a pivot on b; x is S_ab.
func (s *tableau) gainAfter(a, b int, x float64) float64 {
	z := s.z[a] - x*s.z[b]/s.diag[b]
	return z * z / (s.diag[a] - x*x/s.diag[b]) / 2
}
