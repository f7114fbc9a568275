package ops

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// orderKeys gives numbers that compare as the elements of x do; equal elements have equal keys, and NaN comes last.
func orderKeys(x *tensor) ([]uint64, error) {
	switch d := x.Data.(type) {
	case []string:
		names := slices.Compact(slices.Sorted(slices.Values(d)))
		return keysOf(d, func(s string) uint64 { i, _ := slices.BinarySearch(names, s); return uint64(i) }), nil
	case []bool:
		return keysOf(d, func(b bool) uint64 {
			if b {
				return 1
			}
			return 0
		}), nil
	case []uint64:
		return slices.Clone(d), nil
	case []int64:
		return keysOf(d, func(v int64) uint64 { return uint64(v) ^ 1<<63 }), nil
	}
	f, err := floats(x)
	if err != nil {
		return nil, err
	}
	return keysOf(f, func(v float64) uint64 {
		switch {
		case v != v:
			return math.MaxUint64
		case v < 0:
			return ^math.Float64bits(v)
		}
		return math.Float64bits(v+0) | 1<<63 // adding 0 makes -0 the same as 0
	}), nil
}

func keysOf[T any](d []T, f func(T) uint64) []uint64 {
	out := make([]uint64, len(d))
	for i, v := range d {
		out[i] = f(v)
	}
	return out
}

// prepareUnique lists the different elements of a tensor, or its different slices along an axis: sorted, or as they come first.
func prepareUnique(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, flat, sorted := int(n.Int("axis", 0)), !n.HasAttr("axis"), n.Int("sorted", 1) != 0
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if flat {
			x = c.View(x, x.Len())
		}
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		rows, err := sliceKeys(x, axis)
		if err != nil {
			return err
		}
		first, inverse, counts := distinct(rows, sorted)
		shape := append([]int{}, x.Shape...)
		shape[axis] = len(first)
		y := c.New(x.Type, shape...)
		m := newMover(y, x)
		outer, total, inner := around(x.Shape, axis)
		for o := range outer {
			for k, i := range first {
				m.move((o*len(first)+k)*inner, (o*total+int(i))*inner, inner)
			}
		}
		c.SetOut(0, y)
		c.SetOut(1, onnxio.TensorOf(first, len(first)))
		c.SetOut(2, onnxio.TensorOf(inverse, len(inverse)))
		c.SetOut(3, onnxio.TensorOf(counts, len(counts)))
		return nil
	}, nil
}

// sliceKeys gives each slice along an axis as a row of keys.
func sliceKeys(x *tensor, axis int) ([][]uint64, error) {
	keys, err := orderKeys(x)
	if err != nil {
		return nil, err
	}
	outer, n, inner := around(x.Shape, axis)
	rows := make([][]uint64, n)
	for i := range rows {
		rows[i] = make([]uint64, 0, outer*inner)
		for o := range outer {
			rows[i] = append(rows[i], keys[(o*n+i)*inner:][:inner]...)
		}
	}
	return rows, nil
}

// distinct finds the different rows: where each comes first, which of them each row is, and how often each occurs.
func distinct(rows [][]uint64, sorted bool) (first, inverse, counts []int64) {
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	compare := func(a, b int) int { return slices.CompareFunc(rows[a], rows[b], cmp.Compare[uint64]) }
	sort.SliceStable(order, func(a, b int) bool { return compare(order[a], order[b]) < 0 })
	first, inverse, counts = []int64{}, make([]int64, len(rows)), []int64{}
	for k, i := range order {
		if k == 0 || compare(order[k-1], i) != 0 {
			first, counts = append(first, int64(i)), append(counts, 0)
		}
		inverse[i] = int64(len(first) - 1)
		counts[len(counts)-1]++
	}
	if sorted {
		return first, inverse, counts
	}
	byFirst := make([]int, len(first))
	for i := range byFirst {
		byFirst[i] = i
	}
	slices.SortFunc(byFirst, func(a, b int) int { return cmp.Compare(first[a], first[b]) })
	rank := make([]int64, len(first))
	f, n := make([]int64, len(first)), make([]int64, len(first))
	for k, i := range byFirst {
		rank[i], f[k], n[k] = int64(k), first[i], counts[i]
	}
	for i, k := range inverse {
		inverse[i] = rank[k]
	}
	return f, inverse, n
}

func inferUnique(n *graph.Node) error {
	s := graph.UnknownShape(1)
	if n.HasAttr("axis") {
		s = shapeOf(n, 0).Clone()
		if s != nil {
			axis, err := axisIn(int(n.Int("axis", 0)), len(s))
			if err != nil {
				return fmt.Errorf("attribute axis: %w", err)
			}
			s[axis] = graph.Unknown
		}
	}
	n.SetOut(0, typeOf(n, 0), s)
	for i := 1; i < 4; i++ {
		n.SetOut(i, onnxio.Int64, graph.UnknownShape(1))
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Unique", Since: 11, Infer: inferUnique, Prepare: prepareUnique, Native: true})
}
