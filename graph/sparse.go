package graph

import (
	"fmt"
	"reflect"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// maxSparseGrowth bounds how many elements a sparse tensor may stand for, per stored one, so that a file of a few bytes
// cannot ask for all memory. Tensors of up to sparseFree elements are always expanded.
const (
	maxSparseGrowth = 1 << 12
	sparseFree      = 1 << 22
)

// dense expands a sparse tensor. Indices are linear ([nnz]) or one coordinate row per element ([nnz, rank]).
func dense(m *onnxio.Model, p *onnxpb.SparseTensorProto) (*onnxio.Tensor, error) {
	name := p.GetValues().GetName()
	fail := func(format string, args ...any) (*onnxio.Tensor, error) {
		return nil, fmt.Errorf("%s: sparse tensor %q: %s", m.Name(), name, fmt.Sprintf(format, args...))
	}
	if p.GetValues() == nil || p.GetIndices() == nil {
		return fail("has no values or no indices")
	}
	values, err := m.Tensor(p.Values)
	if err != nil {
		return nil, err
	}
	indices, err := m.Tensor(p.Indices)
	if err != nil {
		return nil, err
	}
	idx, nnz := indices.Int64s(), values.Len()
	dims, total := make([]int, len(p.Dims)), int64(1)
	for i, d := range p.Dims {
		if d < 0 || d > 0 && total > int64(max(sparseFree, nnz*maxSparseGrowth))/d {
			return fail("shape %v is impossible or far too large for %d stored elements", p.Dims, nnz)
		}
		total *= d
		dims[i] = int(d)
	}
	step := 1
	if indices.Rank() == 2 {
		step = len(dims)
	}
	if idx == nil || len(idx) != nnz*step {
		return fail("%v for the indices of %d elements of rank %d; expected int64[%d] or int64[%d %d]",
			indices, nnz, len(dims), nnz, nnz, len(dims))
	}
	t := onnxio.NewTensor(values.Type, dims...)
	dst, src := reflect.ValueOf(t.Data), reflect.ValueOf(values.Data)
	for i := range nnz {
		at := idx[i*step]
		if indices.Rank() == 2 {
			at = 0
			for k, d := range p.Dims {
				c := idx[i*step+k]
				if c < 0 || c >= d {
					return fail("index %d of dimension %d is outside 0..%d", c, k, d-1)
				}
				at = at*d + c
			}
		}
		if at < 0 || at >= total {
			return fail("index %d is outside 0..%d", at, total-1)
		}
		dst.Index(int(at)).Set(src.Index(i))
	}
	return t, nil
}
