package exec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// DefaultMemoryLimit is what a run may hold in activations when Options do not say otherwise.
const DefaultMemoryLimit = 8 << 30

// DefaultMaxRounds bounds the rounds of a run's loops when Options do not say otherwise: half a minute of the smallest body.
const DefaultMaxRounds = 1 << 23

// Options of an executor. The zero value uses all CPUs and computes in the model's own types.
type Options struct {
	Threads     int   // 0: as many as there are CPUs
	Float64     bool  // oracle mode: every float32 tensor, weights included, is computed as float64
	MemoryLimit int64 // bytes of activations alive at a time; 0 means DefaultMemoryLimit
	MaxRounds   int   // rounds of all loops of a run together; 0 means DefaultMaxRounds

	// Trace is told how long nodes took: one, or those that ran together. What nodes of subgraphs took is not counted again.
	Trace func(nodes []*graph.Node, d time.Duration)
}

// Executor is a graph made ready to run. Several sessions may run at the same time; Refresh must not be called meanwhile.
type Executor struct {
	opts Options
	main *program
	pool *pool
	prog map[*graph.Graph]*program
}

// Hooks are called around each node of a run, those of subgraphs included. The tensors are valid during the call only, and
// must not be written to. An error stops the run.
type Hooks struct {
	Before func(n *graph.Node, in []*onnxio.Tensor) error
	After  func(n *graph.Node, in, out []*onnxio.Tensor) error
}

// watch reports whether each node must show its inputs and outputs.
func (h *Hooks) watch() bool { return h != nil && (h.Before != nil || h.After != nil) }

// New prepares g. The graph's structure must stay as it is while the executor is in use; weights may change, see Refresh.
// Operators that are not known are reported together in an *UnsupportedError; what else is wrong with the model is a *ModelError.
func New(g *graph.Graph, o Options) (*Executor, error) {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.MaxRounds <= 0 {
		o.MaxRounds = DefaultMaxRounds
	}
	e := &Executor{opts: o, pool: &pool{limit: o.MemoryLimit}, prog: map[*graph.Graph]*program{}}
	if err := supported(g); err != nil {
		return nil, err
	}
	var err error
	if e.main, err = e.compile(g, nil); err != nil {
		return nil, modelError(err)
	}
	return e, nil
}

// ModelError marks what is wrong with a model whatever its inputs hold: an attribute of the wrong type, shapes that do not go together.
type ModelError struct{ error }

func (e *ModelError) Unwrap() error { return e.error }

func modelError(err error) error {
	if err == nil {
		return nil
	}
	return &ModelError{err}
}

// supported checks that each operator is registered.
func supported(g *graph.Graph) error {
	if v := g.Model.Opset(""); v > NewestOpset {
		return &OpsetError{v}
	}
	missing := &UnsupportedError{}
	g.Walk(func(n *graph.Node) {
		if isConstant(n) {
			return
		}
		if _, ok := Lookup(n.Domain(), n.Op(), n.Opset()); !ok {
			missing.add(n)
		}
	})
	if len(missing.Ops) > 0 {
		return missing
	}
	return nil
}

// NewestOpset is the newest version of the default operator set whose meaning is known (onnx 1.23). A later one may have
// changed operators, so models that ask for it are refused.
const NewestOpset = 28

// OpsetError tells that a model asks for a newer operator set.
type OpsetError struct{ Version int }

func (e *OpsetError) Error() string {
	return fmt.Sprintf("the model uses opset %d, newer than %d, the newest that is known: export it with an older opset, or update obc", e.Version, NewestOpset)
}

func isConstant(n *graph.Node) bool { return n.Op() == "Constant" && n.Domain() == "" }

// Threads is the number of threads that kernels use.
func (e *Executor) Threads() int { return e.opts.Threads }

// Peak is the largest number of bytes of activations that were alive at one time in a session that is closed.
func (e *Executor) Peak() int64 {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	return e.pool.peak
}

// Run computes the graph's outputs by name. feeds has a tensor for each graph input that is not an initializer. h may be nil.
// Outputs may share memory with feeds and weights: do not write to them.
func (e *Executor) Run(ctx context.Context, feeds map[string]*onnxio.Tensor, h *Hooks) (map[string]*onnxio.Tensor, error) {
	s := e.Start(feeds)
	defer s.Close()
	if err := s.RunUntil(ctx, nil, h); err != nil {
		return nil, err
	}
	return s.Outputs(), nil
}

// Refresh prepares n again after one of its weights changed. It is for nodes of the main graph and of subgraphs alike.
func (e *Executor) Refresh(n *graph.Node) error {
	p := e.prog[n.Graph]
	if p == nil {
		return fmt.Errorf("%v: is not part of the graph that this executor runs", n)
	}
	i, ok := p.index[n]
	if !ok {
		return fmt.Errorf("%v: is not part of the graph that this executor runs", n)
	}
	for _, v := range n.Inputs {
		if v == nil || !v.IsConst() {
			continue
		}
		owner := e.prog[v.Graph]
		if owner == nil {
			continue
		}
		if err := owner.loadConst(v, e.opts.Float64); err != nil {
			return err
		}
	}
	if err := e.prepare(p.steps[i]); err != nil {
		return err
	}
	return e.refuse(p, n)
}

// Prep is what a node's Prepare may know beyond the node itself.
type Prep struct {
	Threads int
	Float64 bool // oracle mode: float32 constants arrive as float64
	node    *graph.Node
	exec    *Executor
}

// Const is input i when it is constant, else nil. In oracle mode float32 is already widened to float64.
func (p *Prep) Const(i int) *onnxio.Tensor {
	v := p.node.In(i)
	if v == nil || !v.IsConst() {
		return nil
	}
	if owner := p.exec.prog[v.Graph]; owner != nil {
		return owner.consts[owner.slot[v]]
	}
	return nil
}

// Given reports whether input i is there, constant or not.
func (p *Prep) Given(i int) bool { return p.node.In(i) != nil }

// program is a graph in executable form: steps that read and write numbered slots.
type program struct {
	graph   *graph.Graph
	outer   *program
	slot    map[*graph.Value]int
	values  []*graph.Value         // by slot
	consts  map[int]*onnxio.Tensor // by slot
	steps   []*step
	fast    []*step               // the same work with nodes fused, for runs without hooks
	fused   map[*graph.Node]*step // of fast
	index   map[*graph.Node]int   // of steps
	inputs  []int
	outputs []ref
}

// ref is a slot of the program itself (up = 0) or of one that encloses it.
type ref struct{ up, slot int }

// none is the ref of an omitted input.
var none = ref{-1, -1}

type step struct {
	node   *graph.Node
	prog   *program
	op     Op
	kernel Kernel
	in     []ref
	out    []int  // slots, -1 for an omitted output
	frees  []int  // slots that nothing reads after this step
	last   []bool // by input: is this its last use?
	final  bool   // an output of it is one of the graph's, which outlives the session
	subs   map[string]*program
	twin   *step // the step of program.steps that holds the kernel; nil: this one

	parts []*step        // of a fusion: its nodes
	reads []*graph.Value // of a fusion: what its kernel reads, which may lie before what its nodes read
	head  *graph.Node
	fuser Fuser

	spared bool // a part that runs only where the others run one by one: their kernel reads what it reads
}

// compile turns g into a program and prepares its nodes.
func (e *Executor) compile(g *graph.Graph, outer *program) (*program, error) {
	p := &program{graph: g, outer: outer, slot: map[*graph.Value]int{}, consts: map[int]*onnxio.Tensor{}, index: map[*graph.Node]int{}}
	e.prog[g] = p
	for _, v := range g.Inputs {
		p.inputs = append(p.inputs, p.add(v))
	}
	for _, v := range g.Inits {
		if err := p.loadConst(v, e.opts.Float64); err != nil {
			return nil, err
		}
	}
	for _, n := range g.Nodes {
		if err := e.addStep(p, n); err != nil {
			return nil, err
		}
	}
	for _, v := range g.Outputs {
		r, err := p.ref(v)
		if err != nil {
			return nil, err
		}
		p.outputs = append(p.outputs, r)
	}
	p.plan(p.steps)
	if err := e.fuse(p); err != nil {
		return nil, err
	}
	if p.fused != nil {
		p.plan(p.fast)
	}
	return p, nil
}

func (p *program) add(v *graph.Value) int {
	if i, ok := p.slot[v]; ok {
		return i
	}
	i := len(p.values)
	p.slot[v] = i
	p.values = append(p.values, v)
	return i
}

func (p *program) loadConst(v *graph.Value, wide bool) error {
	t, err := v.Tensor()
	if err != nil {
		return err
	}
	if wide && t.Type == onnxio.Float32 {
		t = toFloat64(t)
	}
	p.consts[p.add(v)] = t
	return nil
}

func (p *program) ref(v *graph.Value) (ref, error) {
	if v == nil {
		return none, nil
	}
	for up, q := 0, p; q != nil; up, q = up+1, q.outer {
		if i, ok := q.slot[v]; ok {
			return ref{up, i}, nil
		}
	}
	return none, fmt.Errorf("%v is read but never computed", v)
}

func (e *Executor) addStep(p *program, n *graph.Node) error {
	if isConstant(n) {
		if err := p.loadConst(n.Outputs[0], e.opts.Float64); err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		return nil
	}
	op, _ := Lookup(n.Domain(), n.Op(), n.Opset())
	st := &step{node: n, prog: p, op: op}
	for _, v := range n.Inputs {
		r, err := p.ref(v)
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		st.in = append(st.in, r)
	}
	for key, sub := range n.Subgraphs {
		if st.subs == nil {
			st.subs = map[string]*program{}
		}
		q, err := e.compile(sub, p)
		if err != nil {
			return err
		}
		st.subs[key] = q
	}
	for _, v := range n.Outputs {
		if v == nil {
			st.out = append(st.out, -1)
			continue
		}
		st.out = append(st.out, p.add(v))
	}
	p.index[n] = len(p.steps)
	p.steps = append(p.steps, st)
	return e.prepare(st)
}

// prepare makes the step's kernel.
func (e *Executor) prepare(st *step) (err error) {
	defer func() { err = wrap(st.node, err, recover()) }()
	k, err := st.op.Prepare(st.node, &Prep{Threads: e.opts.Threads, Float64: e.opts.Float64, node: st.node, exec: e})
	if err != nil {
		return err
	}
	if err := st.node.AttrErr(); err != nil {
		return err
	}
	if !st.op.Native {
		k = widened(k)
	}
	if !st.op.Containers {
		k = ofTensors(k)
	}
	st.kernel = k
	return nil
}

// plan finds, for each of the steps, the slots that are read there for the last time.
func (p *program) plan(steps []*step) {
	last := make([]int, len(p.values))
	for i := range last {
		last[i] = -1
	}
	keep := make([]bool, len(p.values))
	use := func(v *graph.Value, at int) {
		if i, ok := p.slot[v]; ok {
			last[i] = at
		}
	}
	for at, st := range steps {
		for _, i := range st.out {
			if i >= 0 {
				last[i] = at
			}
		}
		for _, i := range st.inner() {
			last[i] = at
		}
		for _, v := range st.reads {
			use(v, at)
		}
		for _, n := range st.nodes() {
			for _, v := range n.Inputs {
				use(v, at)
			}
			for _, v := range n.Captures() {
				use(v, at)
			}
		}
	}
	for _, r := range p.outputs {
		if r.up == 0 {
			keep[r.slot] = true
		}
	}
	for _, st := range steps {
		for _, i := range st.out {
			st.final = st.final || i >= 0 && keep[i]
		}
	}
	for i, at := range last {
		if at < 0 || keep[i] || p.consts[i] != nil {
			continue
		}
		steps[at].frees = append(steps[at].frees, i)
	}
	for _, st := range steps {
		st.last = make([]bool, len(st.in))
		for k, r := range st.in {
			for _, f := range st.frees {
				st.last[k] = st.last[k] || r.up == 0 && r.slot == f
			}
		}
	}
}

// nodes are the nodes that the step runs.
func (st *step) nodes() []*graph.Node {
	if st.parts == nil {
		return []*graph.Node{st.node}
	}
	var list []*graph.Node
	for _, part := range st.parts {
		list = append(list, part.node)
	}
	return list
}

// wrap adds the node to an error, and makes an error of a recovered panic.
func wrap(n *graph.Node, err error, panicked any) error {
	if panicked != nil {
		var bug runtime.Error
		if e, ok := panicked.(error); ok && !errors.As(e, &bug) {
			err = e // thrown on purpose, such as a *LimitError
		} else {
			err = fmt.Errorf("internal error: %v", panicked)
		}
	}
	if err == nil {
		return nil
	}
	var ne *NodeError
	if errors.As(err, &ne) {
		return err
	}
	return &NodeError{Node: n, Err: err}
}

// NodeError is an error of one node: it says which and why.
type NodeError struct {
	Node *graph.Node
	Err  error
}

// Error names the node once: what reads attributes and tensors names it too.
func (e *NodeError) Error() string {
	name := e.Node.String() + ": "
	return name + strings.TrimPrefix(e.Err.Error(), name)
}

// Unwrap is the reason.
func (e *NodeError) Unwrap() error { return e.Err }
