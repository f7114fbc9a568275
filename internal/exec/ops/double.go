package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Operators that are not worth a form for each element type compute in float64: they read with floats and write with store.

// store writes v to y, rounded to y's type as Cast does it. y has as many elements as v.
func store(y *tensor, v []float64) error {
	switch d := y.Data.(type) {
	case []float64:
		copy(d, v)
		return nil
	case []float32:
		for i, x := range v {
			d[i] = float32(x)
		}
		return nil
	}
	r, err := onnxio.TensorOf(v, y.Shape...).ConvertTo(y.Type)
	if err != nil {
		return err
	}
	newMover(y, r).move(0, 0, len(v))
	return nil
}

// scalarInput is input i, a tensor with one element, as float64; def when it is omitted or empty.
func scalarInput(c *exec.Call, i int, def float64) (float64, error) {
	x := c.Input(i)
	if x == nil || x.Len() == 0 {
		return def, nil
	}
	v, err := scalar(x)
	if err != nil {
		return 0, fmt.Errorf("input %d: %w", i, err)
	}
	return v, nil
}
