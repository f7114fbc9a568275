package passes

import (
	"context"
	"fmt"
	"time"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/obs"
)

// solve gathers the Hessian of each layer from the dense model's activations and compresses the layer as soon as it is complete.
type solve struct{}

func (solve) Name() string { return "solve" }

func (solve) Apply(ctx context.Context, s *State) (PassReport, error) {
	return s.solveIndependently(ctx, s.active())
}

// solveIndependently solves the given layers on the inputs that they have in the graph as it is.
func (s *State) solveIndependently(ctx context.Context, list []*LayerState) (PassReport, error) {
	r := PassReport{}
	byLayer := map[*graph.Layer]*LayerState{}
	var layers []*graph.Layer
	for _, l := range list {
		byLayer[l.Layer] = l
		layers = append(layers, l.Layer)
	}
	if len(layers) == 0 {
		return r, nil
	}
	o := s.capture("calibrate")
	o.Outputs = s.Recipe.Correction != "none" && s.Recipe.Correction != "batchnorm"
	err := calib.CaptureEach(ctx, s.Graph, layers, s.Data, o, func(l *graph.Layer, st *calib.Stats) error {
		ls := byLayer[l]
		ls.Moments = st.Output
		s.progress("solve", ls.Name, r.Changes, len(layers))
		w, err := l.Matrix()
		if err != nil {
			return err
		}
		notes, err := s.solveLayer(ctx, ls, w, st.Hessians)
		if err != nil {
			return err
		}
		r.Notes = append(r.Notes, notes...)
		r.Changes++
		return nil
	})
	if err == nil {
		s.progress("solve", "", r.Changes, len(layers))
	}
	return r, err
}

// solveLayer compresses one layer whose dense weight is w, given the Hessians of its groups, and fills its report.
func (s *State) solveLayer(ctx context.Context, l *LayerState, w []float32, hessians [][]float64) (notes []string, err error) {
	start := time.Now()
	t, notes := s.task(l, w, hessians)
	out, err := t.solve(ctx)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", l.Layer, err)
	}
	l.Solution = &out.Solution
	rep := &l.Report
	rep.Method, rep.Pattern, rep.Bits = l.Plan.Method, l.Plan.pattern(), l.Plan.Weights.Bits
	rep.Loss, rep.RelativeLoss = out.loss, 0
	if out.base > 0 {
		rep.RelativeLoss = out.loss / out.base
	}
	rep.Sparsity = zeros(out.W)
	rep.Damping, rep.Raised, rep.LeftDense, rep.DeadColumns = out.damping, out.raised, out.leftDense, out.dead
	rep.Seconds += time.Since(start).Seconds()
	if out.leftDense == l.Cols {
		rep.Pattern = ""
	}
	return notes, nil
}

// capture is how the passes run the data through a model, telling their progress.
func (s *State) capture(pass string) calib.CaptureOptions {
	return calib.CaptureOptions{Threads: s.Threads, Batch: s.Batch, MemoryLimit: s.MemoryLimit, Mask: s.Mask,
		Progress: func(done, total int) { s.progress(pass, "batches", done, total) }}
}

func (s *State) progress(pass, detail string, done, total int) {
	if s.Progress != nil {
		s.Progress(Progress{pass, detail, done, total})
	}
}

// task puts together what is to be done to a layer.
func (s *State) task(l *LayerState, w []float32, hessians [][]float64) (t *task, notes []string) {
	t = &task{Settings: l.Plan.Settings, groups: l.Groups, rows: l.Rows, cols: l.Cols, w: w, h: hessians,
		o: obs.Options{Threads: s.Threads, MemoryLimit: s.MemoryLimit}}
	if t.prunes() {
		t.whole, t.order = patternColumns(l.Layer, t.unit()), patternOrder(l.Layer, t.unit())
		if rest := l.ChannelsIn % t.unit(); rest > 0 {
			what := fmt.Sprintf("the last %d of its %d are", rest, l.ChannelsIn)
			if t.whole == 0 {
				what = "it has fewer and is"
			}
			notes = append(notes, fmt.Sprintf("%s: pattern %s takes %d input channels together: %s left dense", l.Name, t.pattern(), t.unit(), what))
		}
	}
	if t.Weights.Bits > 0 {
		spec, note := l.gridSpec(s.Recipe)
		if t.spec = &spec; note != "" {
			notes = append(notes, note)
		}
	}
	return t, notes
}

// patternColumns is how many columns fill units of consecutive input channels at one kernel position. The last input channels, which do
// not fill a unit, are left dense at each position.
func patternColumns(l *graph.Layer, unit int) int {
	return l.Cols / l.ChannelsIn * (l.ChannelsIn - l.ChannelsIn%unit)
}

// patternOrder lists the columns such that those of units come first; nil if they do so already.
func patternOrder(l *graph.Layer, unit int) []int {
	if l.ChannelsIn%unit == 0 || l.Cols == l.ChannelsIn {
		return nil
	}
	var order, rest []int
	for c := range l.Cols {
		if c%l.ChannelsIn < l.ChannelsIn-l.ChannelsIn%unit {
			order = append(order, c)
		} else {
			rest = append(rest, c)
		}
	}
	return append(order, rest...)
}

// gridSpec is the weight grid that the recipe asks for, and a note when the layer's shape does not allow it.
func (l *LayerState) gridSpec(r *Recipe) (spec obs.GridSpec, note string) {
	w := l.Plan.Weights
	spec = obs.GridSpec{Bits: w.Bits, Search: obs.Shrink}
	if l.search(r) == "minmax" {
		spec.Search = obs.MinMax
	}
	symmetric := w.Bits == 8 && l.ActBits > 0
	if w.Symmetric != nil {
		symmetric = *w.Symmetric
	}
	if symmetric {
		spec.Symmetric, spec.Signed, spec.Narrow = true, true, w.Bits == 8
	}
	if r.ReduceRange && w.Bits == 8 {
		spec.Bits, spec.Narrow = 7, false
	}
	switch w.Granularity {
	case "tensor":
		spec.Granularity = obs.PerTensor
	case "group":
		if l.ChannelsIn%w.Group != 0 && l.Cols != l.ChannelsIn {
			return spec, fmt.Sprintf("%s: groups of %d do not divide its %d input channels: one scale a channel instead", l.Name, w.Group, l.ChannelsIn)
		}
		if w.Group < l.Cols && l.blocksFail(r, spec.Bits) {
			return spec, fmt.Sprintf("%s: one scale a channel instead of groups of %d: ONNX Runtime 1.32 cannot run a product of quantized inputs by 8-bit weights in groups", l.Name, w.Group)
		}
		spec.Granularity, spec.Group = obs.PerGroup, w.Group
	}
	return spec, ""
}

// blocksFail reports whether runtimes fail where the layer's codes have a scale for each block of columns: ONNX Runtime 1.32 makes an integer
// operator of a MatMul of quantized inputs by 8-bit weights, and that knows no blocks. Codes of up to 4 bits can be stored in 4.
func (l *LayerState) blocksFail(r *Recipe, bits int) bool {
	return l.Kind == graph.MatMul && (bits > 4 || r.Container == "int8") && r.Form != "matmulnbits" && (l.ActBits > 0 || quantizedInput(l))
}

// search is how the scales of weights are found where the settings leave it open. Shrinking a row's range lowers its error but takes some
// of its output's deviation with it. Over tens of convolutions in a row that adds up, unless a correction restores the deviation; transformers
// restore it themselves by LayerNormalization.
func (l *LayerState) search(r *Recipe) string {
	if s := l.Plan.Weights.Search; s != "auto" {
		return s
	}
	if (r.Correction == "none" || r.Correction == "bias") && (l.Kind == graph.Conv || l.Kind == graph.ConvTranspose) {
		return "minmax"
	}
	return "shrink"
}

// zeros is the share of zeros in w.
func zeros(w []float32) float64 {
	n := 0
	for _, v := range w {
		if v == 0 {
			n++
		}
	}
	return float64(n) / float64(max(1, len(w)))
}
