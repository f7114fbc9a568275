package passes

import (
	"context"
	"fmt"
	"strings"

	"github.com/obc-onnx/obc/graph"
)

// findLayers finds the layers, resolves the recipe for each, and reports those that stay as they are with the reason.
type findLayers struct{}

func (findLayers) Name() string { return "layers" }

func (findLayers) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	tied, err := graph.Tie(s.Graph)
	if err != nil {
		return r, err
	}
	if len(tied) > 0 {
		if err := s.Graph.Sync(); err != nil {
			return r, err
		}
		for _, n := range tied {
			r.Notes = append(r.Notes, fmt.Sprintf("%v reads its weight as the other nodes do that share it: they are one layer", n))
		}
	}
	layers, skipped := graph.Layers(s.Graph)
	infos := make([]LayerInfo, len(layers))
	for i, l := range layers {
		infos[i] = layerInfo(l)
	}
	plans, err := s.Recipe.Plan(infos)
	if err != nil {
		return r, err
	}
	for _, k := range skipped {
		s.Report.Kept = append(s.Report.Kept, KeptLayer{k.Node.Name(), k.Node.Op(), k.Reason})
	}
	s.Fixed = graph.IntegerOps(s.Graph)
	work := 0
	for i, l := range layers {
		w, err := l.Matrix()
		if err != nil {
			return r, err
		}
		ls := &LayerState{Layer: l, Plan: plans[i], ActBits: s.Recipe.Activations.Bits, Zeros: zeros(w), Came: width{l.WeightBits(), l.InputBits()}, Report: layerReport(l)}
		s.Layers = append(s.Layers, ls)
		if ls.Shared, ls.SharedAs = l.Sharers(), l.Source().Name; ls.Plan.Keep == "" && !ls.Plan.Asked {
			ls.Plan.Keep = ls.wouldDouble(s.Recipe)
		}
		if ls.Plan.Keep == "" {
			ls.Plan.Keep = ls.idle(s.Recipe)
		}
		if ls.Plan.Keep != "" {
			s.keep(ls, ls.Plan.Keep)
			continue
		}
		work++
	}
	if work == 0 {
		return r, nothingChanged(s.Report.Kept)
	}
	r.Changes = work
	return r, nil
}

// wouldDouble tells why a layer is left dense whose weight something else reads too, or is empty: zeros in float weights would only add a second
// copy, for what is right for the layer's inputs is not for those of others, an embedding's Gather say. Codes are smaller than
// what they stand beside.
func (l *LayerState) wouldDouble(r *Recipe) string {
	if len(l.Shared) == 0 || !l.Plan.prunes() && !strings.HasPrefix(r.Target, "flops=") || l.Plan.Weights.Bits > 0 && r.Form != "float" ||
		r.Target != "" && !strings.HasPrefix(r.Target, "flops=") {
		return ""
	}
	return fmt.Sprintf("its weight %q is read by %s too, and pruned it would be stored beside the dense one: quantize it, or name the layer (--include, or a rule with keep: false) to have it so",
		l.SharedAs, strings.Join(l.Shared, ", "))
}

// layerInfo is what the recipe's rules look at.
func layerInfo(l *graph.Layer) LayerInfo {
	info := LayerInfo{Name: l.Name, Op: l.Kind.String(), Size: l.Groups * l.Rows * l.Cols, Names: []string{l.Weight.Name}}
	for _, n := range l.Nodes {
		info.Names = append(info.Names, n.Name())
	}
	return info
}

func layerReport(l *graph.Layer) LayerReport {
	return LayerReport{Name: l.Name, Op: l.Kind.String(), Weight: l.Weight.Name, Shape: l.WeightShape(), Groups: l.Groups, Rows: l.Rows,
		Cols: l.Cols, MACs: l.MACs(), Form: "float32"}
}

// keep reports that a layer stays as it is.
func (s *State) keep(l *LayerState, reason string) {
	s.Report.Kept = append(s.Report.Kept, KeptLayer{l.Name, l.Kind.String(), reason})
}

// active lists the layers that are worked on.
func (s *State) active() []*LayerState {
	var list []*LayerState
	for _, l := range s.Layers {
		if l.Plan.Keep == "" {
			list = append(list, l)
		}
	}
	return list
}

// idle tells why the recipe has nothing to do at a layer, or is empty.
func (l *LayerState) idle(r *Recipe) string {
	if r.Target != "" {
		return "" // the search looks for a level
	}
	prune, quantize := l.Plan.prunes(), l.Plan.Weights.Bits > 0
	if !prune && !quantize && r.Activations.Bits == 0 {
		return "the recipe asks for nothing here: give sparsity, nm, weights or activations"
	}
	if prune && !quantize && r.Activations.Bits == 0 {
		if unit := l.Plan.unit(); patternColumns(l.Layer, unit) == 0 {
			return fmt.Sprintf("pattern %s takes %d input channels together, and it has only %d", l.Plan.pattern(), unit, l.ChannelsIn)
		}
	}
	return ""
}

// prunes reports whether the settings ask for zeros.
func (s Settings) prunes() bool { return s.NM != "" || s.Sparsity > 0 }

// unit is how many weights along the input channels the pattern takes together.
func (s Settings) unit() int {
	if s.NM != "" {
		_, m, _ := ParseNM(s.NM) // Validate has seen to errors
		return m
	}
	return max(1, s.Block)
}

// pattern names the pattern of zeros as reports have it.
func (s Settings) pattern() string {
	switch {
	case s.NM != "":
		return s.NM
	case s.Sparsity == 0:
		return ""
	case s.Block > 1:
		return fmt.Sprintf("block %d", s.Block)
	}
	return "unstructured"
}
