package passes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
)

// Compress makes a compressed copy of m, calibrated on data, as the recipe says. m itself is not changed. When the recipe leaves
// every layer as it is, the error wraps ErrNothingChanged and says why.
//
// The result is the same bytes for any number of threads, and for any batch size as far as the model itself is.
func Compress(ctx context.Context, m *onnxio.Model, data calib.Dataset, r *Recipe, o Options) (*Result, error) {
	start := time.Now()
	if r == nil {
		return nil, errors.New("no recipe given: start from DefaultRecipe")
	}
	if m == nil || data == nil {
		return nil, errors.New("no model or no data given: see onnxio.Load and calib.Open")
	}
	if err := r.Validate(); err != nil {
		return nil, r.place(err)
	}
	s, err := newState(m, data, r, o)
	if err != nil {
		return nil, err
	}
	if err := s.apply(ctx, pipeline(r)); err != nil {
		return nil, err
	}
	s.Report.Opset[1] = s.Model.Opset("")
	s.Report.PeakRSS, s.Report.Seconds = peakRSS(), time.Since(start).Seconds()
	return &Result{Model: s.Model, Report: s.Report}, nil
}

// newState clones the model, puts the bodies of its functions in the place of their calls, and opens its graph.
func newState(m *onnxio.Model, data calib.Dataset, r *Recipe, o Options) (*State, error) {
	own := *r
	if strings.HasPrefix(r.Target, "size=") && r.Container == "auto" {
		own.Container = "exact" // or codes below 8 bits would take no less room
	}
	s := &State{Recipe: &own, Data: data, Options: o, Model: m.Clone()}
	s.Report = &Report{Tool: "obc", Version: o.Version, RecipeHash: r.Hash(), Samples: data.Len(), Target: r.Target,
		Layers: []LayerReport{}, Kept: []KeptLayer{}, Warnings: []string{}, Opset: [2]int{m.Opset(""), 0}}
	if set, ok := data.(*calib.Set); ok {
		s.Report.Warnings = append(s.Report.Warnings, set.Warnings...)
	}
	var err error
	if s.Report.Dense.Bytes, err = m.Size(); err != nil {
		return nil, err
	}
	calls, err := convert.Inline(s.Model)
	if err != nil {
		return nil, err
	}
	if calls > 0 {
		s.Report.Passes = append(s.Report.Passes, PassReport{Name: "inline functions", Changes: calls})
	}
	if s.Graph, err = graph.New(s.Model); err != nil {
		return nil, err
	}
	return s, nil
}

// pipeline is the list of passes that a recipe stands for.
func pipeline(r *Recipe) []Pass {
	list := []Pass{simplify{}, findLayers{}, findReached{}}
	if r.quantizesActivations() {
		if e := r.equalizer(); e.auto || e.strength > 0 {
			list = append(list, e)
		}
		list = append(list, countActivations{})
	}
	if r.Target != "" || r.Scope == "model" {
		list = append(list, search{})
	}
	if r.quantizesActivations() {
		list = append(list, quantizeActivations{})
	}
	if r.Mode == "sequential" {
		list = append(list, solveInSequence{})
	} else {
		list = append(list, solve{})
	}
	list = append(list, placeWeights{})
	if r.quantizesEmbeddings() {
		list = append(list, quantizeEmbeddings{})
	}
	switch r.Correction {
	case "auto", "statistics":
		list = append(list, correct{scale: true})
	case "bias":
		list = append(list, correct{})
	case "batchnorm":
		list = append(list, renormalize{})
	}
	return append(list, write{}, annotate{}, count{})
}

// quantizesActivations reports whether any layer's input may be quantized.
func (r *Recipe) quantizesActivations() bool {
	return r.Activations.Bits > 0 || strings.HasPrefix(r.Target, "bops=")
}

// quantizesEmbeddings reports whether tables that Gather reads become int8: as asked, else where the model's weights become codes.
func (r *Recipe) quantizesEmbeddings() bool {
	if r.Embeddings == "auto" {
		return r.Weights.Bits > 0 && r.Form != "float" && len(r.Include) == 0
	}
	return r.Embeddings == "int8"
}

// nothingChanged is the error for a model none of whose layers is compressed.
func nothingChanged(kept []KeptLayer) error {
	if len(kept) == 0 {
		return fmt.Errorf("%w: the model has no Conv, ConvTranspose, Gemm or MatMul with constant weights", ErrNothingChanged)
	}
	count, order := map[string]int{}, []string{}
	for _, k := range kept {
		if count[k.Reason]++; count[k.Reason] == 1 {
			order = append(order, k.Reason)
		}
	}
	const most = 3
	var parts []string
	for i, reason := range order {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more reasons", len(order)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%s (%d)", reason, count[reason]))
	}
	return fmt.Errorf("%w: %d layers and candidates were left as they are: %s", ErrNothingChanged, len(kept), strings.Join(parts, "; "))
}

// simplify folds what stands in the way of layers.
type simplify struct{}

func (simplify) Name() string { return "simplify" }

func (simplify) Apply(ctx context.Context, s *State) (PassReport, error) {
	changes, err := graph.Simplify(s.Graph, graph.SimplifyOptions{FoldConstants: exec.Fold, KeepBatchNorm: s.Recipe.KeepBN})
	if err != nil {
		return PassReport{}, err
	}
	r := PassReport{Changes: len(changes)}
	if len(changes) > 0 {
		r.Notes = []string{changes.String() + " folded or removed"}
	}
	return r, exec.InferShapes(s.Graph)
}
