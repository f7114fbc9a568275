package calib

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// Twin sums what sequential calibration needs of a layer from two versions of its input: x as the dense model has it and y as it is
// behind the layers that are compressed already. Each half of the samples is summed by itself, so that what one half suggests can be tried on
// the other. A sum is the Hessian of rows that hold both versions, of which two blocks are taken.
type Twin struct {
	layer  *graph.Layer
	halves [2]*rowsOf
}

// NewTwin begins for node n of l.
func NewTwin(l *graph.Layer, n *graph.Node, threads int) *Twin {
	wide := *l
	wide.ChannelsIn, wide.Cols = 2*l.ChannelsIn, 2*l.Cols
	t := &Twin{layer: l}
	for i := range t.halves {
		t.halves[i] = &rowsOf{layer: &wide, node: n, gram: newGram(l.Groups, wide.Cols, threads)}
	}
	return t
}

// Add takes in the samples of one batch, of which the first cut belong to the first half; keep is as Visit.Keep has it for the shape of x.
// A batch whose samples do not lie one after the other goes as a whole to where its first one belongs.
func (t *Twin) Add(x, y *onnxio.Tensor, keep []bool, samples, cut int) error {
	n := t.halves[0].node
	if !slices.Equal(x.Shape, y.Shape) {
		return fmt.Errorf("%v: its input has shape %v in the dense model and %v in the compressed one", n, x.Shape, y.Shape)
	}
	x, err := x.ToFloat32()
	if err != nil {
		return err
	}
	if y, err = y.ToFloat32(); err != nil {
		return err
	}
	both, err := t.join(x, y)
	if err != nil {
		return err
	}
	cut = max(0, min(cut, samples))
	rows := len(both.Shape) > 1 && !transposedInput(t.layer, n, len(both.Shape)) && both.Shape[0]%max(samples, 1) == 0 && len(keep)%max(samples, 1) == 0
	if cut == 0 || cut == samples || !rows {
		half := 0
		if cut == 0 {
			half = 1
		}
		_, err = t.halves[half].take(both, keep)
		return err
	}
	at := both.Len() / samples * cut
	for i, part := range [][]float32{both.Float32s()[:at], both.Float32s()[at:]} {
		count := [2]int{cut, samples - cut}[i]
		shape := slices.Clone(both.Shape)
		shape[0] = shape[0] / samples * count
		k := keep
		if keep != nil {
			k = [2][]bool{keep[:len(keep)/samples*cut], keep[len(keep)/samples*cut:]}[i]
		}
		if _, err := t.halves[i].take(onnxio.TensorOf(part, shape...), k); err != nil {
			return err
		}
	}
	return nil
}

// join puts the channels of x and y side by side, group by group.
func (t *Twin) join(x, y *onnxio.Tensor) (*onnxio.Tensor, error) {
	rank := len(x.Shape)
	axis, groups := rank-1, 1
	switch {
	case t.layer.Kind == graph.Conv || t.layer.Kind == graph.ConvTranspose:
		axis, groups = 1, t.layer.Groups
	case rank > 1 && transposedInput(t.layer, t.halves[0].node, rank):
		axis = rank - 2
	}
	if axis >= rank || x.Shape[axis] != groups*t.layer.ChannelsIn {
		return nil, fmt.Errorf("%v: input of shape %v, expected %d channels", t.halves[0].node, x.Shape, groups*t.layer.ChannelsIn)
	}
	shape := slices.Clone(x.Shape)
	shape[axis] *= 2
	out := onnxio.NewTensor(onnxio.Float32, shape...)
	part := t.layer.ChannelsIn * elements(x.Shape[axis+1:])
	a, b, dst := x.Float32s(), y.Float32s(), out.Float32s()
	for len(a) > 0 {
		copy(dst, a[:part])
		copy(dst[part:], b[:part])
		a, b, dst = a[part:], b[part:], dst[2*part:]
	}
	return out, nil
}

// Cross is what a Twin has summed, for each group: H = 2/N sum y y^T and the cross moments C = 2/N sum x y^T, Cols x Cols, ordered as by
// graph.Layer.Matrix. N is the number of columns that were summed.
type Cross struct {
	H, C [][]float64
	N    int64
}

// Finish gives the sums of the two halves of the samples.
func (t *Twin) Finish() (halves [2]Cross) {
	c, d := t.layer.ChannelsIn, t.layer.Cols
	for k, rows := range t.halves {
		out := &halves[k]
		out.N = rows.gram.n
		for _, all := range rows.gram.finish() {
			hg, cg := make([]float64, d*d), make([]float64, d*d)
			for i := range d {
				x, y := i/c*2*c+i%c, i/c*2*c+c+i%c // where column i of x and y stands in a row of both
				for j := range d {
					at := j/c*2*c + c + j%c
					hg[i*d+j], cg[i*d+j] = all[y*2*d+at], all[x*2*d+at]
				}
			}
			out.H, out.C = append(out.H, hg), append(out.C, cg)
		}
		t.halves[k] = nil
	}
	return halves
}

// Joined is the sums over both halves.
func Joined(halves [2]Cross) Cross {
	a, b := halves[0], halves[1]
	out := Cross{N: a.N + b.N}
	wa, wb := float64(a.N)/float64(max(out.N, 1)), float64(b.N)/float64(max(out.N, 1))
	for g := range a.H {
		h, c := make([]float64, len(a.H[g])), make([]float64, len(a.C[g]))
		for i := range h {
			h[i], c[i] = wa*a.H[g][i]+wb*b.H[g][i], wa*a.C[g][i]+wb*b.C[g][i]
		}
		out.H, out.C = append(out.H, h), append(out.C, c)
	}
	return out
}
