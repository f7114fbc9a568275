package obs

import (
	"math"
	"runtime"

	"github.com/obc-onnx/obc/internal/kernel"
)

// lossRows is how many rows are multiplied by the Hessian at a time: enough to be limited by arithmetic, few enough that their
// float64 copies stay small beside the Hessian.
const lossRows = 64

// Loss is, per row, 1/2 dw H dw^T with dw = w - what; h is the d x d Hessian without damping, row-major and symmetric.
func Loss(w, what Matrix, h []float64) []float64 {
	d, threads := w.Cols, runtime.GOMAXPROCS(0)
	out := make([]float64, w.Rows)
	n := max(2, min(lossRows, w.Rows)) * d // at least two rows, so that a row's sums do not depend on how many others there are
	dw, g := kernel.Slab[float64](n), kernel.Slab[float64](n)
	defer kernel.ReleaseSlab(dw)
	defer kernel.ReleaseSlab(g)
	for r := 0; r < w.Rows; r += lossRows {
		n := min(lossRows, w.Rows-r)
		for i := range dw[:n*d] {
			dw[i] = float64(w.Data[r*d+i]) - float64(what.Data[r*d+i])
		}
		clear(dw[n*d:])
		m := max(n, 2)
		kernel.Dgemm(false, false, m, d, d, 1, dw, d, h, d, 0, g, d, threads)
		for i := range n {
			sum := 0.0
			for j, x := range dw[i*d : (i+1)*d] {
				sum += x * g[i*d+j]
			}
			out[r+i] = math.Max(sum, 0) / 2
		}
	}
	return out
}
