package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// prepareRotary rotates pairs of each head's elements by the angles of the token's position. The ONNX operator has the
// positions as input 3; com.microsoft has them as input 1, before the caches.
func prepareRotary(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := rotaryAttrs{int(n.Int("num_heads", 0)), int(n.Int("rotary_embedding_dim", 0)), n.Int("interleaved", 0) != 0}
	ms := n.Domain() != ""
	k := floatForms(
		func(c *exec.Call) error { return rotary[float32](c, a) },
		func(c *exec.Call) error { return rotary[float64](c, a) })
	return func(c *exec.Call) error {
		if err := need(c, 3); err != nil {
			return err
		}
		if ms {
			if err := need(c, 4); err != nil {
				return err
			}
			c.KeepInputs()
			c.In = []*tensor{c.In[0], c.In[2], c.In[3], c.In[1]}
		}
		return k(c)
	}, nil
}

type rotaryAttrs struct {
	heads, dim  int
	interleaved bool
}

func rotary[T float](c *exec.Call, a rotaryAttrs) error {
	x := c.In[0]
	var batch, count, seq, width int
	switch {
	case len(x.Shape) == 4:
		batch, count, seq, width = x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	case len(x.Shape) == 3 && a.heads > 0 && x.Shape[2]%a.heads == 0:
		batch, seq, count, width = x.Shape[0], x.Shape[1], a.heads, x.Shape[2]/a.heads
	case len(x.Shape) == 3 && a.heads == 0 && len(c.In[1].Shape) > 0:
		width = 2 * c.In[1].Shape[len(c.In[1].Shape)-1]
		batch, seq, count = x.Shape[0], x.Shape[1], x.Shape[2]/max(width, 1)
	default:
		return fmt.Errorf("input has shape %v and %d heads, expected [B heads S size], or [B S heads*size] with num_heads", x.Shape, a.heads)
	}
	dim := a.dim
	if dim == 0 {
		dim = width
	}
	half := dim / 2
	cos, sin := data[T](c.In[1]), data[T](c.In[2])
	at, err := ints(c.Input(3))
	if err != nil {
		return err
	}
	if dim > width || dim%2 != 0 || len(cos) != len(sin) || half == 0 || len(cos)%half != 0 {
		return fmt.Errorf("caches of shape %v and %v do not fit %d rotated elements of a head of %d", c.In[1].Shape, c.In[2].Shape, dim, width)
	}
	rows := len(cos) / half
	y := c.New(x.Type, x.Shape...)
	xd, yd := data[T](x), data[T](y)
	for b := range batch {
		for s := range seq {
			row := b*seq + s
			switch {
			case len(at) == 1: // com.microsoft: the first position of every sequence
				row = at[0] + s
			case at != nil && row < len(at):
				row = at[row]
			case at != nil:
				row = -1
			}
			if row < 0 || row >= rows {
				return fmt.Errorf("position %d is not in a cache of %d", row, rows)
			}
			for h := range count {
				p := ((b*count+h)*seq + s) * width
				if len(x.Shape) == 3 {
					p = ((b*seq+s)*count + h) * width
				}
				rotate(yd[p:p+width], xd[p:p+width], cos[row*half:][:half], sin[row*half:][:half], a.interleaved)
			}
		}
	}
	c.Out[0] = y
	return nil
}

// rotate turns (x[i], x[i+half]), or neighbours when interleaved, by angle i; what is beyond the caches stays.
func rotate[T float](y, x, cos, sin []T, interleaved bool) {
	half := len(cos)
	copy(y[2*half:], x[2*half:])
	for i := range half {
		p, q := i, i+half
		if interleaved {
			p, q = 2*i, 2*i+1
		}
		u, v := x[p], x[q]
		y[p], y[q] = u*cos[i]-v*sin[i], u*sin[i]+v*cos[i]
	}
}

func init() {
	exec.Register(
		exec.Op{Name: "RotaryEmbedding", Since: 23, Infer: sameAs(0), Prepare: prepareRotary},
		exec.Op{Domain: "com.microsoft", Name: "RotaryEmbedding", Since: 1, Infer: sameAs(0), Prepare: prepareRotary},
	)
}
