package exec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
	"unsafe"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// Session is one pass through the graph, possibly in pieces. It is used by one goroutine at a time.
type Session struct {
	e     *Executor
	frame *frame
	pc    int // the step of the main graph that comes next
	err   error
	bufs  map[unsafe.Pointer]*buffer
	arena *arena
	hooks *Hooks
	inner time.Duration // spent in subgraphs of the running node, if it is traced

	strays *strays // nil: none yet
	rounds int     // of loops so far
}

// frame holds the values of one running program.
type frame struct {
	prog  *program
	outer *frame
	vals  []*onnxio.Tensor // by slot
}

func newFrame(p *program, outer *frame) *frame {
	return &frame{prog: p, outer: outer, vals: make([]*onnxio.Tensor, len(p.values))}
}

// load is the value behind a ref, nil for an omitted input.
func (f *frame) load(r ref) *onnxio.Tensor {
	if r == none {
		return nil
	}
	for range r.up {
		f = f.outer
	}
	if c := f.prog.consts[r.slot]; c != nil {
		return c
	}
	return f.vals[r.slot]
}

// Start begins a run at the graph's first node. Feeds that do not fit the graph's inputs make the first RunUntil fail.
func (e *Executor) Start(feeds map[string]*onnxio.Tensor) *Session {
	s := &Session{e: e, frame: newFrame(e.main, nil), bufs: map[unsafe.Pointer]*buffer{}, arena: e.pool.take()}
	s.err = s.feed(feeds)
	return s
}

// Resume begins a run at node at, given all values that Live listed when an earlier session stopped there. at nil means the end.
func (e *Executor) Resume(live map[string]*onnxio.Tensor, at *graph.Node) *Session {
	s := &Session{e: e, frame: newFrame(e.main, nil), bufs: map[unsafe.Pointer]*buffer{}, arena: e.pool.take()}
	if s.pc, s.err = s.find(at); s.err != nil {
		return s
	}
	for i, v := range e.main.values {
		if t, ok := live[v.Name]; ok {
			s.frame.vals[i] = s.wide(t)
		}
	}
	return s
}

// find is the position of a node of the main graph; that of nil is the end. A constant has the position of what follows it.
func (s *Session) find(n *graph.Node) (int, error) {
	if n == nil {
		return len(s.e.main.steps), nil
	}
	p := s.e.main
	i, ok := p.index[n]
	if at := slices.Index(p.graph.Nodes, n); !ok && at >= 0 && isConstant(n) {
		i, ok = len(p.steps), true
		for _, next := range p.graph.Nodes[at+1:] {
			if j, runs := p.index[next]; runs {
				i = j
				break
			}
		}
	}
	if !ok {
		return 0, fmt.Errorf("%v: not a node of the main graph that this executor runs", n)
	}
	return i, nil
}

func (s *Session) wide(t *onnxio.Tensor) *onnxio.Tensor {
	if !s.e.opts.Float64 || t == nil {
		return t
	}
	return widest(t)
}

// feed checks the feeds against the graph's inputs and stores them.
func (s *Session) feed(feeds map[string]*onnxio.Tensor) error {
	p := s.e.main
	known := map[string]bool{}
	for k, v := range p.graph.Inputs {
		t := feeds[v.Name]
		if v.IsConst() {
			if t == nil {
				continue
			}
			return fmt.Errorf("input %q has an initializer and is treated as a constant: do not feed it, or remove the initializer", v.Name)
		}
		known[v.Name] = true
		if t == nil {
			return fmt.Errorf("input %q (%v%v) is missing; the model's inputs are %s", v.Name, v.Type, v.Shape, inputNames(p.graph))
		}
		if err := checkFeed(v, t); err != nil {
			return err
		}
		s.frame.vals[p.inputs[k]] = s.wide(t)
	}
	for name := range feeds {
		if !known[name] {
			return fmt.Errorf("%q is no input of the model; its inputs are %s", name, inputNames(p.graph))
		}
	}
	return nil
}

func inputNames(g *graph.Graph) string {
	var names []string
	for _, v := range g.Inputs {
		if !v.IsConst() {
			names = append(names, fmt.Sprintf("%q", v.Name))
		}
	}
	sort.Strings(names)
	return fmt.Sprint(names)
}

func checkFeed(v *graph.Value, t *onnxio.Tensor) error {
	if v.Type != onnxio.Undefined && t.Type != v.Type && !(t.Type == onnxio.Float64 && v.Type == onnxio.Float32) {
		return fmt.Errorf("input %q: element type is %v, the model expects %v", v.Name, t.Type, v.Type)
	}
	if v.Shape == nil || IsSequence(t) || IsOptional(t) {
		return nil
	}
	ok := len(v.Shape) == len(t.Shape)
	for i := 0; ok && i < len(t.Shape); i++ {
		ok = !v.Shape[i].Known() || v.Shape[i].N == int64(t.Shape[i])
	}
	if !ok {
		return fmt.Errorf("input %q: shape is %v, the model expects %v", v.Name, t.Shape, v.Shape)
	}
	return nil
}

// RunUntil runs up to the node stop, which is the first not to run, or to the end when stop is nil. After an error the session
// cannot go on.
func (s *Session) RunUntil(ctx context.Context, stop *graph.Node, h *Hooks) error {
	if s.err != nil {
		return s.err
	}
	end, err := s.find(stop)
	if err != nil {
		return err
	}
	s.hooks = h
	kernel.Wake(s.e.opts.Threads)
	if s.pc == 0 && stop == nil && !h.watch() {
		for _, st := range s.frame.prog.fast {
			if s.err = s.step(ctx, s.frame, st); s.err != nil {
				return s.err
			}
		}
		s.pc = end
		return nil
	}
	for s.pc < end {
		if s.err = s.step(ctx, s.frame, s.frame.prog.steps[s.pc]); s.err != nil {
			return s.err
		}
		s.pc++
	}
	return nil
}

// step runs one node in frame f.
func (s *Session) step(ctx context.Context, f *frame, st *step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	both := make([]*onnxio.Tensor, len(st.in)+len(st.out))
	in, out := both[:len(st.in):len(st.in)], both[len(st.in):]
	for i, r := range st.in {
		in[i] = f.load(r)
		if in[i] == nil && r != none {
			return &NodeError{st.node, fmt.Errorf("input %q has no value", st.node.Inputs[i].Name)}
		}
	}
	if h := s.hooks; h != nil && h.Before != nil {
		if err := h.Before(st.node, in); err != nil {
			return err
		}
	}
	c := &Call{Ctx: ctx, Node: st.node, Threads: s.e.opts.Threads, s: s, st: st, f: f, In: in, Out: out}
	if s.hooks != nil {
		c.In = slices.Clone(in) // kernels may replace entries of In
	}
	c.lent = c.few[:0]
	switch err := s.timed(c); {
	case st.parts != nil && errors.Is(err, ErrApart):
		c.sweep()
		return s.apart(ctx, f, st)
	case err != nil:
		return err
	}
	if h := s.hooks; h != nil && h.After != nil {
		if err := h.After(st.node, in, c.Out); err != nil {
			return err
		}
	}
	for i, slot := range st.out {
		if slot >= 0 {
			if err := s.retain(c.Out[i]); err != nil {
				return wrap(st.node, err, nil)
			}
			f.vals[slot] = c.Out[i]
		}
	}
	s.free(f, st)
	c.sweep()
	return nil
}

// timed runs the kernel and tells the trace how long that took.
func (s *Session) timed(c *Call) error {
	trace := s.e.opts.Trace
	if trace == nil {
		return c.call()
	}
	outer := s.inner
	s.inner = 0
	start := time.Now()
	err := c.call()
	d := time.Since(start)
	if !errors.Is(err, ErrApart) {
		trace(c.st.nodes(), d-s.inner)
	}
	s.inner = outer + d
	return err
}

// free releases what nothing reads after st.
func (s *Session) free(f *frame, st *step) {
	for _, slot := range st.frees {
		s.release(f.vals[slot])
		f.vals[slot] = nil
	}
}

// apart runs the nodes of a fusion one by one.
func (s *Session) apart(ctx context.Context, f *frame, st *step) error {
	for _, part := range st.parts {
		if part.spared && f.vals[part.out[0]] != nil {
			continue // another fusion's nodes had to run one by one as well
		}
		if err := s.step(ctx, f, part); err != nil {
			return err
		}
	}
	s.free(f, st)
	return nil
}

// call runs the kernel, turns panics into errors and checks that all outputs are there.
func (c *Call) call() (err error) {
	defer func() { err = wrap(c.st.node, err, recover()) }()
	st := c.st
	if st.twin != nil {
		st = st.twin
	}
	if err := st.kernel(c); err != nil {
		return err
	}
	for i, slot := range c.st.out {
		if slot < 0 {
			continue
		}
		if c.Out[i] == nil {
			return fmt.Errorf("output %q was not computed", c.st.node.Outputs[i].Name)
		}
		c.Out[i] = c.s.wide(c.Out[i])
	}
	return nil
}

func (s *Session) retain(t *onnxio.Tensor) error {
	if seq, ok := t.Data.(*Sequence); ok {
		for i, e := range seq.Elems {
			var err error
			if seq.Elems[i], err = s.astray(e); err != nil {
				return err
			}
		}
		return nil
	}
	if opt, ok := t.Data.(*Optional); ok {
		var err error
		opt.Value, err = s.astray(opt.Value)
		return err
	}
	if b := s.bufs[base(t)]; b != nil {
		b.refs++
	}
	return nil
}

func (s *Session) release(t *onnxio.Tensor) {
	if t == nil {
		return
	}
	p := base(t)
	if b := s.bufs[p]; b != nil {
		if b.refs--; b.refs <= 0 {
			delete(s.bufs, p)
			s.arena.put(b.block)
		}
	}
}

// detached is a tensor in memory of its own: t itself when it lies in none that the session lends.
func (s *Session) detached(t *onnxio.Tensor) *onnxio.Tensor {
	if t == nil {
		return nil
	}
	switch d := t.Data.(type) {
	case *Sequence:
		for i, e := range d.Elems {
			d.Elems[i] = s.detached(e)
		}
		return t
	case *Optional:
		d.Value = s.detached(d.Value)
		return t
	}
	p := base(t)
	b := s.bufs[p]
	if b == nil {
		return t
	}
	if b.block.owner == nil { // nothing may write to it any more
		delete(s.bufs, p)
		s.arena.put(b.block)
		return t
	}
	words := make([]uint64, len(b.block.words))
	copy(words, b.block.words)
	return overlay(t.Type, t.Shape, t.Len(), words)
}

// Live lists the values that the nodes from here on, or the graph's outputs, still read, by name; constants are left out.
func (s *Session) Live() map[string]*onnxio.Tensor {
	live := map[string]*onnxio.Tensor{}
	for i, t := range s.frame.vals {
		if t != nil {
			live[s.e.main.values[i].Name] = s.detached(t)
		}
	}
	return live
}

// Outputs are the graph's outputs by name, as far as they are computed.
func (s *Session) Outputs() map[string]*onnxio.Tensor {
	out := map[string]*onnxio.Tensor{}
	for k, r := range s.e.main.outputs {
		if t := s.frame.load(r); t != nil {
			out[s.e.main.graph.Outputs[k].Name] = s.detached(t)
		}
	}
	return out
}

// Close leaves the session's memory to those that come; the session is over. What Live and Outputs gave stays valid. A session that is
// not closed is collected as garbage.
func (s *Session) Close() {
	if s.arena == nil {
		return
	}
	for p, b := range s.bufs {
		delete(s.bufs, p)
		s.arena.put(b.block)
	}
	s.e.pool.giveBack(s.arena)
	s.arena, s.frame, s.err = nil, nil, errClosed
}

var errClosed = errors.New("the session is closed")

// runBody runs a subgraph to its end and gives its outputs, which belong to the caller.
func (s *Session) runBody(ctx context.Context, p *program, outer *frame, in []*onnxio.Tensor) ([]*onnxio.Tensor, error) {
	if len(in) != len(p.inputs) {
		return nil, fmt.Errorf("%v takes %d inputs, got %d", p.graph, len(p.inputs), len(in))
	}
	f := newFrame(p, outer)
	for k, slot := range p.inputs {
		if in[k] == nil {
			return nil, fmt.Errorf("%v: no value given for input %q", p.graph, p.graph.Inputs[k].Name)
		}
		if b := s.bufs[base(in[k])]; b != nil {
			b.refs++ // the kernel's own, or a value outside: the body must not free it when it has read it
			defer func() { b.refs-- }()
		}
		if err := s.retain(in[k]); err != nil {
			return nil, err
		}
		f.vals[slot] = in[k]
	}
	steps := p.steps
	if !s.hooks.watch() {
		steps = p.fast
	}
	for _, st := range steps {
		if err := s.step(ctx, f, st); err != nil {
			return nil, err
		}
	}
	out := make([]*onnxio.Tensor, len(p.outputs))
	for k, r := range p.outputs {
		if out[k] = f.load(r); out[k] == nil {
			return nil, fmt.Errorf("%v: output %q has no value", p.graph, p.graph.Outputs[k].Name)
		}
		var err error
		if out[k], err = s.astray(out[k]); err != nil {
			return nil, err
		}
	}
	for _, t := range f.vals { // outputs, and inputs that nothing in the body read
		s.release(t)
	}
	return out, nil
}
