package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// matmulPlan is the batched product of numpy: vectors are promoted, batch dimensions broadcast.
type matmulPlan struct {
	m, n, k int
	batch   []int // broadcast batch shape
	l       loop  // over batches, with offsets of a, b and y in matrices
	out     []int
}

func planMatMul(a, b []int) (matmulPlan, error) {
	if len(a) == 0 || len(b) == 0 {
		return matmulPlan{}, fmt.Errorf("cannot multiply shapes %v and %v: a scalar is no matrix", a, b)
	}
	dropM, dropN := len(a) == 1, len(b) == 1
	if dropM {
		a = []int{1, a[0]}
	}
	if dropN {
		b = []int{b[0], 1}
	}
	p := matmulPlan{m: a[len(a)-2], k: a[len(a)-1], n: b[len(b)-1]}
	if p.k != b[len(b)-2] {
		return p, fmt.Errorf("cannot multiply shapes %v and %v: %d columns against %d rows", a, b, p.k, b[len(b)-2])
	}
	ab, bb := a[:len(a)-2], b[:len(b)-2]
	var err error
	if p.batch, err = broadcast(ab, bb); err != nil {
		return p, err
	}
	if size(bb) == 1 { // one matrix for all: a's batches are further rows
		p.m *= size(ab)
		p.out = append(append([]int{}, p.batch...), a[len(a)-2], p.n)
		p.batch = []int{}
		ab, bb = nil, nil
	} else {
		p.out = append(append([]int{}, p.batch...), p.m, p.n)
	}
	p.l = loop{dims: append([]int{}, p.batch...), strides: [][]int{spread(ab, p.batch), spread(bb, p.batch), stridesOf(p.batch)}}
	if dropM {
		p.out = append(p.out[:len(p.out)-2], p.n)
	}
	if dropN {
		p.out = p.out[:len(p.out)-1]
	}
	return p, nil
}

// batches calls fn with the numbers of the matrices of a, b and y.
func (p matmulPlan) batches(lo, hi int, fn func(a, b, y int)) {
	l := loop{dims: append(append([]int{}, p.l.dims...), 1)}
	for _, s := range p.l.strides {
		l.strides = append(l.strides, append(append([]int{}, s...), 0))
	}
	l.each(lo, hi, func(_ int, off []int) { fn(off[0], off[1], off[2]) })
}

func matmul[T float](c *exec.Call) error {
	a, b := c.In[0], c.In[1]
	p, err := planMatMul(a.Shape, b.Shape)
	if err != nil {
		return err
	}
	y := c.New(a.Type, p.out...)
	matmulInto(c, p, data[T](y), data[T](a), data[T](b))
	c.Out[0] = y
	return nil
}

func matmulInto[T float](c *exec.Call, p matmulPlan, y, a, b []T) {
	count := size(p.batch)
	m, n, k := p.m, p.n, p.k
	one := func(threads int) func(i, j, o int) {
		return func(i, j, o int) {
			product(false, false, m, n, k, 1, a[i*m*k:(i+1)*m*k], k, b[j*k*n:(j+1)*k*n], n, 0, y[o*m*n:(o+1)*m*n], n, threads)
		}
	}
	if count < c.Threads {
		p.batches(0, count, one(c.Threads))
		return
	}
	c.Parallel(count, m*n*k/4, func(lo, hi int) { p.batches(lo, hi, one(1)) })
}

func prepareMatMul(_ *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	return productKernel(packMatrix(p.Const(1), false)), nil
}

// productKernel is the kernel of a product of inputs 0 and 1; packed is what packMatrix makes of input 1 as the kernel will see it, or nil.
func productKernel(packed func() *kernel.PackedB) exec.Kernel {
	single := func(c *exec.Call) error {
		if packed == nil || len(c.In[0].Shape) < 2 || c.In[0].Shape[len(c.In[0].Shape)-1] != c.In[1].Shape[0] {
			return matmul[float32](c)
		}
		return productWith(c, packed(), c.In[0], nil, nil, nil)
	}
	exact := func(c *exec.Call) error { return viaDouble(c, func() error { return matmul[float64](c) }) }
	k := by(0, typed{onnxio.Float32: single, onnxio.Float64: matmul[float64],
		onnxio.Int32: exact, onnxio.Int64: exact, onnxio.Uint32: exact, onnxio.Uint64: exact})
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		if err := sameType(c, 0, 2); err != nil {
			return err
		}
		return k(c)
	}
}

// matmulDims is the shape of a product, nil when a rank is not known.
func matmulDims(a, b graph.Shape) (graph.Shape, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("cannot multiply shapes %v and %v: a scalar is no matrix", a, b)
	}
	ka, kb := a[len(a)-1], b[max(len(b)-2, 0)]
	if ka.Known() && kb.Known() && ka != kb {
		return nil, fmt.Errorf("cannot multiply shapes %v and %v: %v columns against %v rows", a, b, ka, kb)
	}
	var out graph.Shape
	if len(a) > 2 || len(b) > 2 {
		out = broadcastDims(a[:max(len(a)-2, 0)], b[:max(len(b)-2, 0)])
	} else {
		out = graph.Shape{}
	}
	if len(a) > 1 {
		out = append(out, a[len(a)-2])
	}
	if len(b) > 1 {
		out = append(out, b[len(b)-1])
	}
	return out, nil
}

func inferMatMul(t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		s, err := matmulDims(shapeOf(n, 0), shapeOf(n, 1))
		if err != nil {
			return err
		}
		out := t
		if out == onnxio.Undefined {
			out = typeOf(n, 0)
		}
		n.SetOut(0, out, s)
		return nil
	}
}

func init() {
	exec.Register(exec.Op{Name: "MatMul", Since: 1, Infer: inferMatMul(0), Prepare: prepareMatMul})
}
