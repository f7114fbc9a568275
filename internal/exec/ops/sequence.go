package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// sequence reads input i as a sequence.
func sequence(c *exec.Call, i int) (*exec.Sequence, error) {
	x := c.Input(i)
	if x == nil {
		return nil, fmt.Errorf("input %d is missing", i)
	}
	if o, ok := x.Data.(*exec.Optional); ok && o.Value != nil {
		x = o.Value
	}
	s, ok := x.Data.(*exec.Sequence)
	if !ok {
		return nil, fmt.Errorf("input %d is %v, expected a sequence", i, x)
	}
	return s, nil
}

// position reads an index into a sequence of n (which may count from the end); def without the input.
func position(c *exec.Call, i, n, def int) (int, error) {
	x := c.Input(i)
	if x == nil {
		return def, nil
	}
	k, err := scalarInt(x)
	if err != nil {
		return 0, err
	}
	if k < 0 {
		k += n
	}
	if k < 0 || k > n || k == n && def < n {
		return 0, fmt.Errorf("position %d is out of range for a sequence of %d", k, n)
	}
	return k, nil
}

func sequenceConstruct(c *exec.Call) error {
	if err := need(c, len(c.In)); err != nil {
		return err
	}
	t := onnxio.Undefined
	if len(c.In) > 0 {
		t = c.In[0].Type
	}
	if err := sameType(c, 0, len(c.In)); err != nil {
		return err
	}
	c.Out[0] = exec.NewSequence(t, append([]*tensor{}, c.In...)...)
	return nil
}

func sequenceAt(c *exec.Call) error {
	s, err := sequence(c, 0)
	if err != nil {
		return err
	}
	k, err := position(c, 1, len(s.Elems), len(s.Elems)-1)
	if err != nil {
		return err
	}
	c.Out[0] = s.Elems[k]
	return nil
}

func sequenceInsert(c *exec.Call) error {
	s, err := sequence(c, 0)
	if err != nil {
		return err
	}
	if c.Input(1) == nil {
		return fmt.Errorf("input 1 is missing")
	}
	if len(s.Elems) > 0 && s.Type != onnxio.Undefined && s.Type != c.In[1].Type {
		return fmt.Errorf("a tensor of %v cannot be put into a sequence of %v", c.In[1].Type, s.Type)
	}
	k, err := position(c, 2, len(s.Elems), len(s.Elems))
	if err != nil {
		return err
	}
	list := append(append(append([]*tensor{}, s.Elems[:k]...), c.In[1]), s.Elems[k:]...)
	c.Out[0] = exec.NewSequence(c.In[1].Type, list...)
	return nil
}

func sequenceErase(c *exec.Call) error {
	s, err := sequence(c, 0)
	if err != nil {
		return err
	}
	if len(s.Elems) == 0 {
		return fmt.Errorf("the sequence is empty: there is nothing to erase")
	}
	k, err := position(c, 1, len(s.Elems), len(s.Elems)-1)
	if err != nil {
		return err
	}
	c.Out[0] = exec.NewSequence(s.Type, append(append([]*tensor{}, s.Elems[:k]...), s.Elems[k+1:]...)...)
	return nil
}

func sequenceLength(c *exec.Call) error {
	s, err := sequence(c, 0)
	if err != nil {
		return err
	}
	c.Out[0] = onnxio.TensorOf([]int64{int64(len(s.Elems))})
	return nil
}

// prepareSplitToSequence cuts a tensor along an axis: in pieces of one size, of listed sizes, or of size 1 (then keepdims counts).
func prepareSplitToSequence(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, keep := int(n.Int("axis", 0)), n.Int("keepdims", 1) != 0
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		sizes, err := ints(c.Input(1))
		if err != nil {
			return err
		}
		total := x.Shape[axis]
		squeeze := sizes == nil && !keep
		if sizes == nil || len(c.In[1].Shape) == 0 {
			each := 1
			if sizes != nil {
				each = sizes[0]
			}
			if each < 1 {
				return fmt.Errorf("split size is %d, expected a positive number", each)
			}
			sizes = nil
			for at := 0; at < total; at += each {
				sizes = append(sizes, min(each, total-at))
			}
		}
		if sizes, err = partSizes(total, len(sizes), sizes); err != nil {
			return err
		}
		var list []*tensor
		at := 0
		for _, d := range sizes {
			y := section(c, x, axis, at, d)
			if squeeze {
				y = c.View(y, append(append([]int{}, x.Shape[:axis]...), x.Shape[axis+1:]...)...)
			}
			list = append(list, y)
			at += d
		}
		c.Out[0] = exec.NewSequence(x.Type, list...)
		return nil
	}, nil
}

func prepareConcatFromSequence(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, fresh := int(n.Int("axis", 0)), n.Int("new_axis", 0) != 0
	return func(c *exec.Call) error {
		s, err := sequence(c, 0)
		if err != nil {
			return err
		}
		if len(s.Elems) == 0 {
			return fmt.Errorf("the sequence is empty: there is nothing to join")
		}
		if fresh {
			c.Out[0], err = stacked(c, s.Elems, attr, nil)
			return err
		}
		axis, err := axisIn(attr, len(s.Elems[0].Shape))
		if err != nil {
			return err
		}
		c.Out[0], err = concatenated(c, s.Elems, axis)
		return err
	}, nil
}

// sequenceMap runs the body for each position of its first input; other sequences give their element of that position.
func sequenceMap(c *exec.Call) error {
	s, err := sequence(c, 0)
	if err != nil {
		return err
	}
	lists := make([][]*tensor, len(c.Out))
	for i := range s.Elems {
		if err := c.Round(); err != nil {
			return err
		}
		in := make([]*tensor, len(c.In))
		for k, x := range c.In {
			in[k] = x
			if x == nil || !exec.IsSequence(x) {
				continue
			}
			other, err := sequence(c, k)
			if err != nil {
				return err
			}
			if len(other.Elems) != len(s.Elems) {
				return fmt.Errorf("input %d has %d elements, input 0 has %d", k, len(other.Elems), len(s.Elems))
			}
			in[k] = other.Elems[i]
		}
		out, err := c.Body("body", in)
		if err != nil {
			return err
		}
		if len(out) != len(lists) {
			return fmt.Errorf("the body has %d outputs, the node %d", len(out), len(lists))
		}
		for k, y := range out {
			lists[k] = append(lists[k], y)
		}
	}
	for k, list := range lists {
		t := onnxio.Undefined
		if len(list) > 0 {
			t = list[0].Type
		}
		c.SetOut(k, exec.NewSequence(t, list...))
	}
	return nil
}

func prepareOptional(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return func(c *exec.Call) error {
		c.Out[0] = exec.NewOptional(c.Input(0))
		return nil
	}, nil
}

func optionalHasElement(c *exec.Call) error {
	x := c.Input(0)
	has := x != nil
	if has {
		if o, ok := x.Data.(*exec.Optional); ok {
			has = o.Value != nil
		}
	}
	c.Out[0] = onnxio.TensorOf([]bool{has})
	return nil
}

func optionalGetElement(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	c.Out[0] = c.In[0]
	if o, ok := c.In[0].Data.(*exec.Optional); ok {
		if o.Value == nil {
			return fmt.Errorf("the optional has no element")
		}
		c.Out[0] = o.Value
	}
	return nil
}

func init() {
	reg := func(name string, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Name: name, Since: 1, Infer: infer, Prepare: prepare, Native: true, Containers: true})
	}
	reg("SequenceConstruct", nil, always(sequenceConstruct))
	reg("SequenceEmpty", nil, func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		t := onnxio.DataType(n.Int("dtype", int64(onnxio.Float32)))
		return func(c *exec.Call) error {
			c.Out[0] = exec.NewSequence(t)
			return nil
		}, nil
	})
	reg("SequenceAt", inferElement, always(sequenceAt))
	reg("SequenceInsert", nil, always(sequenceInsert))
	reg("SequenceErase", nil, always(sequenceErase))
	reg("SequenceLength", inferScalar(onnxio.Int64), always(sequenceLength))
	reg("SequenceMap", inferSequenceMap, always(sequenceMap))
	reg("SplitToSequence", nil, prepareSplitToSequence)
	reg("ConcatFromSequence", inferConcatFromSequence, prepareConcatFromSequence)
	reg("Optional", nil, prepareOptional)
	reg("OptionalHasElement", inferScalar(onnxio.Bool), always(optionalHasElement))
	reg("OptionalGetElement", inferElement, always(optionalGetElement))
}
