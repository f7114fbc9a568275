package ops

import (
	"slices"
	"sync/atomic"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/kernel"
	"github.com/obc-onnx/obc/onnxio"
)

// convStage is a convolution in two dimensions with what follows it.
type convStage struct {
	*chain
	a      convAttrs
	w, b   *tensor // b nil: no bias, or one that is computed
	given  *graph.Value
	packed func() *kernel.PackedConv
}

// newConvStage looks at the convolution n; nil when its weight is not constant or it is not of two dimensions.
func newConvStage(n *graph.Node, p *exec.Prep) (*convStage, error) {
	k := newChain(n)
	p = p.Of(n)
	w, b := k.constant(p, n, 1), k.constant(p, n, 2)
	if w == nil || w.Type != onnxio.Float32 || len(w.Shape) != 4 || b != nil && b.Type != onnxio.Float32 {
		return nil, nil
	}
	win, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	st := &convStage{chain: k, a: convAttrs{win, int(n.Int("group", 1))}, w: w, b: b}
	if b == nil {
		st.given = n.In(2)
	}
	if st.packed = packConv(w, st.a); st.packed == nil && !st.depthwise() {
		return nil, nil // the node says why, or runs by itself
	}
	k.takeAdd(p)
	k.takeLimits(p)
	return st, nil
}

func (st *convStage) depthwise() bool { return st.w.Shape[1] == 1 && st.a.group > 1 }

// fuseConv: a Conv with an addend and limits; and, where one of two that follow each other is depthwise, both: each image then goes
// through all of them before the next one, so that what lies between, often the largest tensors of the model, stays in the cache.
func fuseConv(n *graph.Node, p *exec.Prep) (*exec.Fusion, error) {
	st, err := newConvStage(n, p)
	if st == nil || err != nil {
		return nil, err
	}
	stages, nodes := []*convStage{st}, st.all()
	for st.given == nil {
		f, i := p.Follower(st.last())
		if f == nil || i != 0 || f.Op() != "Conv" || f.Domain() != "" {
			break
		}
		next, err := newConvStage(f, p)
		if next == nil || err != nil || next.given != nil || st.depthwise() == next.depthwise() {
			break
		}
		st = next
		stages, nodes = append(stages, st), append(nodes, st.all()...)
	}
	if len(nodes) == 1 {
		return nil, nil
	}
	in := []*graph.Value{n.In(0), stages[0].given}
	for _, st := range stages {
		in = append(in, st.add)
	}
	var last atomic.Pointer[stagePlan] // of the last call: shapes seldom change
	return &exec.Fusion{Nodes: nodes, Inputs: in, Kernel: func(c *exec.Call) error { return runStages(c, stages, &last) }}, nil
}

// stagePlan is what follows from the shapes of the input and of a computed bias.
type stagePlan struct {
	in, bias []int
	shapes   []convShape
	pairs    []bool // by stage: it runs together with the one before
	out      [][]int
	scratch  [2]int // of one image, for steps of even and odd numbers
}

// planStages returns nil if a stage does not fit its input: its node says why.
func planStages(stages []*convStage, x, bias *tensor) *stagePlan {
	p := &stagePlan{in: slices.Clone(x.Shape), shapes: make([]convShape, len(stages)), pairs: make([]bool, len(stages))}
	if bias != nil {
		p.bias = slices.Clone(bias.Shape)
	}
	shape := p.in
	for i, st := range stages {
		b := st.b
		if b == nil && i == 0 {
			b = bias
		}
		s, err := st.a.shape(&tensor{Type: x.Type, Shape: shape}, st.w, b)
		if err != nil {
			return nil
		}
		shape = []int{s.batch, s.group * s.cout, s.out[0], s.out[1]}
		if size(shape) == 0 {
			return nil
		}
		p.shapes[i], p.out = s, append(p.out, shape)
		p.pairs[i] = i > 0 && !p.pairs[i-1] && st.add == nil && stages[i-1].add == nil && stages[i-1].pairs(p.shapes[i-1], s)
	}
	step := 0
	for i, s := range p.shapes[:len(stages)-1] {
		if !p.pairs[i+1] {
			p.scratch[step%2] = max(p.scratch[step%2], s.group*s.cout*s.outPix)
			step++
		}
	}
	return p
}

// fits tells whether p is the plan for these.
func (p *stagePlan) fits(x, bias *tensor) bool {
	return p != nil && slices.Equal(p.in, x.Shape) && (bias == nil) == (p.bias == nil) && (bias == nil || slices.Equal(p.bias, bias.Shape))
}

// runStages computes the stages; inputs are x, a computed bias of the first stage, and the addend of each.
func runStages(c *exec.Call, stages []*convStage, last *atomic.Pointer[stagePlan]) error {
	x, bias, adds := c.In[0], c.In[1], c.In[2:]
	if x == nil || x.Type != onnxio.Float32 || len(x.Shape) != 4 || bias != nil && bias.Type != onnxio.Float32 || c.Ctx.Err() != nil {
		return exec.ErrApart
	}
	p := last.Load()
	if !p.fits(x, bias) {
		if p = planStages(stages, x, bias); p == nil {
			return exec.ErrApart
		}
		last.Store(p)
	}
	for i, add := range adds {
		if add != nil && (add.Type != onnxio.Float32 || !slices.Equal(add.Shape, p.out[i])) {
			return exec.ErrApart
		}
	}
	shape := p.out[len(stages)-1]
	y := c.New(x.Type, shape...)
	c.Out[0] = y
	r := stageRun{stages: stages, stagePlan: p, adds: adds, bias: bias, x: x.Float32s(), y: y.Float32s()}
	batch := shape[0]
	if len(stages) == 1 {
		r.images(0, batch, nil, c.Threads)
		return nil
	}
	workers, inner := c.Threads, 1
	if batch < c.Threads {
		workers, inner = 1, c.Threads
	}
	buf := make([][2][]float32, workers)
	for i := range buf {
		buf[i] = [2][]float32{c.Scratch(p.scratch[0]), c.Scratch(p.scratch[1])}
	}
	c.Parallel(workers, 1<<30, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for img := i * batch / workers; img < (i+1)*batch/workers && c.Ctx.Err() == nil; img++ {
				r.images(img, 1, &buf[i], inner)
			}
		}
	})
	return c.Ctx.Err()
}

// stageRun is one call of runStages.
type stageRun struct {
	*stagePlan
	stages []*convStage
	adds   []*tensor
	bias   *tensor
	x, y   []float32
}

// pairs tells whether the kernels take the stage, of shape s, together with a depthwise one of shape next that follows.
func (st *convStage) pairs(s, next convShape) bool {
	return st.packed != nil && !s.depthwise && next.depthwise && st.packed().Pairs(s.planar(), next.planar())
}

// images takes n images from number img on through all stages, one image where there are several; buf holds what lies between two steps.
func (r *stageRun) images(img, n int, buf *[2][]float32, threads int) {
	in, step := r.x[img*len(r.x)/r.shapes[0].batch:], 0
	for i, st := range r.stages {
		last := i == len(r.stages)-1
		if !last && r.pairs[i+1] {
			continue
		}
		s := r.shapes[i]
		per := s.group * s.cout * s.outPix
		out := r.y[img*len(r.y)/s.batch:]
		if !last {
			out = buf[step%2]
		}
		step++
		e, ks := r.epilogue(i, img*per), s.planar()
		switch {
		case r.pairs[i]:
			r.stages[i-1].packed().RunDepthwise(r.shapes[i-1].planar(), ks, in, st.w.Float32s(), out[:per], r.epilogue(i-1, 0), e, threads)
		case s.depthwise:
			kernel.Depthwise(ks, n, in, st.w.Float32s(), out[:n*per], e, threads)
		default:
			st.packed().Run(ks, n, in, out[:n*per], e, threads)
		}
		in = out
	}
}

// epilogue is that of stage i, whose addend begins at element at.
func (r *stageRun) epilogue(i, at int) *kernel.Epilogue {
	st := r.stages[i]
	e := st.epilogue()
	if st.b != nil {
		e.Row = st.b.Float32s()
	} else if i == 0 && r.bias != nil {
		e.Row = r.bias.Float32s()
	}
	if add := r.adds[i]; add != nil {
		e.Add = add.Float32s()[at:]
	}
	return e
}
