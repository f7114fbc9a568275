package score

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Compared is how far a model is from another, layer by layer and at its outputs.
type Compared struct {
	Samples int      `json:"samples"`
	Layers  []Named  `json:"layers"`       // in the order of the reference
	Outputs []Named  `json:"outputs"`      // those that both have
	Alone   []string `json:"not_compared"` // layers of the reference whose output the other model does not have
}

// Named is the difference at one value.
type Named struct {
	Name string `json:"name"` // of the layer or output
	Op   string `json:"op,omitempty"`
	// Scaled tells that equalization has scaled the channels of the other model's value: the difference is between values of two scales.
	Scaled bool `json:"scaled,omitempty"`
	Difference
}

// ErrNothingShared tells that two models have no layer and no output of the same name.
var ErrNothingShared = errors.New("the models have no layer and no output name in common: are they versions of one model?")

// Compare runs both graphs on all of the data, each on its own values, and compares the outputs of the reference's layers
// with the values of the same name, or of the node of the same name, in the other graph. The difference at a layer therefore
// holds what all layers before it did; it includes a BatchNormalization or bias that the other graph has folded into the layer.
// Positions that the data's mask marks as padding do not count.
func Compare(ctx context.Context, ref, other *graph.Graph, data calib.Dataset, batch int, o exec.Options) (*Compared, error) {
	refs, err := exec.New(ref, o)
	if err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	others, err := exec.New(other, o)
	if err != nil {
		return nil, err
	}
	c := &Compared{Samples: data.Len()}
	pairs := c.pair(ref, other)
	sums := make([]Comparison, len(pairs))
	outs := map[string]*Comparison{}
	for _, v := range ref.Outputs {
		if other.Value(v.Name) != nil {
			outs[v.Name] = &Comparison{}
		}
	}
	if len(pairs)+len(outs) == 0 {
		return nil, ErrNothingShared
	}
	err = batches(ctx, refs, data, batch, func(_, _ int, feeds map[string]*onnxio.Tensor) error {
		want, wantOut, err := captured(ctx, refs, feeds, pairs, func(p pair) *graph.Node { return p.ref })
		if err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		got, gotOut, err := captured(ctx, others, feeds, pairs, func(p pair) *graph.Node { return p.other })
		if err != nil {
			return err
		}
		for i, p := range pairs {
			if err := sums[i].Add(want[i], got[i], calib.Unpadded(data, feeds, got[i].Shape)); err != nil {
				return fmt.Errorf("layer %q: %w", p.name, err)
			}
		}
		for name, sum := range outs {
			if err := sum.Add(wantOut[name], gotOut[name], calib.Unpadded(data, feeds, gotOut[name].Shape)); err != nil {
				return fmt.Errorf("output %q: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, p := range pairs {
		c.Layers = append(c.Layers, Named{p.name, p.op, scaled(other, p), sums[i].Result()})
	}
	for _, v := range ref.Outputs {
		if sum := outs[v.Name]; sum != nil {
			c.Outputs = append(c.Outputs, Named{v.Name, "", false, sum.Result()})
		}
	}
	return c, nil
}

// pair is a layer of the reference and the node of the other graph that makes the same value.
type pair struct {
	name, op   string
	ref, other *graph.Node
}

// pair finds the layers that both graphs have; the others go into c.Alone.
func (c *Compared) pair(ref, other *graph.Graph) []pair {
	var pairs []pair
	layers, _ := graph.Layers(ref)
	for _, l := range layers {
		for _, n := range l.Nodes {
			if n.Graph != ref {
				continue // in a subgraph: its values do not outlive a step
			}
			if m := counterpart(n, other); m != nil {
				pairs = append(pairs, pair{l.Name, n.Op(), last(n, other), m})
			} else {
				c.Alone = append(c.Alone, l.Name)
			}
		}
	}
	return pairs
}

// scaled reports whether obc has noted of the other graph's layer that its output channels were scaled: at the node, or, in files whose
// nodes hold no metadata, at the model.
func scaled(other *graph.Graph, p pair) bool {
	const key, note = "obc.scaled_outputs", "scaled_outputs=true"
	for _, m := range p.other.Proto.MetadataProps {
		if m.GetKey() == key {
			return m.GetValue() == "true"
		}
	}
	for _, m := range other.Model.Proto.MetadataProps {
		if m.GetKey() == "obc.layer."+p.name {
			return strings.Contains(m.GetValue(), note)
		}
	}
	return false
}

// last is the node of the reference whose value the node of n's name gives in the graph other, into which a BatchNormalization or the
// Add of a constant behind it may have been folded: n itself when they are still there.
func last(n *graph.Node, other *graph.Graph) *graph.Node {
	for {
		v := n.Outputs[0]
		if v.IsOutput || len(v.Uses) != 1 {
			return n
		}
		next := v.Uses[0].Node
		folds := next.Op() == "BatchNormalization" || next.Op() == "Add" && (next.In(0).IsConst() || next.In(1).IsConst())
		if !folds || next.Graph != n.Graph || other.Node(next.Name()) != nil || other.Value(next.Outputs[0].Name) != nil {
			return n
		}
		n = next
	}
}

// counterpart is the node of g that makes the value of n's name, else the node of n's name.
func counterpart(n *graph.Node, g *graph.Graph) *graph.Node {
	if v := g.Value(n.Outputs[0].Name); v != nil && v.Producer != nil {
		return v.Producer
	}
	if m := g.Node(n.Name()); m != nil && m.Op() == n.Op() {
		return m
	}
	return nil
}

// captured runs a batch and keeps the first outputs of the nodes that side picks from the pairs, and the model's outputs.
func captured(ctx context.Context, e *exec.Executor, feeds map[string]*onnxio.Tensor, pairs []pair, side func(pair) *graph.Node) ([]*onnxio.Tensor, map[string]*onnxio.Tensor, error) {
	at := map[*graph.Node][]int{}
	for i, p := range pairs {
		at[side(p)] = append(at[side(p)], i)
	}
	kept := make([]*onnxio.Tensor, len(pairs))
	outs, err := e.Run(ctx, feeds, &exec.Hooks{After: func(n *graph.Node, _, out []*onnxio.Tensor) error {
		for _, i := range at[n] {
			kept[i] = out[0].Clone()
		}
		return nil
	}})
	return kept, outs, err
}
