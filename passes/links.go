package passes

import (
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
)

// Runtimes run a convolution in integers only when its output is rounded too, and the sum of two branches only when both
// branches and the sum are. LinkValues finds these values; where a layer reads one of them at 8 bits, the layer's own quantizer
// (LayerState.Input) serves. Layers that read fewer bits round once more, so that a residual stream never has less than 8.

// linkBits is the width of a link's quantizer.
const linkBits = 8

// LinkValues lists, in topological order, the values between layers that are written with an 8-bit quantizer (State.Links)
// when the given layers' inputs are quantized: the outputs of their convolutions, taken behind a Relu or Clip, and the operands
// and the result of an Add of such an output. Outputs of the model stay float.
func LinkValues(layers []*LayerState) []*graph.Value {
	seen := map[*graph.Value]bool{}
	var list []*graph.Value
	add := func(v *graph.Value) {
		if v != nil && !seen[v] && !v.IsConst() && !v.IsOutput {
			seen[v] = true
			list = append(list, v)
		}
	}
	for _, l := range layers {
		if l.Kind != graph.Conv {
			continue
		}
		for _, n := range l.Nodes {
			v := absorbed(n.Out(0))
			add(v)
			if v == nil || v.IsOutput {
				continue
			}
			for _, u := range v.Uses {
				if isResidual(u.Node) {
					add(u.Node.In(0))
					add(u.Node.In(1))
					add(absorbed(u.Node.Out(0)))
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b *graph.Value) int { return place(a) - place(b) })
	return list
}

// isResidual reports whether n adds two activations of one shape.
func isResidual(n *graph.Node) bool {
	if n.Op() != "Add" || n.Domain() != "" {
		return false
	}
	a, b := n.In(0), n.In(1)
	return a != nil && b != nil && !a.IsConst() && !b.IsConst() && a.Shape != nil && a.Shape.Same(b.Shape)
}

// absorbed is the value that a quantizer of v is best put on: behind the Relu or Clip that alone reads v, which the quantizer
// then stands for, else v itself.
func absorbed(v *graph.Value) *graph.Value {
	if v == nil || v.IsOutput || len(v.Uses) != 1 || v.Uses[0].Index != 0 {
		return v
	}
	n := v.Uses[0].Node
	if n.Graph == v.Graph && n.Domain() == "" && (n.Op() == "Relu" || n.Op() == "Clip") {
		return n.Out(0)
	}
	return v
}

// Ceiling is the upper limit of the Clip that computes v, NaN when there is none: a quantizer that stays within it makes the
// Clip needless, so that runtimes can fuse.
func Ceiling(v *graph.Value) float64 {
	if v == nil || v.Producer == nil || v.Producer.Op() != "Clip" || v.Producer.Domain() != "" {
		return math.NaN()
	}
	n := v.Producer
	if n.HasAttr("max") {
		return float64(n.Float("max", math.MaxFloat32))
	}
	if t, ok := n.In(2).Const(); ok && t.Len() == 1 {
		if f, err := t.ToFloat32(); err == nil {
			return float64(f.Float32s()[0])
		}
	}
	return math.NaN()
}

// place is where a value is computed: the position of its producer in the main graph, -1 for inputs.
func place(v *graph.Value) int {
	n := v.Producer
	if n == nil {
		return -1
	}
	main := n.Graph.Main()
	for n.Graph != main && n.Graph.Owner != nil {
		n = n.Graph.Owner
	}
	return slices.Index(main.Nodes, n)
}
