package score

import (
	"context"
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Predict runs all of the data, batch samples at a time, and returns each output by name, joined along axis 0.
func Predict(ctx context.Context, e *exec.Executor, data calib.Dataset, batch int) (map[string]*onnxio.Tensor, error) {
	parts := map[string][]*onnxio.Tensor{}
	err := batches(ctx, e, data, batch, func(_, _ int, feeds map[string]*onnxio.Tensor) error {
		outs, err := e.Run(ctx, feeds, nil)
		for name, t := range outs {
			if err := flat(name, t, func(name string, t *onnxio.Tensor) { parts[name] = append(parts[name], t) }); err != nil {
				return fmt.Errorf("output %q: %w", name, err)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	joined := map[string]*onnxio.Tensor{}
	for name, p := range parts {
		if joined[name], err = join(p); err != nil {
			return nil, fmt.Errorf("output %q: %w", name, err)
		}
	}
	return joined, nil
}

// flat shows fn the tensors that an output consists of: a sequence has one an element, called NAME.0 and so on; a sequence of
// dictionaries with the same keys, what classifiers give, becomes their values, a row each; an optional that is absent has none.
func flat(name string, t *onnxio.Tensor, fn func(name string, t *onnxio.Tensor)) error {
	switch d := t.Data.(type) {
	case *exec.Optional:
		if d.Value == nil {
			return nil
		}
		return flat(name, d.Value, fn)
	case *exec.Map:
		fn(name, &onnxio.Tensor{Type: d.Values.Type, Shape: []int{1, d.Values.Len()}, Data: d.Values.Data})
		return nil
	case *exec.Sequence:
		var rows []*onnxio.Tensor
		for i, e := range d.Elems {
			if m, ok := e.Data.(*exec.Map); ok {
				rows = append(rows, &onnxio.Tensor{Type: m.Values.Type, Shape: []int{1, m.Values.Len()}, Data: m.Values.Data})
			} else if err := flat(fmt.Sprintf("%s.%d", name, i), e, fn); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
		all, err := join(rows)
		if err == nil {
			fn(name, all)
		}
		return err
	}
	fn(name, t)
	return nil
}

// join puts tensors one after the other along axis 0; scalars become a vector.
func join(parts []*onnxio.Tensor) (*onnxio.Tensor, error) {
	if len(parts) == 1 {
		return parts[0], nil
	}
	first := parts[0]
	rows, inner := 0, []int{}
	for _, p := range parts {
		n, rest := 1, p.Shape
		if len(p.Shape) > 0 {
			n, rest = p.Shape[0], p.Shape[1:]
		}
		if rows == 0 {
			inner = rest
		}
		if p.Type != first.Type || len(p.Shape) != len(first.Shape) || !slices.Equal(rest, inner) {
			return nil, fmt.Errorf("its shape changes from batch to batch (%v, %v), so the batches cannot be joined: run with --samples 1, or choose inputs of one size", first, p)
		}
		rows += n
	}
	out := &onnxio.Tensor{Type: first.Type, Shape: append([]int{rows}, inner...)}
	switch first.Data.(type) {
	case []float32:
		out.Data = concat[float32](parts)
	case []float64:
		out.Data = concat[float64](parts)
	case []int8:
		out.Data = concat[int8](parts)
	case []int16:
		out.Data = concat[int16](parts)
	case []int32:
		out.Data = concat[int32](parts)
	case []int64:
		out.Data = concat[int64](parts)
	case []uint8:
		out.Data = concat[uint8](parts)
	case []uint16:
		out.Data = concat[uint16](parts)
	case []uint32:
		out.Data = concat[uint32](parts)
	case []uint64:
		out.Data = concat[uint64](parts)
	case []bool:
		out.Data = concat[bool](parts)
	case []string:
		out.Data = concat[string](parts)
	default:
		return nil, fmt.Errorf("batches of %v cannot be joined", first.Type)
	}
	return out, nil
}

func concat[T onnxio.Elem](parts []*onnxio.Tensor) []T {
	var all []T
	for _, p := range parts {
		all = append(all, onnxio.Slice[T](p)...)
	}
	return all
}
