package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// The attention operators of com.microsoft: Attention, QAttention and MultiHeadAttention. They differ in how queries, keys and
// values come in; attendMasked is what they share.

type msAttentionAttrs struct {
	heads         int
	scale, filter float64 // filter is what a masked score gets added
	causal        bool
	sizes         []int // widths of Q, K and V in all heads
}

func msAttentionOf(n *graph.Node) (msAttentionAttrs, error) {
	a := msAttentionAttrs{
		heads: int(n.Int("num_heads", 0)), scale: float64(n.Float("scale", 0)), filter: float64(n.Float("mask_filter_value", -10000)),
		causal: n.Int("unidirectional", 0) != 0, sizes: asInts(n.Ints("qkv_hidden_sizes")),
	}
	if a.heads <= 0 {
		return a, fmt.Errorf("attribute num_heads is %d, expected a positive number", a.heads)
	}
	if n.Int("do_rotary", 0) != 0 || n.Int("past_present_share_buffer", 0) != 0 {
		return a, fmt.Errorf("attributes do_rotary and past_present_share_buffer are not supported")
	}
	return a, nil
}

// msMask says which keys count, in the forms that com.microsoft knows.
type msMask struct {
	mask *tensor // int32: [B] or [2B] bounds, [B T], [B S T] or [B 1 M M] with 1 for keys that count
	bias *tensor // floats that broadcast to [B heads S T], added to the scores
}

// additive brings mask and bias into one tensor that is added to the scores; nil when there is neither.
func (m msMask) additive(c *exec.Call, a msAttentionAttrs, batch, sq, sk int) (*tensor, error) {
	if m.mask == nil && m.bias == nil {
		return nil, nil
	}
	shape := []int{batch, 1, sq, sk}
	if m.bias != nil {
		if len(m.bias.Shape) != 4 || m.bias.Shape[2] != sq || m.bias.Shape[3] < sk {
			return nil, fmt.Errorf("attention bias has shape %v, expected [%d|1 %d|1 %d %d]", m.bias.Shape, batch, a.heads, sq, sk)
		}
		shape[1] = m.bias.Shape[1]
	}
	if shape[1] != 1 && shape[1] != a.heads {
		return nil, fmt.Errorf("attention bias has shape %v for %d heads", m.bias.Shape, a.heads)
	}
	y := c.Zeros(onnxio.Float64, shape...)
	out := y.Float64s()
	if m.bias != nil {
		if b := m.bias.Shape[0]; b != 1 && b != batch {
			return nil, fmt.Errorf("attention bias has shape %v for a batch of %d", m.bias.Shape, batch)
		}
		d, err := floats(m.bias)
		if err != nil {
			return nil, err
		}
		width, all := m.bias.Shape[3], m.bias.Shape[0]*shape[1]*sq
		for r := range batch * shape[1] * sq {
			copy(out[r*sk:(r+1)*sk], d[r%all*width:][:sk])
		}
	}
	if m.mask == nil {
		return y, nil
	}
	counts, err := m.counts(batch, sq, sk)
	if err != nil {
		return nil, err
	}
	for r := range batch * shape[1] * sq {
		b, i := r/(shape[1]*sq), r%sq
		for j := range sk {
			if !counts(b, i, j) {
				out[r*sk+j] += a.filter
			}
		}
	}
	return y, nil
}

// counts tells whether key j counts for query i of batch entry b.
func (m msMask) counts(batch, sq, sk int) (func(b, i, j int) bool, error) {
	v, err := ints(m.mask)
	if err != nil {
		return nil, err
	}
	s := m.mask.Shape
	switch {
	case len(s) == 1 && s[0] == batch:
		return func(b, _, j int) bool { return j < v[b] }, nil
	case len(s) == 1 && s[0] == 2*batch:
		return func(b, _, j int) bool { return j < v[b] && j >= v[batch+b] }, nil
	case len(s) == 2 && s[0] == batch && s[1] == sk:
		return func(b, _, j int) bool { return v[b*sk+j] > 0 }, nil
	case len(s) == 3 && s[0] == batch && s[1] == sq && s[2] == sk:
		return func(b, i, j int) bool { return v[(b*sq+i)*sk+j] > 0 }, nil
	case len(s) == 4 && s[0] == batch && s[1] == 1 && s[2] == s[3] && s[3] >= sk:
		return func(b, i, j int) bool { return v[(b*s[2]+sk-sq+i)*s[3]+j] > 0 }, nil
	}
	return nil, fmt.Errorf("mask has shape %v, expected [%d], [%d], [%d %d] or [%d %d %d]", s, batch, 2*batch, batch, sk, batch, sq, sk)
}

// attendMasked is softmax(scale Q K^T + masks) V for q, k and v of [B heads S size], as [B S heads*size]. Keys and values hold the
// cache already; past is its length. Output scores of the node, if wanted, gets the products before the masks.
func attendMasked[T float](c *exec.Call, a msAttentionAttrs, q, k, v *tensor, m msMask, past, scores int) (*tensor, error) {
	if q.Shape[0] != k.Shape[0] || k.Shape[0] != v.Shape[0] || q.Shape[3] != k.Shape[3] || k.Shape[2] != v.Shape[2] ||
		q.Shape[1] != k.Shape[1] || k.Shape[1] != v.Shape[1] {
		return nil, fmt.Errorf("queries %v, keys %v and values %v do not fit", q.Shape, k.Shape, v.Shape)
	}
	attrs := attentionAttrs{qHeads: a.heads, kvHeads: a.heads, scale: a.scale, causal: a.causal, left: -1, right: -1}
	if attrs.scale == 0 {
		attrs.scale = 1 / math.Sqrt(float64(q.Shape[3]))
	}
	t := attentionCall[T]{attentionAttrs: attrs, q: data[T](q), k: data[T](k), v: data[T](v), batch: q.Shape[0], sq: q.Shape[2],
		sk: k.Shape[2], dk: q.Shape[3], dv: v.Shape[3], offset: past}
	add, err := m.additive(c, a, t.batch, t.sq, t.sk)
	if err != nil {
		return nil, err
	}
	if add != nil {
		t.mask, t.maskKeys = add, t.sk
		t.maskSteps = spread(add.Shape, []int{t.batch, t.qHeads, t.sq, t.sk})
	}
	y := c.New(q.Type, t.batch, t.qHeads, t.sq, t.dv)
	var products *tensor
	if scores >= 0 && c.OutWanted(scores) {
		products = c.New(q.Type, t.batch, t.qHeads, t.sq, t.sk)
		c.Out[scores] = products
	}
	t.run(c, data[T](y), products)
	return c.View(transposed(c, y, []int{0, 2, 1, 3}), t.batch, t.sq, t.qHeads*t.dv), nil
}

// joinPast puts the cache, [B heads P size], before x, [B heads S size].
func joinPast(c *exec.Call, past, x *tensor) (*tensor, error) {
	if past == nil {
		return x, nil
	}
	if past.Type != x.Type {
		return nil, fmt.Errorf("the cache is %v, but the new entries are %v", past.Type, x.Type)
	}
	return concatenated(c, []*tensor{past, x}, 2)
}

// attendPacked attends with qkv, [B S widths of Q, K and V]; past is [2 B heads P size], and output 1 of the node the cache with
// the new keys and values.
func attendPacked[T float](c *exec.Call, a msAttentionAttrs, qkv, past *tensor, m msMask) error {
	sizes := a.sizes
	if total := qkv.Shape[2]; sizes == nil {
		sizes = []int{total / 3, total / 3, total / 3}
	}
	if len(sizes) != 3 || sizes[0]+sizes[1]+sizes[2] != qkv.Shape[2] || sizes[0] != sizes[1] {
		return fmt.Errorf("widths %v of Q, K and V do not fit a weight with %d columns", sizes, qkv.Shape[2])
	}
	var in [3]*tensor
	at := 0
	for i, what := range []string{"Q", "K", "V"} {
		if sizes[i] < 0 {
			return fmt.Errorf("width of %s is %d", what, sizes[i])
		}
		var err error
		if in[i], err = heads(c, section(c, qkv, 2, at, sizes[i]), a.heads, what); err != nil {
			return err
		}
		at += sizes[i]
	}
	before := 0
	if past != nil {
		if len(past.Shape) != 5 || past.Shape[0] != 2 {
			return fmt.Errorf("past has shape %v, expected [2 B heads P size]", past.Shape)
		}
		before = past.Shape[3]
		for i := range 2 {
			part := section(c, past, 0, i, 1)
			var err error
			if in[1+i], err = joinPast(c, c.View(part, past.Shape[1:]...), in[1+i]); err != nil {
				return err
			}
		}
	}
	y, err := attendMasked[T](c, a, in[0], in[1], in[2], m, before, -1)
	if err != nil {
		return err
	}
	c.Out[0] = y
	if c.OutWanted(1) {
		k, v := in[1], in[2]
		shape := append([]int{1}, k.Shape...)
		c.Out[1], err = concatenated(c, []*tensor{c.View(k, shape...), c.View(v, append([]int{1}, v.Shape...)...)}, 0)
	}
	return err
}

// projected is x [B S D] times w [D M] plus bias [M].
func projected[T float](c *exec.Call, x, w, bias *tensor) (*tensor, error) {
	if len(x.Shape) != 3 || len(w.Shape) != 2 || x.Shape[2] != w.Shape[0] {
		return nil, fmt.Errorf("input of shape %v and weight of shape %v do not fit, expected [B S D] and [D M]", x.Shape, w.Shape)
	}
	rows, d, m := x.Shape[0]*x.Shape[1], w.Shape[0], w.Shape[1]
	y := c.New(x.Type, x.Shape[0], x.Shape[1], m)
	beta := T(0)
	if bias != nil {
		if bias.Len() != m {
			return nil, fmt.Errorf("bias has shape %v, expected [%d]", bias.Shape, m)
		}
		for r := range rows {
			copy(data[T](y)[r*m:(r+1)*m], data[T](bias))
		}
		beta = 1
	}
	product(false, false, rows, m, d, 1, data[T](x), d, data[T](w), m, beta, data[T](y), m, c.Threads)
	return y, nil
}

// prepareMSAttention: inputs x, weight, bias, mask, past, attention bias, past length.
func prepareMSAttention(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a, err := msAttentionOf(n)
	if err != nil {
		return nil, err
	}
	k := floatForms(
		func(c *exec.Call) error { return msAttention[float32](c, a) },
		func(c *exec.Call) error { return msAttention[float64](c, a) })
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

func msAttention[T float](c *exec.Call, a msAttentionAttrs) error {
	qkv, err := projected[T](c, c.In[0], c.In[1], c.Input(2))
	if err != nil {
		return err
	}
	return attendPacked[T](c, a, qkv, c.Input(4), msMask{c.Input(3), c.Input(5)})
}

// prepareQAttention: inputs x and weight as codes, bias, their scales, mask, their zero points, past.
func prepareQAttention(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a, err := msAttentionOf(n)
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		if err := need(c, 5); err != nil {
			return err
		}
		given := c.In
		if len(given[0].Shape) != 3 || len(given[1].Shape) != 2 {
			return fmt.Errorf("input of shape %v and weight of shape %v, expected [B S D] and [D M]", given[0].Shape, given[1].Shape)
		}
		in := make([]*tensor, 9)
		copy(in, given)
		c.KeepInputs()
		c.In = []*tensor{in[0], in[1], in[3], in[4], in[6], in[7], in[2]}
		if err := matMulIntegerToFloat(c, nil); err != nil {
			return err
		}
		if past := in[8]; past != nil {
			if in[8], err = past.ToFloat32(); err != nil {
				return err
			}
		}
		return attendPacked[float32](c, a, c.Out[0], in[8], msMask{mask: in[5]})
	}, nil
}

// prepareMultiHead: inputs query, key, value, bias of all three, padding mask, attention bias, past key and value.
func prepareMultiHead(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a, err := msAttentionOf(n)
	if err != nil {
		return nil, err
	}
	k := floatForms(
		func(c *exec.Call) error { return multiHead[float32](c, a) },
		func(c *exec.Call) error { return multiHead[float64](c, a) })
	return func(c *exec.Call) error {
		if err := sameType(c, 0, 4); err != nil {
			return err
		}
		for i := 8; i < len(c.In); i++ {
			if c.In[i] != nil {
				return fmt.Errorf("input %d (shared caches) is not supported", i)
			}
		}
		return k(c)
	}, nil
}

func multiHead[T float](c *exec.Call, a msAttentionAttrs) error {
	in, err := unpackHeads(c, c.In[0], c.Input(1), c.Input(2))
	if err != nil {
		return err
	}
	if err := addPartBias[T](c, &in, c.Input(3)); err != nil {
		return err
	}
	for i, what := range []string{"query", "key", "value"} {
		if in[i], err = heads(c, in[i], a.heads, what); err != nil {
			return err
		}
	}
	before := 0
	for i := range 2 {
		past := c.Input(6 + i)
		if past == nil {
			continue
		}
		if len(past.Shape) != 4 {
			return fmt.Errorf("past has shape %v, expected [B heads P size]", past.Shape)
		}
		before = past.Shape[2]
		if in[1+i], err = joinPast(c, past, in[1+i]); err != nil {
			return err
		}
	}
	q, key, v := in[0].Shape, in[1].Shape, in[2].Shape
	if q[1] != a.heads || key[1] != a.heads || v[1] != a.heads || q[0] != key[0] || q[0] != v[0] || q[3] != key[3] || key[2] != v[2] {
		return fmt.Errorf("query %v, key %v and value %v do not fit %d heads", q, key, v, a.heads)
	}
	y, err := attendMasked[T](c, a, in[0], in[1], in[2], msMask{c.Input(4), c.Input(5)}, before, 3)
	if err != nil {
		return err
	}
	c.Out[0] = y
	c.SetOut(1, in[1])
	c.SetOut(2, in[2])
	return nil
}

// unpackHeads gives query, key and value of [B S width] (or [B heads S size] for keys and values), also from packed forms: query of
// [B S heads 3 size], or key of [B S heads 2 size].
func unpackHeads(c *exec.Call, q, k, v *tensor) (in [3]*tensor, err error) {
	parts := func(x *tensor, n int) []*tensor {
		s := x.Shape
		w := s[2] * s[4]
		flat := c.View(transposed(c, x, []int{0, 1, 3, 2, 4}), s[0], s[1], n*w)
		var list []*tensor
		for i := range n {
			list = append(list, section(c, flat, 2, i*w, w))
		}
		return list
	}
	switch {
	case k == nil && v == nil && len(q.Shape) == 5 && q.Shape[3] == 3:
		copy(in[:], parts(q, 3))
	case k != nil && v == nil && len(k.Shape) == 5 && k.Shape[3] == 2:
		in[0] = q
		copy(in[1:], parts(k, 2))
	case k != nil && v != nil:
		in = [3]*tensor{q, k, v}
	default:
		return in, fmt.Errorf("query of shape %v comes without key or value, and is not packed as [B S heads 3 size]", q.Shape)
	}
	return in, nil
}

// addPartBias adds the parts of a bias that runs over the widths of query, key and value; keys and values that are split in heads
// already have theirs.
func addPartBias[T float](c *exec.Call, in *[3]*tensor, bias *tensor) error {
	if bias == nil {
		return nil
	}
	d, at := data[T](bias), 0
	for i, x := range in {
		if len(x.Shape) != 3 {
			continue
		}
		w := x.Shape[2]
		if at+w > len(d) {
			return fmt.Errorf("bias has %d elements, too few for the widths of query, key and value", len(d))
		}
		y := c.New(x.Type, x.Shape...)
		binaryInto(c, data[T](y), data[T](x), d[at:at+w], x.Shape, x.Shape, []int{w}, addRows[T])
		in[i] = y
		at += w
	}
	return nil
}

func inferMSAttention(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	x, w := shapeOf(n, 0), shapeOf(n, 1)
	if len(x) != 3 || len(w) != 2 {
		return nil
	}
	width := w[1].Div(graph.D(3))
	if sizes := n.Ints("qkv_hidden_sizes"); len(sizes) == 3 {
		width = graph.D(sizes[2])
	}
	t := typeOf(n, 0)
	if n.Op() == "QAttention" {
		t = onnxio.Float32
	}
	n.SetOut(0, t, graph.Shape{x[0], x[1], width})
	n.SetOut(1, t, graph.UnknownShape(5))
	return nil
}

func inferMultiHead(n *graph.Node) error {
	t := typeOf(n, 0)
	n.SetOut(0, t, nil)
	if q, v := shapeOf(n, 0), shapeOf(n, 2); len(q) == 3 && len(v) == 3 {
		n.SetOut(0, t, graph.Shape{q[0], q[1], v[2]})
	} else if len(q) == 3 && len(v) == 4 {
		n.SetOut(0, t, graph.Shape{q[0], q[1], v[1].Mul(v[3])})
	}
	for i := 1; i < len(n.Outputs); i++ {
		n.SetOut(i, t, graph.UnknownShape(4))
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Domain: microsoft, Name: "Attention", Since: 1, Infer: inferMSAttention, Prepare: prepareMSAttention},
		exec.Op{Domain: microsoft, Name: "QAttention", Since: 1, Infer: inferMSAttention, Prepare: prepareQAttention, Native: true},
		exec.Op{Domain: microsoft, Name: "MultiHeadAttention", Since: 1, Infer: inferMultiHead, Prepare: prepareMultiHead},
	)
}
