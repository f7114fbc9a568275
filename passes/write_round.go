package passes

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// roundKey is one quantizer of one value.
type roundKey struct {
	v    *graph.Value
	grid ActGrid
}

// round puts QuantizeLinear and DequantizeLinear between activations and what reads them rounded: the layers whose input is
// quantized and, for the values of State.Links, all readers that keep runtimes from integer operators otherwise.
func (w *writer) round() error {
	reads := map[*graph.Value]map[graph.Use]ActGrid{} // by layers
	var values []*graph.Value
	want := func(v *graph.Value) {
		if _, seen := reads[v]; !seen {
			reads[v] = map[graph.Use]ActGrid{}
			values = append(values, v)
		}
	}
	for _, l := range w.Layers {
		if l.Input == nil {
			continue
		}
		for _, n := range l.Nodes {
			v := l.Layer.Input(n)
			want(v)
			reads[v][graph.Use{Node: n, Index: l.InputIndex()}] = *l.Input
		}
	}
	links := make([]*graph.Value, 0, len(w.Links))
	for v := range w.Links {
		links = append(links, v)
	}
	slices.SortFunc(links, func(a, b *graph.Value) int { return cmp.Or(place(a)-place(b), cmp.Compare(a.Name, b.Name)) })
	for _, v := range links {
		want(v)
	}
	// Which grid the links have is found before anything is rewired.
	base := map[*graph.Value]ActGrid{}
	for _, v := range links {
		base[v] = w.linkGrid(v, reads)
	}
	for _, v := range values {
		if err := w.roundValue(v, reads[v], base); err != nil {
			return err
		}
	}
	return nil
}

// roundValue rewires the readers of one value: layers read it on their own grid, which goes through that of a link; the others
// read a link rounded where that makes an integer operator possible.
func (w *writer) roundValue(v *graph.Value, reads map[graph.Use]ActGrid, base map[*graph.Value]ActGrid) error {
	link, isLink := base[v]
	for _, u := range slices.Clone(v.Uses) {
		own, read := reads[u]
		if read {
			w.grids[u.Node] = own
		} else if !isLink || !isConvOutput(v) && !isResidual(u.Node) && passesThrough(u) == nil {
			continue
		}
		to := v
		var err error
		if isLink {
			if to, err = w.quantizer(v, link); err != nil {
				return err
			}
		}
		if read && (!isLink || own != link) {
			if to, err = w.quantizer(to, own); err != nil {
				return err
			}
		}
		u.Node.SetInput(u.Index, to)
	}
	if isLink && link.Bits < linkBits && len(v.Uses) == 1 && w.Recipe.Container != "exact" {
		w.widenClip(v, link)
	}
	return nil
}

// widenClip raises the upper limit of the Clip that computes v to the end of what uint8 codes on the grid could hold, when v is read by the
// quantizer alone and the Clip of the codes ends no higher than the old limit did. That changes no value, and runtimes fuse a Clip with
// a quantizer that its limits leave alone.
func (w *writer) widenClip(v *graph.Value, grid ActGrid) {
	top := Ceiling(v)
	_, high := grid.limits()
	if v.IsOutput || v.Type != onnxio.Float32 || grid.Zero != 0 || math.IsNaN(top) || float64(high) > top {
		return
	}
	all := math.Nextafter32(255*grid.Scale, math.MaxFloat32)
	if n := v.Producer; float64(all) <= top {
		return
	} else if n.HasAttr("max") {
		n.SetFloat("max", all)
	} else {
		n.SetInput(2, v.Graph.AddInit(v.Name+"_max", onnxio.TensorOf([]float32{all})))
	}
}

// linkGrid is the grid that a link is rounded to: that of the layers that read it, if they agree and nothing else reads it, or
// if it has 8 bits; else the link's own.
func (w *writer) linkGrid(v *graph.Value, reads map[*graph.Value]map[graph.Use]ActGrid) ActGrid {
	if g, ok := soleGrid(v, reads); ok {
		return g
	}
	for _, u := range v.Uses {
		if g, ok := reads[v][u]; ok && g.Bits == linkBits {
			return g
		}
	}
	return *w.Links[v]
}

// soleGrid is the one grid on which all readers of v want it, directly or behind operators that only move elements.
func soleGrid(v *graph.Value, reads map[*graph.Value]map[graph.Use]ActGrid) (grid ActGrid, ok bool) {
	if v.IsOutput {
		return grid, false
	}
	for i, u := range v.Uses {
		g, read := reads[v][u]
		if !read {
			if g, read = soleGrid2(passesThrough(u), reads); !read {
				return grid, false
			}
		}
		if i > 0 && g != grid {
			return grid, false
		}
		grid, ok = g, true
	}
	return grid, ok
}

func soleGrid2(v *graph.Value, reads map[*graph.Value]map[graph.Use]ActGrid) (ActGrid, bool) {
	if v == nil {
		return ActGrid{}, false
	}
	return soleGrid(v, reads)
}

// passesThrough is the output of an operator whose output elements are all elements of what it reads at u; nil for others.
func passesThrough(u graph.Use) *graph.Value {
	n := u.Node
	if n.Domain() != "" || u.Index != 0 {
		return nil
	}
	switch n.Op() {
	case "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Dropout":
		if len(n.Outputs) == 1 {
			return n.Out(0)
		}
	}
	return nil
}

// isConvOutput reports whether v is the output of a Conv, possibly behind a Relu or Clip.
func isConvOutput(v *graph.Value) bool {
	n := v.Producer
	if n != nil && n.Domain() == "" && (n.Op() == "Relu" || n.Op() == "Clip") && n.In(0) != nil {
		if c := n.In(0).Producer; c != nil && c.Op() == "Conv" && len(n.In(0).Uses) == 1 {
			return true
		}
	}
	return n != nil && n.Domain() == "" && n.Op() == "Conv"
}

// quantizer is v as it is after rounding to the grid; the operators for that are added once.
func (w *writer) quantizer(v *graph.Value, grid ActGrid) (*graph.Value, error) {
	key := roundKey{v, grid}
	if r := w.rounded[key]; r != nil {
		return r, nil
	}
	r, err := w.addQuantizer(v, grid)
	if err != nil {
		return nil, fmt.Errorf("quantizer of %v: %w", v, err)
	}
	w.rounded[key] = r
	return r, nil
}

// addQuantizer writes v -> QuantizeLinear -> DequantizeLinear. Codes of fewer bits than the container are held in their range by
// a Clip of the codes.
func (w *writer) addQuantizer(v *graph.Value, grid ActGrid) (*graph.Value, error) {
	g, name := v.Graph, v.Name
	if grid.Bits < linkBits && w.Links[v] == nil {
		name = fmt.Sprintf("%s_%dbit", name, grid.Bits)
	}
	container := onnxio.Uint8
	if w.Recipe.Container == "exact" && (grid.Bits == 4 || grid.Bits == 2) && !w.losesRelu(v, grid) {
		container = map[int]onnxio.DataType{4: onnxio.Uint4, 2: onnxio.Uint2}[grid.Bits]
		w.need(map[int]int{4: 21, 2: 25}[grid.Bits])
	}
	at := after(v)
	zero, err := integers(container, []int16{int16(grid.Zero)}, nil)
	if err != nil {
		return nil, err
	}
	s, z := g.AddInit(name+"_scale", onnxio.TensorOf([]float32{grid.Scale})), g.AddInit(name+"_zero_point", zero)
	in := v
	if v.Type != onnxio.Float32 && v.Type != onnxio.Undefined {
		if in, err = addOp(g, at, "Cast", name+"_float32", onnxio.Float32, v); err != nil {
			return nil, err
		}
		in.Producer.SetInt("to", int64(onnxio.Float32))
	}
	codes, err := addOp(g, at, "QuantizeLinear", name+"_quantized", container, in, s, z)
	if err != nil {
		return nil, err
	}
	quantizedBy(codes, s, z)
	if grid.Bits < container.Bits() {
		limits := []*graph.Value{codes}
		for _, x := range []int{0, 1<<grid.Bits - 1} {
			limits = append(limits, g.AddInit(fmt.Sprintf("%s_code_%d", name, x), onnxio.TensorOf([]uint8{uint8(x)})))
		}
		if codes, err = addOp(g, at, "Clip", name+"_clipped", container, limits...); err != nil {
			return nil, err
		}
	}
	out, err := addOp(g, at, "DequantizeLinear", name+"_dequantized", onnxio.Float32, codes, s, z)
	if err != nil || in == v {
		return out, err
	}
	back, err := addOp(g, at, "Cast", name+"_rounded", v.Type, out)
	if err == nil {
		back.Producer.SetInt("to", int64(v.Type))
	}
	return back, err
}

// losesRelu reports whether ONNX Runtime 1.32 would take away the Relu that computes v, as if a quantizer to a type below 8 bits stood for it
// whatever its zero point. Such a quantizer has another zero point than 0 where the grid is that of several inputs, of nodes
// that share a weight, and not all of them are behind a Relu.
func (w *writer) losesRelu(v *graph.Value, grid ActGrid) bool {
	n := v.Producer
	if n == nil || n.Domain() != "" || n.Op() != "Relu" || grid.Zero == 0 {
		return false
	}
	w.note("%v is rounded to %d bits in uint8: ONNX Runtime 1.32 drops a Relu before smaller types whose zero point is not 0, as here, where nodes share a weight", v, grid.Bits)
	return true
}

// addOp adds an operator before at, with a fresh output of the first input's shape.
func addOp(g *graph.Graph, at *graph.Node, op, out string, t onnxio.DataType, in ...*graph.Value) (*graph.Value, error) {
	y := g.NewValue(out)
	if _, err := addNode(g, at, op, fmt.Sprintf("%s_%s", y.Name, op), y, in...); err != nil {
		return nil, err
	}
	y.Type, y.Shape = t, in[0].Shape
	return y, nil
}

// after is the node behind the one that computes v, the first node for an input.
func after(v *graph.Value) *graph.Node {
	i := 0
	if v.Producer != nil {
		i = slices.Index(v.Graph.Nodes, v.Producer) + 1
	}
	if i >= len(v.Graph.Nodes) {
		return nil
	}
	return v.Graph.Nodes[i]
}
