package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// pullback gives the gradients by a node's inputs from that by its output, dy: in and y are the forward values, all as float64. A nil
// entry stands for an input that none flows to.
type pullback func(in []*tensor, y, dy *tensor) []*tensor

// pullbacks are the operators that Gradient goes back through.
var pullbacks = map[string]pullback{
	"Identity": unaryPullback(func(_, _ float64) float64 { return 1 }),
	"Neg":      unaryPullback(func(_, _ float64) float64 { return -1 }),
	"Exp":      unaryPullback(func(_, y float64) float64 { return y }),
	"Log":      unaryPullback(func(x, _ float64) float64 { return 1 / x }),
	"Sqrt":     unaryPullback(func(_, y float64) float64 { return 0.5 / y }),
	"Sin":      unaryPullback(func(x, _ float64) float64 { return math.Cos(x) }),
	"Cos":      unaryPullback(func(x, _ float64) float64 { return -math.Sin(x) }),
	"Tanh":     unaryPullback(func(_, y float64) float64 { return 1 - y*y }),
	"Sigmoid":  unaryPullback(func(_, y float64) float64 { return y * (1 - y) }),
	"Relu": unaryPullback(func(x, _ float64) float64 {
		if x > 0 {
			return 1
		}
		return 0
	}),
	"Add": binaryPullback(func(_, _ float64) (a, b float64) { return 1, 1 }),
	"Sub": binaryPullback(func(_, _ float64) (a, b float64) { return 1, -1 }),
	"Mul": binaryPullback(func(x, y float64) (a, b float64) { return y, x }),
	"Div": binaryPullback(func(x, y float64) (a, b float64) { return 1 / y, -x / (y * y) }),
	"Pow": binaryPullback(func(x, y float64) (a, b float64) { return y * math.Pow(x, y-1), math.Pow(x, y) * math.Log(x) }),
	"MatMul": func(in []*tensor, _, dy *tensor) []*tensor {
		a, b := in[0], in[1]
		if len(a.Shape) != 2 || len(b.Shape) != 2 {
			panic(fmt.Errorf("the gradient of MatMul is known for matrices only, not for shapes %v and %v", a.Shape, b.Shape))
		}
		m, k, n := a.Shape[0], a.Shape[1], b.Shape[1]
		da, db := onnxio.NewTensor(onnxio.Float64, m, k), onnxio.NewTensor(onnxio.Float64, k, n)
		if m*n*k > 0 {
			product(false, true, m, k, n, 1, dy.Float64s(), n, b.Float64s(), n, 0, da.Float64s(), k, 1)
			product(true, false, k, n, m, 1, a.Float64s(), k, dy.Float64s(), n, 0, db.Float64s(), n, 1)
		}
		return []*tensor{da, db}
	},
}

func unaryPullback(slope func(x, y float64) float64) pullback {
	return func(in []*tensor, y, dy *tensor) []*tensor {
		dx := onnxio.NewTensor(onnxio.Float64, in[0].Shape...)
		for i, x := range in[0].Float64s() {
			dx.Float64s()[i] = slope(x, y.Float64s()[i]) * dy.Float64s()[i]
		}
		return []*tensor{dx}
	}
}

// binaryPullback sums over the elements that an operand was broadcast to.
func binaryPullback(slopes func(x, y float64) (a, b float64)) pullback {
	return func(in []*tensor, y, dy *tensor) []*tensor {
		out := []*tensor{onnxio.NewTensor(onnxio.Float64, in[0].Shape...), onnxio.NewTensor(onnxio.Float64, in[1].Shape...)}
		a, b := in[0].Float64s(), in[1].Float64s()
		da, db, g := out[0].Float64s(), out[1].Float64s(), dy.Float64s()
		l := newLoop(y.Shape, stridesOf(y.Shape), spread(in[0].Shape, y.Shape), spread(in[1].Shape, y.Shape))
		rows, n := l.rows()
		l.each(0, rows, func(_ int, off []int) {
			for i := range n {
				p, q := off[1]+i*l.inner(1), off[2]+i*l.inner(2)
				sa, sb := slopes(a[p], b[q])
				da[p] += sa * g[off[0]+i]
				db[q] += sb * g[off[0]+i]
			}
		})
		return out
	}
}

// derivation is the part of a graph between the inputs xs and zs and the output y.
type derivation struct {
	from  []*graph.Value // in the order of the node's inputs
	wrt   int            // how many of them, the first ones, gradients are asked for
	y     *graph.Value
	nodes []*graph.Node
}

// prepareGradient: gradients of the sum of y by each of xs, at the values that the inputs give for xs and zs.
func prepareGradient(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	xs, zs := n.Strings("xs"), n.Strings("zs")
	d := derivation{wrt: len(xs), y: n.Graph.Lookup(n.Str("y", ""))}
	if d.y == nil {
		return nil, fmt.Errorf("attribute y names %q, which the graph does not have", n.Str("y", ""))
	}
	for _, name := range append(slices.Clone(xs), zs...) {
		v := n.Graph.Lookup(name)
		if v == nil {
			return nil, fmt.Errorf("attribute xs or zs names %q, which the graph does not have", name)
		}
		d.from = append(d.from, v)
	}
	if len(d.from) != len(n.Inputs) {
		return nil, fmt.Errorf("has %d inputs for the %d names in xs and zs", len(n.Inputs), len(d.from))
	}
	if err := d.collect(d.y, map[*graph.Value]bool{}); err != nil {
		return nil, err
	}
	return d.run, nil
}

// collect lists the nodes that y is computed by, in their order.
func (d *derivation) collect(v *graph.Value, seen map[*graph.Value]bool) error {
	if v == nil || seen[v] || slices.Contains(d.from, v) || v.IsConst() {
		return nil
	}
	seen[v] = true
	n := v.Producer
	if n == nil {
		return fmt.Errorf("%v leads to y, but is neither in xs nor in zs", v)
	}
	if pullbacks[n.Op()] == nil || n.Domain() != "" {
		return fmt.Errorf("%v cannot be gone back through: its gradient is not known", n)
	}
	for _, in := range n.Inputs {
		if err := d.collect(in, seen); err != nil {
			return err
		}
	}
	d.nodes = append(d.nodes, n)
	return nil
}

func (d derivation) run(c *exec.Call) error {
	if err := need(c, len(d.from)); err != nil {
		return err
	}
	values := map[*graph.Value]*tensor{}
	for i, v := range d.from {
		x, err := c.In[i].ConvertTo(onnxio.Float64)
		if err != nil {
			return err
		}
		values[v] = x
	}
	if err := d.forward(values); err != nil {
		return err
	}
	grad := map[*graph.Value]*tensor{}
	ones := onnxio.NewTensor(onnxio.Float64, values[d.y].Shape...)
	for i := range ones.Float64s() {
		ones.Float64s()[i] = 1
	}
	grad[d.y] = ones
	for i := len(d.nodes) - 1; i >= 0; i-- {
		n := d.nodes[i]
		dy := grad[n.Outputs[0]]
		if dy == nil {
			continue
		}
		for k, g := range pullbacks[n.Op()](inputsOf(n, values), values[n.Outputs[0]], dy) {
			addTo(grad, n.Inputs[k], g)
		}
	}
	for i, v := range d.from[:d.wrt] {
		g := grad[v]
		if g == nil { // y does not depend on it
			g = onnxio.NewTensor(onnxio.Float64, c.In[i].Shape...)
		}
		y, err := g.ConvertTo(c.In[i].Type)
		if err != nil {
			return err
		}
		c.SetOut(i, y)
	}
	return nil
}

// forward computes the nodes again, in float64.
func (d derivation) forward(values map[*graph.Value]*tensor) error {
	for _, n := range d.nodes {
		for _, v := range n.Inputs {
			if values[v] != nil {
				continue
			}
			t, err := v.Tensor()
			if err != nil {
				return err
			}
			if values[v], err = t.ConvertTo(onnxio.Float64); err != nil {
				return err
			}
		}
		out, err := exec.Fold(n, inputsOf(n, values))
		if err != nil {
			return err
		}
		values[n.Outputs[0]] = out[0]
	}
	if values[d.y] == nil {
		return fmt.Errorf("%v is not computed from xs", d.y)
	}
	return nil
}

func inputsOf(n *graph.Node, values map[*graph.Value]*tensor) []*tensor {
	in := make([]*tensor, len(n.Inputs))
	for i, v := range n.Inputs {
		in[i] = values[v]
	}
	return in
}

func addTo(grad map[*graph.Value]*tensor, v *graph.Value, g *tensor) {
	old := grad[v]
	if old == nil {
		grad[v] = g
		return
	}
	for i, x := range g.Float64s() {
		old.Float64s()[i] += x
	}
}

func inferGradient(n *graph.Node) error {
	for i := range n.Outputs {
		n.SetOut(i, typeOf(n, i), shapeOf(n, i))
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: domainTraining, Name: "Gradient", Since: 1, Infer: inferGradient, Prepare: prepareGradient, Native: true})
}
