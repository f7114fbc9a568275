package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

func prepareCast(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	to := castTarget(n)
	if !to.Valid() {
		return nil, fmt.Errorf("attribute to is %v, expected an element type", to)
	}
	o, err := castOptions(n)
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		y, err := c.In[0].Cast(to, o)
		c.Out[0] = y
		return err
	}, nil
}

// castTarget: files of version 1 named the type by a string.
func castTarget(n *graph.Node) onnxio.DataType {
	if n.Opset() >= 6 {
		return onnxio.DataType(n.Int("to", 0))
	}
	names := map[string]onnxio.DataType{"FLOAT": onnxio.Float32, "DOUBLE": onnxio.Float64, "FLOAT16": onnxio.Float16, "INT8": onnxio.Int8,
		"INT16": onnxio.Int16, "INT32": onnxio.Int32, "INT64": onnxio.Int64, "UINT8": onnxio.Uint8, "UINT16": onnxio.Uint16,
		"UINT32": onnxio.Uint32, "UINT64": onnxio.Uint64, "BOOL": onnxio.Bool}
	return names[n.Str("to", "")]
}

func castOptions(n *graph.Node) (onnxio.CastOptions, error) {
	o := onnxio.CastOptions{NoSaturate: n.Int("saturate", 1) == 0}
	switch m := n.Str("round_mode", "up"); m {
	case "up":
		o.Round = onnxio.RoundUp
	case "down":
		o.Round = onnxio.RoundDown
	case "nearest":
		o.Round = onnxio.RoundNearest
	default:
		return o, fmt.Errorf(`attribute round_mode is %q, expected "up", "down" or "nearest"`, m)
	}
	return o, nil
}

func inferCast(n *graph.Node) error {
	n.SetOut(0, castTarget(n), shapeOf(n, 0))
	return nil
}

func prepareCastLike(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	o, err := castOptions(n)
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		y, err := c.In[0].Cast(c.In[1].Type, o)
		c.Out[0] = y
		return err
	}, nil
}

// bitCastKernel reads the same bits as another type of the same width.
func prepareBitCast(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	to := onnxio.DataType(n.Int("to", 0))
	if !to.Valid() || to == onnxio.String {
		return nil, fmt.Errorf("attribute to is %v, expected a type of fixed width", to)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if x.Type.Bits() != to.Bits() {
			return fmt.Errorf("cannot read %v as %v: the widths differ", x.Type, to)
		}
		y := onnxio.NewTensor(to, x.Shape...)
		src, _ := bytesOf(x)
		dst, _ := bytesOf(y)
		if to.Bits() >= 8 {
			copy(dst, src)
		} else {
			for i, v := range src { // unpacked codes: sign-extend or cut
				v &= 1<<to.Bits() - 1
				if to.IsSigned() {
					v = uint8(int8(v<<(8-to.Bits())) >> (8 - to.Bits()))
				}
				dst[i] = v
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

func init() {
	exec.Register(
		exec.Op{Name: "Cast", Since: 1, Infer: inferCast, Prepare: prepareCast, Native: true},
		exec.Op{Name: "CastLike", Since: 15, Infer: func(n *graph.Node) error {
			n.SetOut(0, typeOf(n, 1), shapeOf(n, 0))
			return nil
		}, Prepare: prepareCastLike, Native: true},
		exec.Op{Name: "BitCast", Since: 1, Infer: inferCast, Prepare: prepareBitCast, Native: true},
	)
}
