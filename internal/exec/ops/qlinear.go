package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

const microsoft = "com.microsoft"

// byteGrid is the quantization of a whole tensor of 8-bit codes: value = scale*(code - zero). Codes are handled as raw bytes, so
// that one loop serves int8 and uint8.
type byteGrid struct {
	scale, zero float64
	typ         onnxio.DataType
}

// gridOf reads a grid from inputs scale and zero of the call; t is the type of the codes.
func gridOf(c *exec.Call, scale, zero int, t onnxio.DataType) (byteGrid, error) {
	g := byteGrid{typ: t}
	if t != onnxio.Uint8 && t != onnxio.Int8 {
		return g, fmt.Errorf("codes are %v, expected int8 or uint8", t)
	}
	s := c.Input(scale)
	if s == nil {
		return g, fmt.Errorf("input %d, a scale, is missing", scale)
	}
	var err error
	if g.scale, err = scalar(s); err != nil {
		return g, fmt.Errorf("scale: %w", err)
	}
	if z := c.Input(zero); z != nil {
		if z.Type != t {
			return g, fmt.Errorf("the zero point is %v, but the codes are %v", z.Type, t)
		}
		if g.zero, err = scalar(z); err != nil {
			return g, fmt.Errorf("zero point: %w", err)
		}
	}
	return g, nil
}

// gridsOf reads the grids of an operator with inputs X, its scale and zero point, then those of the output.
func gridsOf(c *exec.Call) (from, to byteGrid, err error) {
	if err := need(c, 1); err != nil {
		return from, to, err
	}
	if from, err = gridOf(c, 1, 2, c.In[0].Type); err == nil {
		to, err = gridOf(c, 3, 4, c.In[0].Type)
	}
	return from, to, err
}

// code is the raw byte of the code nearest to v/scale + zero, for v/scale given.
func (g byteGrid) code(v float64) byte {
	v = math.RoundToEven(v) + g.zero
	if g.typ == onnxio.Int8 {
		return byte(int8(math.Max(-128, math.Min(127, v))))
	}
	return byte(math.Max(0, math.Min(255, v)))
}

// less0 is the code of a raw byte without the zero point.
func (g byteGrid) less0(b byte) float64 {
	if g.typ == onnxio.Int8 {
		return float64(int8(b)) - g.zero
	}
	return float64(b) - g.zero
}

// steps are the codes of all 256 raw bytes without the zero point.
func (g byteGrid) steps() (t [256]float64) {
	for b := range t {
		t[b] = g.less0(byte(b))
	}
	return t
}

// values are the values of all 256 raw bytes.
func (g byteGrid) values() (t [256]float64) {
	for b := range t {
		t[b] = g.scale * g.less0(byte(b))
	}
	return t
}

// recode is the table from raw bytes of g to those of to, by way of f on the values; nil is the identity.
func (g byteGrid) recode(to byteGrid, f func(float64) float64) (t [256]byte) {
	for b, v := range g.values() {
		if f != nil {
			v = f(v)
		}
		t[b] = to.code(v / to.scale)
	}
	return t
}

func rawBytes(x *tensor) []byte { b, _ := bytesOf(x); return b }

// qlinearMap prepares an elementwise function on codes: inputs X, its scale and zero point, then those of the output.
func qlinearMap(f func(n *graph.Node) func(float64) float64) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		f := f(n)
		return func(c *exec.Call) error {
			from, to, err := gridsOf(c)
			if err != nil {
				return err
			}
			c.Out[0] = c.New(c.In[0].Type, c.In[0].Shape...)
			table := from.recode(to, f)
			lookUp(c, rawBytes(c.Out[0]), rawBytes(c.In[0]), &table)
			return nil
		}, nil
	}
}

func lookUp(c *exec.Call, y, x []byte, table *[256]byte) {
	c.Parallel(len(x), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			y[i] = table[x[i]]
		}
	})
}

// sumTables and productTables give the operands that codes of A and B stand for, so that their sum or product, rounded to float32, is
// in steps of C. The roundings are those of ONNX Runtime's vector code: of a sum, fma(a, sa/sc, fma(b, sb/sc, fixed)) with
// fixed = zc - fma(za, sa/sc, zb*sb/sc).
func sumTables(g *[3]byteGrid, ta, tb *[256]float64) {
	ra, rb, fixed := sumFactors(g)
	g[0].zero, g[1].zero, g[2].zero = 0, 0, 0
	for k := range 256 {
		ta[k] = g[0].less0(byte(k)) * float64(ra)
		tb[k] = float64(float32(g[1].less0(byte(k))*float64(rb) + float64(fixed)))
	}
}

// sumFactors are sa/sc, sb/sc and fixed.
func sumFactors(g *[3]byteGrid) (ra, rb, fixed float32) {
	ra, rb = float32(g[0].scale)/float32(g[2].scale), float32(g[1].scale)/float32(g[2].scale)
	zb := float64(rb * float32(g[1].zero))
	return ra, rb, float32(g[2].zero) - float32(float64(ra)*g[0].zero+zb)
}

// addCodes adds tensors of one shape.
func addCodes(c *exec.Call, g *[3]byteGrid, y, a, b *tensor) {
	ra, rb, fixed := sumFactors(g)
	part := func(t *tensor, lo, hi int) kernel.Codes {
		k, _ := codesFrom(t, 0)
		k.Bytes = k.Bytes[lo:hi]
		return k
	}
	c.Parallel(y.Len(), 1, func(lo, hi int) { kernel.AddCodes(part(y, lo, hi), part(a, lo, hi), part(b, lo, hi), ra, rb, fixed) })
}

func productTables(g *[3]byteGrid, ta, tb *[256]float64) {
	for k := range 256 {
		ta[k] = float64(float32(g[0].scale / g[2].scale * g[0].less0(byte(k))))
		tb[k] = float64(float32(g[1].scale * g[1].less0(byte(k))))
	}
}

// qlinearAdd and qlinearMul are C = A op B on codes: inputs A, scale, zero, B, scale, zero, then scale and zero of C.
var (
	qlinearAdd = qlinearBinary(func(a, b float64) float32 { return float32(a + b) }, sumTables, true)
	qlinearMul = qlinearBinary(func(a, b float64) float32 { return float32(a * b) }, productTables, false)
)

func qlinearBinary(op func(a, b float64) float32, tables func(g *[3]byteGrid, ta, tb *[256]float64), sum bool) exec.Kernel {
	return func(c *exec.Call) error {
		if c.Input(0) == nil || c.Input(3) == nil {
			return fmt.Errorf("inputs A and B (0 and 3) are needed")
		}
		a, b := c.In[0], c.In[3]
		if a.Type != b.Type {
			return fmt.Errorf("A is %v, but B is %v: they must agree", a.Type, b.Type)
		}
		var g [3]byteGrid
		for i := range g {
			var err error
			if g[i], err = gridOf(c, 3*i+1-i/2, 3*i+2-i/2, a.Type); err != nil {
				return err
			}
		}
		shape, err := broadcast(a.Shape, b.Shape)
		if err != nil {
			return err
		}
		y := c.New(a.Type, shape...)
		c.Out[0] = y
		if sum && slices.Equal(a.Shape, shape) && slices.Equal(b.Shape, shape) {
			addCodes(c, &g, y, a, b)
			return nil
		}
		var ta, tb [256]float64
		tables(&g, &ta, &tb)
		binaryInto(c, rawBytes(y), rawBytes(a), rawBytes(b), shape, a.Shape, b.Shape, func(d, a, b []byte, sa, sb int) {
			var steps [256]float32 // results in steps of C, some at a time
			for len(d) > 0 {
				n := min(len(d), len(steps))
				for i := range n {
					steps[i] = op(ta[a[i*sa]], tb[b[i*sb]])
				}
				g[2].codes(d[:n], steps[:n])
				d, a, b = d[n:], a[n*sa:], b[n*sb:]
			}
		})
		return nil
	}
}

// prepareQLinearConcat: inputs are scale and zero point of the output, then data, scale and zero point of each part.
func prepareQLinearConcat(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	axis := int(n.Int("axis", 0))
	return func(c *exec.Call) error {
		if len(c.In) < 5 || len(c.In)%3 != 2 || c.In[1] == nil {
			return fmt.Errorf("%d inputs, expected scale and zero point of the output, and three for each part", len(c.In))
		}
		t := c.In[1].Type
		to, err := gridOf(c, 0, 1, t)
		if err != nil {
			return err
		}
		var parts []*tensor
		for i := 2; i < len(c.In); i += 3 {
			x := c.In[i]
			if x == nil || x.Type != t {
				return fmt.Errorf("input %d is %v, expected codes of type %v", i, x, t)
			}
			from, err := gridOf(c, i+1, i+2, t)
			if err != nil {
				return err
			}
			if from != to {
				table := from.recode(to, nil)
				y := c.New(t, x.Shape...)
				lookUp(c, rawBytes(y), rawBytes(x), &table)
				x = y
			}
			parts = append(parts, x)
		}
		if axis, err = axisIn(axis, len(parts[0].Shape)); err != nil {
			return err
		}
		c.Out[0], err = concatenated(c, parts, axis)
		return err
	}, nil
}

// qlinearWhere: inputs condition; X, scale, zero; Y, scale, zero; scale and zero of the result.
func qlinearWhere(c *exec.Call) error {
	if err := need(c, 9); err != nil {
		return err
	}
	t := c.In[1].Type
	to, err := gridOf(c, 7, 8, t)
	if err != nil {
		return err
	}
	var parts [2]*tensor
	for i := range parts {
		x := c.In[1+3*i]
		from, err := gridOf(c, 2+3*i, 3+3*i, x.Type)
		if err != nil {
			return err
		}
		table := from.recode(to, nil)
		parts[i] = c.New(t, x.Shape...)
		lookUp(c, rawBytes(parts[i]), rawBytes(x), &table)
	}
	c.KeepInputs()
	c.In = []*tensor{c.In[0], parts[0], parts[1]}
	return whereKernel(c)
}

// prepareQLinearSoftmax: inputs X, scale, zero, then scale and zero of Y. Attribute opset tells the meaning of axis (see Softmax).
func prepareQLinearSoftmax(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	axis, flat := int(n.Int("axis", -1)), n.Int("opset", 13) < 13
	return overFloats(func(c *exec.Call) error { return softmax[float32](c, softmaxPlain, axis, flat) }), nil
}

// overFloats runs a float32 kernel on codes: inputs X, scale, zero, then scale and zero of Y.
func overFloats(k exec.Kernel) exec.Kernel {
	return func(c *exec.Call) error {
		from, to, err := gridsOf(c)
		if err != nil {
			return err
		}
		return onTable(c, k, from.values(), to, func(v float32) float64 { return float64(v) / to.scale })
	}
}

// onTable runs a float32 kernel on what table says of the codes X; steps brings its results to steps of the output's grid.
func onTable(c *exec.Call, k exec.Kernel, table [256]float64, to byteGrid, steps func(float32) float64) error {
	x := c.In[0]
	wide := c.New(onnxio.Float32, x.Shape...)
	out := wide.Float32s()
	for i, b := range rawBytes(x) {
		out[i] = float32(table[b])
	}
	c.KeepInputs()
	c.In = []*tensor{wide}
	if err := k(c); err != nil {
		return err
	}
	y := c.New(x.Type, c.Out[0].Shape...)
	in, yb := c.Out[0].Float32s(), rawBytes(y)
	for i, v := range in {
		yb[i] = to.code(steps(v))
	}
	c.Out[0] = y
	return nil
}

func prepareQLinearAveragePool(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	f := averageFold(n)
	return maybeNHWC(n, 0, overFloats(func(c *exec.Call) error { return runFold[float32](c, w, f) })), nil
}

// prepareQLinearGlobalAveragePool: the sum of the codes in steps of the input is exact, so that halves are rounded to even as in ONNX Runtime.
func prepareQLinearGlobalAveragePool(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	sum := globalPool(viaDoubles(func(a, x float64) float64 { return a + x }, func(a float64, _ int) float64 { return a }))
	return maybeNHWC(n, 0, func(c *exec.Call) error {
		from, to, err := gridsOf(c)
		if err != nil {
			return err
		}
		pixels := size(c.In[0].Shape[min(2, len(c.In[0].Shape)):])
		ratio := float32(from.scale) / (float32(to.scale) * float32(pixels))
		return onTable(c, sum, from.steps(), to, func(v float32) float64 { return float64(v * ratio) })
	}), nil
}

func prepareQLinearReduceMean(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, keep := asInts(n.Ints("axes")), n.Int("keepdims", 1) != 0
	mean := viaDoubles(func(a, x float64) float64 { return a + x }, func(a float64, n int) float64 { return a / float64(n) })
	return overFloats(func(c *exec.Call) error {
		axes, err := axesIn(attr, len(c.In[0].Shape))
		if err != nil {
			return err
		}
		if len(axes) == 0 {
			for i := range c.In[0].Shape {
				axes = append(axes, i)
			}
		}
		r := planReduce(c.In[0].Shape, axes, keep)
		c.Out[0] = c.New(onnxio.Float32, r.shape...)
		mean[onnxio.Float32](c, r, c.Out[0])
		return nil
	}), nil
}

// maybeNHWC runs k on input x brought from [N spatial... C] to [N C spatial...], and its output back, if attribute channels_last
// says so.
func maybeNHWC(n *graph.Node, x int, k exec.Kernel) exec.Kernel {
	if n.Int("channels_last", 0) == 0 {
		return k
	}
	return nhwc(k, x)
}

// nhwc makes a kernel for [N C spatial...] serve [N spatial... C]; these inputs and the output are transposed.
func nhwc(k exec.Kernel, inputs ...int) exec.Kernel {
	return func(c *exec.Call) error {
		c.KeepInputs()
		for _, i := range inputs {
			x := c.Input(i)
			if x == nil {
				continue
			}
			rank := len(x.Shape)
			if rank < 3 {
				return fmt.Errorf("input %d has shape %v, expected [N spatial... C]", i, x.Shape)
			}
			perm := []int{0, rank - 1}
			for d := 1; d < rank-1; d++ {
				perm = append(perm, d)
			}
			c.In[i] = transposed(c, x, perm)
		}
		if err := k(c); err != nil {
			return err
		}
		rank := len(c.Out[0].Shape)
		perm := []int{0}
		for d := 2; d < rank; d++ {
			perm = append(perm, d)
		}
		c.Out[0] = transposed(c, c.Out[0], append(perm, 1))
		return nil
	}
}

// inferNHWC: as rule, which counts on [N C spatial...], for a node whose input x and output are [N spatial... C].
func inferNHWC(x int, rule graph.InferRule) graph.InferRule {
	return func(n *graph.Node) error {
		v := n.In(x)
		if v == nil || len(v.Shape) < 3 {
			return nil
		}
		given, declared := v.Shape, graph.Shape(nil)
		defer func() { v.Shape = given }()
		rank := len(given)
		if y := n.Out(0); y != nil {
			declared, y.Shape = y.Shape, nil
		}
		v.Shape = append(graph.Shape{given[0], given[rank-1]}, given[1:rank-1]...)
		if err := rule(n); err != nil {
			return err
		}
		if y := n.Out(0); y != nil {
			s := y.Shape
			if len(s) == rank {
				s = append(append(graph.Shape{s[0]}, s[2:]...), s[1])
			}
			y.Shape = declared
			n.SetOut(0, y.Type, s)
		}
		return nil
	}
}

func inferIfNHWC(x int, rule graph.InferRule) graph.InferRule {
	return func(n *graph.Node) error {
		if n.Int("channels_last", 0) != 0 {
			return inferNHWC(x, rule)(n)
		}
		return rule(n)
	}
}

func inferQLinearBinary(a, b int) graph.InferRule {
	return func(n *graph.Node) error {
		n.SetOut(0, typeOf(n, a), broadcastDims(shapeOf(n, a), shapeOf(n, b)))
		return nil
	}
}

func prepareLeaky(n *graph.Node) func(float64) float64 {
	alpha := float64(n.Float("alpha", 0.01))
	return func(x float64) float64 {
		if x < 0 {
			return alpha * x
		}
		return x
	}
}

func prepareNhwcMaxPool(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := prepareMaxPool(n, p)
	if err != nil {
		return nil, err
	}
	return nhwc(k, 0), nil
}

func prepareNhwcQLinearConv(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	k, err := prepareQLinearConv(n, p)
	if err != nil {
		return nil, err
	}
	return maybeNHWC(n, 0, k), nil
}

func init() {
	add := func(name string, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: microsoft, Name: name, Since: 1, Infer: infer, Prepare: prepare, Native: true})
	}
	add("QLinearAdd", inferQLinearBinary(0, 3), always(qlinearAdd))
	add("QLinearMul", inferQLinearBinary(0, 3), always(qlinearMul))
	add("QLinearSigmoid", sameAs(0), qlinearMap(func(*graph.Node) func(float64) float64 { return sigmoid }))
	add("QLinearLeakyRelu", sameAs(0), qlinearMap(prepareLeaky))
	add("QLinearConcat", func(n *graph.Node) error { return inferJoined(n, 1, 2, 3) }, prepareQLinearConcat)
	add("QLinearWhere", nil, always(qlinearWhere))
	add("QLinearSoftmax", sameAs(0), prepareQLinearSoftmax)
	add("QLinearAveragePool", inferIfNHWC(0, inferPool), prepareQLinearAveragePool)
	add("QLinearGlobalAveragePool", inferIfNHWC(0, inferGlobal), prepareQLinearGlobalAveragePool)
	add("QLinearReduceMean", nil, prepareQLinearReduceMean)
	add("QLinearConv", inferIfNHWC(0, inferQConv(0, 3, onnxio.Undefined, 7)), prepareNhwcQLinearConv)
	add("NhwcMaxPool", inferNHWC(0, inferPool), prepareNhwcMaxPool)
}
