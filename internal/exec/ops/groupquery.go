package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// groupQueryAttrs are the attributes of GroupQueryAttention.
type groupQueryAttrs struct {
	attentionAttrs
	rotary, interleaved, smooth bool
}

// prepareGroupQuery prepares com.microsoft GroupQueryAttention: causal attention with fewer heads of keys and values than of
// queries, a cache, and rotary embedding inside. Inputs: query (or query, key and value packed along the width), key, value, past
// key and value [B kv-heads P size], keys of each sequence less one [B], the largest number of keys, cosines and sines, positions,
// attention bias, sinks.
func prepareGroupQuery(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := groupQueryAttrs{
		attentionAttrs: attentionAttrs{
			qHeads: int(n.Int("num_heads", 0)), kvHeads: int(n.Int("kv_num_heads", 0)), scale: float64(n.Float("scale", 0)),
			softcap: float64(n.Float("softcap", 0)), causal: n.Int("causal", 1) != 0, left: int(n.Int("local_window_size", -1)), right: -1,
		},
		rotary: n.Int("do_rotary", 0) != 0, interleaved: n.Int("rotary_interleaved", 0) != 0, smooth: n.Int("smooth_softmax", 0) == 1,
	}
	if a.left > 0 {
		a.left-- // the window counts the query itself
	}
	if a.qHeads <= 0 || a.kvHeads <= 0 || a.qHeads%a.kvHeads != 0 {
		return nil, fmt.Errorf("attributes num_heads %d and kv_num_heads %d do not fit", a.qHeads, a.kvHeads)
	}
	k := floatForms(
		func(c *exec.Call) error { return groupQuery[float32](c, a) },
		func(c *exec.Call) error { return groupQuery[float64](c, a) })
	return func(c *exec.Call) error {
		if c.Input(0) == nil || c.Input(5) == nil || c.Input(6) == nil {
			return fmt.Errorf("inputs 0, 5 and 6 are needed")
		}
		for i := 12; i < len(c.In); i++ {
			if c.In[i] != nil {
				return fmt.Errorf("input %d (quantized caches, normalized queries, packed sequences) is not supported", i)
			}
		}
		if c.OutWanted(3) {
			return fmt.Errorf("output 3 (scores) is not supported")
		}
		if err := sameType(c, 0, 5); err != nil {
			return err
		}
		return k(c)
	}, nil
}

func groupQuery[T float](c *exec.Call, a groupQueryAttrs) error {
	in, err := a.split(c)
	if err != nil {
		return err
	}
	batch, sq := in[0].Shape[0], in[0].Shape[2]
	totals, err := ints(c.In[5])
	if err != nil {
		return err
	}
	most, err := scalarInt(c.In[6])
	if err != nil {
		return err
	}
	if len(totals) != batch {
		return fmt.Errorf("%d sequence lengths for a batch of %d", len(totals), batch)
	}
	before := make([]int, batch) // cached keys of each sequence
	for b, t := range totals {
		if t < 0 || t >= most {
			return fmt.Errorf("sequence %d has %d keys, but the largest number is %d", b, t+1, most)
		}
		if sq < most { // else a prompt, which starts anew
			before[b] = t + 1 - sq
		}
		if before[b] < 0 {
			return fmt.Errorf("sequence %d has %d keys, fewer than the %d queries", b, t+1, sq)
		}
	}
	if a.rotary {
		if err := a.rotate(c, &in, before); err != nil {
			return err
		}
	}
	for i := range 2 {
		if in[1+i], err = extendCache(c, c.Input(3+i), in[1+i], before, most); err != nil {
			return err
		}
	}
	return groupAttend[T](c, a, in, before)
}

func groupAttend[T float](c *exec.Call, a groupQueryAttrs, in [3]*tensor, before []int) error {
	q, k, v := in[0], in[1], in[2]
	if a.scale == 0 {
		a.scale = 1 / math.Sqrt(float64(q.Shape[3]))
	}
	t := attentionCall[T]{attentionAttrs: a.attentionAttrs, q: data[T](q), k: data[T](k), v: data[T](v), batch: q.Shape[0],
		sq: q.Shape[2], sk: k.Shape[2], dk: q.Shape[3], dv: v.Shape[3], offsets: before}
	if !a.causal {
		t.valid = make([]int, t.batch)
		for b := range t.valid {
			t.valid[b] = before[b] + t.sq
		}
	}
	bias, err := msMask{bias: c.Input(10)}.additive(c, msAttentionAttrs{heads: a.qHeads}, t.batch, t.sq, t.sk)
	if err != nil {
		return err
	}
	if bias != nil {
		t.mask, t.maskKeys = bias, t.sk
		t.maskSteps = spread(bias.Shape, []int{t.batch, t.qHeads, t.sq, t.sk})
	}
	if a.smooth {
		t.sinks = make([]float64, a.qHeads)
	}
	if s := c.Input(11); s != nil {
		if t.sinks, err = floats(s); err != nil {
			return err
		}
		if len(t.sinks) != a.qHeads {
			return fmt.Errorf("%d sinks for %d heads", len(t.sinks), a.qHeads)
		}
	}
	y := c.New(q.Type, t.batch, t.qHeads, t.sq, t.dv)
	t.run(c, data[T](y), nil)
	c.Out[0] = c.View(transposed(c, y, []int{0, 2, 1, 3}), t.batch, t.sq, t.qHeads*t.dv)
	c.SetOut(1, k)
	c.SetOut(2, v)
	return nil
}

// split gives query, key and value as [B heads S size].
func (a groupQueryAttrs) split(c *exec.Call) (in [3]*tensor, err error) {
	q, k, v := c.In[0], c.Input(1), c.Input(2)
	if len(q.Shape) != 3 {
		return in, fmt.Errorf("query has shape %v, expected [B S width]", q.Shape)
	}
	if k == nil && v == nil {
		all := a.qHeads + 2*a.kvHeads
		if q.Shape[2]%all != 0 {
			return in, fmt.Errorf("a width of %d does not divide into %d heads", q.Shape[2], all)
		}
		size := q.Shape[2] / all
		wq, wk := a.qHeads*size, a.kvHeads*size
		q, k, v = section(c, q, 2, 0, wq), section(c, q, 2, wq, wk), section(c, q, 2, wq+wk, wk)
	}
	if k == nil || v == nil {
		return in, fmt.Errorf("key and value come both or not at all")
	}
	for i, x := range []*tensor{q, k, v} {
		count := a.kvHeads
		if i == 0 {
			count = a.qHeads
		}
		if in[i], err = heads(c, x, count, []string{"query", "key", "value"}[i]); err != nil {
			return in, err
		}
	}
	if k, v := in[1].Shape, in[2].Shape; in[0].Shape[0] != k[0] || k[0] != v[0] || in[0].Shape[2] != k[2] || k[2] != v[2] ||
		in[0].Shape[3] != k[3] || k[1] != a.kvHeads || v[1] != a.kvHeads || in[0].Shape[1] != a.qHeads {
		return in, fmt.Errorf("queries %v, keys %v and values %v do not fit", in[0].Shape, k, v)
	}
	return in, nil
}

// rotate embeds the positions of queries and new keys.
func (a groupQueryAttrs) rotate(c *exec.Call, in *[3]*tensor, before []int) error {
	cos, sin, at := c.Input(7), c.Input(8), c.Input(9)
	if cos == nil || sin == nil {
		return fmt.Errorf("inputs 7 and 8 (cosines and sines) are missing")
	}
	batch, sq := in[0].Shape[0], in[0].Shape[2]
	if at == nil {
		at = onnxio.NewTensor(onnxio.Int64, batch, sq)
		for i := range at.Int64s() {
			at.Int64s()[i] = int64(before[i/sq] + i%sq)
		}
	} else if at.Len() != batch*sq {
		return fmt.Errorf("position ids have shape %v, expected [%d %d]", at.Shape, batch, sq)
	}
	if len(cos.Shape) != 2 {
		return fmt.Errorf("cosines have shape %v, expected [positions half]", cos.Shape)
	}
	r := rotaryAttrs{dim: 2 * cos.Shape[1], interleaved: a.interleaved}
	given, out := c.In, c.Out[0]
	c.KeepInputs()
	defer func() { c.In, c.Out[0] = given, out }()
	for i := range 2 {
		if batch*sq == 1 { // one position alone would stand for the first of each sequence
			at = c.View(at, 1, 1)
		}
		c.In = []*tensor{in[i], cos, sin, at}
		if err := rotaryFor(c, r); err != nil {
			return err
		}
		in[i] = c.Out[0]
	}
	return nil
}

func rotaryFor(c *exec.Call, r rotaryAttrs) error {
	if c.In[0].Type == onnxio.Float64 {
		return rotary[float64](c, r)
	}
	return rotary[float32](c, r)
}

// extendCache appends x, [B heads S size], to the first before[b] entries of each sequence's cache, which may be nil.
func extendCache(c *exec.Call, past, x *tensor, before []int, most int) (*tensor, error) {
	s := x.Shape
	room := most
	if past != nil {
		if len(past.Shape) != 4 || past.Shape[0] != s[0] || past.Shape[1] != s[1] || past.Shape[3] != s[3] {
			return nil, fmt.Errorf("cache has shape %v, expected [%d %d P %d]", past.Shape, s[0], s[1], s[3])
		}
		room = max(room, past.Shape[2])
	}
	y := c.Zeros(x.Type, s[0], s[1], room, s[3])
	m := newMover(y, x)
	for u := range s[0] * s[1] {
		n := before[u/s[1]]
		if n > 0 && (past == nil || past.Shape[2] < n) || n+s[2] > room {
			return nil, fmt.Errorf("sequence %d has %d cached keys, but the cache is %v", u/s[1], n, past)
		}
		if n > 0 {
			newMover(y, past).move(u*room*s[3], u*past.Shape[2]*s[3], n*s[3])
		}
		m.move((u*room+n)*s[3], u*s[2]*s[3], s[2]*s[3])
	}
	return y, nil
}

func inferGroupQuery(n *graph.Node) error {
	t, q := typeOf(n, 0), shapeOf(n, 0)
	n.SetOut(0, t, nil)
	if len(q) == 3 {
		out := q.Clone()
		if n.In(1) == nil {
			all := n.Int("num_heads", 1) + 2*n.Int("kv_num_heads", 1)
			out[2] = q[2].Div(graph.D(all)).Mul(graph.D(n.Int("num_heads", 1)))
		}
		n.SetOut(0, t, out)
	}
	for i := 1; i < len(n.Outputs); i++ {
		n.SetOut(i, t, graph.UnknownShape(4))
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: microsoft, Name: "GroupQueryAttention", Since: 1, Infer: inferGroupQuery, Prepare: prepareGroupQuery})
}
