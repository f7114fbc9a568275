package passes

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
)

// search gives every layer the level at which the model as a whole loses least under a budget: of the recipe's target, or, with scope
// model, of weights that are not zero. A layer's loss is relative to that of its all-zero weight, plus the relative noise of its
// quantized input, so that layers can be added up.
type search struct{}

func (search) Name() string { return "search" }

// level is one compressed version of a layer: settings, bits of the input, cost and loss.
type level struct {
	Settings
	actBits int
	dense   bool // nothing is done to the layer
	Choice
}

const (
	// densityStep is the ratio of the densities of neighbouring levels, densities their number: those of the method's authors.
	densityStep = 0.9
	densities   = 46
	// shareSteps is how finely scope model divides the share of zeros of a layer.
	shareSteps = 100
)

func (search) Apply(ctx context.Context, s *State) (PassReport, error) {
	kind, factor := "weights", 0.0
	if s.Recipe.Target != "" {
		t, err := ParseTarget(s.Recipe.Target)
		if err != nil {
			return PassReport{}, err
		}
		kind, factor = t.Kind, t.Factor
	}
	layers := s.active()
	db, err := s.database(ctx, kind, layers)
	if err != nil {
		return PassReport{}, err
	}
	total, fixed := 0.0, 0.0
	active := map[*LayerState]bool{}
	for _, l := range layers {
		active[l] = true
	}
	for _, l := range s.Layers {
		cost := l.costOf(kind, level{dense: true})
		if total += cost; !active[l] {
			fixed += cost
		}
	}
	for _, o := range s.Fixed {
		cost := fixedCost(kind, o)
		total, fixed = total+cost, fixed+cost
	}
	budget := total/factor - fixed
	if kind == "weights" {
		budget = 0
		for _, l := range layers {
			budget += (1 - l.Plan.Sparsity) * float64(l.size())
		}
	}
	picked, err := pick(db, budget)
	var over *BudgetError
	if errors.As(err, &over) && kind != "weights" {
		over.Target, over.Total, over.Fixed = s.Recipe.Target, total, fixed
		over.Least, over.Budget = fixed+over.Least, total/factor
		over.Factor = math.Floor(100*total/over.Least) / 100
		over.Allow = map[string]string{"flops": "allow zeros in more layers (sparsity)", "bops": "allow zeros (sparsity, nm) or fewer bits (weights, activations)"}[kind]
	}
	if err != nil {
		return PassReport{}, err
	}
	spent := fixed
	r := PassReport{}
	for i, l := range layers {
		v := db[i][picked[i]]
		spent += v.Cost
		l.Plan.Settings, l.ActBits = v.Settings, v.actBits
		if v.dense {
			l.Plan.Keep = "dense is the level that the search gave it"
			s.keep(l, l.Plan.Keep)
			continue
		}
		r.Changes++
	}
	if kind != "weights" {
		s.Report.Reached = total / spent
	}
	if r.Changes == 0 {
		return r, nothingChanged(s.Report.Kept)
	}
	return r, nil
}

// pick searches the database, one level a layer.
func pick(db [][]level, budget float64) ([]int, error) {
	choices := make([][]Choice, len(db))
	for i, levels := range db {
		for _, v := range levels {
			choices[i] = append(choices[i], v.Choice)
		}
	}
	return Search(choices, budget)
}

// database evaluates the levels of every layer.
func (s *State) database(ctx context.Context, kind string, layers []*LayerState) ([][]level, error) {
	db := make([][]level, len(layers))
	at := map[*graph.Layer]int{}
	var list []*graph.Layer
	for i, l := range layers {
		at[l.Layer] = i
		list = append(list, l.Layer)
		db[i] = s.levels(l, kind)
		for k := range db[i] {
			db[i][k].Cost = l.costOf(kind, db[i][k])
		}
	}
	err := calib.CaptureEach(ctx, s.Graph, list, s.Data, s.capture("search"), func(l *graph.Layer, st *calib.Stats) error {
		i := at[l]
		s.progress("search", l.Name, i, len(layers))
		w, err := l.Matrix()
		if err != nil {
			return err
		}
		if err := s.evaluate(ctx, layers[i], db[i], w, st.Hessians); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
		return nil
	})
	return db, err
}

// levels lists the levels that a layer can have, without their losses.
func (s *State) levels(l *LayerState, kind string) []level {
	base := level{Settings: l.Plan.Settings, actBits: l.ActBits}
	switch kind {
	case "weights":
		return base.shares(l, shareSteps)
	case "flops":
		list := []level{{Settings: l.Plan.Settings, dense: true}}
		if base.Weights.Bits > 0 || base.actBits > 0 {
			list = append(list, base.plain())
		}
		return append(list, base.patterns(l)...)
	}
	list := []level{{Settings: l.Plan.Settings, dense: true}}
	for _, b := range widths(kind, l) {
		v := base
		v.Weights.Bits, v.actBits = b.weights, b.inputs
		if kind == "size" || !v.prunes() { // zeros take as much room as others
			list = append(list, v)
			continue
		}
		list = append(list, v.plain())
		list = append(list, v.patterns(l)...)
	}
	return list
}

// width is how many bits weights and inputs have, 0 for inputs that are floats.
type width struct{ weights, inputs int }

// widths lists the bits that a search by BOPs or size tries: 8, and what the recipe says or 4 where it says nothing.
func widths(kind string, l *LayerState) []width {
	low := width{l.Plan.Weights.Bits, l.ActBits}
	if kind == "size" {
		list := []width{{8, l.ActBits}, {4, l.ActBits}, {2, l.ActBits}}
		if low.weights != 0 && low.weights%4 != 0 && low.weights != 2 {
			list = append(list, low)
		}
		return list
	}
	if low.weights == 0 {
		low.weights = 4
	}
	if low.inputs == 0 {
		low.inputs = low.weights
	}
	if low == (width{8, 8}) {
		return []width{low}
	}
	return []width{{8, 8}, low}
}

// plain is the level without zeros.
func (v level) plain() level {
	v.Sparsity, v.NM, v.Block = 0, "", 0
	return v
}

// patterns lists the level with every pattern of zeros that its settings allow.
func (v level) patterns(l *LayerState) []level {
	if v.NM != "" {
		if patternColumns(l.Layer, v.unit()) == 0 {
			return nil
		}
		return []level{v}
	}
	var list []level
	density := 1.0
	for range densities - 1 {
		density *= densityStep
		u := v
		u.Sparsity = 1 - density
		list = append(list, u)
	}
	if patternColumns(l.Layer, v.unit()) == 0 {
		return nil
	}
	return list
}

// shares lists n levels whose shares of zeros are equally far from each other.
func (v level) shares(l *LayerState, n int) []level {
	if v.Sparsity == 0 || v.NM != "" || patternColumns(l.Layer, v.unit()) == 0 {
		return []level{v}
	}
	var list []level
	for i := range n {
		u := v
		u.Sparsity = float64(i) / float64(n)
		list = append(list, u)
	}
	return list
}

func (l *LayerState) size() int { return l.Groups * l.Rows * l.Cols }

// costOf is what a level costs in the unit of a budget: MACs, BOPs, stored bits, or weights that are not zero.
func (l *LayerState) costOf(kind string, v level) float64 {
	now, share := l.Came, l.Zeros
	if !v.dense {
		if v.Weights.Bits > 0 {
			now.weights = v.Weights.Bits
		} else if v.prunes() {
			now.weights = floatBits // what was codes is written as floats
		}
		if v.actBits > 0 {
			now.inputs = v.actBits
		}
		share = l.zeroShare(v.Settings)
	}
	n := float64(l.size())
	switch kind {
	case "weights":
		return n * (1 - share)
	case "flops":
		return float64(l.MACs()) * (1 - share)
	case "bops":
		return bitOperations(float64(l.MACs())*(1-share), now)
	}
	if now.weights > 8 {
		return n * float64(now.weights)
	}
	return n*float64(storedBits(now.weights)) + float64(l.Groups*l.Rows*(floatBits+8))
}

// fixedCost is what an operator that is no layer costs in the unit of a budget.
func fixedCost(kind string, o graph.IntegerOp) float64 {
	switch kind {
	case "weights":
		return 0
	case "flops":
		return float64(o.MACs())
	case "bops":
		return bitOperations(float64(o.MACs()), width{o.WeightBits, o.InputBits})
	}
	return float64(o.Weights) * float64(o.WeightBits)
}

// storedBits is the width of the narrowest element type that holds codes of so many bits.
func storedBits(bits int) int {
	switch {
	case bits <= 2:
		return 2
	case bits <= 4:
		return 4
	}
	return 8
}

// zeroShare is the share of zeros that settings give the layer's weight; what was zero before counts only where nothing is pruned.
func (l *LayerState) zeroShare(v Settings) float64 {
	if !v.prunes() {
		return l.Zeros
	}
	reach := float64(patternColumns(l.Layer, v.unit())) / float64(l.Cols)
	if v.NM != "" {
		n, m, _ := ParseNM(v.NM) // Validate has seen to errors
		return reach * float64(m-n) / float64(m)
	}
	return reach * v.Sparsity
}

// evaluate fills in the losses of a layer's levels. Shares of zeros of one pattern come from one trace each: the loss at a share is the
// sum of the steps up to it.
func (s *State) evaluate(ctx context.Context, l *LayerState, levels []level, w []float32, hessians [][]float64) error {
	saved, bits := l.Plan.Settings, l.ActBits
	defer func() { l.Plan.Settings, l.ActBits = saved, bits }()
	noise := map[int]float64{}    // by bits
	pruned := map[int][]float64{} // by block: cumulated relative cost of the steps, cheapest first
	solved := map[string]float64{}
	var ready []*readyGroup // damping and method are the same for all levels
	for i := range levels {
		v := &levels[i]
		if v.dense {
			continue
		}
		l.Plan.Settings, l.ActBits = v.Settings, v.actBits
		t, _ := s.task(l, w, hessians)
		if t.ready = ready; t.prunes() || t.spec != nil {
			if err := t.makeReady(ctx); err != nil {
				return err
			}
			ready = t.ready
		}
		if v.Sparsity > 0 && t.whole > 0 && t.family() == "exact" {
			block := max(1, v.Block)
			if pruned[block] == nil {
				var err error
				if pruned[block], err = t.steps(ctx); err != nil {
					return err
				}
			}
			v.Loss = upTo(pruned[block], v.Sparsity)
			plain := *t
			plain.Sparsity = 0
			t = &plain
		}
		loss, err := t.relativeLoss(ctx, solved)
		if err != nil {
			return err
		}
		v.Loss += loss
		if _, ok := noise[v.actBits]; v.actBits > 0 && !ok {
			h := s.inputCounts(l)
			g, err := h.grid(v.actBits, s.Recipe.Activations.Range, ceilingOf(l))
			if err != nil {
				return fmt.Errorf("its input: %w", err)
			}
			noise[v.actBits] = h.noise(g, 2)
		}
		v.Loss += noise[v.actBits]
	}
	return nil
}

// relativeLoss solves the task unless an equal one was solved before.
func (t *task) relativeLoss(ctx context.Context, solved map[string]float64) (float64, error) {
	if !t.prunes() && t.spec == nil {
		return 0, nil
	}
	key := fmt.Sprintf("%+v %+v", t.Settings, t.spec)
	if loss, ok := solved[key]; ok {
		return loss, nil
	}
	out, err := t.solve(ctx)
	if err != nil {
		return 0, err
	}
	loss := 0.0
	if out.base > 0 {
		loss = out.loss / out.base
	}
	solved[key] = loss
	return loss, nil
}

// steps is the cumulated cost of removing all weights or blocks, cheapest first over all rows of all groups, relative to the loss of the
// all-zero weight.
func (t *task) steps(ctx context.Context) ([]float64, error) {
	groups, err := t.prepare(ctx)
	if err != nil {
		return nil, err
	}
	once := *t
	once.o.MemoryLimit = 1 // only costs are asked for
	traces, err := once.traces(ctx, groups)
	if err != nil {
		return nil, err
	}
	base := 0.0
	for _, g := range groups {
		base += g.base
	}
	costs := sortedCosts(traces)
	sum := 0.0
	for i, c := range costs {
		sum += c
		costs[i] = 0
		if base > 0 {
			costs[i] = sum / base
		}
	}
	return costs, nil
}

// upTo is the cumulated cost when the given share of all steps is taken.
func upTo(steps []float64, share float64) float64 {
	n := int(math.Ceil(float64(len(steps)) * share))
	if n == 0 {
		return 0
	}
	return steps[n-1]
}
