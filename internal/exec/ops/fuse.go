package ops

import (
	"math"
	"slices"
	"sync"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// What runs together with a convolution or a product: biases, a residual, limits, activations. The order of the roundings is that of
// the nodes one by one, so that the numbers are the same.

// chain is what follows a product and goes into its epilogue.
type chain struct {
	nodes  []*graph.Node
	codes  []*graph.Node // that make constants of codes
	bias   *tensor       // one number a column
	add    *graph.Value  // a tensor of the result's shape
	lo, hi float32
	then   func(row []float32)
}

func newChain(head *graph.Node) *chain {
	return &chain{nodes: []*graph.Node{head}, lo: float32(math.Inf(-1)), hi: float32(math.Inf(1))}
}

// last is the node whose output the chain has so far.
func (k *chain) last() *graph.Node { return k.nodes[len(k.nodes)-1] }

// epilogue is the kernel's form of the chain; the addend comes at run time.
func (k *chain) epilogue() *kernel.Epilogue {
	return &kernel.Epilogue{Lo: k.lo, Hi: k.hi, Then: k.then}
}

// other is the operand of a binary node beside input i.
func other(n *graph.Node, i int) *graph.Value {
	if len(n.Inputs) != 2 {
		return nil
	}
	return n.Inputs[1-i]
}

// constant is input i of n as a tensor: a constant, or one that is stored in codes, whose DequantizeLinear then joins the chain and is
// not run again; nil when it is neither.
func (k *chain) constant(p *exec.Prep, n *graph.Node, i int) *tensor {
	if t := p.Const(i); t != nil {
		return t
	}
	v := n.In(i)
	if v == nil || v.Producer == nil || v.Producer.Op() != "DequantizeLinear" || v.IsOutput || len(v.Uses) != 1 || v.Producer.Graph != n.Graph {
		return nil
	}
	d := v.Producer
	var in []*tensor
	for j := range d.Inputs {
		t := p.Of(d).Const(j)
		if t == nil && d.In(j) != nil {
			return nil
		}
		in = append(in, t)
	}
	out, err := exec.Fold(d, in)
	if err != nil {
		return nil // the node says why when it runs
	}
	k.codes = append(k.codes, d)
	return out[0]
}

// all are the chain's nodes with those that make its constants.
func (k *chain) all() []*graph.Node { return append(slices.Clone(k.codes), k.nodes...) }

// takeBias adds an Add of a constant vector of n numbers along the last axis.
func (k *chain) takeBias(p *exec.Prep, n int) {
	f, i := p.Follower(k.last())
	if f == nil || f.Op() != "Add" || f.Domain() != "" || f.Opset() < 7 {
		return
	}
	b := p.Of(f).Const(1 - i)
	if b == nil || b.Type != onnxio.Float32 || b.Len() != n || len(b.Shape) == 0 || b.Shape[len(b.Shape)-1] != n {
		return
	}
	k.bias, k.nodes = b, append(k.nodes, f)
}

// takeAdd adds an Add of a computed tensor.
func (k *chain) takeAdd(p *exec.Prep) {
	f, i := p.Follower(k.last())
	if f == nil || f.Op() != "Add" || f.Domain() != "" || f.Opset() < 7 || p.Of(f).Const(1-i) != nil {
		return
	}
	k.add, k.nodes = other(f, i), append(k.nodes, f)
}

// takeLimits adds a Relu or a Clip between constants.
func (k *chain) takeLimits(p *exec.Prep) {
	f, i := p.Follower(k.last())
	if f == nil || i != 0 || f.Domain() != "" {
		return
	}
	switch f.Op() {
	case "Relu":
		k.lo = 0
	case "Clip":
		if f.Opset() < 11 {
			k.lo, k.hi = f.Float("min", k.lo), f.Float("max", k.hi)
			break
		}
		for j, limit := range []*float32{&k.lo, &k.hi} {
			if f.In(j+1) == nil {
				continue
			}
			v := p.Of(f).Const(j + 1)
			if v == nil || v.Type != onnxio.Float32 || v.Len() != 1 {
				return
			}
			*limit = v.Float32s()[0]
		}
	default:
		return
	}
	k.nodes = append(k.nodes, f)
}

// packMatrix packs a constant right operand k x n (with trans: n x k) at the first run; nil where that does not apply.
func packMatrix(b *tensor, trans bool) func() *kernel.PackedB {
	if b == nil || b.Type != onnxio.Float32 || len(b.Shape) != 2 || b.Len() == 0 {
		return nil
	}
	k, n := b.Shape[0], b.Shape[1]
	if trans {
		k, n = n, k
	}
	return sync.OnceValue(func() *kernel.PackedB { return kernel.PackB(trans, k, n, b.Float32s(), b.Shape[1]) })
}

// fuseProduct: MatMul or Gemm with a constant right operand, then a bias, then Gelu, or an addend and limits.
func fuseProduct(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	k := newChain(n)
	b := k.constant(p, n, 1)
	transB := n.Op() == "Gemm" && n.Int("transB", 0) != 0
	packed := packMatrix(b, transB)
	if packed == nil {
		return nil, nil
	}
	cols := b.Shape[1]
	if transB {
		cols = b.Shape[0]
	}
	if n.Op() == "Gemm" {
		c := k.constant(p, n, 2)
		if n.Float("alpha", 1) != 1 || n.Float("beta", 1) != 1 || n.Int("transA", 0) != 0 ||
			n.In(2) != nil && (c == nil || c.Type != onnxio.Float32 || c.Len() != cols || len(c.Shape) == 0 || c.Shape[len(c.Shape)-1] != cols) {
			return nil, nil
		}
		k.bias = c
	} else {
		k.takeBias(p, cols)
	}
	if !k.takeGelu(p) {
		k.takeAdd(p)
		k.takeLimits(p)
	}
	if len(k.all()) == 1 {
		return nil, nil
	}
	return &exec.Fusion{Nodes: k.all(), Inputs: []*graph.Value{n.In(0), k.add}, Kernel: func(c *exec.Call) error {
		x, bias, add := c.In[0], k.bias, c.In[1]
		if x == nil || x.Type != onnxio.Float32 || len(x.Shape) < 2 || n.Op() == "Gemm" && len(x.Shape) != 2 {
			return exec.ErrApart
		}
		return productWith(c, packed(), x, bias, add, k.epilogue())
	}}, nil
}

// productWith multiplies the rows of x by a packed matrix.
func productWith(c *exec.Call, b *kernel.PackedB, x, bias, add *tensor, e *kernel.Epilogue) error {
	last := len(x.Shape) - 1
	if x.Shape[last] != b.K {
		return exec.ErrApart
	}
	shape := append(slices.Clone(x.Shape[:last]), b.N)
	if bias != nil {
		if len(bias.Shape) > len(shape) {
			return exec.ErrApart
		}
		e.Col = bias.Float32s()
	}
	if add != nil {
		if add.Type != onnxio.Float32 || !slices.Equal(add.Shape, shape) {
			return exec.ErrApart
		}
		e.Add = add.Float32s()
	}
	y := c.New(onnxio.Float32, shape...)
	c.Out[0] = y
	if y.Len() > 0 {
		kernel.SgemmPackedB(false, y.Len()/b.N, x.Float32s(), b.K, b, y.Float32s(), b.N, e, c.Threads)
	}
	return nil
}
