package obs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// randomProblem is a layer with correlated inputs: samples x = z M + noise with a mixing matrix M, and weights of unit variance.
func randomProblem(rows, d, samples int, seed uint64) problem {
	r := rand.New(rand.NewPCG(seed, uint64(d)))
	x := make([]float64, samples*d)
	latent := max(1, d/3)
	mix := make([]float64, latent*d)
	for i := range mix {
		mix[i] = r.NormFloat64() / math.Sqrt(float64(latent))
	}
	z := make([]float64, latent)
	for s := range samples {
		for i := range z {
			z[i] = r.NormFloat64()
		}
		for j := range d {
			v := 0.3 * r.NormFloat64()
			for i, zi := range z {
				v += zi * mix[i*d+j]
			}
			x[s*d+j] = v
		}
	}
	pr := problem{name: fmt.Sprintf("random %d", d), w: NewMatrix(rows, d), h: hessian(x, samples, d)}
	for i := range pr.w.Data {
		pr.w.Data[i] = float32(r.NormFloat64())
	}
	return pr
}

// hessian is 2/N X^T X.
func hessian(x []float64, samples, d int) []float64 {
	h := make([]float64, d*d)
	for s := range samples {
		row := x[s*d : (s+1)*d]
		for i, v := range row {
			if v == 0 {
				continue
			}
			for j, u := range row {
				h[i*d+j] += 2 * v * u / float64(samples)
			}
		}
	}
	return h
}

func mustPrepare(t testing.TB, pr problem, damping float64) *Prepared {
	t.Helper()
	p, err := Prepare(pr.h, pr.w.Cols, damping)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// method is a way of choosing columns, for the engine and for the plain form alike.
type method struct {
	name string
	c    int // columns a block
	rule func(g *Grid) (rule[float32], rule[float64])
	// rivals are the columns (first of a block) that might go next in the plain form, and what each costs; value is what column j becomes.
	rivals func(e *plain, g *Grid, row int) (cols []int, costs []float64)
}

var methods = []method{
	{"unstructured", 1, func(*Grid) (rule[float32], rule[float64]) { return unstructured[float32]{}, unstructured[float64]{} },
		func(e *plain, _ *Grid, _ int) ([]int, []float64) {
			return open(e, func(int) bool { return true }, e.pruneCost)
		}},
	{"2:4", 1, func(*Grid) (rule[float32], rule[float64]) {
		return &groups[float32]{n: 2, m: 4}, &groups[float64]{n: 2, m: 4}
	}, func(e *plain, _ *Grid, _ int) ([]int, []float64) { return open(e, e.free(2, 4), e.pruneCost) }},
	{"4:8", 1, func(*Grid) (rule[float32], rule[float64]) {
		return &groups[float32]{n: 4, m: 8}, &groups[float64]{n: 4, m: 8}
	}, func(e *plain, _ *Grid, _ int) ([]int, []float64) { return open(e, e.free(4, 8), e.pruneCost) }},
	blockMethod(2), blockMethod(3), blockMethod(4), blockMethod(8), blockMethod(16),
	{"OBQ", 1, func(g *Grid) (rule[float32], rule[float64]) {
		return &rounding[float32]{g: g}, &rounding[float64]{g: g}
	},
		func(e *plain, g *Grid, row int) ([]int, []float64) {
			cols, costs := open(e, func(int) bool { return true }, func(j int) float64 {
				_, q := g.Quant(row, j, float32(e.w[j]))
				return (e.w[j] - float64(q)) * (e.w[j] - float64(q)) / e.inv[j*e.d+j]
			})
			// Where some error exceeds half a step the largest error goes first, whatever it costs.
			worst := 0.0
			for _, j := range cols {
				_, q := g.Quant(row, j, float32(e.w[j]))
				worst = math.Max(worst, math.Abs(e.w[j]-float64(q))/float64(g.Scale[g.Index(row, j)]))
			}
			if worst > 0.5 {
				for i, j := range cols {
					_, q := g.Quant(row, j, float32(e.w[j]))
					if steps := math.Abs(e.w[j]-float64(q)) / float64(g.Scale[g.Index(row, j)]); worst > 0.502 || steps > 0.5 {
						costs[i] = -steps
					}
				}
			}
			return cols, costs
		}},
}

func blockMethod(c int) method {
	return method{fmt.Sprintf("blocks of %d", c), c, func(*Grid) (rule[float32], rule[float64]) {
		return &blocks[float32]{c: c}, &blocks[float64]{c: c}
	}, func(e *plain, _ *Grid, _ int) ([]int, []float64) {
		return open(e, func(j int) bool { return j%c == 0 && j+c <= e.d }, func(j int) float64 { return 2 * e.blockCost(j, c) })
	}}
}

func (e *plain) pruneCost(j int) float64 { return e.w[j] * e.w[j] / e.inv[j*e.d+j] }

// free allows columns of groups of m that have lost less than m-n.
func (e *plain) free(n, m int) func(j int) bool {
	return func(j int) bool {
		lo, gone := j/m*m, 0
		for i := lo; i < min(lo+m, e.d); i++ {
			if e.done[i] {
				gone++
			}
		}
		return lo+m <= e.d && gone < m-n
	}
}

func open(e *plain, ok func(j int) bool, cost func(j int) float64) (cols []int, costs []float64) {
	for j, done := range e.done {
		if !done && ok(j) {
			cols, costs = append(cols, j), append(costs, cost(j))
		}
	}
	return cols, costs
}

// step is one elimination as the engine did it.
type step struct {
	col   int
	value float64
}

// steps runs the engine on a row and returns what it did and the weights.
func steps[T number](p *Prepared, w []float32, row, c int, r rule[T]) (done []step, out []float32) {
	e := newEngine(newTiled[T](p, c))
	x := slices.Clone(w)
	for i, dead := range p.Dead {
		if dead {
			x[i] = 0
		}
	}
	err := e.run(x, row, r, func(at int, _ float64) bool {
		for i := at; i < at+c; i++ {
			done = append(done, step{int(e.at[i]), float64(e.w[i])})
		}
		return true
	})
	if err != nil {
		panic(err)
	}
	out = make([]float32, len(w))
	e.weights(out)
	return done, out
}

// follow walks the engine's choices in the plain float64 form. It returns the worst ratio of the cost of a choice to the least cost
// there, and the plain form's weights.
func follow(t *testing.T, m method, p *Prepared, g *Grid, w []float32, row int, done []step) (worst float64, out []float64) {
	t.Helper()
	e := newPlain(w, p)
	worst = 1
	for i := 0; i < len(done); i += m.c {
		cols, costs := m.rivals(e, g, row)
		if len(cols) == 0 {
			t.Fatalf("%s: the engine goes on after %d steps where the plain form has no column left", m.name, i)
		}
		at := slices.Index(cols, done[i].col)
		if at < 0 {
			t.Fatalf("%s: step %d chose column %d, which may not go", m.name, i, done[i].col)
		}
		least := slices.Min(costs)
		if ratio := math.Abs(costs[at]) / math.Abs(least); least < 0 {
			worst = math.Max(worst, 1/ratio)
		} else if least > 1e-12 {
			worst = math.Max(worst, ratio)
		}
		for _, s := range done[i : i+m.c] {
			if s.value != 0 {
				if _, q := g.Quant(row, s.col, float32(e.w[s.col])); math.Abs(float64(q)-s.value) > 1e-6 && math.Abs(math.Abs(float64(q)-e.w[s.col])-math.Abs(s.value-e.w[s.col])) > 1e-3*math.Abs(s.value-float64(q)) {
					t.Fatalf("%s: step %d rounded column %d from %v to %v, nearest is %v", m.name, i, s.col, e.w[s.col], s.value, q)
				}
			}
			e.eliminate(s.col, s.value)
		}
	}
	if cols, _ := m.rivals(e, g, row); len(cols) > 0 {
		t.Fatalf("%s: the engine stopped after %d steps where the plain form has %d columns left", m.name, len(done), len(cols))
	}
	return worst, e.w
}

// At every step the engine's choice is the plain form's, or as good but for rounding; and so are the weights in the end.
func TestEngineFollowsPlainForm(t *testing.T) {
	dims := []int{1, 2, 3, 15, 16, 17, 31, 33, 48, 64, 65, 97, 130, 200}
	if testing.Short() {
		dims = []int{1, 2, 17, 65}
	}
	for _, d := range dims {
		pr := randomProblem(2, d, 3*d+5, 1)
		p := mustPrepare(t, pr, 0.01)
		g, err := FitGrid(pr.w, GridSpec{Bits: 3, Search: Shrink})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range methods {
			r32, r64 := m.rule(g)
			check := func(name string, row int, done []step, got []float32, slack, tol float64) {
				t.Helper()
				worst, want := follow(t, m, p, g, pr.w.Row(row), row, done)
				if worst > 1+slack {
					t.Errorf("d=%d %s %s row %d: a choice costs %.6f times the least", d, m.name, name, row, worst)
				}
				for j, v := range want {
					if math.Abs(v-float64(got[j])) > tol*(1+math.Abs(v)) {
						t.Fatalf("d=%d %s %s row %d: weight %d is %v, want %v", d, m.name, name, row, j, got[j], v)
					}
				}
			}
			for row := range pr.w.Rows {
				done, got := steps(p, pr.w.Row(row), row, m.c, r32)
				check("float32", row, done, got, 2e-3, 2e-3)
				done, got = steps(p, pr.w.Row(row), row, m.c, r64)
				check("float64", row, done, got, 1e-6, 1e-5)
			}
		}
	}
}

// After each removal the kept weights are the least squares of the layer loss over that mask: H_KK w_K = H_K,: w.
func TestTraceIsLeastSquares(t *testing.T) {
	const d = 70
	pr := randomProblem(1, d, 400, 2)
	p := mustPrepare(t, pr, 0)
	tr, err := NewTrace(context.Background(), pr.w, p, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < d; n += 7 {
		m, err := tr.At(context.Background(), []int{n})
		if err != nil {
			t.Fatal(err)
		}
		grad := make([]float64, d) // H (w - what) vanishes on what is kept
		for i := range d {
			for j := range d {
				grad[i] += pr.h[i*d+j] * (float64(pr.w.Data[j]) - float64(m.Data[j]))
			}
		}
		zeros := 0
		for i, v := range m.Data {
			if v == 0 {
				zeros++
			} else if math.Abs(grad[i]) > 1e-4*pr.h[i*d+i] {
				t.Errorf("after %d removals the gradient at kept weight %d is %g", n, i, grad[i])
			}
		}
		if zeros != n {
			t.Errorf("after %d removals %d weights are zero", n, zeros)
		}
	}
}

// Neither the number of threads nor the memory mode nor the rows solved together change a byte.
func TestSameBytes(t *testing.T) {
	ctx := context.Background()
	pr := randomProblem(9, 100, 300, 3)
	p := mustPrepare(t, pr, 0.01)
	g, err := FitGrid(pr.w, GridSpec{Bits: 4, Search: Shrink})
	if err != nil {
		t.Fatal(err)
	}
	solve := func(w Matrix, g *Grid, o Options) []byte {
		t.Helper()
		var all bytes.Buffer
		keep := func(r *Result, err error) {
			if err != nil {
				t.Fatal(err)
			}
			binary.Write(&all, binary.LittleEndian, r.W.Data)
			binary.Write(&all, binary.LittleEndian, r.Loss)
		}
		keep(NM(ctx, w, p, 2, 4, o))
		keep(Quantize(ctx, w, p, g, nil, o))
		keep(Unstructured(ctx, w, p, 0.6, o))
		keep(Blocks(ctx, w, p, 4, 0.5, o))
		return all.Bytes()
	}
	want := solve(pr.w, g, Options{Threads: 1})
	for _, o := range []Options{{Threads: 2}, {Threads: 3}, {Threads: 16}, {Threads: 2, MemoryLimit: 1}} {
		if !bytes.Equal(solve(pr.w, g, o), want) {
			t.Errorf("other bytes with %+v", o)
		}
	}
	for r := range pr.w.Rows {
		one := Matrix{1, 100, pr.w.Row(r)}
		part := &Grid{Spec: g.Spec, Cols: 100, Groups: 1, Scale: g.Scale[r : r+1], Zero: g.Zero[r : r+1]}
		q, err := Quantize(ctx, one, p, part, nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := Quantize(ctx, pr.w, p, g, nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(q.W.Data, all.W.Row(r)) || q.Loss[0] != all.Loss[r] {
			t.Errorf("row %d alone differs from row %d among others", r, r)
		}
	}
}

// A worker takes at most 2.5 times the float32 matrix, in either precision.
func TestEngineMemory(t *testing.T) {
	const d = 1000
	p := &Prepared{D: d, Hinv: make([]float64, d*d), Dead: make([]bool, d)}
	check := func(name string, bytes int) {
		if most := 5 * d * d * 4 / 2; bytes > most {
			t.Errorf("%s: an engine takes %d bytes, more than %d", name, bytes, most)
		}
	}
	check("float32", engineBytes(newEngine(newTiled[float32](p, 1))))
	check("float64", engineBytes(newEngine(newTiled[float64](p, 1))))
}

func engineBytes[T number](e *engine[T]) int {
	n := 0
	for _, x := range [][]T{e.own, e.u, e.keep, e.col, e.coef, e.w, e.diag, e.pen, e.out} {
		n += cap(x) * int(unsafe.Sizeof(x[0]))
	}
	return n + 4*cap(e.at) + 4*cap(e.pos) + cap(e.gone)
}

// What is kept of a trace takes no more than the memory limit, and all of what fits is; the weights are the same whatever is kept.
func TestTraceMemory(t *testing.T) {
	ctx := context.Background()
	const rows = 5
	for _, d := range []int{40, 200, 700} {
		for _, c := range []int{1, 3, 4, 40} {
			pr := randomProblem(rows, d, 2*d, 5)
			p := mustPrepare(t, pr, 0.01)
			shape := &Trace{Rows: rows, Cols: d, C: c, Steps: d / c}
			all, one := shape.pathBytes(rows), shape.pathBytes(1)
			var want Matrix
			for i, limit := range []int64{all, all - 1, 3 * one, one, one - 1} {
				tr, err := NewTrace(ctx, pr.w, p, c, Options{MemoryLimit: limit})
				if err != nil {
					t.Fatal(err)
				}
				if most := []int{rows, rows, 3, 1, 0}[i]; len(tr.kept) > most || len(tr.kept) < most/2 {
					t.Errorf("d=%d c=%d: %d rows kept in %d bytes, where %d have room", d, c, len(tr.kept), limit, most)
				}
				bytes := int64(0)
				for _, s := range tr.slabs {
					bytes += 4 * int64(cap(s))
				}
				for _, k := range tr.kept {
					bytes += int64(unsafe.Sizeof(place{}))*int64(cap(k.at)) + 4*int64(cap(k.cols))
					if size, columns := pathSize(d, d/c, c); len(k.w) != size || len(k.cols) != columns {
						t.Errorf("d=%d c=%d: a path of %d weights and %d columns, room for %d and %d", d, c, len(k.w), len(k.cols), size, columns)
					}
				}
				if bytes > limit || len(tr.kept) > 0 && bytes == 0 {
					t.Errorf("d=%d c=%d: %d rows take %d bytes of %d", d, c, len(tr.kept), bytes, limit)
				}
				got, err := tr.At(ctx, tr.Counts(0.6))
				if err != nil {
					t.Fatal(err)
				}
				if want.Data == nil {
					want = got
				} else if !slices.Equal(got.Data, want.Data) {
					t.Errorf("d=%d c=%d: other weights with %d rows kept than with all", d, c, len(tr.kept))
				}
				tr.Release()
			}
		}
	}
}

// Where float32 loses a pivot the layer is solved in float64; where float64 does as well, an error says so.
func TestLostDigits(t *testing.T) {
	ctx := context.Background()
	w := Matrix{1, 2, []float32{1, 3}}
	solve := func(p *Prepared) (out []*Result, errs []error) {
		keep := func(r *Result, err error) { out, errs = append(out, r), append(errs, err) }
		g, err := FitGrid(w, GridSpec{Bits: 4})
		if err != nil {
			t.Fatal(err)
		}
		keep(Quantize(ctx, w, p, g, nil, Options{}))
		keep(Unstructured(ctx, w, p, 1, Options{MemoryLimit: 1}))
		keep(Unstructured(ctx, w, p, 1, Options{}))
		keep(Blocks(ctx, w, p, 2, 1, Options{}))
		return out, errs
	}
	p := &Prepared{D: 2, H: []float64{1, 0, 0, 1}, Hinv: []float64{1, 1, 1, 1 + 1e-8}, Dead: make([]bool, 2), Inflate: 1}
	out, errs := solve(p)
	for i, r := range out {
		if errs[i] != nil {
			t.Errorf("case %d: %v", i, errs[i])
		} else if v := r.W.Data[0] + r.W.Data[1]; v-v != 0 {
			t.Errorf("case %d: weights %v", i, r.W.Data)
		}
	}
	p.Hinv[3] = 0.5
	_, errs = solve(p)
	for i, err := range errs {
		if !errors.Is(err, errDigits) {
			t.Errorf("case %d: error %v", i, err)
		}
	}
}
