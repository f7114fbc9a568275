package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareGatherBlock prepares com.microsoft GatherBlockQuantized: rows of a table of codes, as floats. Inputs: data, indices,
// scales and zero points; a scale serves block_size entries along quantize_axis. Codes in uint8 are packed along the last axis when
// bits is less than 8.
func prepareGatherBlock(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	bits, block := int(n.Int("bits", 4)), int(n.Int("block_size", 128))
	gather, quantized := int(n.Int("gather_axis", 0)), int(n.Int("quantize_axis", 1))
	if bits != 2 && bits != 4 && bits != 8 || block <= 0 {
		return nil, fmt.Errorf("bits is %d and block_size %d, expected 2, 4 or 8 bits and a positive size", bits, block)
	}
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		in := []*tensor{c.In[0], c.In[2], c.Input(3)} // codes, scales, zero points
		middle := 0
		if in[0].Type == onnxio.Uint8 {
			middle = 1 << (bits - 1)
		}
		gatherAxis, err := axisIn(gather, len(in[0].Shape))
		if err != nil {
			return err
		}
		axis, err := axisIn(quantized, len(in[0].Shape))
		if err != nil {
			return err
		}
		if axis == gatherAxis {
			return fmt.Errorf("gather_axis and quantize_axis are both %d", axis)
		}
		last := len(in[0].Shape) - 1
		packed := in[0].Type == onnxio.Uint8 && bits < 8
		if packed && gatherAxis == last {
			return fmt.Errorf("gather_axis is the last one, along which the codes are packed")
		}
		for i, x := range in {
			if x == nil {
				continue
			}
			if len(x.Shape) != last+1 {
				return fmt.Errorf("codes have shape %v, but scales or zero points %v", c.In[0].Shape, x.Shape)
			}
			if in[i], err = gatherAlong(c, x, c.In[1], gatherAxis); err != nil {
				return err
			}
		}
		if packed {
			in[0] = unpackLast(c, in[0], bits, 0)
			if in[2] != nil {
				in[2] = unpackLast(c, in[2], bits, in[1].Shape[len(in[1].Shape)-1])
			}
		}
		if axis > gatherAxis { // the indices may have more dimensions than the axis that they replace
			axis += len(c.In[1].Shape) - 1
		}
		return dequantizeBlocks(c, in[0], in[1], in[2], axis, block, middle)
	}, nil
}

// gatherAlong takes the entries that ix names along an axis.
func gatherAlong(c *exec.Call, x, ix *tensor, axis int) (*tensor, error) {
	idx, err := indices(ix, x.Shape[axis])
	if err != nil {
		return nil, err
	}
	y := c.New(x.Type, append(append(append([]int{}, x.Shape[:axis]...), ix.Shape...), x.Shape[axis+1:]...)...)
	m := newMover(y, x)
	outer, total, inner := around(x.Shape, axis)
	for o := range outer {
		for k, i := range idx {
			m.move((o*len(idx)+k)*inner, (o*total+i)*inner, inner)
		}
	}
	return y, nil
}

// unpackLast spreads codes that are packed along the last axis, from the low bits up; keep is the number of codes to keep, 0 for all.
func unpackLast(c *exec.Call, x *tensor, bits, keep int) *tensor {
	per := 8 / bits
	shape := append([]int{}, x.Shape...)
	last := len(shape) - 1
	width := shape[last]
	if shape[last] *= per; keep > 0 && keep < shape[last] {
		shape[last] = keep
	}
	y := c.New(onnxio.Uint8, shape...)
	in, out := data[uint8](x), data[uint8](y)
	for i := range out {
		r, k := i/shape[last], i%shape[last]
		out[i] = in[r*width+k/per] >> (k % per * bits) & (1<<bits - 1)
	}
	return y
}

func dequantizeBlocks(c *exec.Call, codes, scale, zero *tensor, axis, block, middle int) error {
	l, err := layoutOf(codes.Shape, scale.Shape, axis, block)
	if err != nil {
		return err
	}
	s, err := floats(scale)
	if err != nil {
		return err
	}
	z, err := zeroPoints(zero, len(s))
	if err != nil {
		return err
	}
	if zero == nil {
		for i := range z {
			z[i] = float64(middle)
		}
	}
	c.KeepInputs()
	c.In = []*tensor{codes}
	if scale.Type == onnxio.Float64 {
		return dequantize[float64](c, onnxio.Float64, l, s, z)
	}
	if err := dequantize[float32](c, onnxio.Float32, l, s, z); err != nil || scale.Type == onnxio.Float32 {
		return err
	}
	c.Out[0], err = c.Out[0].ConvertTo(scale.Type)
	return err
}

func inferGatherBlock(n *graph.Node) error {
	x, ix := shapeOf(n, 0), shapeOf(n, 1)
	n.SetOut(0, typeOf(n, 2), nil)
	if x == nil || ix == nil {
		return nil
	}
	axis, err := axisIn(int(n.Int("gather_axis", 0)), len(x))
	if err != nil {
		return err
	}
	out := append(append(append(graph.Shape{}, x[:axis]...), ix...), x[axis+1:]...)
	if bits := n.Int("bits", 4); typeOf(n, 0) == onnxio.Uint8 && bits > 0 && bits < 8 && axis < len(x)-1 {
		out[len(out)-1] = out[len(out)-1].Mul(graph.D(8 / bits))
	}
	n.SetOut(0, typeOf(n, 2), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: microsoft, Name: "GatherBlockQuantized", Since: 1, Infer: inferGatherBlock, Prepare: prepareGatherBlock, Native: true})
}
