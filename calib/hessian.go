package calib

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// panelRows is how many rows of X are collected before they are multiplied: the length of the float32 sums of kernel.SyrkAdd, so
// that what is added up does not depend on the batch size.
const panelRows = 256

// gram sums X^T X over the rows x that a layer's weight is multiplied with, one d x d matrix for each group.
type gram struct {
	groups, d int
	sums      [][]float64 // nil until matrices
	n         int64       // rows so far, of each group

	panel   []float32 // rows not yet multiplied; one group only
	waiting int
	threads int
	shifted []*shiftGram // sums by offset, to be added in the end
}

func newGram(groups, d, threads int) *gram { return &gram{groups: groups, d: d, threads: threads} }

// matrices is the sums, zero at first.
func (g *gram) matrices() [][]float64 {
	if g.sums == nil {
		g.sums = g.cut(kernel.Zeros[float64](g.groups * g.d * g.d))
	}
	return g.sums
}

// cut is the matrix of each group in all.
func (g *gram) cut(all []float64) (sums [][]float64) {
	size := g.d * g.d
	for i := range g.groups {
		sums = append(sums, all[i*size:(i+1)*size:(i+1)*size])
	}
	return sums
}

// add multiplies n rows of d elements, stored one after the other, of the only group.
func (g *gram) add(x []float32, n int) {
	g.n += int64(n)
	for n > 0 {
		if g.waiting == 0 && n >= panelRows {
			whole := n / panelRows * panelRows
			kernel.SyrkAdd(g.matrices()[0], g.d, x, whole, g.d, g.threads)
			x, n = x[whole*g.d:], n-whole
			continue
		}
		room := g.room(n)
		copy(room, x)
		rows := len(room) / g.d
		x, n = x[rows*g.d:], n-rows
		g.filled(rows)
	}
}

// room gives space for up to n rows in the panel; filled takes them in.
func (g *gram) room(n int) []float32 {
	if g.panel == nil {
		g.panel = make([]float32, panelRows*g.d)
	}
	rows := min(n, panelRows-g.waiting)
	return g.panel[g.waiting*g.d : (g.waiting+rows)*g.d]
}

func (g *gram) filled(rows int) {
	if g.waiting += rows; g.waiting == panelRows {
		g.flush()
	}
}

func (g *gram) flush() {
	kernel.SyrkAdd(g.matrices()[0], g.d, g.panel, g.waiting, g.d, g.threads)
	g.waiting = 0
}

// finish gives the Hessians 2/N X^T X, whole symmetric matrices. The sums themselves are scaled.
func (g *gram) finish() [][]float64 {
	scale := 2 / float64(max(g.n, 1))
	if g.sums == nil && g.waiting == 0 && len(g.shifted) == 1 {
		g.sums = g.cut(kernel.Slab[float64](g.groups * g.d * g.d)) // all of it is written
		g.shifted[0].whole(g.sums, g.d, scale)
		g.shifted = nil
		return g.sums
	}
	g.complete()
	kernel.Parallel(g.threads, g.groups, func(lo, hi int) {
		for _, h := range g.sums[lo:hi] {
			kernel.MirrorScaled(h, g.d, scale, max(1, g.threads/g.groups))
		}
	})
	return g.sums
}

// complete adds what is still waiting to the sums.
func (g *gram) complete() {
	if g.waiting > 0 {
		g.flush()
	}
	g.panel = nil
	for _, s := range g.shifted {
		s.drain(g.matrices(), g.d)
	}
	g.shifted = nil
	g.matrices()
}

// finish is gram.finish of the rows of all, which is done in the first.
func finish(all []*gram) [][]float64 {
	first := all[0]
	if len(all) == 1 {
		return first.finish()
	}
	first.complete()
	for i, g := range all[1:] {
		g.complete()
		first.n += g.n
		for k, s := range g.sums {
			for j, v := range s {
				first.sums[k][j] += v
			}
		}
		all[1+i] = &gram{} // its memory is free
	}
	return first.finish()
}

// rowsOf feeds the rows of a layer's input to a gram, for one of its nodes.
type rowsOf struct {
	layer *graph.Layer
	node  *graph.Node
	*gram

	shape []int // spatial sizes that u was made for
	u     *unfolding
	shift *shiftGram // takes the images, if not nil
	image []float32  // pixels with channels side by side
}

// take adds a batch: x is the node's input as float32, keep tells which of its rows count (see keepRows), nil all.
func (r *rowsOf) take(x *onnxio.Tensor, keep []bool) (skipped int64, err error) {
	if r.layer.Kind == graph.Conv || r.layer.Kind == graph.ConvTranspose {
		return 0, r.takeImages(x)
	}
	return r.takeRows(x, keep)
}

// transposedInput reports whether the columns, not the rows, of the input matrix are what the weight is multiplied with.
func transposedInput(l *graph.Layer, n *graph.Node, rank int) bool {
	switch {
	case l.Kind == graph.Gemm && l.InputIndex() == 0:
		return n.Int("transA", 0) != 0
	case l.Kind == graph.Gemm:
		return n.Int("transB", 0) == 0
	}
	return l.InputIndex() == 1 && rank > 1
}

func (r *rowsOf) takeRows(x *onnxio.Tensor, keep []bool) (skipped int64, err error) {
	data, rank := x.Float32s(), len(x.Shape)
	if rank == 0 || len(data) == 0 {
		return 0, nil
	}
	transposed := transposedInput(r.layer, r.node, rank)
	axis := rank - 1
	if transposed {
		axis = rank - 2
	}
	if x.Shape[axis] != r.d {
		return 0, fmt.Errorf("%v: input of shape %v, expected %d elements on axis %d", r.node, x.Shape, r.d, axis)
	}
	if transposed {
		n := x.Shape[rank-1]
		r.image = slices.Grow(r.image[:0], n*r.d)[:n*r.d]
		for ; len(data) > 0; data = data[n*r.d:] {
			kernel.Transpose(r.image, r.d, data, n, r.d, n)
			r.add(r.image, n)
		}
		return 0, nil
	}
	rows := len(data) / r.d
	if keep == nil {
		r.add(data, rows)
		return 0, nil
	}
	per := rows / len(keep)
	for i := 0; i < len(keep); {
		j := i
		for j < len(keep) && keep[j] == keep[i] {
			j++
		}
		if keep[i] {
			r.add(data[i*per*r.d:], (j-i)*per)
		} else {
			skipped += int64((j - i) * per)
		}
		i = j
	}
	return skipped, nil
}

func (r *rowsOf) takeImages(x *onnxio.Tensor) error {
	groups := r.layer.Groups
	if len(x.Shape) < 3 || x.Shape[1] != groups*r.layer.ChannelsIn {
		return fmt.Errorf("%v: input of shape %v, expected %d channels on axis 1", r.node, x.Shape, groups*r.layer.ChannelsIn)
	}
	if spatial := x.Shape[2:]; !slices.Equal(spatial, r.shape) {
		u, err := newUnfolding(r.layer, r.node, spatial)
		if err != nil {
			return err
		}
		r.u, r.shape = u, slices.Clone(spatial)
		r.newShape()
	}
	if r.shift != nil {
		r.n += int64(x.Shape[0] * r.u.positions())
		r.shift.take(x.Float32s())
		return nil
	}
	if groups > 1 {
		r.takeGroups(x)
		return nil
	}
	u := r.u
	size := u.pixels() * u.channels
	r.image = slices.Grow(r.image[:0], size)[:size]
	for data := x.Float32s(); len(data) > 0; data = data[size:] {
		img := pixelsFirst(r.image, data, u)
		if u.identity() {
			r.add(img, u.pixels())
			continue
		}
		r.n += int64(u.positions())
		for at := 0; at < u.positions(); {
			room := r.room(u.positions() - at)
			rows := len(room) / r.d
			u.fill(room, img, at, at+rows)
			r.filled(rows)
			at += rows
		}
	}
	return nil
}

// newShape puts away what was summed for images of another shape.
func (r *rowsOf) newShape() {
	if r.shift != nil {
		r.shift.drain(r.matrices(), r.d)
		r.shifted = slices.DeleteFunc(r.shifted, func(s *shiftGram) bool { return s == r.shift })
	}
	r.shift = nil
	if r.u.shifting() {
		r.shift = newShiftGram(r.u, r.layer.Groups, r.threads)
		r.shifted = append(r.shifted, r.shift)
	}
}

// pixelsFirst gives the image with the channels of a pixel side by side, in buf where they are not so already.
func pixelsFirst(buf, data []float32, u *unfolding) []float32 {
	n, c := u.pixels(), u.channels
	if c == 1 || n == 1 {
		return data[:n*c]
	}
	kernel.Transpose(buf, c, data, n, c, n)
	return buf
}

// takeGroups adds a batch to the groups of a grouped convolution, each group on its own.
func (r *rowsOf) takeGroups(x *onnxio.Tensor) {
	u, data := r.u, x.Float32s()
	size, groups := u.pixels()*u.channels, r.layer.Groups
	batch := x.Shape[0]
	r.n += int64(batch * u.positions())
	sums := r.matrices()
	kernel.Parallel(r.threads, groups, func(lo, hi int) {
		part := newGram(0, r.d, 1)
		part.sums = make([][]float64, 1)
		buf := make([]float32, size)
		for g := lo; g < hi; g++ {
			part.sums[0] = sums[g]
			for b := range batch {
				img := pixelsFirst(buf, data[(b*groups+g)*size:], u)
				for at := 0; at < u.positions(); {
					room := part.room(u.positions() - at)
					rows := len(room) / r.d
					u.fill(room, img, at, at+rows)
					part.filled(rows)
					at += rows
				}
				part.flush() // so that sums do not depend on how many images come together
			}
		}
	})
}
