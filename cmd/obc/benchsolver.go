package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// solverBench is what obc bench solver is asked for.
type solverBench struct {
	problems    string
	columns     []int
	rows, count int
	methods     []string
	damping     float64
	memory      string
	step        bool
	growth      bool
	plot        string
	cpu         bool
	start       time.Time
	turns       *bufio.Scanner
	threads     int
}

var solverMethods = []string{"quant4", "unstr", "24", "block4"}

func (a *app) benchSolverCommand() *cobra.Command {
	var b solverBench
	c := &cobra.Command{
		Use:   "solver",
		Short: "Time the layer solver",
		Long: `Time the layer solver on layer problems: .npz files with arrays W (rows x columns) and H (columns x columns), or layers of random
correlated inputs with the given numbers of columns. Methods are quant4 (OBQ to 4 bit), unstr and block4 (the whole trace, then 50, 70
and 90% removed), and 24 (2:4). The time covers everything from W and H to the new weights and their loss; "prepare-ns" of it
went into inverting H. GFLOP/s count two operations for each of the multiply-adds that the elimination must do, d^3/6 a row for a whole
trace, 7 d^3/48 for 2:4, over the time without the inversion.

With --growth it times each number of columns, prints the time a row beside the bound that arithmetic sets (the multiply-adds at
the speed of this machine's matrix product, measured in the same run), fits the exponent, and draws both into the file of --plot.`,
		Example: `  obc bench solver --columns 288,576,1152 --rows 64 > new.txt
  obc bench solver --problems layers/ --methods 24 --count 5
  obc bench solver --growth --plot growth.svg`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b.threads, b.start = a.threads, time.Now()
			solving.Store(true)
			if err := b.check(); err != nil {
				return err
			}
			run := a.benchSolver
			if b.growth {
				run = a.benchGrowth
			}
			if err := run(c.Context(), b); err != nil {
				return err
			}
			return a.printTimings()
		},
	}
	f := c.Flags()
	f.StringVar(&b.problems, "problems", "", "a folder of .npz files, or one such file, with arrays W and H")
	f.IntSliceVar(&b.columns, "columns", nil, "columns of layers to make up; with neither this nor --problems: 288, 576, 1152")
	f.IntVar(&b.rows, "rows", 0, "rows of a layer at most; 0: all of a problem, 64 of one made up")
	f.IntVar(&b.count, "count", 3, "number of timed runs of each")
	f.StringSliceVar(&b.methods, "methods", solverMethods, "methods to time")
	f.Float64Var(&b.damping, "damping", 0.01, "share of the mean diagonal of H that is added to it")
	f.StringVar(&b.memory, "memory-limit", "", "bytes that a trace may take, such as 512MiB; rows beyond it run twice")
	f.BoolVar(&b.step, "step", false, "wait for a line on standard input before each run; end of input ends the command")
	f.BoolVar(&b.growth, "growth", false, "time a row over the number of columns, 64 to 4608")
	f.BoolVar(&b.cpu, "cpu", false, "take the time that the program had a processor, for machines that do other things as well")
	f.StringVar(&b.plot, "plot", "", "SVG file to draw the growth into")
	return c
}

// now is the time since some moment, or with --cpu that of the processors, shared out to the threads.
func (b *solverBench) now() time.Duration {
	if b.cpu {
		t, _ := processorTime()
		return t / time.Duration(b.threads)
	}
	return time.Since(b.start)
}

func (b *solverBench) check() error {
	if _, ok := processorTime(); b.cpu && !ok {
		return badUsage("--cpu: this system does not tell the time of the processor")
	}
	if b.count < 1 || b.rows < 0 {
		return badUsage("--count is %d and --rows %d, expected at least 1 and 0", b.count, b.rows)
	}
	for _, m := range b.methods {
		if err := oneOf("methods", m, solverMethods); err != nil {
			return err
		}
	}
	for _, d := range b.columns {
		if d < 1 || d > 1<<14 {
			return badUsage("--columns has %d, expected 1 to %d", d, 1<<14)
		}
	}
	if b.plot != "" && !b.growth {
		return badUsage("--plot draws the growth: add --growth")
	}
	if b.plot != "" {
		if err := checkOutput("plot", b.plot, b.problems); err != nil {
			return err
		}
	}
	if b.memory != "" {
		_, err := parseSize("memory-limit", b.memory)
		return err
	}
	return nil
}

// layerProblem is a layer to solve.
type layerProblem struct {
	name string
	w    obs.Matrix
	h    []float64
}

func (a *app) benchSolver(ctx context.Context, b solverBench) error {
	if b.step {
		b.turns = bufio.NewScanner(os.Stdin)
	}
	o := obs.Options{Threads: a.threads}
	if b.memory != "" {
		o.MemoryLimit, _ = parseSize("memory-limit", b.memory)
	}
	return b.eachProblem(func(p layerProblem) error {
		for _, m := range b.methods {
			for range b.count {
				if b.turns != nil && !b.turns.Scan() {
					return io.EOF
				}
				r, err := b.solveOnce(ctx, p, m, o)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, m, err)
				}
				a.timed(fmt.Sprintf("BenchmarkSolver/%s/columns=%d/rows=%d/method=%s/threads=%d", p.name, p.w.Cols, p.w.Rows, m, a.threads),
					measured("%d", r.total.Nanoseconds(), "ns/op"), measured("%d", r.prepare.Nanoseconds(), "prepare-ns"),
					measured("%.5g", r.total.Seconds()*1e3/float64(p.w.Rows), "ms/row"),
					measured("%.4g", r.flops/max(r.total-r.prepare, 1).Seconds()/1e9, "GFLOP/s"), measured("%.6g", r.loss, "loss"))
			}
		}
		return nil
	})
}

// eachProblem calls do with the files of --problems, in the order of their names, then with the layers of --columns. io.EOF from do
// ends it.
func (b *solverBench) eachProblem(do func(p layerProblem) error) error {
	files, err := problemFiles(b.problems)
	if err != nil {
		return err
	}
	for _, f := range files {
		p, err := readProblem(f, b.rows)
		if err == nil {
			err = do(p)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	columns := b.columns
	if len(columns) == 0 && b.problems == "" {
		columns = []int{288, 576, 1152}
	}
	for _, d := range columns {
		rows := b.rows
		if rows == 0 {
			rows = 64
		}
		if err := do(randomLayer(rows, d, b.threads)); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func problemFiles(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if strings.HasSuffix(path, ".npz") {
		return []string{path}, nil
	}
	files, err := filepath.Glob(filepath.Join(path, "*.npz"))
	if err == nil && len(files) == 0 {
		return nil, badUsage("--problems: no .npz files in %s", path)
	}
	return files, err
}

// readProblem reads at most rows rows of W, 0: all, and H.
func readProblem(path string, rows int) (layerProblem, error) {
	p := layerProblem{name: strings.TrimSuffix(filepath.Base(path), ".npz")}
	arrays, err := calib.ReadNPZ(path)
	if err != nil {
		return p, err
	}
	w, h := arrays["W"], arrays["H"]
	if w == nil || h == nil || len(w.Shape) != 2 || len(h.Shape) != 2 || h.Shape[0] != w.Shape[1] || h.Shape[1] != w.Shape[1] {
		return p, badUsage("%s: expected float arrays W (rows x columns) and H (columns x columns)", path)
	}
	p.w, p.h = obs.NewMatrix(w.Shape[0], w.Shape[1]), make([]float64, h.Shape[0]*h.Shape[1])
	wx, ok := floats(w)
	hx, ok2 := floats(h)
	if !ok || !ok2 {
		return p, badUsage("%s: W and H are of type %v and %v, expected float32 or float64", path, w.Type, h.Type)
	}
	for i, v := range wx {
		p.w.Data[i] = float32(v)
	}
	copy(p.h, hx)
	if rows > 0 && rows < p.w.Rows {
		p.w.Rows, p.w.Data = rows, p.w.Data[:rows*p.w.Cols]
	}
	return p, nil
}

// randomLayer is a layer whose inputs are correlated: a third as many latent variables as columns, mixed, and noise.
func randomLayer(rows, d, threads int) layerProblem {
	r := rand.New(rand.NewPCG(1, uint64(d)))
	normal := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(scale * r.NormFloat64())
		}
		return x
	}
	samples, latent := 2*d, (d+2)/3
	x := normal(samples*d, 0.3)
	z, mix := normal(samples*latent, 1), normal(latent*d, 1/math.Sqrt(float64(latent)))
	kernel.Sgemm(false, false, samples, d, latent, 1, z, latent, mix, d, 1, x, d, threads)
	p := layerProblem{name: fmt.Sprintf("random_%d", d), w: obs.Matrix{Rows: rows, Cols: d, Data: normal(rows*d, 1)}, h: make([]float64, d*d)}
	kernel.SyrkAdd(p.h, d, x, samples, d, threads)
	kernel.Mirror(p.h, d)
	for i := range p.h {
		p.h[i] *= 2 / float64(samples)
	}
	return p
}

// solved is what one run took.
type solved struct {
	total, prepare time.Duration
	flops, loss    float64
}

// solveOnce goes from W and H to new weights and their loss.
func (b *solverBench) solveOnce(ctx context.Context, p layerProblem, method string, o obs.Options) (solved, error) {
	start := b.now()
	pre, err := obs.Prepare(p.h, p.w.Cols, b.damping)
	s := solved{prepare: b.now() - start}
	if err != nil {
		return s, err
	}
	rows, d := float64(p.w.Rows), float64(p.w.Cols)
	s.flops = rows * d * d * d / 3
	var losses []float64
	switch method {
	case "quant4":
		g, err := obs.FitGrid(p.w, obs.GridSpec{Bits: 4, Search: obs.Shrink})
		if err != nil {
			return s, err
		}
		r, err := obs.Quantize(ctx, p.w, pre, g, nil, o)
		if err != nil {
			return s, err
		}
		losses = r.Loss
	case "24":
		s.flops *= 7. / 8
		r, err := obs.NM(ctx, p.w, pre, 2, 4, o)
		if err != nil {
			return s, err
		}
		losses = r.Loss
	default:
		c := map[string]int{"unstr": 1, "block4": 4}[method]
		t, err := obs.NewTrace(ctx, p.w, pre, c, o)
		if err != nil {
			return s, err
		}
		defer t.Release()
		levels, err := t.Levels(ctx, [][]int{t.Counts(0.5), t.Counts(0.7), t.Counts(0.9)})
		if err != nil {
			return s, err
		}
		losses = obs.Loss(p.w, levels[0], pre.H)
	}
	for _, l := range losses {
		s.loss += l
	}
	s.total = max(b.now()-start, s.prepare+1) // a clock may tick seldom
	return s, nil
}

// floats are the elements of a tensor of float32 or float64.
func floats(t *onnxio.Tensor) ([]float64, bool) {
	switch t.Type {
	case onnxio.Float64:
		return t.Float64s(), true
	case onnxio.Float32:
		x := make([]float64, 0, len(t.Float32s()))
		for _, v := range t.Float32s() {
			x = append(x, float64(v))
		}
		return x, true
	}
	return nil, false
}
