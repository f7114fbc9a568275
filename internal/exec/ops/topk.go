package ops

import (
	"fmt"
	"slices"

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

// ranked is an element and where it stands.
type ranked[T number] struct {
	v  T
	at int
}

// ranking tells which of two elements comes first.
func ranking[T number](largest bool) func(a, b ranked[T]) int {
	return func(a, b ranked[T]) int {
		switch {
		case a.v == b.v:
			return a.at - b.at
		case a.v > b.v == largest:
			return -1
		}
		return 1
	}
}

// leading moves the first k of list to its front and sorts them. It keeps a heap of the k best so far, the worst on top, so that most
// elements cost one comparison.
func leading[T number](list []ranked[T], k int, compare func(a, b ranked[T]) int) {
	if k >= len(list)/4 {
		slices.SortFunc(list, compare)
		return
	}
	heap := list[:k]
	sink := func(i int) {
		for {
			worst := i
			for _, child := range []int{2*i + 1, 2*i + 2} {
				if child < k && compare(heap[child], heap[worst]) > 0 {
					worst = child
				}
			}
			if worst == i {
				return
			}
			heap[i], heap[worst] = heap[worst], heap[i]
			i = worst
		}
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(i)
	}
	for i := k; i < len(list) && k > 0; i++ {
		if compare(list[i], heap[0]) < 0 {
			heap[0] = list[i]
			sink(0)
		}
	}
	slices.SortFunc(heap, compare)
}

func topK[T number](c *exec.Call, k, axis int, largest bool) error {
	x := c.In[0]
	shape := append([]int{}, x.Shape...)
	shape[axis] = k
	values, where := c.New(x.Type, shape...), c.New(onnxio.Int64, shape...)
	outer, n, inner := around(x.Shape, axis)
	in, v, w := data[T](x), data[T](values), data[int64](where)
	compare := ranking[T](largest)
	c.Parallel(outer*inner, 8*n, func(lo, hi int) {
		list := make([]ranked[T], n)
		for u := lo; u < hi; u++ {
			o, i := u/inner, u%inner
			for e := range list {
				list[e] = ranked[T]{in[(o*n+e)*inner+i], e}
			}
			leading(list, k, compare)
			for e, r := range list[:k] {
				v[(o*k+e)*inner+i], w[(o*k+e)*inner+i] = r.v, int64(r.at)
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
