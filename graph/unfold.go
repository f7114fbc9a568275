package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// Unfold turns the activation x that node n of the layer reads into the rows of X, one matrix a group: the output of the
// node without bias is X W^T, row by row. A matrix has one row for each output position (batch first, then the positions in
// order; for a constant left operand the columns of x) and Cols columns in the order of Layer.
//
// This is the plain definition, slow and exact: the oracle for whatever computes Hessians faster.
func (l *Layer) Unfold(n *Node, x *onnxio.Tensor) ([][]float32, error) {
	x, err := x.ToFloat32()
	if err != nil {
		return nil, fmt.Errorf("%v: input: %w", n, err)
	}
	if l.Kind == Conv || l.Kind == ConvTranspose {
		return l.unfoldConv(n, x)
	}
	rows, err := l.unfoldMatrix(n, x)
	return [][]float32{rows}, err
}

func (l *Layer) unfoldMatrix(n *Node, x *onnxio.Tensor) ([]float32, error) {
	rank := len(x.Shape)
	colsLast := !l.left // x is (..., rows of X, columns)
	if l.Kind == Gemm {
		trans := n.Int("transA", 0) != 0
		if l.left {
			trans = n.Int("transB", 0) != 0
		}
		colsLast = colsLast != trans
	}
	if rank == 1 {
		colsLast = true
	}
	at := rank - 2
	if colsLast {
		at = rank - 1
	}
	if rank == 0 || x.Shape[at] != l.Cols {
		return nil, fmt.Errorf("%v: input of shape %v, expected %d in dimension %d", n, x.Shape, l.Cols, at)
	}
	data := x.Float32s()
	if colsLast {
		return append([]float32(nil), data...), nil
	}
	cols, inner := l.Cols, x.Shape[rank-1]
	out := make([]float32, len(data))
	for b := range len(data) / max(cols*inner, 1) {
		for c := range cols {
			for i := range inner {
				out[(b*inner+i)*cols+c] = data[(b*cols+c)*inner+i]
			}
		}
	}
	return out, nil
}

func (l *Layer) unfoldConv(n *Node, x *onnxio.Tensor) ([][]float32, error) {
	w, err := l.Window(n)
	if err != nil {
		return nil, err
	}
	channels := l.Groups * l.ChannelsIn
	if len(x.Shape) != len(l.Kernel)+2 || x.Shape[1] != channels {
		return nil, fmt.Errorf("%v: input of shape %v, expected [N %d] and %d spatial dimensions", n, x.Shape, channels, len(l.Kernel))
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
	inPix, outPix, taps := volume(in), volume(out), volume(l.Kernel)
	data := x.Float32s()
	xs := make([][]float32, l.Groups)
	for g := range xs {
		xs[g] = make([]float32, x.Shape[0]*outPix*l.Cols)
		for row := range x.Shape[0] * outPix {
			pos := unravel(row%outPix, out)
			for k := range taps {
				at := l.inputAt(w, pads, pos, unravel(k, l.Kernel), in)
				if at < 0 {
					continue
				}
				for c := range l.ChannelsIn {
					xs[g][row*l.Cols+k*l.ChannelsIn+c] = data[(row/outPix*channels+g*l.ChannelsIn+c)*inPix+at]
				}
			}
		}
	}
	return xs, nil
}

// inputAt is the input position that kernel position tap meets at output position pos, -1 if there is none.
func (l *Layer) inputAt(w Window, pads, pos, tap, in []int) int {
	at := 0
	for d := range in {
		var p int
		if l.Kind == ConvTranspose {
			p = pos[d] + pads[d] - tap[d]*w.Dilations[d]
			if p%w.Strides[d] != 0 {
				return -1
			}
			p /= w.Strides[d]
		} else {
			p = pos[d]*w.Strides[d] - pads[d] + tap[d]*w.Dilations[d]
		}
		if p < 0 || p >= in[d] {
			return -1
		}
		at = at*in[d] + p
	}
	return at
}

func volume(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

func unravel(i int, shape []int) []int {
	pos := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		pos[d] = i % shape[d]
		i /= shape[d]
	}
	return pos
}
