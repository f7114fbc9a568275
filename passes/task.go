package passes

import (
	"context"
	"math"
	"runtime"
	"sort"
	"sync"

	"github.com/obc-onnx/obc/internal/obs"
)

// task is one layer problem: groups independent matrices, each with its own Hessian, under one set of settings. Solving it is a
// pure function of its fields.
type task struct {
	Settings
	spec               *obs.GridSpec // nil: weights stay float
	groups, rows, cols int
	w                  []float32   // dense: groups x rows x cols
	h                  [][]float64 // one a group: cols x cols
	whole              int         // columns that the pattern can take
	order              []int       // columns in an order in which they come first; nil: they do
	o                  obs.Options
	ready              []*readyGroup // by group, for tasks that differ in other settings than damping and family; nil: to be made
}

// readyGroup is what a group's Hessian gives once and for all.
type readyGroup struct {
	p    *obs.Prepared
	base float64 // loss of the all-zero weight
}

// makeReady prepares every group's Hessian, unless that is done.
func (t *task) makeReady(ctx context.Context) error {
	if t.ready != nil {
		return nil
	}
	ready := make([]*readyGroup, t.groups)
	err := t.each(ctx, func(i int, _ obs.Options) (err error) {
		r := &readyGroup{}
		if t.family() == "plain" {
			r.p = &obs.Prepared{D: t.cols, H: t.h[i], Dead: make([]bool, t.cols)}
		} else if r.p, err = obs.Prepare(t.h[i], t.cols, t.Damping); err != nil {
			return err
		}
		for _, l := range obs.Loss(t.dense(i), obs.NewMatrix(t.rows, t.cols), t.h[i]) {
			r.base += l
		}
		ready[i] = r
		return nil
	})
	if err == nil {
		t.ready = ready
	}
	return err
}

// dense is the weight of group i.
func (t *task) dense(i int) obs.Matrix {
	n := t.rows * t.cols
	return obs.Matrix{Rows: t.rows, Cols: t.cols, Data: t.w[i*n : (i+1)*n]}
}

// outcome is a solved task.
type outcome struct {
	Solution
	loss, base float64 // 1/2 tr(dW H dW^T) over all groups, and that of the all-zero weight
	damping    float64 // in force, the largest of the groups
	raised     int
	leftDense  int // columns that the pattern does not reach
	dead       int // columns whose input is always zero, over all groups
}

// family is what a method does: compensate exactly, in a fixed order, or not at all.
func (t *task) family() string {
	switch t.Method {
	case "gptq", "sparsegpt":
		return "fixed"
	case "rtn", "magnitude":
		return "plain"
	}
	return "exact"
}

// solve prunes, then quantizes what is left.
func (t *task) solve(ctx context.Context) (*outcome, error) {
	out := &outcome{}
	groups, err := t.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if t.prunes() && t.whole > 0 {
		if err := t.prune(ctx, groups); err != nil {
			return nil, err
		}
		out.leftDense = t.cols - t.whole
	} else if t.prunes() {
		out.leftDense = t.cols
	}
	if t.spec != nil {
		if err := t.quantize(ctx, groups); err != nil {
			return nil, err
		}
	}
	for _, g := range groups {
		g.add(out)
	}
	return out, nil
}

// group is one matrix on its way.
type group struct {
	w       obs.Matrix // dense
	p       *obs.Prepared
	now     obs.Matrix // pruned, then quantized
	result  *obs.Result
	base    float64 // loss of the all-zero weight
	pattern problem // what the pattern works on
}

// problem is the dense weight and the prepared Hessian, columns in the order of the pattern.
type problem struct {
	w obs.Matrix
	p *obs.Prepared
}

// ordered is the problem of a group whose columns the pattern takes in the task's order.
func (t *task) ordered(g *group) problem {
	if t.order == nil {
		return problem{g.w, g.p}
	}
	x := problem{obs.NewMatrix(g.w.Rows, g.w.Cols), g.p.Reordered(t.order)}
	x.p.Reach = t.whole
	for i := range x.w.Data {
		row := i / t.cols * t.cols
		x.w.Data[i] = g.w.Data[row+t.order[i-row]]
	}
	return x
}

// restored brings what was found for a matrix in the task's order back to the order of its columns.
func restored[T any](t *task, x []T) []T {
	if t.order == nil || x == nil {
		return x
	}
	out := make([]T, len(x))
	for i, v := range x {
		row := i / t.cols * t.cols
		out[row+t.order[i-row]] = v
	}
	return out
}

func (t *task) restoredMatrix(m obs.Matrix) obs.Matrix {
	m.Data = restored(t, m.Data)
	return m
}

// prepare cuts the task into groups and makes their Hessians ready.
func (t *task) prepare(ctx context.Context) ([]*group, error) {
	if err := t.makeReady(ctx); err != nil {
		return nil, err
	}
	groups := make([]*group, t.groups)
	err := t.each(ctx, func(i int, _ obs.Options) error {
		g := &group{w: t.dense(i), now: t.dense(i), p: t.ready[i].p, base: t.ready[i].base}
		if t.prunes() && t.whole > 0 {
			g.pattern = t.ordered(g)
		}
		groups[i] = g
		return nil
	})
	return groups, err
}

// each calls fn for every group, several at a time when there are enough of them, with the options for the work inside.
func (t *task) each(ctx context.Context, fn func(i int, o obs.Options) error) error {
	threads := t.o.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if t.groups < 2*threads {
		for i := range t.groups {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(i, t.o); err != nil {
				return err
			}
		}
		return nil
	}
	inner := t.o
	inner.Threads = 1
	inner.MemoryLimit = max(1, t.o.MemoryLimit/int64(threads))
	errs := make([]error, t.groups)
	var wg sync.WaitGroup
	for k := range threads {
		wg.Go(func() {
			for i := k; i < t.groups; i += threads {
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = fn(i, inner)
				}
				if errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// prune sets zeros, by the pattern.
func (t *task) prune(ctx context.Context, groups []*group) error {
	defer func() {
		for _, g := range groups {
			g.pattern = problem{}
		}
	}()
	if t.NM != "" {
		n, m, err := ParseNM(t.NM)
		if err != nil {
			return err
		}
		return t.each(ctx, func(i int, o obs.Options) error { return t.nm(ctx, groups[i], n, m, o) })
	}
	switch t.family() {
	case "plain":
		return t.pruneMagnitude(groups)
	case "fixed":
		return t.pruneFixed(ctx, groups)
	}
	return t.pruneExact(ctx, groups)
}

func (t *task) nm(ctx context.Context, g *group, n, m int, o obs.Options) (err error) {
	var r *obs.Result
	x := g.pattern
	switch t.family() {
	case "plain":
		r, err = obs.MagnitudeNM(x.w, x.p, n, m)
	case "fixed":
		r, err = obs.SparseGPTNM(ctx, x.w, x.p, n, m, o)
	default:
		if t.refines() && t.jointNM() { // mask and codes are found together
			if r, err = obs.QuantizeNM(ctx, x.w, x.p, n, m, *t.spec, o); err == nil {
				r.W, r.Codes = t.restoredMatrix(r.W), restored(t, r.Codes)
				g.result, g.now = r, r.W
			}
			return err
		}
		if r, err = obs.NM(ctx, x.w, x.p, n, m, o); err == nil && t.refines() {
			r, err = obs.RefineNM(ctx, x.w, r, x.p, n, m, o)
		}
	}
	if err == nil {
		g.now = t.restoredMatrix(r.W)
	}
	return err
}

// refines reports whether solutions are bettered after solving.
func (t *task) refines() bool { return t.Refine && t.family() == "exact" }

// jointNM reports whether an N:M mask and codes can be found together: not when one scale serves all groups, nor when scales of groups of
// columns would be torn apart by the order that the mask needs.
func (t *task) jointNM() bool {
	return t.NM != "" && t.whole > 0 && t.spec != nil && (t.spec.Granularity != obs.PerTensor || t.groups == 1) &&
		(t.spec.Granularity != obs.PerGroup || t.order == nil)
}

// pruneMagnitude removes the least weights or blocks over all rows of all groups.
func (t *task) pruneMagnitude(groups []*group) error {
	all := obs.NewMatrix(t.groups*t.rows, t.cols)
	for i, g := range groups {
		copy(all.Data[i*t.rows*t.cols:], g.pattern.w.Data)
	}
	reach := groups[0].pattern.p.Reach
	r, err := obs.MagnitudeBlocks(all, &obs.Prepared{D: t.cols, H: make([]float64, t.cols*t.cols), Reach: reach}, max(1, t.Block), t.Sparsity)
	if err != nil {
		return err
	}
	for i, g := range groups {
		g.now = t.restoredMatrix(obs.Matrix{Rows: t.rows, Cols: t.cols, Data: r.W.Data[i*t.rows*t.cols : (i+1)*t.rows*t.cols]})
	}
	return nil
}

// pruneFixed removes weights or blocks in a fixed order of columns, over all rows of all groups.
func (t *task) pruneFixed(ctx context.Context, groups []*group) error {
	var ws []obs.Matrix
	var ps []*obs.Prepared
	for _, g := range groups {
		ws, ps = append(ws, g.pattern.w), append(ps, g.pattern.p)
	}
	rs, err := obs.SparseGPTBlocks(ctx, ws, ps, max(1, t.Block), t.Sparsity, t.o)
	if err != nil {
		return err
	}
	for i, r := range rs {
		groups[i].now = t.restoredMatrix(r.W)
	}
	return nil
}

// pruneExact takes the cheapest steps of the traces of all rows of all groups.
func (t *task) pruneExact(ctx context.Context, groups []*group) error {
	traces, err := t.traces(ctx, groups)
	if err != nil {
		return err
	}
	counts := cheapest(traces, t.Sparsity)
	return t.each(ctx, func(i int, o obs.Options) error {
		w, err := traces[i].At(ctx, counts[i])
		traces[i].Release()
		traces[i] = nil
		if x := groups[i].pattern; err == nil && t.refines() {
			var r *obs.Result
			if r, err = obs.RefineMask(ctx, x.w, &obs.Result{W: w}, x.p, max(1, t.Block), o); err == nil {
				w = r.W
			}
		}
		groups[i].now = t.restoredMatrix(w)
		return err
	})
}

// traces eliminates every row of every group.
func (t *task) traces(ctx context.Context, groups []*group) ([]*obs.Trace, error) {
	traces := make([]*obs.Trace, t.groups)
	err := t.each(ctx, func(i int, o obs.Options) (err error) {
		if t.groups > 1 {
			limit := o.MemoryLimit
			if limit <= 0 {
				limit = obs.DefaultTraceMemory
			}
			o.MemoryLimit = max(1, limit/int64(t.groups))
		}
		traces[i], err = obs.NewTrace(ctx, groups[i].pattern.w, groups[i].pattern.p, max(1, t.Block), o)
		return err
	})
	return traces, err
}

// cheapest is how many steps of each row of each trace are taken when the given share of all steps is, those of least cost.
func cheapest(traces []*obs.Trace, share float64) [][]int {
	if len(traces) == 1 {
		return [][]int{traces[0].Counts(share)}
	}
	type step struct {
		cost       float64
		group, row int32
	}
	var steps []step
	counts := make([][]int, len(traces))
	for g, t := range traces {
		counts[g] = make([]int, t.Rows)
		for i, c := range t.Cost {
			steps = append(steps, step{c, int32(g), int32(i / t.Steps)})
		}
	}
	sort.SliceStable(steps, func(a, b int) bool { return steps[a].cost < steps[b].cost })
	for _, s := range steps[:int(math.Ceil(float64(len(steps))*share))] {
		counts[s.group][s.row]++
	}
	return counts
}

// sortedCosts is the costs of all steps of all traces, the least first.
func sortedCosts(traces []*obs.Trace) []float64 {
	var all []float64
	for _, t := range traces {
		all = append(all, t.Cost...)
	}
	sort.Float64s(all)
	return all
}

// quantize fits one grid over all groups and puts every group's weights on it.
func (t *task) quantize(ctx context.Context, groups []*group) error {
	if t.refines() && t.jointNM() {
		return nil // mask and codes were found together
	}
	n := t.rows * t.cols
	all := obs.NewMatrix(t.groups*t.rows, t.cols)
	for i, g := range groups {
		copy(all.Data[i*n:], g.now.Data)
	}
	whole, err := obs.FitGrid(all, *t.spec)
	if err != nil {
		return err
	}
	return t.each(ctx, func(i int, o obs.Options) error {
		g := groups[i]
		grid := whole
		if t.spec.Granularity != obs.PerTensor {
			k := len(whole.Scale) / t.groups
			grid = &obs.Grid{Spec: whole.Spec, Cols: whole.Cols, Groups: whole.Groups, Scale: whole.Scale[i*k : (i+1)*k], Zero: whole.Zero[i*k : (i+1)*k]}
		}
		var mask []bool
		if t.prunes() {
			mask = obs.Zeros(g.now)
		}
		start := g.now
		var err error
		switch t.family() {
		case "plain":
			g.result, err = obs.RTN(start, g.p, grid, mask)
		case "fixed":
			g.result, err = obs.GPTQ(ctx, start, g.p, grid, mask, true, o)
		default:
			if t.searchesByLoss() {
				g.result, err = obs.QuantizeSearched(ctx, start, g.p, *t.spec, mask, o)
			} else {
				g.result, err = obs.Quantize(ctx, start, g.p, grid, mask, o)
			}
			if err == nil {
				g.result, err = obs.RefineCodes(ctx, g.w, g.result, g.p, mask, t.effort(), o)
			}
		}
		if err == nil {
			g.now = g.result.W
		}
		return err
	})
}

// effort is how far codes are bettered after OBQ, which never raises a row's loss. A scale that all groups share stays, and so do those
// over the whole range of layers whose deviation nothing restores (see LayerState.search): refitted ones are smaller and take some of it.
func (t *task) effort() obs.Effort {
	e := obs.Quick
	if t.refines() {
		e = obs.Effort{}
	}
	e.KeepScales = t.spec.Granularity == obs.PerTensor && t.groups > 1 || t.Weights.Search == "auto" && t.spec.Search == obs.MinMax
	return e
}

// searchesByLoss reports whether each row's grid is chosen by its loss.
func (t *task) searchesByLoss() bool {
	return t.Weights.Search == "loss" && (t.spec.Granularity != obs.PerTensor || t.groups == 1)
}

// add takes the group's results into the outcome.
func (g *group) add(out *outcome) {
	for _, l := range obs.Loss(g.w, g.now, g.p.H) {
		out.loss += l
	}
	out.base += g.base
	out.damping, out.raised = max(out.damping, g.p.Damping), max(out.raised, g.p.Raised)
	for _, d := range g.p.Dead {
		if d {
			out.dead++
		}
	}
	out.W = append(out.W, g.now.Data...)
	if g.result != nil {
		out.Codes = append(out.Codes, g.result.Codes...)
		out.Grids = append(out.Grids, g.result.Grid)
	}
}
