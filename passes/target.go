package passes

import (
	"math"
	"slices"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/internal/obs"
)

// ridges are the shares of H's mean diagonal that are tried as damping of W*; after them, W* = W.
var ridges = []float64{1e-3, 1e-2, 1e-1, 1}

// target is the weight that comes nearest to the dense output when the input is y and not x,
//
//	W* = W + D (H + ridge)^-1,  D = W (C - H),
//
// with the ridge for which fitting one half of the samples lowers the error on the other half most, both ways added up:
//
//	error of a change A on (H, C), less that without one:  tr(A H A^T) - 2 tr(A D^T)
//
// and W itself, with moved = false, when none lowers it. h is the Hessians of all samples.
func (l *LayerState) target(w []float32, halves [2]calib.Cross, threads int) (target []float32, h [][]float64, moved bool, err error) {
	all := calib.Joined(halves)
	best, least := 0.0, 0.0
	if halves[0].N > 0 && halves[1].N > 0 {
		for _, ridge := range ridges {
			sum := 0.0
			for k, fit := range halves {
				try := halves[1-k]
				for g := range fit.H {
					d := l.missing(w, fit, g, threads)
					change, err := l.change(d, fit.H[g], ridge, threads)
					if err != nil {
						return nil, nil, false, err
					}
					sum += l.errorOf(change, try.H[g], l.missing(w, try, g, threads), threads)
				}
			}
			if sum < least {
				best, least = ridge, sum
			}
		}
	}
	out := slices.Clone(w)
	if best == 0 {
		return out, all.H, false, nil
	}
	n := l.Rows * l.Cols
	for g := range all.H {
		change, err := l.change(l.missing(w, all, g, threads), all.H[g], best, threads)
		if err != nil {
			return nil, nil, false, err
		}
		for i, c := range change {
			out[g*n+i] += float32(c)
		}
	}
	return out, all.H, true, nil
}

// missing is D = W (C - H) of group g, rows x columns.
func (l *LayerState) missing(w []float32, m calib.Cross, g, threads int) []float64 {
	d, n := l.Cols, l.Rows*l.Cols
	diff, wide := make([]float64, d*d), make([]float64, n)
	for i, c := range m.C[g] {
		diff[i] = c - m.H[g][i]
	}
	for i, v := range w[g*n : (g+1)*n] {
		wide[i] = float64(v)
	}
	return product(l.Rows, d, wide, diff, threads)
}

// change is D (H + ridge)^-1, zero in dead columns.
func (l *LayerState) change(missing, h []float64, ridge float64, threads int) ([]float64, error) {
	p, err := obs.Prepare(h, l.Cols, max(ridge, l.Plan.Damping))
	if err != nil {
		return nil, err
	}
	change := product(l.Rows, l.Cols, missing, p.Hinv, threads)
	for i := range change {
		if p.Dead[i%l.Cols] {
			change[i] = 0
		}
	}
	return change, nil
}

// errorOf is tr(A H A^T) - 2 tr(A D^T); +Inf if it is no number.
func (l *LayerState) errorOf(change, h, missing []float64, threads int) float64 {
	sum := 0.0
	for i, v := range product(l.Rows, l.Cols, change, h, threads) {
		sum += change[i] * (v - 2*missing[i])
	}
	if math.IsNaN(sum) {
		return math.Inf(1)
	}
	return sum
}

// product is A B, A rows x d, B d x d.
func product(rows, d int, a, b []float64, threads int) []float64 {
	out := make([]float64, rows*d)
	kernel.Dgemm(false, false, rows, d, d, 1, a, d, b, d, 0, out, d, threadsOf(threads))
	return out
}
