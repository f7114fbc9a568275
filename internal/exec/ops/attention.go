package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// attentionAttrs are the attributes of Attention.
type attentionAttrs struct {
	qHeads, kvHeads int
	scale, softcap  float64
	causal          bool
	left, right     int // window of visible keys around a query's position, -1 for no bound
	outMode         int // what output 3 holds: 0 scores, 1 after softcap, 2 with bias, 3 probabilities
}

func prepareAttention(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := attentionAttrs{
		qHeads: int(n.Int("q_num_heads", 0)), kvHeads: int(n.Int("kv_num_heads", 0)), scale: float64(n.Float("scale", 0)),
		softcap: float64(n.Float("softcap", 0)), causal: n.Int("is_causal", 0) != 0, left: int(n.Int("left_window_size", -1)),
		right: int(n.Int("right_window_size", -1)), outMode: int(n.Int("qk_matmul_output_mode", 0)),
	}
	if n.HasAttr("scale") && a.scale < 0 {
		return nil, fmt.Errorf("attribute scale is %v, expected a positive number", a.scale)
	}
	k := floatForms(
		func(c *exec.Call) error { return attention[float32](c, a) },
		func(c *exec.Call) error { return attention[float64](c, a) })
	k = alike(k, []int{0, 1, 2, 4, 5}, 0, 1, 2, 0)
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

// heads brings [B S heads*size] to [B heads S size]; tensors of rank 4 are that already.
func heads(c *exec.Call, x *tensor, count int, what string) (*tensor, error) {
	switch {
	case len(x.Shape) == 4:
		return x, nil
	case len(x.Shape) == 3 && count > 0 && x.Shape[2]%count == 0:
		v := c.View(x, x.Shape[0], x.Shape[1], count, x.Shape[2]/count)
		return transposed(c, v, []int{0, 2, 1, 3}), nil
	}
	return nil, fmt.Errorf("%s has shape %v and %d heads, expected [B heads S size], or [B S heads*size] with the head counts given", what, x.Shape, count)
}

// attentionCall is one call with all operands as [B heads S size].
type attentionCall[T float] struct {
	attentionAttrs
	q, k, v        []T
	batch, sq, sk  int
	dk, dv, offset int // offset: keys before the first query
	mask           *tensor
	maskSteps      []int     // strides of mask over [B heads sq sk]
	maskKeys       int       // keys that the mask covers; later ones are hidden
	valid          []int     // keys that count, by batch entry; nil: all
	offsets        []int     // offset by batch entry, where it differs
	sinks          []float64 // by query head: the logit of one more key, whose value is 0
}

// attention is softmax(scale Q K^T + bias) V with grouped heads, a cache and masks.
func attention[T float](c *exec.Call, a attentionAttrs) error {
	flat := len(c.In[0].Shape) == 3
	var in [3]*tensor
	for i, what := range []string{"Q", "K", "V"} {
		count := a.kvHeads
		if i == 0 {
			count = a.qHeads
		}
		var err error
		if in[i], err = heads(c, c.In[i], count, what); err != nil {
			return err
		}
	}
	for i := range 2 { // the cache comes before what is new
		past := c.Input(4 + i)
		if past == nil {
			continue
		}
		if len(past.Shape) != 4 {
			return fmt.Errorf("the cache has shape %v, expected rank 4", past.Shape)
		}
		joined, err := concatenated(c, []*tensor{past, in[1+i]}, 2)
		if err != nil {
			return err
		}
		in[1+i] = joined
	}
	q, k, v := in[0], in[1], in[2]
	if q.Shape[0] != k.Shape[0] || k.Shape[0] != v.Shape[0] || q.Shape[3] != k.Shape[3] || k.Shape[2] != v.Shape[2] ||
		k.Shape[1] != v.Shape[1] || k.Shape[1] == 0 || q.Shape[1]%k.Shape[1] != 0 {
		return fmt.Errorf("queries %v, keys %v and values %v do not fit", q.Shape, k.Shape, v.Shape)
	}
	a.qHeads, a.kvHeads = q.Shape[1], k.Shape[1]
	if a.scale == 0 {
		a.scale = 1 / math.Sqrt(float64(q.Shape[3]))
	}
	t := attentionCall[T]{attentionAttrs: a, q: data[T](q), k: data[T](k), v: data[T](v), batch: q.Shape[0], sq: q.Shape[2], sk: k.Shape[2],
		dk: q.Shape[3], dv: v.Shape[3]}
	if past := c.Input(4); past != nil {
		t.offset = past.Shape[2]
	}
	if err := t.setMask(c); err != nil {
		return err
	}
	y := c.New(q.Type, t.batch, a.qHeads, t.sq, t.dv)
	var scores *tensor
	if c.OutWanted(3) {
		scores = c.New(q.Type, t.batch, a.qHeads, t.sq, t.sk)
		c.Out[3] = scores
	}
	t.run(c, data[T](y), scores)
	if flat {
		y = c.View(transposed(c, y, []int{0, 2, 1, 3}), t.batch, t.sq, a.qHeads*t.dv)
	}
	c.Out[0] = y
	c.SetOut(1, k)
	c.SetOut(2, v)
	return nil
}

func (t *attentionCall[T]) setMask(c *exec.Call) error {
	var err error
	if t.valid, err = ints(c.Input(6)); err != nil {
		return err
	}
	if t.valid != nil && len(t.valid) != t.batch {
		return fmt.Errorf("%d sequence lengths for a batch of %d", len(t.valid), t.batch)
	}
	m := c.Input(3)
	if m == nil {
		return nil
	}
	if m.Type != onnxio.Bool {
		if m, err = m.ConvertTo(onnxio.Float64); err != nil {
			return err
		}
	}
	if len(m.Shape) == 0 {
		return fmt.Errorf("the mask is a scalar")
	}
	t.mask, t.maskKeys = m, m.Shape[len(m.Shape)-1]
	if t.maskKeys == 1 {
		t.maskKeys = t.sk
	}
	full := []int{t.batch, t.qHeads, t.sq, min(t.maskKeys, t.sk)}
	if s, err := broadcast(m.Shape, full); err != nil || size(s) != size(full) {
		return fmt.Errorf("the mask has shape %v, which does not broadcast to %v", m.Shape, full)
	}
	t.maskSteps = spread(m.Shape, full)
	return nil
}

// bias fills the additive bias of one query row and tells whether any key is visible.
func (t *attentionCall[T]) bias(row []float64, b, h, i int) (visible bool) {
	offset := t.offset
	if t.valid != nil {
		offset = t.valid[b] - t.sq
	}
	if t.offsets != nil {
		offset = t.offsets[b]
	}
	hide := math.Inf(-1)
	at := 0
	if t.mask != nil {
		at = b*t.maskSteps[0] + h*t.maskSteps[1] + i*t.maskSteps[2]
	}
	for j := range row {
		v := 0.0
		if t.mask != nil {
			switch {
			case j >= t.maskKeys:
				v = hide
			case t.mask.Type == onnxio.Bool:
				if !data[bool](t.mask)[at+j*t.maskSteps[3]] {
					v = hide
				}
			default:
				v = t.mask.Float64s()[at+j*t.maskSteps[3]]
			}
		}
		p := i + offset
		if t.causal && j > p || t.left >= 0 && p-j > t.left || t.right >= 0 && j-p > t.right || t.valid != nil && j >= t.valid[b] {
			v = hide
		}
		row[j] = v
		visible = visible || !math.IsInf(v, -1)
	}
	return visible
}

func (t *attentionCall[T]) run(c *exec.Call, y []T, scores *tensor) {
	group := t.qHeads / t.kvHeads
	var out []T
	if scores != nil {
		out = data[T](scores)
	}
	c.Parallel(t.batch*t.qHeads, t.sq*t.sk*(t.dk+t.dv)/4, func(lo, hi int) {
		s, row := make([]T, t.sq*t.sk), make([]float64, t.sk)
		for u := lo; u < hi; u++ {
			b, h := u/t.qHeads, u%t.qHeads
			kv := b*t.kvHeads + h/group
			q, k, v := t.q[u*t.sq*t.dk:][:t.sq*t.dk], t.k[kv*t.sk*t.dk:][:t.sk*t.dk], t.v[kv*t.sk*t.dv:][:t.sk*t.dv]
			if t.dk > 0 && t.sk > 0 {
				product(false, true, t.sq, t.sk, t.dk, T(t.scale), q, t.dk, k, t.dk, 0, s, t.sk, 1)
			}
			keep := func(mode int, part []T, i int) {
				if out != nil && t.outMode == mode {
					copy(out[(u*t.sq+i)*t.sk:][:t.sk], part)
				}
			}
			for i := range t.sq {
				r := s[i*t.sk : (i+1)*t.sk]
				keep(0, r, i)
				if t.softcap > 0 {
					for j, x := range r {
						r[j] = T(t.softcap * math.Tanh(float64(x)/t.softcap))
					}
				}
				keep(1, r, i)
				visible := t.bias(row, b, h, i)
				for j, x := range row {
					r[j] += T(x)
				}
				keep(2, r, i)
				if visible && t.sinks != nil {
					softmaxSink(r, t.sinks[h])
				} else if visible {
					softmaxRow(softmaxPlain, r, r)
				} else {
					clear(r)
				}
				keep(3, r, i)
			}
			if t.sk > 0 {
				product(false, false, t.sq, t.dv, t.sk, 1, s, t.sk, v, t.dv, 0, y[u*t.sq*t.dv:], t.dv, 1)
			} else {
				clear(y[u*t.sq*t.dv:][:t.sq*t.dv])
			}
		}
	})
}

// softmaxSink is the softmax of a row that one more logit belongs to, without the probability of that one.
func softmaxSink[T float](row []T, sink float64) {
	top := sink
	for _, v := range row {
		top = math.Max(top, float64(v))
	}
	sum := math.Exp(sink - top)
	for i, v := range row {
		e := math.Exp(float64(v) - top)
		sum += e
		row[i] = T(e)
	}
	for i, v := range row {
		row[i] = T(float64(v) / sum)
	}
}

func inferAttention(n *graph.Node) error {
	q, v := shapeOf(n, 0), shapeOf(n, 2)
	t := typeOf(n, 0)
	n.SetOut(0, t, nil)
	if len(q) == 4 && len(v) == 4 {
		n.SetOut(0, t, graph.Shape{q[0], q[1], q[2], v[3]})
	}
	if h := n.Int("kv_num_heads", 0); len(q) == 3 && len(v) == 3 && h > 0 {
		n.SetOut(0, t, graph.Shape{q[0], q[1], v[2].Div(graph.D(h)).Mul(graph.D(n.Int("q_num_heads", 0)))})
	}
	for i := 1; i < len(n.Outputs); i++ {
		n.SetOut(i, typeOf(n, i%3), graph.UnknownShape(4))
	}
	k := shapeOf(n, 1)
	if len(q) != len(k) || len(k) != len(v) || len(k) != 3 && len(k) != 4 {
		return nil
	}
	heads, keys, queries := k[1], k[2], q[1]
	dk, dv := k[len(k)-1], v[len(v)-1]
	length := q[len(q)-2]
	if len(k) == 3 {
		heads, keys, queries = graph.D(n.Int("kv_num_heads", 0)), k[1], graph.D(n.Int("q_num_heads", 0))
		dk, dv = dk.Div(heads), dv.Div(heads)
	}
	if n.In(4) != nil {
		past := shapeOf(n, 4)
		if len(past) != 4 {
			return nil
		}
		keys = keys.Add(past[2])
	}
	n.SetOut(1, typeOf(n, 1), graph.Shape{k[0], heads, keys, dk})
	n.SetOut(2, typeOf(n, 2), graph.Shape{k[0], heads, keys, dv})
	n.SetOut(3, t, graph.Shape{q[0], queries, length, keys})
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "Attention", Since: 23, Infer: inferAttention, Prepare: prepareAttention, Native: true})
}
