package calib

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// Twin sums what sequential calibration needs of a layer from two versions of its input: x as the dense model has it and y as it is
// behind the layers that are compressed already. It is the Hessian of rows that hold both, of which two blocks are taken.
type Twin struct {
	layer *graph.Layer
	rows  *rowsOf
}

// NewTwin begins for node n of l.
func NewTwin(l *graph.Layer, n *graph.Node, threads int) *Twin {
	wide := *l
	wide.ChannelsIn, wide.Cols = 2*l.ChannelsIn, 2*l.Cols
	return &Twin{l, &rowsOf{layer: &wide, node: n, gram: newGram(l.Groups, wide.Cols, threads)}}
}

// Add takes in one batch; keep is as Visit.Keep has it for the shape of x.
func (t *Twin) Add(x, y *onnxio.Tensor, keep []bool) error {
	if !slices.Equal(x.Shape, y.Shape) {
		return fmt.Errorf("%v: its input has shape %v in the dense model and %v in the compressed one", t.rows.node, x.Shape, y.Shape)
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
	_, err = t.rows.take(both, keep)
	return err
}

// join puts the channels of x and y side by side, group by group.
func (t *Twin) join(x, y *onnxio.Tensor) (*onnxio.Tensor, error) {
	rank := len(x.Shape)
	axis, groups := rank-1, 1
	switch {
	case t.layer.Kind == graph.Conv || t.layer.Kind == graph.ConvTranspose:
		axis, groups = 1, t.layer.Groups
	case rank > 1 && transposedInput(t.layer, t.rows.node, rank):
		axis = rank - 2
	}
	if axis >= rank || x.Shape[axis] != groups*t.layer.ChannelsIn {
		return nil, fmt.Errorf("%v: input of shape %v, expected %d channels", t.rows.node, x.Shape, groups*t.layer.ChannelsIn)
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

// Finish gives, for each group, H = 2/N sum y y^T and the cross moments C = 2/N sum x y^T, Cols x Cols, ordered as by
// graph.Layer.Matrix.
func (t *Twin) Finish() (h, cross [][]float64) {
	c, d := t.layer.ChannelsIn, t.layer.Cols
	for _, all := range t.rows.gram.finish() {
		hg, cg := make([]float64, d*d), make([]float64, d*d)
		for i := range d {
			x, y := i/c*2*c+i%c, i/c*2*c+c+i%c // where column i of x and y stands in a row of both
			for j := range d {
				at := j/c*2*c + c + j%c
				hg[i*d+j], cg[i*d+j] = all[y*2*d+at], all[x*2*d+at]
			}
		}
		h, cross = append(h, hg), append(cross, cg)
	}
	return h, cross
}

// N is the number of columns that were summed.
func (t *Twin) N() int64 { return t.rows.gram.n }
