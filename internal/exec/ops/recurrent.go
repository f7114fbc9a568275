package ops

import (
	"fmt"
	"math"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// recurrent is what RNN, GRU and LSTM have in common. A cell has gates blocks of hidden rows in its weights W (gates*hidden x
// input) and R (gates*hidden x hidden); the bias is that of W followed by that of R.
type recurrent struct {
	gates, hidden int
	dirs          []bool // per direction: backwards
	act           []func(float64) float64
	clip          float64
	batchFirst    bool // layout 1: [batch, sequence, ...]
	beforeReset   bool // GRU: the reset gate acts after the product with R
	coupled       bool // LSTM: the input gate is 1 - forget gate
	rounded       bool // inputs and states are rounded before each product
}

var defaultActivations = map[int][]string{1: {"Tanh"}, 3: {"Sigmoid", "Tanh"}, 4: {"Sigmoid", "Tanh", "Tanh"}}

func newRecurrent(n *graph.Node, gates int) (*recurrent, error) {
	r := &recurrent{gates: gates, hidden: int(n.Int("hidden_size", 0)), clip: float64(n.Float("clip", 0)),
		batchFirst: n.Int("layout", 0) != 0, beforeReset: n.Int("linear_before_reset", 0) != 0, coupled: n.Int("input_forget", 0) != 0}
	switch d := n.Str("direction", "forward"); d {
	case "forward":
		r.dirs = []bool{false}
	case "reverse":
		r.dirs = []bool{true}
	case "bidirectional":
		r.dirs = []bool{false, true}
	default:
		return nil, fmt.Errorf("attribute direction is %q, expected forward, reverse or bidirectional", d)
	}
	names := n.Strings("activations")
	if names == nil {
		for range r.dirs {
			names = append(names, defaultActivations[gates]...)
		}
	}
	if want := len(defaultActivations[gates]) * len(r.dirs); len(names) != want {
		return nil, fmt.Errorf("attribute activations has %d names, expected %d", len(names), want)
	}
	alpha, beta := n.Floats("activation_alpha"), n.Floats("activation_beta")
	for _, name := range names {
		f, takes, err := cellActivation(name, alpha, beta)
		if err != nil {
			return nil, err
		}
		alpha, beta = alpha[min(takes[0], len(alpha)):], beta[min(takes[1], len(beta)):]
		r.act = append(r.act, f)
	}
	return r, nil
}

// cellActivation is an activation by name; takes says how many alphas and betas it used up.
func cellActivation(name string, alpha, beta []float32) (f func(float64) float64, takes [2]int, err error) {
	first := func(l []float32, def float64) float64 {
		if len(l) > 0 {
			return float64(l[0])
		}
		return def
	}
	both, one := [2]int{1, 1}, [2]int{1, 0}
	switch strings.ToLower(name) {
	case "sigmoid":
		return sigmoid, takes, nil
	case "tanh":
		return math.Tanh, takes, nil
	case "relu":
		return func(x float64) float64 { return math.Max(x, 0) }, takes, nil
	case "softsign":
		return softsign, takes, nil
	case "softplus":
		return softplus, takes, nil
	case "affine":
		a, b := first(alpha, 1), first(beta, 0)
		return func(x float64) float64 { return a*x + b }, both, nil
	case "scaledtanh":
		a, b := first(alpha, 1), first(beta, 1)
		return func(x float64) float64 { return a * math.Tanh(b*x) }, both, nil
	case "hardsigmoid":
		a, b := first(alpha, 0.2), first(beta, 0.5)
		return func(x float64) float64 { return hardSigmoid(x, a, b) }, both, nil
	case "leakyrelu", "thresholdedrelu", "elu":
		a := first(alpha, map[string]float64{"leakyrelu": 0.01, "thresholdedrelu": 1, "elu": 1}[strings.ToLower(name)])
		return func(x float64) float64 {
			switch {
			case strings.EqualFold(name, "thresholdedrelu"):
				if x > a {
					return x
				}
				return 0
			case x >= 0:
				return x
			case strings.EqualFold(name, "elu"):
				return a * (math.Exp(x) - 1)
			}
			return a * x
		}, one, nil
	}
	return nil, takes, fmt.Errorf("activation %q is not known", name)
}

// cellState is one direction's recurrence: sizes, weights of the direction, and the state.
type cellState[T float] struct {
	*recurrent
	act                []func(float64) float64 // of this direction
	seq, batch, in     int
	r, bias, peep      []T // recurrent weights; both biases; LSTM peepholes (i, o, f); the last two may be nil
	xw                 []T // X W^T, seq x batch x gates*hidden
	h, c               []T // batch x hidden
	hr, scratch, reset []T
}

// step computes the state of the given batch entry at time t from its gate inputs.
type step[T float] func(s *cellState[T], t int)

func runRecurrent[T float](c *exec.Call, r *recurrent, each step[T]) error {
	x, w, rec := c.In[0], c.In[1], c.In[2]
	if len(x.Shape) != 3 || len(w.Shape) != 3 || len(rec.Shape) != 3 {
		return fmt.Errorf("X, W and R have shapes %v, %v and %v: expected rank 3", x.Shape, w.Shape, rec.Shape)
	}
	if r.batchFirst {
		x = transposed(c, x, []int{1, 0, 2})
	}
	seq, batch, in := x.Shape[0], x.Shape[1], x.Shape[2]
	hidden, dirs := rec.Shape[2], len(r.dirs)
	rows := r.gates * hidden
	if w.Shape[0] != dirs || rec.Shape[0] != dirs || w.Shape[1] != rows || rec.Shape[1] != rows || w.Shape[2] != in || r.hidden != 0 && r.hidden != hidden {
		return fmt.Errorf("X %v, W %v and R %v do not fit %d direction(s) of %d gates", x.Shape, w.Shape, rec.Shape, dirs, r.gates)
	}
	lens, err := sequenceLens(c, seq, batch)
	if err != nil {
		return err
	}
	y, yh, yc := c.Zeros(x.Type, seq, dirs, batch, hidden), c.Zeros(x.Type, dirs, batch, hidden), c.Zeros(x.Type, dirs, batch, hidden)
	for i, want := range map[int]int{3: dirs * 2 * rows, 5: dirs * batch * hidden, 6: dirs * batch * hidden, 7: dirs * 3 * hidden} {
		if v := c.Input(i); v != nil && v.Len() != want {
			return fmt.Errorf("input %d has shape %v, expected %d elements", i, v.Shape, want)
		}
	}
	xw := data[T](c.New(x.Type, seq, batch, rows))
	work := data[T](c.New(x.Type, 3, batch, rows))
	xd := data[T](x)
	if r.rounded && len(xd) > 0 {
		xd = onGrid(xd)
	}
	for d, back := range r.dirs {
		s := &cellState[T]{recurrent: r, act: r.act[d*len(r.act)/dirs:], seq: seq, batch: batch, in: in, xw: xw,
			r: data[T](rec)[d*rows*hidden : (d+1)*rows*hidden], h: data[T](yh)[d*batch*hidden : (d+1)*batch*hidden],
			c: data[T](yc)[d*batch*hidden : (d+1)*batch*hidden], hr: work[:batch*rows], scratch: work[batch*rows : 2*batch*rows], reset: work[2*batch*rows:]}
		s.hiddenSize(hidden)
		s.bias, s.peep = part[T](c.Input(3), d, 2*rows), part[T](c.Input(7), d, 3*hidden)
		initial(c, s.h, 5, d, r.batchFirst, dirs)
		initial(c, s.c, 6, d, r.batchFirst, dirs)
		product(false, true, seq*batch, rows, in, T(1), xd, in, data[T](w)[d*rows*in:(d+1)*rows*in], in, T(0), xw, rows, c.Threads)
		if err := s.run(c, data[T](y), d, dirs, back, lens, each); err != nil {
			return err
		}
	}
	if r.batchFirst {
		y, yh, yc = transposed(c, y, []int{2, 0, 1, 3}), transposed(c, yh, []int{1, 0, 2}), transposed(c, yc, []int{1, 0, 2})
	}
	c.SetOut(0, y)
	c.SetOut(1, yh)
	c.SetOut(2, yc)
	return nil
}

func (s *cellState[T]) hiddenSize(h int) {
	if s.hidden != h { // the attribute is optional in old files
		r := *s.recurrent
		r.hidden = h
		s.recurrent = &r
	}
}

// run walks one direction over time. A batch entry's state stays as it is beyond the entry's length.
func (s *cellState[T]) run(c *exec.Call, y []T, d, dirs int, back bool, lens []int, each step[T]) error {
	bh := s.batch * s.hidden
	oldH, oldC := make([]T, bh), make([]T, bh)
	for i := range s.seq {
		if err := c.Ctx.Err(); err != nil {
			return err
		}
		t := i
		if back {
			t = s.seq - 1 - i
		}
		copy(oldH, s.h)
		copy(oldC, s.c)
		rows := s.gates * s.hidden
		h := s.h
		if s.rounded && len(h) > 0 {
			h = onGrid(h)
		}
		product(false, true, s.batch, rows, s.hidden, T(1), h, s.hidden, s.r, s.hidden, T(0), s.hr, rows, 1)
		each(s, t)
		for b := range s.batch {
			state := s.h[b*s.hidden : (b+1)*s.hidden]
			if t >= lens[b] {
				copy(state, oldH[b*s.hidden:])
				copy(s.c[b*s.hidden:(b+1)*s.hidden], oldC[b*s.hidden:])
				continue
			}
			copy(y[((t*dirs+d)*s.batch+b)*s.hidden:], state)
		}
	}
	return nil
}

// gate is the input of gate g, unit j of batch entry b at time t, before its activation.
func (s *cellState[T]) gate(t, b, g, j int) float64 {
	rows := s.gates * s.hidden
	at := g*s.hidden + j
	v := float64(s.xw[(t*s.batch+b)*rows+at]) + float64(s.hr[b*rows+at])
	if s.bias != nil {
		v += float64(s.bias[at]) + float64(s.bias[rows+at])
	}
	return v
}

func (s *cellState[T]) clipped(x float64) float64 {
	if s.clip > 0 {
		return math.Max(-s.clip, math.Min(s.clip, x))
	}
	return x
}

// rnnStep: h = f(x W + h R + b).
func rnnStep[T float](s *cellState[T], t int) {
	for b := range s.batch {
		for j := range s.hidden {
			s.h[b*s.hidden+j] = T(s.act[0](s.clipped(s.gate(t, b, 0, j))))
		}
	}
}

// gruStep: z and r are gates, n the new state: h = (1 - z) n + z h, with n = g(x W + (r h) R + b) or, with
// linear_before_reset, g(x W + r (h R + b) + b).
func gruStep[T float](s *cellState[T], t int) {
	h, rows := s.hidden, s.gates*s.hidden
	for b := range s.batch {
		for j := range h {
			s.reset[b*h+j] = T(s.act[0](s.clipped(s.gate(t, b, 1, j))))
		}
	}
	if !s.beforeReset { // the products of the third gate again, from r h
		for i := range s.batch * h {
			s.scratch[i] = s.reset[i] * s.h[i]
		}
		out := make([]T, s.batch*h)
		product(false, true, s.batch, h, h, T(1), s.scratch[:s.batch*h], h, s.r[2*h*h:], h, T(0), out, h, 1)
		for b := range s.batch {
			copy(s.hr[b*rows+2*h:(b+1)*rows], out[b*h:])
		}
	}
	for b := range s.batch {
		for j := range h {
			z := s.act[0](s.clipped(s.gate(t, b, 0, j)))
			v := float64(s.xw[(t*s.batch+b)*rows+2*h+j])
			rec := float64(s.hr[b*rows+2*h+j])
			if s.bias != nil {
				v += float64(s.bias[2*h+j])
				rec += float64(s.bias[rows+2*h+j])
			}
			if s.beforeReset {
				rec *= float64(s.reset[b*h+j])
			}
			n := s.act[1](s.clipped(v + rec))
			k := b*h + j
			s.h[k] = T((1-z)*n + z*float64(s.h[k]))
		}
	}
}

// lstmStep: gates i, o, f, c in this order; C = f C + i g(c), h = o h(C), with peepholes from C to the gates.
func lstmStep[T float](s *cellState[T], t int) {
	for b := range s.batch {
		for j := range s.hidden {
			k := b*s.hidden + j
			old := float64(s.c[k])
			peep := func(g int, c float64) float64 {
				if s.peep == nil {
					return 0
				}
				return float64(s.peep[g*s.hidden+j]) * c
			}
			i := s.act[0](s.clipped(s.gate(t, b, 0, j) + peep(0, old)))
			f := s.act[0](s.clipped(s.gate(t, b, 2, j) + peep(2, old)))
			if s.coupled {
				f = 1 - i
			}
			cell := f*old + i*s.act[1](s.clipped(s.gate(t, b, 3, j)))
			o := s.act[0](s.clipped(s.gate(t, b, 1, j) + peep(1, cell)))
			s.c[k], s.h[k] = T(cell), T(o*s.act[2](cell))
		}
	}
}

// sequenceLens is input 4, or the whole length for each batch entry.
func sequenceLens(c *exec.Call, seq, batch int) ([]int, error) {
	lens, err := ints(c.Input(4))
	if err != nil {
		return nil, err
	}
	if lens == nil {
		for range batch {
			lens = append(lens, seq)
		}
	}
	if len(lens) != batch {
		return nil, fmt.Errorf("%d sequence lengths for a batch of %d", len(lens), batch)
	}
	return lens, nil
}

// part is the share of direction d of a weight, nil without one.
func part[T float](x *tensor, d, n int) []T {
	if x == nil {
		return nil
	}
	return data[T](x)[d*n : (d+1)*n]
}

// initial copies direction d of an initial state, [dirs batch hidden] or, batch first, [batch dirs hidden].
func initial[T float](c *exec.Call, dst []T, i, d int, batchFirst bool, dirs int) {
	x := c.Input(i)
	if x == nil {
		return
	}
	src := data[T](x)
	if !batchFirst {
		copy(dst, src[d*len(dst):(d+1)*len(dst)])
		return
	}
	h := x.Shape[len(x.Shape)-1]
	for b := range len(dst) / max(h, 1) {
		copy(dst[b*h:(b+1)*h], src[(b*dirs+d)*h:])
	}
}

func prepareRecurrent(gates int, f32 step[float32], f64 step[float64]) func(*graph.Node, *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		r, err := newRecurrent(n, gates)
		if err != nil {
			return nil, err
		}
		k := by(0, typed{
			onnxio.Float32: func(c *exec.Call) error { return runRecurrent(c, r, f32) },
			onnxio.Float64: func(c *exec.Call) error { return runRecurrent(c, r, f64) },
		})
		return func(c *exec.Call) error {
			if err := need(c, 3); err != nil {
				return err
			}
			for _, i := range []int{1, 2, 3, 5, 6, 7} {
				if x := c.Input(i); x != nil && x.Type != c.In[0].Type {
					return fmt.Errorf("input %d is %v, but X is %v: they must agree", i, x.Type, c.In[0].Type)
				}
			}
			return k(c)
		}, nil
	}
}

func inferRecurrent(n *graph.Node) error {
	x, r := shapeOf(n, 0), shapeOf(n, 2)
	if len(x) != 3 || len(r) != 3 {
		return nil
	}
	seq, batch := x[0], x[1]
	y, h := graph.Shape{seq, r[0], batch, r[2]}, graph.Shape{r[0], batch, r[2]}
	if n.Int("layout", 0) != 0 {
		seq, batch = x[1], x[0]
		y, h = graph.Shape{batch, seq, r[0], r[2]}, graph.Shape{batch, r[0], r[2]}
	}
	for i := range n.Outputs {
		s := h
		if i == 0 {
			s = y
		}
		n.SetOut(i, typeOf(n, 0), s.Clone())
	}
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "RNN", Since: 1, Infer: inferRecurrent, Prepare: prepareRecurrent(1, rnnStep[float32], rnnStep[float64])},
		exec.Op{Name: "GRU", Since: 1, Infer: inferRecurrent, Prepare: prepareRecurrent(3, gruStep[float32], gruStep[float64])},
		exec.Op{Name: "LSTM", Since: 1, Infer: inferRecurrent, Prepare: prepareRecurrent(4, lstmStep[float32], lstmStep[float64])},
	)
}
