package graph

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/onnxio"
)

// key is equal for nodes that multiply by one weight in the same way: they form one layer.
func (l *Layer) key() string {
	return fmt.Sprintln(viewKey(l.Weight), l.Kind, l.Groups, l.Rows, l.Cols, l.view)
}

// Matrix is the weight as Groups x Rows x Cols numbers, row-major: the rows of a group are its output channels. Columns of
// Conv and ConvTranspose run over the kernel positions and, within each, over the input channels, so that N:M patterns and
// blocks run along the input channels. float16 and bfloat16 weights are widened, float64 ones rounded. The weight may lie
// behind views (Transpose, Reshape, DequantizeLinear and the like), which are applied. The result is the caller's own.
func (l *Layer) Matrix() ([]float32, error) {
	t, err := constTensor(l.Weight)
	if err != nil {
		return nil, err
	}
	f, err := t.ToFloat32()
	if err != nil {
		return nil, err
	}
	return FromFileLayout(l, f.Float32s()), nil
}

// SetMatrix stores a weight that is ordered like Matrix, rounded to the weight's element type. It replaces the initializer
// under its name. A weight behind views is first brought to where its nodes read it, and readers that are not of this layer
// (Others) keep the old one.
func (l *Layer) SetMatrix(m []float32) error {
	header, err := constHeader(l.Weight)
	if err != nil {
		return err
	}
	if want := l.Groups * l.Rows * l.Cols; len(m) != want {
		return fmt.Errorf("layer %q: %d weights, expected %d x %d x %d", l.Name, len(m), l.Groups, l.Rows, l.Cols)
	}
	t, err := onnxio.TensorOf(ToFileLayout(l, m), header.Shape...).ConvertTo(header.Type)
	if err != nil {
		return err
	}
	return l.SetWeight(t)
}

// SetWeight stores a new weight tensor in the file's own layout, of any type and shape; see SetMatrix for where.
func (l *Layer) SetWeight(t *onnxio.Tensor) error {
	if l.Weight.IsConst() && len(l.Others) == 0 && !l.Weight.IsOutput {
		return l.Weight.Graph.SetInit(l.Weight, t)
	}
	var old []*Value
	var uses []Use
	for _, n := range l.Nodes {
		if v := n.In(l.WeightIndex()); !slices.Contains(old, v) {
			old = append(old, v)
		}
		uses = append(uses, Use{n, l.WeightIndex()})
	}
	l.Weight = l.Weight.Graph.replaceConst(old, uses, t)
	l.Others = nil
	return nil
}

// replaceConst makes the given uses of old values, all constant or views of constants, read a new initializer. It removes
// what nothing reads any more; when that is the initializer the old values came from, the new one takes over its name.
func (g *Graph) replaceConst(old []*Value, uses []Use, t *onnxio.Tensor) *Value {
	src, _ := source(old[0])
	v := src.Graph.AddInit(src.Name, t)
	for _, u := range uses {
		u.Node.SetInput(u.Index, v)
	}
	for _, o := range old {
		o.sweep()
	}
	if src.Graph.values[src.Name] != src && src.Init != nil {
		src.Graph.rename(v, src.Name)
	}
	return v
}

// sweep removes v and what it was computed from, as far as nothing reads it.
func (v *Value) sweep() {
	if v == nil || len(v.Uses) > 0 || v.IsOutput || v.IsInput {
		return
	}
	g := v.Graph
	if v.Producer == nil {
		if i := slices.Index(g.Inits, v); i >= 0 {
			g.Inits = slices.Delete(g.Inits, i, i+1)
		}
		delete(g.values, v.Name)
		return
	}
	if n := v.Producer; n.dead() {
		inputs := append(slices.Clone(n.Inputs), n.Captures()...)
		g.RemoveNode(n)
		for _, in := range inputs {
			in.sweep()
		}
	}
}

// rename gives an initializer the free name of one that was removed.
func (g *Graph) rename(v *Value, name string) {
	delete(g.values, v.Name)
	v.Name = name
	g.values[name] = v
	v.Init.Name = &name
	for _, u := range v.Uses {
		u.Node.Proto.Input[u.Index] = name
	}
}
