package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// twister is the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998), which the standard's reference implementation draws
// from: a seed gives the same uniform and normal numbers here as there.
type twister struct {
	state [624]uint32
	at    int
	spare float64 // the second of a pair of normal numbers
	has   bool
}

// seedOf is the attribute seed, or a fixed one, so that runs repeat.
func seedOf(n *graph.Node) uint32 {
	if n.Op() == "Dropout" {
		return uint32(n.Int("seed", 0))
	}
	return uint32(int64(n.Float("seed", 0)))
}

func newTwister(seed uint32) *twister {
	r := &twister{at: 624}
	r.state[0] = seed
	for i := 1; i < len(r.state); i++ {
		p := r.state[i-1]
		r.state[i] = 1812433253*(p^p>>30) + uint32(i)
	}
	return r
}

func (r *twister) refill() {
	s := &r.state
	for i := range s {
		y := s[i]&(1<<31) | s[(i+1)%624]&(1<<31-1)
		next := s[(i+397)%624] ^ y>>1
		if y&1 != 0 {
			next ^= 0x9908b0df
		}
		s[i] = next
	}
	r.at = 0
}

func (r *twister) uint32() uint32 {
	if r.at == len(r.state) {
		r.refill()
	}
	y := r.state[r.at]
	r.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// uniform is a number from [0, 1) with 53 random bits.
func (r *twister) uniform() float64 {
	a, b := r.uint32()>>5, r.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// normal is a standard normal number, by Marsaglia's polar method.
func (r *twister) normal() float64 {
	if r.has {
		r.has = false
		return r.spare
	}
	for {
		x, y := 2*r.uniform()-1, 2*r.uniform()-1
		if s := x*x + y*y; s > 0 && s < 1 {
			f := math.Sqrt(-2 * math.Log(s) / s)
			r.spare, r.has = f*x, true
			return f * y
		}
	}
}

// prepareRandom makes tensors of random numbers: of the shape of the attribute, or of input 0 for the Like forms.
func prepareRandom(like bool, draw func(n *graph.Node) func(r *twister) float64) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		shape, t, f, seed := asInts(n.Ints("shape")), onnxio.DataType(n.Int("dtype", 0)), draw(n), seedOf(n)
		return func(c *exec.Call) error {
			shape, t := shape, t
			if like {
				if err := need(c, 1); err != nil {
					return err
				}
				shape = c.In[0].Shape
				if t == onnxio.Undefined {
					t = c.In[0].Type
				}
			}
			if t == onnxio.Undefined {
				t = onnxio.Float32
			}
			y := c.New(onnxio.Float64, shape...)
			rng := newTwister(seed)
			for i := range y.Float64s() {
				y.Float64s()[i] = f(rng)
			}
			out, err := y.ConvertTo(t)
			c.Out[0] = out
			return err
		}, nil
	}
}

func drawUniform(n *graph.Node) func(r *twister) float64 {
	lo, hi := float64(n.Float("low", 0)), float64(n.Float("high", 1))
	return func(r *twister) float64 { return lo + (hi-lo)*r.uniform() }
}

func drawNormal(n *graph.Node) func(r *twister) float64 {
	mean, dev := float64(n.Float("mean", 0)), float64(n.Float("scale", 1))
	return func(r *twister) float64 { return mean + dev*r.normal() }
}

// prepareBernoulli draws 1 with the probability that the input states.
func prepareBernoulli(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	to, seed := onnxio.DataType(n.Int("dtype", 0)), seedOf(n)
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		p, err := floats(c.In[0])
		if err != nil {
			return err
		}
		rng := newTwister(seed)
		y := make([]float64, len(p))
		for i, v := range p {
			if rng.uniform() < v {
				y[i] = 1
			}
		}
		t := to
		if t == onnxio.Undefined {
			t = c.In[0].Type
		}
		c.Out[0], err = onnxio.TensorOf(y, c.In[0].Shape...).ConvertTo(t)
		return err
	}, nil
}

// prepareMultinomial draws classes for each row of [batch classes], which holds logarithms of probabilities up to a constant.
func prepareMultinomial(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	to, count, seed := onnxio.DataType(n.Int("dtype", int64(onnxio.Int32))), int(n.Int("sample_size", 1)), seedOf(n)
	if to != onnxio.Int32 && to != onnxio.Int64 || count < 0 {
		return nil, fmt.Errorf("dtype is %v and sample_size %d, expected int32 or int64 and a positive number", to, count)
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if len(x.Shape) != 2 || x.Shape[1] == 0 {
			return fmt.Errorf("input has shape %v, expected [batch classes]", x.Shape)
		}
		logits, err := floats(x)
		if err != nil {
			return err
		}
		rng := newTwister(seed)
		y := c.New(to, x.Shape[0], count)
		c.Out[0] = y
		out := make([]float64, y.Len())
		sums := make([]float64, x.Shape[1])
		for b := range x.Shape[0] {
			softmaxRow(softmaxPlain, sums, logits[b*len(sums):][:len(sums)])
			for k := 1; k < len(sums); k++ {
				sums[k] += sums[k-1]
			}
			for i := range count {
				u, k := rng.uniform()*sums[len(sums)-1], 0
				for k < len(sums)-1 && !(u < sums[k]) {
					k++
				}
				out[b*count+i] = float64(k)
			}
		}
		return store(y, out)
	}, nil
}

func inferRandom(n *graph.Node) error {
	t := onnxio.DataType(n.Int("dtype", 0))
	if len(n.Inputs) > 0 {
		if t == onnxio.Undefined {
			t = typeOf(n, 0)
		}
		n.SetOut(0, t, shapeOf(n, 0))
		return nil
	}
	if t == onnxio.Undefined {
		t = onnxio.Float32
	}
	n.SetOut(0, t, graph.ShapeOf(n.Ints("shape")...))
	return nil
}

func inferMultinomial(n *graph.Node) error {
	out := graph.Shape{graph.Unknown, graph.D(n.Int("sample_size", 1))}
	if s := shapeOf(n, 0); len(s) == 2 {
		out[0] = s[0]
	}
	n.SetOut(0, onnxio.DataType(n.Int("dtype", int64(onnxio.Int32))), out)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "RandomUniform", Since: 1, Infer: inferRandom, Prepare: prepareRandom(false, drawUniform), Native: true},
		exec.Op{Name: "RandomNormal", Since: 1, Infer: inferRandom, Prepare: prepareRandom(false, drawNormal), Native: true},
		exec.Op{Name: "RandomUniformLike", Since: 1, Infer: inferRandom, Prepare: prepareRandom(true, drawUniform), Native: true},
		exec.Op{Name: "RandomNormalLike", Since: 1, Infer: inferRandom, Prepare: prepareRandom(true, drawNormal), Native: true},
		exec.Op{Name: "Bernoulli", Since: 15, Infer: inferRandom, Prepare: prepareBernoulli, Native: true},
		exec.Op{Name: "Multinomial", Since: 7, Infer: inferMultinomial, Prepare: prepareMultinomial},
	)
}
