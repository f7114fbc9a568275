package ops

import (
	"fmt"
	"slices"
)

// size is the number of elements of a shape that is known to be possible.
func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// axisIn resolves an axis that may count from the end.
func axisIn(axis, rank int) (int, error) {
	if axis < -rank || axis >= rank {
		return 0, fmt.Errorf("axis %d is out of range for rank %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return axis, nil
}

// axesIn resolves a list of axes and checks that none comes twice.
func axesIn(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		v, err := axisIn(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], v) {
			return nil, fmt.Errorf("axis %d is listed twice", v)
		}
		out[i] = v
	}
	return out, nil
}

// stridesOf are the row-major strides in elements.
func stridesOf(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}

// around splits a shape at an axis: the product of the dimensions before it, its own, and of those after it.
func around(shape []int, axis int) (outer, n, inner int) {
	return size(shape[:axis]), shape[axis], size(shape[axis+1:])
}

// broadcast is the common shape of all by numpy's rule.
func broadcast(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := slices.Repeat([]int{1}, rank)
	for _, s := range shapes {
		for i, d := range s {
			k := rank - len(s) + i
			switch {
			case d == out[k] || d == 1:
			case out[k] == 1:
				out[k] = d
			default:
				return nil, fmt.Errorf("shapes %v do not broadcast: dimension %d against %d", shapes, out[k], d)
			}
		}
	}
	return out, nil
}

// spread is how an operand of shape s walks along out: its strides, 0 where it is repeated. s must broadcast to out.
func spread(s, out []int) []int {
	st := make([]int, len(out))
	off := len(out) - len(s)
	n := 1
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] != 1 {
			st[off+i] = n
		}
		n *= s[i]
	}
	return st
}

// loop walks an index space with one offset per operand, its dimensions merged where every operand allows it.
type loop struct {
	dims    []int
	strides [][]int // by operand
}

// newLoop merges neighbouring dimensions of out. Every strides[k] has one entry per dimension.
func newLoop(out []int, strides ...[]int) loop {
	l := loop{strides: make([][]int, len(strides))}
	for i, d := range out {
		if d == 1 {
			continue
		}
		last := len(l.dims) - 1
		merge := last >= 0
		for k := range strides {
			merge = merge && l.strides[k][last] == strides[k][i]*d
		}
		if merge {
			l.dims[last] *= d
			for k := range strides {
				l.strides[k][last] = strides[k][i]
			}
			continue
		}
		l.dims = append(l.dims, d)
		for k := range strides {
			l.strides[k] = append(l.strides[k], strides[k][i])
		}
	}
	if len(l.dims) == 0 {
		l.dims = []int{1}
		for k := range strides {
			l.strides[k] = []int{0}
		}
	}
	return l
}

// rows is the number of runs along the last dimension, and n their length.
func (l loop) rows() (rows, n int) {
	last := len(l.dims) - 1
	return size(l.dims[:last]), l.dims[last]
}

// inner is the stride of operand k along a run.
func (l loop) inner(k int) int { return l.strides[k][len(l.dims)-1] }

// each calls fn for the rows lo..hi-1 with the offset of each operand.
func (l loop) each(lo, hi int, fn func(row int, off []int)) {
	if lo >= hi {
		return
	}
	outer := len(l.dims) - 1
	idx := make([]int, outer)
	off := make([]int, len(l.strides))
	r := lo
	for d := outer - 1; d >= 0; d-- {
		idx[d] = r % l.dims[d]
		r /= l.dims[d]
		for k := range off {
			off[k] += idx[d] * l.strides[k][d]
		}
	}
	for row := lo; row < hi; row++ {
		fn(row, off)
		for d := outer - 1; d >= 0; d-- {
			idx[d]++
			for k := range off {
				off[k] += l.strides[k][d]
			}
			if idx[d] < l.dims[d] {
				break
			}
			for k := range off {
				off[k] -= idx[d] * l.strides[k][d]
			}
			idx[d] = 0
		}
	}
}
