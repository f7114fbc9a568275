package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// qFloatMatMul is QLinearMatMul with float8 codes, with one scale for each tensor: y = (a - za) sa (b - zb) sb / sy + zy, in float64.
func qFloatMatMul(c *exec.Call) error {
	a, err := dequantized(c, 0)
	if err != nil {
		return err
	}
	b, err := dequantized(c, 3)
	if err != nil {
		return err
	}
	sy, err := scalarInput(c, 6, 1)
	if err != nil {
		return err
	}
	zy, err := scalarInput(c, 7, 0)
	if err != nil {
		return err
	}
	p, err := planMatMul(c.In[0].Shape, c.In[3].Shape)
	if err != nil {
		return err
	}
	y := make([]float64, size(p.out))
	p.batches(0, size(p.batch), func(i, j, o int) {
		for r := range p.m {
			for col := range p.n {
				sum := 0.0
				for k := range p.k {
					sum += a[(i*p.m+r)*p.k+k] * b[(j*p.k+k)*p.n+col]
				}
				y[(o*p.m+r)*p.n+col] = sum/sy + zy
			}
		}
	})
	c.Out[0], err = onnxio.TensorOf(y, p.out...).ConvertTo(c.In[7].Type)
	return err
}

// dequantized reads input i, whose scale and zero point are the two inputs behind it.
func dequantized(c *exec.Call, i int) ([]float64, error) {
	x, err := floats(c.In[i])
	if err != nil {
		return nil, err
	}
	scale, err := scalarInput(c, i+1, 1)
	if err != nil {
		return nil, fmt.Errorf("float8 codes with more than one scale: %w", err)
	}
	zero, err := scalarInput(c, i+2, 0)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(x))
	for k, v := range x {
		out[k] = (v - zero) * scale
	}
	return out, nil
}
