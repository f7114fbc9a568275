package passes

import (
	"context"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
)

// findReached leaves layers dense that no calibration sample reaches: those of If branches that are never taken, such as the one
// for another sampling rate. Only models with layers in subgraphs are run for it.
type findReached struct{}

func (findReached) Name() string { return "reached layers" }

const unreached = "no calibration sample reached it (an If branch that is never taken): give data that takes it"

func (findReached) Apply(ctx context.Context, s *State) (PassReport, error) {
	var inside []*graph.Node
	for _, l := range s.active() {
		if nodes := l.insideNodes(); len(nodes) == len(l.Nodes) {
			inside = append(inside, nodes...)
		}
	}
	if len(inside) == 0 {
		return PassReport{}, nil
	}
	ran, err := calib.Ran(ctx, s.Graph, inside, s.Data, s.capture("reached layers"))
	if err != nil {
		return PassReport{}, err
	}
	r := PassReport{}
	for _, l := range s.active() {
		reached := len(l.insideNodes()) < len(l.Nodes)
		for _, n := range l.Nodes {
			reached = reached || ran[n]
		}
		if !reached {
			l.Plan.Keep = unreached
			s.keep(l, unreached)
			r.Changes++
		}
	}
	if len(s.active()) == 0 {
		return r, nothingChanged(s.Report.Kept)
	}
	return r, nil
}

// insideNodes are the layer's nodes that stand in subgraphs.
func (l *LayerState) insideNodes() []*graph.Node {
	var list []*graph.Node
	for _, n := range l.Nodes {
		if n.Graph.Owner != nil {
			list = append(list, n)
		}
	}
	return list
}
