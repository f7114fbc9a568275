package graph

// layout tells how a stored weight becomes the matrix of a layer: seen as an array of dims, its axes are permuted by perm
// into (group, row, kernel position, input channel), or (row, input channel) where there are neither groups nor positions.
type layout struct {
	dims, perm []int
	chan0      int // which of dims is the input channels
}

// ToFileLayout brings one entry per weight (codes, a mask), ordered like Matrix, into the order of the stored weight.
func ToFileLayout[T any](l *Layer, m []T) []T { return unpermute(m, l.view) }

// FromFileLayout brings one entry per weight, ordered like the stored weight, into the order of Matrix.
func FromFileLayout[T any](l *Layer, stored []T) []T {
	return permute(stored, l.view.dims, l.view.perm)
}

// BlocksToFileLayout does as ToFileLayout with one entry per block: m holds, for each row, an entry for every block of size
// consecutive columns. The result has the stored weight's shape with the input channels (axis InputAxis) divided by size, as
// DequantizeLinear with block_size reads its scales. ok is false when blocks would reach over the edge of a kernel position,
// for which the file has no form: size must divide ChannelsIn, unless the layer has no kernel.
func BlocksToFileLayout[T any](l *Layer, m []T, size int) (stored []T, ok bool) {
	if size < 1 || l.ChannelsIn%size != 0 && l.Cols != l.ChannelsIn {
		return nil, false
	}
	v := layout{dims: append([]int{}, l.view.dims...), perm: l.view.perm}
	v.dims[l.view.chan0] = (l.ChannelsIn + size - 1) / size
	return unpermute(m, v), true
}

// unpermute undoes the permutation of v.
func unpermute[T any](m []T, v layout) []T {
	dims, inverse := make([]int, len(v.perm)), make([]int, len(v.perm))
	for i, p := range v.perm {
		dims[i], inverse[p] = v.dims[p], i
	}
	return permute(m, dims, inverse)
}

// permute transposes a row-major array: axis i of the result is axis perm[i] of src.
func permute[T any](src []T, dims, perm []int) []T {
	out := make([]T, len(src))
	if len(src) == 0 {
		return out
	}
	stride := make([]int, len(dims)) // of the axes of src
	for i, s := len(dims)-1, 1; i >= 0; i-- {
		stride[i] = s
		s *= dims[i]
	}
	at := make([]int, len(perm)) // coordinates in the result
	from := 0
	for i := range out {
		out[i] = src[from]
		for k := len(perm) - 1; k >= 0; k-- {
			at[k]++
			from += stride[perm[k]]
			if at[k] < dims[perm[k]] {
				break
			}
			from -= at[k] * stride[perm[k]]
			at[k] = 0
		}
	}
	return out
}
