package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// Unfold turns an activation x of node n into the columns of the layer problem: for each group a samples x Cols array X,
// row-major, ordered like Matrix, such that row s of X W^T (plus bias) is the output of the group's channels at one place.
// The places are, in this order: image and output position of Conv and ConvTranspose; row of the other factor of Gemm
// and MatMul, or its column when the constant is on the left, for each matrix of the batch. alpha of Gemm is part of X.
//
// This is the plain definition, for one node and float32 only; calibration has faster ways to the same Hessian.
func (l *Layer) Unfold(n *Node, x *onnxio.Tensor) ([][]float32, error) {
	data := x.Float32s()
	if data == nil && x.Len() > 0 {
		return nil, fmt.Errorf("%v: input %q is %v, expected float32", n, n.In(l.InputIndex()).Name, x.Type)
	}
	switch l.Kind {
	case Conv, ConvTranspose:
		return l.unfoldConv(n, x)
	case Gemm:
		if x.Rank() != 2 {
			return nil, fmt.Errorf("%v: input is %v, expected two dimensions", n, x)
		}
		trans := n.Int("transA", 0) != 0
		if l.left {
			trans = n.Int("transB", 0) == 0
		}
		groups, err := l.unfoldMatrix(n, x, trans)
		if alpha := n.Float("alpha", 1); err == nil && alpha != 1 {
			for i := range groups[0] {
				groups[0][i] *= alpha
			}
		}
		return groups, err
	}
	return l.unfoldMatrix(n, x, l.left && x.Rank() > 1)
}

// unfoldMatrix takes the rows of each matrix of x, or with trans its columns. A vector is one row.
func (l *Layer) unfoldMatrix(n *Node, x *onnxio.Tensor, trans bool) ([][]float32, error) {
	if x.Rank() == 0 {
		return nil, fmt.Errorf("%v: input is a scalar", n)
	}
	rows, cols := 1, x.Shape[x.Rank()-1]
	if x.Rank() > 1 {
		rows = x.Shape[x.Rank()-2]
	}
	inner := cols
	if trans {
		inner = rows
	}
	if inner != l.Cols {
		return nil, fmt.Errorf("%v: input is %v, expected %d channels", n, x, l.Cols)
	}
	src := x.Float32s()
	if !trans {
		return [][]float32{append([]float32{}, src...)}, nil
	}
	return [][]float32{permute(src, []int{len(src) / (rows * max(cols, 1)), rows, cols}, []int{0, 2, 1})}, nil
}

func (l *Layer) unfoldConv(n *Node, x *onnxio.Tensor) ([][]float32, error) {
	w, err := l.Window(n)
	if err != nil {
		return nil, err
	}
	d := len(l.Kernel)
	if x.Rank() != d+2 || x.Shape[1] != l.Groups*l.ChannelsIn {
		return nil, fmt.Errorf("%v: input is %v, expected %d channels and %d spatial dimensions", n, x, l.Groups*l.ChannelsIn, d)
	}
	in := x.Shape[2:]
	resolve := w.Resolve
	if l.Kind == ConvTranspose {
		resolve = w.ResolveTranspose
	}
	out, pads, err := resolve(in)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	places, area := volume(out), volume(in)
	samples := x.Shape[0] * places
	groups := make([][]float32, l.Groups)
	src := x.Float32s()
	for g := range groups {
		dst := make([]float32, samples*l.Cols)
		groups[g] = dst
		for s := range samples {
			image, place := s/places, s%places
			for k := range volume(l.Kernel) {
				from, inside := l.reads(w, pads, in, coords(place, out), coords(k, l.Kernel))
				if !inside {
					continue
				}
				for c := range l.ChannelsIn {
					dst[s*l.Cols+k*l.ChannelsIn+c] = src[(image*x.Shape[1]+g*l.ChannelsIn+c)*area+from]
				}
			}
		}
	}
	return groups, nil
}

// reads tells which input position the kernel position k reads for the output position o, and whether there is one: padding
// and, for ConvTranspose, the gaps between the strides have none.
func (l *Layer) reads(w Window, pads, in, o, k []int) (position int, inside bool) {
	for i := range in {
		p := o[i]*w.Strides[i] - pads[i] + k[i]*w.Dilations[i]
		if l.Kind == ConvTranspose {
			p = o[i] + pads[i] - k[i]*w.Dilations[i]
			if p%w.Strides[i] != 0 {
				return 0, false
			}
			p /= w.Strides[i]
		}
		if p < 0 || p >= in[i] {
			return 0, false
		}
		position = position*in[i] + p
	}
	return position, true
}

// coords is the position of index i in a row-major array of the given sizes.
func coords(i int, sizes []int) []int {
	c := make([]int, len(sizes))
	for k := len(sizes) - 1; k >= 0; k-- {
		c[k] = i % sizes[k]
		i /= sizes[k]
	}
	return c
}

func volume(sizes []int) int {
	v := 1
	for _, s := range sizes {
		v *= s
	}
	return v
}
