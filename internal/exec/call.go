package exec

import (
	"context"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// Call is one execution of a node: the kernel reads In and sets Out.
type Call struct {
	Ctx     context.Context
	Node    *graph.Node
	In      []*onnxio.Tensor // nil for an omitted input
	Out     []*onnxio.Tensor // to be set, except where OutWanted is false
	Threads int

	s     *Session
	st    *step
	f     *frame
	lent  []unsafe.Pointer // what New and Scratch handed out
	few   [2]unsafe.Pointer
	keep  bool
	exact uint64           // outputs that stay as the kernel gives them, by bit
	wide  []*onnxio.Tensor // the inputs as they were before small floats were widened; nil if there were none
}

// InType is the element type of input i in the model, where In may hold it widened; Undefined when it is omitted.
func (c *Call) InType(i int) onnxio.DataType {
	in := c.In
	if c.wide != nil {
		in = c.wide
	}
	if i < 0 || i >= len(in) || in[i] == nil {
		return onnxio.Undefined
	}
	return in[i].Type
}

// KeepType says that output i, below 64, has its own type whatever the inputs' types are: it is not rounded to a small float.
func (c *Call) KeepType(i int) { c.exact |= 1 << i }

// Input is input i, nil when it is omitted or i is beyond the list.
func (c *Call) Input(i int) *onnxio.Tensor {
	if i < 0 || i >= len(c.In) {
		return nil
	}
	return c.In[i]
}

// OutWanted reports whether anything may read output i.
func (c *Call) OutWanted(i int) bool { return i < len(c.st.out) && c.st.out[i] >= 0 }

// SetOut sets output i if the node has it.
func (c *Call) SetOut(i int, t *onnxio.Tensor) {
	if c.OutWanted(i) {
		c.Out[i] = t
	}
}

// New makes a tensor for an output or for use during the call. Its contents are undefined. A tensor beyond the memory limit
// ends the call with a *LimitError.
func (c *Call) New(t onnxio.DataType, shape ...int) *onnxio.Tensor {
	n := elements(shape)
	size := int64(elemSize(t))
	if n < 0 || size > 0 && int64(n) > math.MaxInt64/size {
		panic(&LimitError{Want: -1, Shape: slices.Clone(shape)})
	}
	if t == onnxio.String || n == 0 {
		if want := int64(n) * 16; want > c.s.arena.limit {
			panic(&LimitError{Want: want, Limit: c.s.arena.limit, Shape: slices.Clone(shape)})
		}
		return onnxio.NewTensor(t, shape...)
	}
	x := overlay(t, shape, n, c.block(int64(n)*size, shape))
	p := base(x)
	c.lent = append(c.lent, p)
	return x
}

func (c *Call) block(bytes int64, shape []int) []uint64 {
	if err := c.Charge(bytes); err != nil {
		err.(*LimitError).Shape = slices.Clone(shape)
		panic(err)
	}
	b, err := c.s.arena.get(bytes, c.st.final)
	if err != nil {
		if limit, ok := err.(*LimitError); ok {
			limit.Shape = slices.Clone(shape)
		}
		panic(err)
	}
	c.s.bufs[unsafe.Pointer(unsafe.SliceData(b.words))] = &buffer{block: b}
	return b.words
}

// Zeros is New with all elements zero.
func (c *Call) Zeros(t onnxio.DataType, shape ...int) *onnxio.Tensor {
	x := c.New(t, shape...)
	if b := c.s.bufs[base(x)]; b != nil {
		clear(b.block.words)
	}
	return x
}

// KeepInputs forbids reuse of the inputs' memory from here on. A kernel that renumbers In must call it first.
func (c *Call) KeepInputs() { c.keep = true }

// MayReuse reports whether the call may overwrite input i: nothing else reads its memory any more.
func (c *Call) MayReuse(i int) bool {
	x := c.In[i]
	if c.keep || !c.st.last[i] || c.s.hooks != nil && c.s.hooks.After != nil {
		return false
	}
	b := c.s.bufs[base(x)]
	if b == nil || b.refs != 1 {
		return false
	}
	for j, y := range c.In {
		if j != i && y != nil && base(y) == base(x) {
			return false
		}
	}
	return true
}

// Reuse is New, but takes the memory of input i when MayReuse allows that and type and length agree. Element k of the result may
// then lie where element k of the input lies.
func (c *Call) Reuse(i int, t onnxio.DataType, shape ...int) *onnxio.Tensor {
	x := c.In[i]
	if x.Type != t || x.Len() != elements(shape) || !c.MayReuse(i) {
		return c.New(t, shape...)
	}
	return &onnxio.Tensor{Type: t, Shape: slices.Clone(shape), Data: x.Data}
}

// View is the data of x under another shape, without a copy.
func (c *Call) View(x *onnxio.Tensor, shape ...int) *onnxio.Tensor {
	return &onnxio.Tensor{Type: x.Type, Shape: append([]int{}, shape...), Data: x.Data}
}

// Scratch is room for n float32 for the time of the call. Its contents are undefined.
func (c *Call) Scratch(n int) []float32 {
	if n <= 0 {
		return nil
	}
	b := c.block(int64(n)*4, []int{n})
	c.lent = append(c.lent, unsafe.Pointer(unsafe.SliceData(b)))
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// Charge fails when holding bytes more would pass the memory limit. Kernels that collect results over many rounds ask it.
func (c *Call) Charge(bytes int64) error { return c.s.room(bytes) }

// Round counts one round of a loop. It fails when the run is done (see Call.Ctx), and with a *RoundsError.
func (c *Call) Round() error {
	if err := c.Ctx.Err(); err != nil {
		return err
	}
	if c.s.rounds++; c.s.rounds > c.s.e.opts.MaxRounds {
		return &RoundsError{c.s.e.opts.MaxRounds}
	}
	return nil
}

// RoundsError says that a run's loops went round more often than Options.MaxRounds allows.
type RoundsError struct{ Rounds int }

func (e *RoundsError) Error() string {
	return fmt.Sprintf("the run's loops have had %d rounds in all: a loop seems to have no end", e.Rounds)
}

// Body runs the subgraph held by attribute name once. The outputs belong to the caller.
func (c *Call) Body(name string, in []*onnxio.Tensor) ([]*onnxio.Tensor, error) {
	p := c.st.subs[name]
	if p == nil {
		return nil, fmt.Errorf("has no subgraph %q", name)
	}
	return c.s.runBody(c.Ctx, p, c.f, in)
}

// BodyGraph is the subgraph held by attribute name, nil if there is none.
func (c *Call) BodyGraph(name string) *graph.Graph { return c.Node.Subgraphs[name] }

// sweep takes back what New and Scratch handed out and no output holds.
func (c *Call) sweep() {
	for _, p := range c.lent {
		if b := c.s.bufs[p]; b != nil && b.refs == 0 {
			delete(c.s.bufs, p)
			c.s.arena.put(b.block)
		}
	}
}

// elements is the number of elements of a shape, -1 when that fits in no int or a dimension is negative.
func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return -1
		}
		if d == 0 {
			n = 0
		}
	}
	if n == 0 {
		return 0
	}
	for _, d := range shape {
		if n > math.MaxInt/d {
			return -1
		}
		n *= d
	}
	return n
}
