package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// einsum is a parsed equation: one list of labels an operand and one for the output. The ellipsis is a label of its own,
// which stands for as many dimensions as an operand has beyond its letters.
type einsum struct {
	in  [][]rune
	out []rune
}

const ellipsis = '\u2026'

func parseEinsum(equation string) (einsum, error) {
	s := strings.ReplaceAll(strings.ReplaceAll(equation, " ", ""), "...", string(ellipsis))
	left, right, explicit := strings.Cut(s, "->")
	e := einsum{out: []rune(right)}
	count := map[rune]int{}
	for _, term := range strings.Split(left, ",") {
		e.in = append(e.in, []rune(term))
		for _, l := range term {
			if l != ellipsis && !('a' <= l && l <= 'z' || 'A' <= l && l <= 'Z') {
				return e, fmt.Errorf("equation %q: %q is no label", equation, l)
			}
			count[l]++
		}
	}
	if !explicit { // the ellipsis, then the letters that stand once, in order
		for l, n := range count {
			if n == 1 && l != ellipsis {
				e.out = append(e.out, l)
			}
		}
		slices.Sort(e.out)
		if count[ellipsis] > 0 {
			e.out = append([]rune{ellipsis}, e.out...)
		}
	}
	for _, l := range e.out {
		if count[l] == 0 {
			return e, fmt.Errorf("equation %q: output label %q is in no operand", equation, l)
		}
	}
	return e, nil
}

// spelled replaces the ellipsis of a term by labels for n dimensions.
func spelled(term []rune, n int) []rune {
	var out []rune
	for _, l := range term {
		if l != ellipsis {
			out = append(out, l)
			continue
		}
		for k := n; k > 0; k-- {
			out = append(out, rune(-k))
		}
	}
	return out
}

// axes spells the labels of a term out for an operand of the given rank: the ellipsis becomes negative labels -1, -2, ...
// counted from its end, so that operands broadcast.
func axes(term []rune, rank int) ([]rune, error) {
	out := spelled(term, rank-len(term)+1)
	if len(out) != rank {
		return nil, fmt.Errorf("an operand of rank %d does not fit the labels %q", rank, string(term))
	}
	return out, nil
}

// einsumKernel sums the products of all operands over the labels that the output lacks.
func einsumKernel[T number](c *exec.Call, e einsum) error {
	if len(c.In) != len(e.in) {
		return fmt.Errorf("%d operands for an equation of %d", len(c.In), len(e.in))
	}
	dims := map[rune]int{}
	labels := make([][]rune, len(c.In))
	most := 0
	for i, x := range c.In {
		var err error
		if labels[i], err = axes(e.in[i], len(x.Shape)); err != nil {
			return err
		}
		for d, l := range labels[i] {
			if old, ok := dims[l]; ok && old != x.Shape[d] && old != 1 && x.Shape[d] != 1 {
				return fmt.Errorf("operand %d of shape %v: one label is both %d and %d", i, x.Shape, old, x.Shape[d])
			}
			dims[l] = max(dims[l], x.Shape[d])
			if x.Shape[d] == 0 {
				dims[l] = 0
			}
			if l < 0 {
				most = max(most, int(-l))
			}
		}
	}
	out := spelled(e.out, most)
	var summed []rune
	for l := range dims {
		if !slices.Contains(out, l) {
			summed = append(summed, l)
		}
	}
	slices.Sort(summed)
	shape := make([]int, len(out))
	for i, l := range out {
		shape[i] = dims[l]
	}
	switch any(T(0)).(type) {
	case float32:
		if einsumProduct[float32](c, labels, dims, out) {
			return nil
		}
	case float64:
		if einsumProduct[float64](c, labels, dims, out) {
			return nil
		}
	}
	y := c.Zeros(c.In[0].Type, shape...)
	contract(c, data[T](y), labels, dims, out, summed)
	c.Out[0] = y
	return nil
}

// contract walks the index space of (out, summed), out outermost.
func contract[T number](c *exec.Call, y []T, labels [][]rune, dims map[rune]int, out, summed []rune) {
	strides := func(all []rune, i int) []int {
		st := make([]int, len(all))
		own := stridesOf(c.In[i].Shape)
		for d, l := range labels[i] {
			if k := slices.Index(all, l); k >= 0 && c.In[i].Shape[d] != 1 {
				st[k] += own[d] // a label that comes twice walks the diagonal
			}
		}
		return st
	}
	sizes := func(all []rune) []int {
		s := make([]int, len(all))
		for i, l := range all {
			s[i] = dims[l]
		}
		return s
	}
	outer, inner := loop{dims: append(sizes(out), 1)}, loop{dims: append(sizes(summed), 1)}
	operands := make([][]T, len(c.In))
	for i, x := range c.In {
		operands[i] = data[T](x)
		outer.strides = append(outer.strides, append(strides(out, i), 0))
		inner.strides = append(inner.strides, append(strides(summed, i), 0))
	}
	rows, _ := outer.rows()
	terms, _ := inner.rows()
	c.Parallel(rows, terms*len(operands), func(lo, hi int) {
		outer.each(lo, hi, func(row int, base []int) {
			var sum T
			inner.each(0, terms, func(_ int, off []int) {
				p := operands[0][base[0]+off[0]]
				for i := 1; i < len(operands); i++ {
					p *= operands[i][base[i]+off[i]]
				}
				sum += p
			})
			y[row] = sum
		})
	})
}

func prepareEinsum(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	e, err := parseEinsum(n.Str("equation", ""))
	if err != nil {
		return nil, err
	}
	k := by(0, typed{
		onnxio.Float32: func(c *exec.Call) error { return einsumKernel[float32](c, e) },
		onnxio.Float64: func(c *exec.Call) error { return einsumKernel[float64](c, e) },
		onnxio.Int8:    func(c *exec.Call) error { return einsumKernel[int8](c, e) },
		onnxio.Int16:   func(c *exec.Call) error { return einsumKernel[int16](c, e) },
		onnxio.Uint8:   func(c *exec.Call) error { return einsumKernel[uint8](c, e) },
		onnxio.Uint16:  func(c *exec.Call) error { return einsumKernel[uint16](c, e) },
		onnxio.Uint32:  func(c *exec.Call) error { return einsumKernel[uint32](c, e) },
		onnxio.Uint64:  func(c *exec.Call) error { return einsumKernel[uint64](c, e) },
		onnxio.Int32:   func(c *exec.Call) error { return einsumKernel[int32](c, e) },
		onnxio.Int64:   func(c *exec.Call) error { return einsumKernel[int64](c, e) },
	})
	return func(c *exec.Call) error {
		if err := need(c, len(e.in)); err != nil {
			return err
		}
		if err := sameType(c, 0, len(c.In)); err != nil {
			return err
		}
		return k(c)
	}, nil
}

func inferEinsum(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	e, err := parseEinsum(n.Str("equation", ""))
	if err != nil {
		return err
	}
	dims := map[rune]graph.Dim{} // the dimensions that an ellipsis stands for have negative labels, -1 the last of them
	widest := 0
	for i, term := range e.in {
		s := shapeOf(n, i)
		if s == nil {
			return nil
		}
		labels, err := axes(term, len(s))
		if err != nil {
			return err
		}
		for d, l := range labels {
			widest = max(widest, int(-l))
			if old, ok := dims[l]; !ok || !old.Known() || old.N == 1 {
				dims[l] = s[d]
			}
		}
	}
	out := graph.Shape{}
	for _, l := range spelled(e.out, widest) {
		out = append(out, dims[l])
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Einsum", Since: 12, Infer: inferEinsum, Prepare: prepareEinsum})
}
