package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// prepareCausalConv is a depthwise convolution along time that looks back only, with the last inputs carried as state.
func prepareCausalConv(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	act := n.Str("activation", "none")
	if !slices.Contains([]string{"none", "silu", "swish"}, act) {
		return nil, fmt.Errorf("attribute activation is %q, expected none, silu or swish", act)
	}
	return floatForms(
		func(c *exec.Call) error { return causalConv[float32](c, act != "none") },
		func(c *exec.Call) error { return causalConv[float64](c, act != "none") }), nil
}

func causalConv[T float](c *exec.Call, silu bool) error {
	if err := need(c, 2); err != nil {
		return err
	}
	x, w, b, past := c.In[0], c.In[1], c.Input(2), c.Input(3)
	if len(x.Shape) != 3 || len(w.Shape) != 3 || w.Shape[0] != x.Shape[1] || w.Shape[1] != 1 || w.Shape[2] < 1 {
		return fmt.Errorf("input has shape %v and weight %v, expected [B C L] and [C 1 k]", x.Shape, w.Shape)
	}
	batch, ch, length, k := x.Shape[0], x.Shape[1], x.Shape[2], w.Shape[2]
	if past != nil && !slices.Equal(past.Shape, []int{batch, ch, k - 1}) || b != nil && b.Len() != ch {
		return fmt.Errorf("bias or past state do not fit %d channels and a kernel of %d", ch, k)
	}
	y, state := c.New(x.Type, x.Shape...), c.New(x.Type, batch, ch, k-1)
	xd, wd, yd, sd := data[T](x), data[T](w), data[T](y), data[T](state)
	row := make([]T, k-1+length)
	for u := range batch * ch {
		clear(row)
		if past != nil {
			copy(row, data[T](past)[u*(k-1):(u+1)*(k-1)])
		}
		copy(row[k-1:], xd[u*length:(u+1)*length])
		for t := range length {
			var sum T
			if b != nil {
				sum = data[T](b)[u%ch]
			}
			for i := range k {
				sum += wd[u%ch*k+i] * row[t+i]
			}
			if silu {
				sum = T(float64(sum) * sigmoid(float64(sum)))
			}
			yd[u*length+t] = sum
		}
		copy(sd[u*(k-1):(u+1)*(k-1)], row[length:])
	}
	c.Out[0] = y
	c.SetOut(1, state)
	return nil
}

// linearAttrs are the attributes of LinearAttention.
type linearAttrs struct {
	qHeads, kvHeads int
	scale           float64
	gated, delta    bool
}

func prepareLinearAttention(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := linearAttrs{qHeads: int(n.Int("q_num_heads", 0)), kvHeads: int(n.Int("kv_num_heads", 0)), scale: float64(n.Float("scale", 0))}
	switch r := n.Str("update_rule", "gated_delta"); r {
	case "linear":
	case "gated":
		a.gated = true
	case "delta":
		a.delta = true
	case "gated_delta":
		a.gated, a.delta = true, true
	default:
		return nil, fmt.Errorf("attribute update_rule is %q, expected linear, gated, delta or gated_delta", r)
	}
	if a.kvHeads < 1 || a.qHeads < 1 || a.qHeads%a.kvHeads != 0 {
		return nil, fmt.Errorf("q_num_heads %d is no positive multiple of kv_num_heads %d", a.qHeads, a.kvHeads)
	}
	return a.run, nil
}

// run computes in float64: S_t = g S_(t-1) + beta k (v - g S_(t-1)^T k)^T, o_t = scale q^T S_t (without the subtraction and beta for
// the rules that are not delta rules).
func (a linearAttrs) run(c *exec.Call) error {
	if err := need(c, 3); err != nil {
		return err
	}
	var f [6][]float64
	for i := range f {
		var err error
		if f[i], err = floats(c.Input(i)); err != nil {
			return err
		}
	}
	q, k, v := c.In[0], c.In[1], c.In[2]
	if len(q.Shape) != 3 || len(k.Shape) != 3 || len(v.Shape) != 3 || q.Shape[2]%a.qHeads != 0 || k.Shape[2]%a.kvHeads != 0 ||
		v.Shape[2]%a.kvHeads != 0 || q.Shape[2]/a.qHeads != k.Shape[2]/a.kvHeads || !slices.Equal(q.Shape[:2], k.Shape[:2]) || !slices.Equal(q.Shape[:2], v.Shape[:2]) {
		return fmt.Errorf("queries %v, keys %v and values %v do not fit %d and %d heads", q.Shape, k.Shape, v.Shape, a.qHeads, a.kvHeads)
	}
	batch, steps, dk, dv := q.Shape[0], q.Shape[1], q.Shape[2]/a.qHeads, v.Shape[2]/a.kvHeads
	tokens := batch * steps
	if a.gated && (f[4] == nil || len(f[4]) != tokens*a.kvHeads && len(f[4]) != tokens*a.kvHeads*dk) ||
		a.delta && (f[5] == nil || len(f[5]) != tokens*a.kvHeads && len(f[5]) != tokens) ||
		f[3] != nil && len(f[3]) != batch*a.kvHeads*dk*dv {
		return fmt.Errorf("decay, beta or past state are missing or do not fit the keys' shape %v", k.Shape)
	}
	scale := a.scale
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(dk))
	}
	state, y := make([]float64, batch*a.kvHeads*dk*dv), make([]float64, tokens*a.qHeads*dv)
	copy(state, f[3])
	mem := make([]float64, dv)
	for b := range batch {
		for h := range a.kvHeads {
			s := state[(b*a.kvHeads+h)*dk*dv:][:dk*dv]
			for t := range steps {
				tok := b*steps + t
				key, val := f[1][(tok*a.kvHeads+h)*dk:][:dk], f[2][(tok*a.kvHeads+h)*dv:][:dv]
				if a.gated {
					decay(s, f[4], tok*a.kvHeads+h, dk, dv, len(f[4]) == tokens*a.kvHeads)
				}
				beta := 1.0
				clear(mem)
				if a.delta {
					beta = f[5][tok*(len(f[5])/tokens)+h%(len(f[5])/tokens)]
					for i, x := range key {
						for j := range mem {
							mem[j] += x * s[i*dv+j]
						}
					}
				}
				for i, x := range key {
					for j := range mem {
						s[i*dv+j] += beta * x * (val[j] - mem[j])
					}
				}
				for g := range a.qHeads / a.kvHeads {
					head := h*(a.qHeads/a.kvHeads) + g
					out := y[(tok*a.qHeads+head)*dv:][:dv]
					for i, x := range f[0][(tok*a.qHeads+head)*dk:][:dk] {
						for j := range out {
							out[j] += scale * x * s[i*dv+j]
						}
					}
				}
			}
		}
	}
	var err error
	if c.Out[0], err = onnxio.TensorOf(y, batch, steps, a.qHeads*dv).ConvertTo(q.Type); err != nil {
		return err
	}
	t := q.Type
	if c.Input(3) != nil {
		t = c.In[3].Type
	}
	last, err := onnxio.TensorOf(state, batch, a.kvHeads, dk, dv).ConvertTo(t)
	c.SetOut(1, last)
	return err
}

// decay scales the rows of a state by exp(g), one g for the head or one for each key element.
func decay(s, g []float64, at, dk, dv int, scalar bool) {
	for i := range dk {
		e := 0.0
		if scalar {
			e = math.Exp(g[at])
		} else {
			e = math.Exp(g[at*dk+i])
		}
		for j := range dv {
			s[i*dv+j] *= e
		}
	}
}

func inferCausalConv(n *graph.Node) error {
	x, w := shapeOf(n, 0), shapeOf(n, 1)
	n.SetOut(0, typeOf(n, 0), x)
	n.SetOut(1, typeOf(n, 0), graph.UnknownShape(3))
	if len(x) == 3 && len(w) == 3 {
		state := graph.Shape{x[0], x[1], graph.Unknown}
		if w[2].Known() && w[2].N > 0 {
			state[2] = graph.D(w[2].N - 1)
		}
		n.SetOut(1, typeOf(n, 0), state)
	}
	return nil
}

func inferLinearAttention(n *graph.Node) error {
	q, k, v := shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)
	qHeads, kvHeads := graph.D(n.Int("q_num_heads", 0)), graph.D(n.Int("kv_num_heads", 0))
	t := typeOf(n, 0)
	if n.In(3) != nil {
		t = typeOf(n, 3)
	}
	n.SetOut(0, typeOf(n, 0), graph.UnknownShape(3))
	n.SetOut(1, t, graph.UnknownShape(4))
	if len(q) == 3 && len(k) == 3 && len(v) == 3 {
		size := v[2].Div(kvHeads)
		n.SetOut(0, typeOf(n, 0), graph.Shape{q[0], q[1], size.Mul(qHeads)})
		n.SetOut(1, t, graph.Shape{q[0], kvHeads, k[2].Div(kvHeads), size})
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "CausalConvWithState", Since: 27, Infer: inferCausalConv, Prepare: prepareCausalConv},
		exec.Op{Name: "LinearAttention", Since: 27, Infer: inferLinearAttention, Prepare: prepareLinearAttention, Native: true},
	)
}
