package ops

import (
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// constNear reports whether input i of n is a constant number within float32 rounding of want.
func constNear(p *exec.Prep, n *graph.Node, i int, want float64) bool {
	v := p.Of(n).Const(i)
	return v != nil && v.Type == onnxio.Float32 && v.Len() == 1 && math.Abs(float64(v.Float32s()[0])-want) <= 1e-6*want
}

// scaled follows v through a Mul by factor, or a Div by its inverse.
func scaled(p *exec.Prep, v *graph.Node, factor float64) *graph.Node {
	f, i := p.Follower(v)
	switch {
	case f == nil || len(f.Inputs) != 2:
		return nil
	case f.Op() == "Mul" && constNear(p, f, 1-i, factor), f.Op() == "Div" && i == 0 && constNear(p, f, 1, 1/factor):
		return f
	}
	return nil
}

// geluOf finds the nodes that make x/2 * (1 + erf(x/sqrt 2)) of a value x, in the forms that exporters write; nil if there are none.
func geluOf(x *graph.Value, p *exec.Prep) []*graph.Node {
	if x == nil || x.IsOutput || len(x.Uses) < 1 || len(x.Uses) > 2 {
		return nil
	}
	if f := x.Uses[0].Node; len(x.Uses) == 1 {
		if f.Op() == "Gelu" && f.Str("approximate", "none") == "none" {
			return []*graph.Node{f}
		}
		return nil
	}
	for side := range 2 {
		in, out := x.Uses[side], x.Uses[1-side]
		if list := geluFrom(p, in, out); list != nil {
			return list
		}
	}
	return nil
}

// geluFrom takes in for the use that leads to Erf and out for the use as factor.
func geluFrom(p *exec.Prep, in, out graph.Use) []*graph.Node {
	d := in.Node
	if len(d.Inputs) != 2 || !(d.Op() == "Div" && in.Index == 0 && constNear(p, d, 1, math.Sqrt2) ||
		d.Op() == "Mul" && constNear(p, d, 1-in.Index, math.Sqrt2/2)) {
		return nil
	}
	erf, _ := p.Follower(d)
	if erf == nil || erf.Op() != "Erf" {
		return nil
	}
	plus, i := p.Follower(erf)
	if plus == nil || plus.Op() != "Add" || len(plus.Inputs) != 2 || !constNear(p, plus, 1-i, 1) {
		return nil
	}
	list := []*graph.Node{d, erf, plus}
	if out.Node.Op() != "Mul" || len(out.Node.Inputs) != 2 {
		return nil
	}
	if half := scaled(p, plus, 0.5); half != nil { // x * ((1 + erf) / 2)
		if f, _ := p.Follower(half); f == out.Node {
			return append(list, half, f)
		}
		return nil
	}
	f, _ := p.Follower(plus)
	switch {
	case f == nil || f.Op() != "Mul":
		return nil
	case f == out.Node: // (x * (1 + erf)) / 2
		if half := scaled(p, f, 0.5); half != nil {
			return append(list, f, half)
		}
	default: // (x / 2) * (1 + erf)
		if half := out.Node; constNear(p, half, 1-out.Index, 0.5) {
			if g, _ := p.Follower(half); g == f {
				return append(list, half, f)
			}
		}
	}
	return nil
}

// takeGelu adds the nodes of a Gelu.
func (k *chain) takeGelu(p *exec.Prep) bool {
	list := geluOf(k.last().Out(0), p)
	if list == nil {
		return false
	}
	k.nodes = append(k.nodes, list...)
	k.then = func(row []float32) { kernel.Gelu(row, row) }
	return true
}

// fuseGelu runs the nodes of a Gelu as one where no product comes before them; n is the one that leads to Erf.
func fuseGelu(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	var x *graph.Value
	for i, v := range n.Inputs {
		if v != nil && p.Const(i) == nil {
			x = v
		}
	}
	list := geluOf(x, p)
	if len(list) < 2 || list[0] != n {
		return nil, nil
	}
	gelu := mapRuns(8, kernel.Gelu)
	return &exec.Fusion{Nodes: list, Inputs: []*graph.Value{x}, Kernel: func(c *exec.Call) error {
		if c.In[0] == nil || c.In[0].Type != onnxio.Float32 {
			return exec.ErrApart
		}
		return gelu(c)
	}}, nil
}

func init() {
	exec.RegisterFusion("Div", fuseGelu)
	exec.RegisterFusion("Mul", fuseGelu)
}
