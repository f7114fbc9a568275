package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareDynamicLSTM prepares com.microsoft DynamicQuantizeLSTM, an LSTM whose weights are codes of 8 bits and whose input and state
// are rounded to 256 steps of their range before each product. Inputs 0 to 7 are those of LSTM, but W is [dirs input 4*hidden] and R
// [dirs hidden 4*hidden]; then come scales and zero points of W and of R, one a direction or one a column.
func prepareDynamicLSTM(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	r, err := newRecurrent(n, 4)
	if err != nil {
		return nil, err
	}
	r.rounded = true
	k := floatForms(
		func(c *exec.Call) error { return runRecurrent(c, r, lstmStep[float32]) },
		func(c *exec.Call) error { return runRecurrent(c, r, lstmStep[float64]) })
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		in := append([]*tensor{}, c.In...)
		for len(in) < 12 {
			in = append(in, nil)
		}
		for i := 1; i <= 2; i++ {
			if in[i], err = gateWeights(c, in[i], in[6+2*i], in[7+2*i], in[0].Type); err != nil {
				return fmt.Errorf("input %d: %w", i, err)
			}
		}
		for _, i := range []int{3, 5, 6, 7} {
			if in[i] != nil && in[i].Type != in[0].Type {
				return fmt.Errorf("input %d is %v, but X is %v: they must agree", i, in[i].Type, in[0].Type)
			}
		}
		c.KeepInputs()
		c.In = in[:8]
		return k(c)
	}, nil
}

// gateWeights decodes codes [dirs inner columns] to a weight [dirs columns inner] of type t.
func gateWeights(c *exec.Call, codes, scale, zero *tensor, t onnxio.DataType) (*tensor, error) {
	if scale == nil {
		return nil, fmt.Errorf("the scale is missing")
	}
	if len(codes.Shape) != 3 || !is8(codes.Type) {
		return nil, fmt.Errorf("the codes are %v, expected 8 bits and rank 3", codes)
	}
	dirs, inner, columns := codes.Shape[0], codes.Shape[1], codes.Shape[2]
	s, err := floats(scale)
	if err != nil {
		return nil, err
	}
	z, err := zeroPoints(zero, len(s))
	if err != nil {
		return nil, err
	}
	if len(s) != dirs && len(s) != dirs*columns {
		return nil, fmt.Errorf("%d scales for %d directions of %d columns", len(s), dirs, columns)
	}
	v, err := floats(codes)
	if err != nil {
		return nil, err
	}
	each := len(s) / max(dirs, 1)
	out := make([]float64, len(v))
	for d := range dirs {
		for i := range inner {
			for j := range columns {
				at := d*each + j%max(each, 1)
				out[(d*columns+j)*inner+i] = s[at] * (v[(d*inner+i)*columns+j] - z[at])
			}
		}
	}
	y := c.New(t, dirs, columns, inner)
	return y, store(y, out)
}

// onGrid is x on the grid of 256 steps over its range and 0, as DynamicQuantizeLinear has it.
func onGrid[T float](x []T) []T {
	f := make([]float32, len(x))
	for i, v := range x {
		f[i] = float32(v)
	}
	scale, zero := dynamicGrid(f)
	out := make([]T, len(x))
	for i, v := range f {
		code := max(0, min(255, math.RoundToEven(float64(v/scale))+float64(zero)))
		out[i] = T(float64(scale) * (code - float64(zero)))
	}
	return out
}

func inferDynamicLSTM(n *graph.Node) error {
	x, r := shapeOf(n, 0), shapeOf(n, 2)
	if len(x) != 3 || len(r) != 3 {
		return nil
	}
	n.SetOut(0, typeOf(n, 0), graph.Shape{x[0], r[0], x[1], r[1]})
	for i := 1; i < 3; i++ {
		n.SetOut(i, typeOf(n, 0), graph.Shape{r[0], x[1], r[1]})
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: microsoft, Name: "DynamicQuantizeLSTM", Since: 1, Infer: inferDynamicLSTM, Prepare: prepareDynamicLSTM, Native: true})
}
