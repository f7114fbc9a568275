package ops

import (
	"fmt"
	"sort"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareTopK finds the k largest (or smallest) entries along an axis; of equal ones the first come first. k is an attribute
// before opset 10 and input 1 from there on.
func prepareTopK(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attrK, axis, largest := int(n.Int("k", -1)), int(n.Int("axis", -1)), n.Int("largest", 1) != 0
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		k := attrK
		if kx := c.Input(1); kx != nil {
			var err error
			if k, err = scalarInt(kx); err != nil {
				return err
			}
		}
		x := c.In[0]
		a, err := axisIn(axis, len(x.Shape))
		if err != nil {
			return err
		}
		if k < 0 || k > x.Shape[a] {
			return fmt.Errorf("k is %d, but axis %d of the input has %d entries", k, a, x.Shape[a])
		}
		return by(0, typed{
			onnxio.Float32: func(c *exec.Call) error { return topK[float32](c, k, a, largest) },
			onnxio.Float64: func(c *exec.Call) error { return topK[float64](c, k, a, largest) },
			onnxio.Int8:    func(c *exec.Call) error { return topK[int8](c, k, a, largest) },
			onnxio.Int16:   func(c *exec.Call) error { return topK[int16](c, k, a, largest) },
			onnxio.Int32:   func(c *exec.Call) error { return topK[int32](c, k, a, largest) },
			onnxio.Int64:   func(c *exec.Call) error { return topK[int64](c, k, a, largest) },
			onnxio.Uint8:   func(c *exec.Call) error { return topK[uint8](c, k, a, largest) },
			onnxio.Uint16:  func(c *exec.Call) error { return topK[uint16](c, k, a, largest) },
			onnxio.Uint32:  func(c *exec.Call) error { return topK[uint32](c, k, a, largest) },
			onnxio.Uint64:  func(c *exec.Call) error { return topK[uint64](c, k, a, largest) },
		})(c)
	}, nil
}

func topK[T number](c *exec.Call, k, axis int, largest bool) error {
	x := c.In[0]
	shape := append([]int{}, x.Shape...)
	shape[axis] = k
	values, where := c.New(x.Type, shape...), c.New(onnxio.Int64, shape...)
	outer, n, inner := around(x.Shape, axis)
	in, v, w := data[T](x), data[T](values), data[int64](where)
	c.Parallel(outer*inner, 8*n, func(lo, hi int) {
		order := make([]int, n)
		for u := lo; u < hi; u++ {
			o, i := u/inner, u%inner
			at := func(e int) T { return in[(o*n+e)*inner+i] }
			for e := range order {
				order[e] = e
			}
			sort.SliceStable(order, func(a, b int) bool {
				if largest {
					return at(order[a]) > at(order[b])
				}
				return at(order[a]) < at(order[b])
			})
			for e, src := range order[:k] {
				v[(o*k+e)*inner+i], w[(o*k+e)*inner+i] = at(src), int64(src)
			}
		}
	})
	c.SetOut(0, values)
	c.SetOut(1, where)
	return nil
}

func inferTopK(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	if len(s) > 0 {
		axis, err := axisIn(int(n.Int("axis", -1)), len(s))
		if err != nil {
			return err
		}
		s[axis] = graph.D(n.Int("k", -1))
		if k, ok := constInts(n, 1); ok && len(k) == 1 {
			s[axis] = graph.D(int64(k[0]))
		}
	}
	n.SetOut(0, typeOf(n, 0), s)
	if len(n.Outputs) > 1 {
		n.SetOut(1, onnxio.Int64, s.Clone())
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "TopK", Since: 1, Infer: inferTopK, Prepare: prepareTopK})
}
