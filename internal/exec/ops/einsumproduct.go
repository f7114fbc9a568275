package ops

import (
	"slices"

	"github.com/obc-onnx/obc/internal/exec"
)

// asProduct splits the labels of an einsum of two operands into those of a batch of matrix products: batch labels are in both operands
// and the output, rows in the first and the output, columns in the second and the output, inner ones in both operands only. ok is
// false when it is no such product.
func asProduct(labels [][]rune, shapes [][]int, dims map[rune]int, out []rune) (batch, rows, cols, inner []rune, ok bool) {
	for i, list := range labels {
		for d, l := range list {
			if slices.Contains(list[:d], l) || dims[l] != shapes[i][d] || dims[l] == 0 { // a diagonal, broadcasting, nothing to sum
				return nil, nil, nil, nil, false
			}
		}
	}
	a, b := labels[0], labels[1]
	for _, l := range out {
		switch inA, inB := slices.Contains(a, l), slices.Contains(b, l); {
		case inA && inB:
			batch = append(batch, l)
		case inA:
			rows = append(rows, l)
		default:
			cols = append(cols, l)
		}
	}
	for _, l := range a {
		if !slices.Contains(out, l) {
			inner = append(inner, l)
		}
	}
	for _, l := range b {
		if !slices.Contains(out, l) && !slices.Contains(inner, l) {
			return nil, nil, nil, nil, false
		}
	}
	for _, l := range inner {
		if !slices.Contains(b, l) {
			return nil, nil, nil, nil, false
		}
	}
	return batch, rows, cols, inner, true
}

// order is where each of the wanted labels stands in have.
func order(have []rune, want ...[]rune) []int {
	var perm []int
	for _, list := range want {
		for _, l := range list {
			perm = append(perm, slices.Index(have, l))
		}
	}
	return perm
}

// einsumProduct computes an einsum of two operands by matrix products; false when it is none.
func einsumProduct[T float](c *exec.Call, labels [][]rune, dims map[rune]int, out []rune) bool {
	if len(c.In) != 2 {
		return false
	}
	a, b := c.In[0], c.In[1]
	batch, rows, cols, inner, ok := asProduct(labels, [][]int{a.Shape, b.Shape}, dims, out)
	if !ok {
		return false
	}
	count := func(list []rune) int {
		n := 1
		for _, l := range list {
			n *= dims[l]
		}
		return n
	}
	parts, m, n, k := count(batch), count(rows), count(cols), count(inner)
	a = transposed(c, a, order(labels[0], batch, rows, inner))
	permB, transB := order(labels[1], batch, cols, inner), true
	if !movesNothing(b.Shape, permB) {
		permB, transB = order(labels[1], batch, inner, cols), false
	}
	b = transposed(c, b, permB)
	var shape []int
	for _, list := range [][]rune{batch, rows, cols} {
		for _, l := range list {
			shape = append(shape, dims[l])
		}
	}
	y := c.New(a.Type, shape...)
	ad, bd, yd := data[T](a), data[T](b), data[T](y)
	ldb := n
	if transB {
		ldb = k
	}
	one := func(u, threads int) {
		product(false, transB, m, n, k, 1, ad[u*m*k:], k, bd[u*k*n:], ldb, 0, yd[u*m*n:(u+1)*m*n], n, threads)
	}
	if parts < c.Threads {
		for u := range parts {
			one(u, c.Threads)
		}
	} else {
		c.Parallel(parts, m*n*k/4, func(lo, hi int) {
			for u := lo; u < hi; u++ {
				one(u, 1)
			}
		})
	}
	c.Out[0] = transposed(c, y, order(slices.Concat(batch, rows, cols), out))
	return true
}
