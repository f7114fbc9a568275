package main

import (
	"context"
	"fmt"
	"math"

	"github.com/obc-onnx/obc/internal/atomicfile"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/internal/report"
)

// growthColumns are the numbers of columns that the growth is measured at.
var growthColumns = []int{64, 128, 192, 288, 384, 576, 768, 1152, 1536, 2304, 3072, 4608}

// benchGrowth times rows over the number of columns.
func (a *app) benchGrowth(ctx context.Context, b solverBench) error {
	columns := b.columns
	if len(columns) == 0 {
		columns = growthColumns
	}
	plot := report.LogPlot{Title: "Time of the solver a row", X: "columns of the layer", Y: "ms a row"}
	speed := a.productSpeed(&b)
	a.remark("# matrix product, 1024 x 1024 x 1024: %.0f GFLOP/s with %d threads\n", speed/1e9, a.threads)
	for _, m := range b.methods {
		line, bound := report.Curve{Name: m}, report.Curve{Name: m + ": multiply-adds at the speed of the matrix product", Dashed: true}
		for _, d := range columns {
			t, flops, err := a.timeRows(ctx, b, m, d)
			if err != nil {
				return err
			}
			least := flops / speed
			line.Add(float64(d), t*1e3)
			bound.Add(float64(d), least*1e3)
			a.timed(fmt.Sprintf("BenchmarkSolverRow/columns=%d/method=%s/threads=%d", d, m, a.threads), measured("%.0f", t*1e9, "ns/op"),
				measured("%.0f", least*1e9, "bound-ns"), measured("%.4g", flops/t/1e9, "GFLOP/s"), measured("%.3f", least/t, "of-product"))
		}
		e := line.Exponent(fitFrom)
		a.remark("# %s: time a row grows as columns^%.2f from %d columns on\n", m, e, fitFrom)
		line.Name = fmt.Sprintf("%s, grows as d^%.2f", m, e)
		plot.Curves = append(plot.Curves, line)
		if m != "24" { // the other methods share their bound
			bound.Name = "bound by arithmetic, d^3/6"
		} else {
			bound.Name = "bound by arithmetic, 2:4"
		}
		plot.Add(bound)
	}
	if b.plot == "" {
		return nil
	}
	return atomicfile.Write(b.plot, plot.SVG)
}

// fitFrom is the number of columns from which the exponent is fitted: below, what is not elimination weighs.
const fitFrom = 288

// productSpeed is operations a second of the matrix product, the best of some.
func (a *app) productSpeed(b *solverBench) float64 {
	const n = 1024
	x, y, z := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
	best := math.Inf(1)
	for range 7 {
		start := b.now()
		kernel.Sgemm(false, false, n, n, n, 1, x, n, y, n, 0, z, n, a.threads)
		best = min(best, (b.now() - start).Seconds())
	}
	return 2 * n * n * n / best
}

// timeRows is the least time a row, in seconds, without the inversion of the Hessian, and the operations that a row needs.
func (a *app) timeRows(ctx context.Context, b solverBench, method string, d int) (t, flops float64, err error) {
	const enough, few = 1e9, 8 // columns^3 that make a run long enough to be timed; rows that share what is done once a layer
	rows := b.rows
	if rows == 0 {
		rows = max(few, min(256, int(enough/float64(d*d*d)))) / a.threads * a.threads
		rows = max(rows, a.threads)
	}
	p := randomLayer(rows, d, a.threads)
	t = math.Inf(1)
	for range b.count {
		s, err := b.solveOnce(ctx, p, method, obs.Options{Threads: a.threads})
		if err != nil {
			return 0, 0, fmt.Errorf("%s, %s: %w", p.name, method, err)
		}
		t, flops = min(t, (s.total-s.prepare).Seconds()/float64(rows)), s.flops/float64(rows)
	}
	return t, flops, nil
}
