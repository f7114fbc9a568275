package obs

import "math"

// Loss is, per row, 1/2 dw H dw^T with dw = w - what; h is the d x d Hessian without damping, row-major and symmetric.
func Loss(w, what Matrix, h []float64) []float64 {
	out := make([]float64, w.Rows)
	dw := make([]float64, w.Cols)
	for r := range out {
		a, b := w.Row(r), what.Row(r)
		for i := range dw {
			dw[i] = float64(a[i]) - float64(b[i])
		}
		out[r] = quadratic(dw, h) / 2
	}
	return out
}

// quadratic is x H x^T; columns where x is zero cost nothing.
func quadratic(x []float64, h []float64) float64 {
	d, sum := len(x), 0.0
	for i, xi := range x {
		if xi == 0 {
			continue
		}
		row := h[i*d : i*d+i]
		s := 0.0
		for j, hij := range row {
			s += hij * x[j]
		}
		sum += xi * (2*s + xi*h[i*d+i])
	}
	return math.Max(sum, 0)
}
