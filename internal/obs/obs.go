// Package obs holds the mathematics of Optimal Brain Compression (Frantar, Singh, Alistarh, NeurIPS 2022,
// arXiv 2208.11580) on plain matrices; it knows nothing of ONNX.
//
// A layer is a weight matrix W (rows x columns, row-major) and a Hessian H = 2/N sum x x^T (columns x columns) that all rows
// share. The layer loss of What is 1/2 tr((W-What) H (W-What)^T). Every method removes or quantizes one column of a row at a
// time, the one that costs least, and moves the other weights of the row to where the loss is least:
//
//	cost of p:      (w_p - t)^2 / (2 [Hinv]_pp)          t = 0 when pruning, the nearest grid point when quantizing
//	others move by: -(w_p - t) / [Hinv]_pp * Hinv[:,p]
//	then:           Hinv -= Hinv[:,p] Hinv[p,:] / [Hinv]_pp
//
// Prepare inverts H once; the methods are pure functions of (rows of W, Prepared, settings):
//
//	p, err := obs.Prepare(h, d, 0.01)
//	r, err := obs.NM(ctx, w, p, 2, 4, obs.Options{})                     // 2:4
//	g, err := obs.FitGrid(r.W, obs.GridSpec{Bits: 4, Search: obs.Shrink})
//	q, err := obs.Quantize(ctx, r.W, p, g, obs.Zeros(r.W), obs.Options{}) // joint 2:4 + 4 bit
//
// Results are the same bytes for any number of threads.
package obs

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Matrix is a dense row-major matrix; Data has Rows*Cols elements.
type Matrix struct {
	Rows, Cols int
	Data       []float32
}

// NewMatrix returns a zero matrix.
func NewMatrix(rows, cols int) Matrix {
	return Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
}

// Row is a view of row r.
func (m Matrix) Row(r int) []float32 { return m.Data[r*m.Cols : (r+1)*m.Cols] }

// Clone is a deep copy.
func (m Matrix) Clone() Matrix {
	return Matrix{Rows: m.Rows, Cols: m.Cols, Data: append([]float32(nil), m.Data...)}
}

// Zeros marks the elements of m that are exactly zero: the mask that Quantize takes for joint compression.
func Zeros(m Matrix) []bool {
	z := make([]bool, len(m.Data))
	for i, v := range m.Data {
		z[i] = v == 0
	}
	return z
}

// Options are the settings that do not change a result, only how it is reached.
type Options struct {
	Threads     int                   // workers; 0 = number of CPUs
	MemoryLimit int64                 // bytes that the traces of a layer may take; 0 = DefaultTraceMemory
	Progress    func(done, total int) // called after each row, from any worker; nil = none
}

// DefaultTraceMemory is the size in bytes up to which a trace is kept when Options.MemoryLimit is 0.
const DefaultTraceMemory = 1 << 30

func (o Options) threads() int {
	if o.Threads > 0 {
		return o.Threads
	}
	return runtime.GOMAXPROCS(0)
}

func (o Options) traceMemory() int64 {
	if o.MemoryLimit > 0 {
		return o.MemoryLimit
	}
	return DefaultTraceMemory
}

// Result is one compressed layer.
type Result struct {
	W         Matrix
	Loss      []float64 // per row, 1/2 dw H dw^T with the undamped H
	LeftDense int       // trailing columns left alone because M or c does not divide the column count
	Codes     []int16   // rows*cols codes of Grid, quantized results only
	Grid      *Grid     // quantized results only
}

// TotalLoss is the layer loss: the sum of Loss over the rows.
func (r *Result) TotalLoss() float64 {
	sum := 0.0
	for _, l := range r.Loss {
		sum += l
	}
	return sum
}

// eachRow calls work(state, row) for rows 0..rows-1, each once, on up to o.Threads workers with one state from fresh each.
// It stops between rows when ctx is done, or at the first error.
func eachRow[S any](ctx context.Context, rows int, o Options, fresh func() S, work func(s S, row int) error) error {
	var next, done atomic.Int64
	var once sync.Once
	var failed atomic.Bool
	var first error
	workers := min(o.threads(), rows)
	kernel.Parallel(workers, workers, func(int, int) {
		if int(next.Load()) >= rows {
			return // a helper that comes when all rows are taken
		}
		s := fresh()
		for !failed.Load() {
			r := int(next.Add(1)) - 1
			if r >= rows {
				return
			}
			err := ctx.Err()
			if err == nil {
				err = work(s, r)
			}
			if err != nil {
				once.Do(func() { first = err; failed.Store(true) })
				return
			}
			if n := done.Add(1); o.Progress != nil {
				o.Progress(int(n), rows)
			}
		}
	})
	return first
}

func checkShapes(w Matrix, p *Prepared) error {
	if len(w.Data) != w.Rows*w.Cols {
		return fmt.Errorf("weight matrix is %d x %d but holds %d numbers", w.Rows, w.Cols, len(w.Data))
	}
	if w.Cols != p.D {
		return fmt.Errorf("weight matrix has %d columns, its Hessian %d: they must be equal", w.Cols, p.D)
	}
	return checkFinite(w)
}

func checkFinite(w Matrix) error {
	for i, v := range w.Data {
		if v-v != 0 {
			return fmt.Errorf("weight at row %d, column %d is %v, expected a finite number", i/w.Cols, i%w.Cols, v)
		}
	}
	return nil
}
