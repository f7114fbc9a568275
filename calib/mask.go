package calib

import "github.com/obc-onnx/obc/onnxio"

// keepRows tells which rows of an activation of the given shape belong to real positions. mask is the batch's mask input,
// [batch, sequence], 0 at padding. Activations [batch, sequence, ...], [batch*sequence, ...] and [batch, heads, sequence, ...]
// have such rows, in this order of trial; the result then has one entry for each of them, and divides the activation's elements
// into equal rows. For any other shape it is nil: all counts.
func keepRows(mask *onnxio.Tensor, shape []int) []bool {
	if mask == nil || len(mask.Shape) != 2 {
		return nil
	}
	batch, seq := mask.Shape[0], mask.Shape[1]
	repeat := 1
	switch {
	case len(shape) >= 3 && shape[0] == batch && shape[1] == seq:
	case len(shape) == 2 && seq > 1 && shape[0] == batch*seq:
	case len(shape) == 4 && shape[0] == batch && shape[2] == seq:
		repeat = shape[1]
	default:
		return nil
	}
	real := nonZero(mask)
	if real == nil {
		return nil
	}
	keep := make([]bool, 0, batch*repeat*seq)
	for b := range batch {
		for range repeat {
			keep = append(keep, real[b*seq:(b+1)*seq]...)
		}
	}
	return keep
}

// Unpadded tells which equal pieces of a value of the given shape belong to real positions, by the mask among feeds that data found
// when it was opened (Set.Mask). nil: all do, or there is no mask.
func Unpadded(data Dataset, feeds map[string]*onnxio.Tensor, shape []int) []bool {
	s, ok := data.(*Set)
	if !ok || s.Mask == "" {
		return nil
	}
	return keepRows(feeds[s.Mask], shape)
}

// nonZero gives the truth of each element of a mask, nil for types that masks do not have.
func nonZero(t *onnxio.Tensor) []bool {
	if b, ok := t.Data.([]bool); ok {
		return b
	}
	f, err := t.ConvertTo(onnxio.Float32)
	if err != nil {
		return nil
	}
	keep := make([]bool, f.Len())
	for i, v := range f.Float32s() {
		keep[i] = v != 0
	}
	return keep
}

// EachKept calls fn with the runs of rows of x that keep keeps. keep divides x into equal rows; where it cannot, or is empty, all count.
func EachKept(x []float32, keep []bool, fn func(run []float32)) {
	if len(x) == 0 {
		return
	}
	if len(keep) == 0 || len(x)%len(keep) != 0 {
		fn(x)
		return
	}
	per := len(x) / len(keep)
	for i := 0; i < len(keep); {
		j := i
		for j < len(keep) && keep[j] == keep[i] {
			j++
		}
		if keep[i] {
			fn(x[i*per : j*per])
		}
		i = j
	}
}
