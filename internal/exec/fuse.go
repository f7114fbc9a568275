package exec

import (
	"errors"
	"slices"
	"sort"

	"github.com/obc-onnx/obc/graph"
)

// Fusion is a set of nodes that one kernel runs together, so that what passes between them is never stored. It gives the same
// numbers as the nodes one by one, up to rounding; with quantized weights or activations that is the rounding of ONNX Runtime. Hooks see every node: with them the nodes run one by one.
type Fusion struct {
	Nodes  []*graph.Node  // all but the last are read within the set only; the last has one output, the kernel's
	Inputs []*graph.Value // the kernel's In; nil for an omitted one
	Kernel Kernel         // may return ErrApart before it wrote anything
}

// ErrApart is what a fused kernel returns when the inputs' shapes are not those that it is for: the nodes then run one by one.
var ErrApart = errors.New("the nodes must run one by one")

// Fuser looks for a fusion of n with nodes around it. It returns nil when there is none.
type Fuser func(n *graph.Node, p *Prep) (*Fusion, error)

var fusers = map[opKey][]Fuser{} // in order of registration; filled by init functions only

// RegisterFusion adds a fuser for nodes of the default domain with the given operator. The first that finds a fusion wins.
func RegisterFusion(name string, f Fuser) {
	fusers[opKey{"", name}] = append(fusers[opKey{"", name}], f)
}

// Follower is the node that alone reads n's only output, and the number of that input; nil when there is no such node in the graph, or
// the output is one of the graph's.
func (p *Prep) Follower(n *graph.Node) (*graph.Node, int) {
	if len(n.Outputs) != 1 || n.Outputs[0] == nil {
		return nil, 0
	}
	v := n.Outputs[0]
	if v.IsOutput || len(v.Uses) != 1 {
		return nil, 0
	}
	u := v.Uses[0]
	if u.Node.Graph != n.Graph || u.Node.In(u.Index) != v {
		return nil, 0
	}
	return u.Node, u.Index
}

// Of is the Prep of another node of the same graph.
func (p *Prep) Of(n *graph.Node) *Prep {
	q := *p
	q.node = n
	return &q
}

// fuse makes the list of steps for runs that nobody watches.
func (e *Executor) fuse(p *program) error {
	p.fast = p.steps
	if e.opts.Float64 {
		return nil
	}
	taken := map[*graph.Node]*step{}
	for _, st := range p.steps {
		if taken[st.node] != nil {
			continue
		}
		f, fuser, err := e.fusion(st.node)
		if err != nil {
			return err
		}
		if f == nil || !p.fits(f, taken) {
			continue
		}
		fused, err := p.fusedStep(f)
		if err != nil {
			return err
		}
		fused.head, fused.fuser = st.node, fuser
		for _, n := range f.Nodes {
			taken[n] = fused
		}
	}
	if len(taken) == 0 {
		return nil
	}
	p.fused = taken
	p.fast = nil
	for _, st := range p.steps {
		f := taken[st.node]
		switch {
		case f == nil && p.spare(st, taken):
		case f == nil:
			p.fast = append(p.fast, &step{node: st.node, prog: p, in: st.in, out: st.out, subs: st.subs, twin: st})
		case f.parts[len(f.parts)-1].node == st.node: // the place of its last node: all inputs are there
			p.fast = append(p.fast, f)
		}
	}
	return nil
}

// spare tells that only fusions read what st makes, and that they do without: DequantizeLinear before several nodes that compute with the
// codes. It then becomes a part of each, run only where the nodes must run one by one.
func (p *program) spare(st *step, taken map[*graph.Node]*step) bool {
	if len(st.node.Outputs) != 1 || len(st.subs) > 0 || st.node.Outputs[0] == nil {
		return false
	}
	v := st.node.Outputs[0]
	if v.IsOutput || len(v.Uses) == 0 {
		return false
	}
	for _, u := range v.Uses {
		if f := taken[u.Node]; f == nil || slices.Contains(f.reads, v) {
			return false
		}
	}
	for _, u := range v.Uses {
		f := taken[u.Node]
		if f.parts[0].node != st.node {
			part := st.part()
			part.spared = true
			f.parts = slices.Insert(f.parts, 0, part)
		}
	}
	return true
}

// fusion asks the fusers of n's operator.
func (e *Executor) fusion(n *graph.Node) (*Fusion, Fuser, error) {
	for _, fuser := range fusers[opKey{n.Domain(), n.Op()}] {
		f, err := e.tryFuser(fuser, n)
		if f != nil || err != nil {
			return f, fuser, err
		}
	}
	return nil, nil, nil
}

func (e *Executor) tryFuser(fuser Fuser, n *graph.Node) (f *Fusion, err error) {
	defer func() {
		if r := recover(); r != nil || err != nil {
			err = wrap(n, err, r)
		}
	}()
	return fuser(n, &Prep{Threads: e.opts.Threads, node: n, exec: e})
}

// fits reports whether nothing stands against running f's nodes together: they are steps of p, none is part of another fusion, and all
// that they read from outside is there when the last of them runs, which the order of the steps grants.
func (p *program) fits(f *Fusion, taken map[*graph.Node]*step) bool {
	sort.Slice(f.Nodes, func(i, j int) bool { return p.index[f.Nodes[i]] < p.index[f.Nodes[j]] })
	inside := map[*graph.Node]bool{}
	for _, n := range f.Nodes {
		if _, ok := p.index[n]; !ok || taken[n] != nil || inside[n] || len(n.Outputs) != 1 {
			return false
		}
		inside[n] = true
	}
	for _, n := range f.Nodes[:len(f.Nodes)-1] {
		v := n.Outputs[0]
		if v == nil || v.IsOutput {
			return false
		}
		for _, u := range v.Uses {
			if !inside[u.Node] {
				return false
			}
		}
	}
	return true
}

func (p *program) fusedStep(f *Fusion) (*step, error) {
	last := f.Nodes[len(f.Nodes)-1]
	st := &step{node: last, prog: p, kernel: f.Kernel, reads: f.Inputs, out: []int{p.slot[last.Outputs[0]]}}
	for _, v := range f.Inputs {
		r, err := p.ref(v)
		if err != nil {
			return nil, err
		}
		st.in = append(st.in, r)
	}
	for _, n := range f.Nodes {
		st.parts = append(st.parts, p.steps[p.index[n]].part())
	}
	return st, nil
}

// part is st as a part of a fusion.
func (st *step) part() *step {
	return &step{node: st.node, prog: st.prog, in: st.in, out: st.out, subs: st.subs, twin: st, last: make([]bool, len(st.in))}
}

// inner are the slots between the nodes of a fusion.
func (st *step) inner() []int {
	var slots []int
	for _, part := range st.parts[:max(0, len(st.parts)-1)] {
		slots = append(slots, part.out...)
	}
	return slots
}

// refuse makes the kernel of the fusion that n is part of again.
func (e *Executor) refuse(p *program, n *graph.Node) error {
	st := p.fused[n]
	if st == nil {
		return nil
	}
	f, err := e.tryFuser(st.fuser, st.head)
	if err != nil {
		return err
	}
	if f == nil { // a changed constant stands against it
		st.kernel = func(*Call) error { return ErrApart }
		return nil
	}
	st.kernel = f.Kernel
	return nil
}
