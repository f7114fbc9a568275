package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// flexAttrs are the attributes of FlexAttention.
type flexAttrs struct {
	scale     float64 // 0: one over the root of the head size
	precision onnxio.DataType
	wide      bool // oracle mode
}

// prepareFlexAttention: softmax(score_mod(scale Q K^T)) V, where the probabilities go through prob_mod; both are subgraphs that may
// be missing. Q is [B heads L E], K [B kvHeads S E] and V [B kvHeads S Ev].
func prepareFlexAttention(n *graph.Node, p *exec.Prep) (exec.Kernel, error) {
	a := flexAttrs{scale: float64(n.Float("scale", 0)), precision: onnxio.DataType(n.Int("softmax_precision", 0)), wide: p.Float64}
	if a.precision != onnxio.Undefined && !a.precision.IsFloat() {
		return nil, fmt.Errorf("attribute softmax_precision is %v, expected a floating-point type", a.precision)
	}
	if n.HasAttr("scale") && !(a.scale > 0) {
		return nil, fmt.Errorf("attribute scale is %v, expected a positive number", a.scale)
	}
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		if c.In[0].Type == onnxio.Float64 || a.precision == onnxio.Float64 {
			return flexAttention[float64](c, a, onnxio.Float64)
		}
		return flexAttention[float32](c, a, onnxio.Float32)
	}, nil
}

func flexAttention[T float](c *exec.Call, a flexAttrs, t onnxio.DataType) error {
	to := c.In[0].Type
	var in [3]*tensor
	for i := range in {
		x, err := c.In[i].ConvertTo(t)
		if err != nil {
			return err
		}
		if in[i] = x; len(x.Shape) != 4 {
			return fmt.Errorf("input %d has shape %v, expected [batch heads length size]", i, x.Shape)
		}
	}
	q, k, v := in[0], in[1], in[2]
	batch, hq, lq, e := q.Shape[0], q.Shape[1], q.Shape[2], q.Shape[3]
	hk, lk, ev := k.Shape[1], k.Shape[2], v.Shape[3]
	if k.Shape[0] != batch || v.Shape[0] != batch || k.Shape[3] != e || v.Shape[1] != hk || v.Shape[2] != lk || hk == 0 || hq%hk != 0 {
		return fmt.Errorf("queries %v, keys %v and values %v do not fit", q.Shape, k.Shape, v.Shape)
	}
	scale := a.scale
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(e))
	}
	keys := func(u int) int { return u/hq*hk + u%hq/(hq/hk) } // the head of keys and values for head u of all batches
	scores := c.Zeros(t, batch, hq, lq, lk)
	if scores.Len() > 0 && e > 0 {
		s, qd, kd := data[T](scores), data[T](q), data[T](k)
		c.Parallel(batch*hq, lq*lk*e/4, func(lo, hi int) {
			for u := lo; u < hi; u++ {
				product(false, true, lq, lk, e, T(scale), qd[u*lq*e:], e, kd[keys(u)*lk*e:], e, 0, s[u*lq*lk:][:lq*lk], lk, 1)
			}
		})
	}
	scores, err := a.modified(c, "score_mod", scores)
	if err != nil {
		return err
	}
	probs := c.New(t, scores.Shape...)
	if s, p := data[T](scores), data[T](probs); lk > 0 {
		c.Parallel(len(s)/lk, 16*lk, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				softmaxRow(softmaxPlain, p[r*lk:(r+1)*lk], s[r*lk:(r+1)*lk])
			}
		})
	}
	if probs, err = a.modified(c, "prob_mod", probs); err != nil {
		return err
	}
	y := c.Zeros(t, batch, hq, lq, ev)
	if p, vd, yd := data[T](probs), data[T](v), data[T](y); len(p) > 0 && ev > 0 {
		c.Parallel(batch*hq, lq*lk*ev/4, func(lo, hi int) {
			for u := lo; u < hi; u++ {
				product(false, false, lq, ev, lk, 1, p[u*lq*lk:], lk, vd[keys(u)*lk*ev:], ev, 0, yd[u*lq*ev:][:lq*ev], ev, 1)
			}
		})
	}
	c.Out[0], err = y.ConvertTo(to)
	return err
}

// modified sends x, in the precision that softmax has, through a subgraph of the node, if it has it.
func (a flexAttrs) modified(c *exec.Call, name string, x *tensor) (*tensor, error) {
	if c.BodyGraph(name) == nil {
		return x, nil
	}
	arg, t := x, x.Type
	if a.precision != onnxio.Undefined && a.precision != t && !a.wide {
		var err error
		if arg, err = x.ConvertTo(a.precision); err != nil {
			return nil, err
		}
	}
	out, err := c.Body(name, []*tensor{arg})
	if err != nil {
		return nil, err
	}
	if len(out) != 1 || !slices.Equal(out[0].Shape, x.Shape) || out[0].Type != arg.Type {
		return nil, fmt.Errorf("%s gives %v for %v, expected the same type and shape", name, out, arg)
	}
	return out[0].ConvertTo(t)
}

func inferFlexAttention(n *graph.Node) error {
	q, k, v := shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)
	n.SetOut(0, typeOf(n, 0), graph.UnknownShape(4))
	t := onnxio.DataType(n.Int("softmax_precision", int64(onnxio.Float32)))
	if typeOf(n, 0) == onnxio.Float64 && !n.HasAttr("softmax_precision") {
		t = onnxio.Float64
	}
	for _, name := range []string{"score_mod", "prob_mod"} {
		sub := n.Subgraphs[name]
		if sub == nil || len(sub.Inputs) != 1 {
			continue
		}
		if x := sub.Inputs[0]; x.Type == onnxio.Undefined {
			x.Type = t
		}
		if len(q) == 4 && len(k) == 4 {
			sub.Inputs[0].Shape = graph.Shape{q[0], q[1], q[2], k[2]}
		}
		if _, err := n.InferSubgraph(name); err != nil {
			return err
		}
	}
	if len(q) == 4 && len(v) == 4 {
		n.SetOut(0, typeOf(n, 0), graph.Shape{q[0], q[1], q[2], v[3]})
	}
	return nil
}

func init() {
	exec.Register(exec.Op{Domain: "ai.onnx.preview", Name: "FlexAttention", Since: 1, Infer: inferFlexAttention, Prepare: prepareFlexAttention})
}
