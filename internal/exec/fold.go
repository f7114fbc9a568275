package exec

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// InferShapes fills in types and shapes of all values that can be told, by the registry's rules. Shapes that
// contradict each other are a *ModelError.
func InferShapes(g *graph.Graph) error {
	return modelError(graph.Infer(g, func(n *graph.Node) graph.InferRule {
		op, ok := Lookup(n.Domain(), n.Op(), n.Opset())
		if !ok {
			return nil
		}
		if op.Infer == nil {
			return nil
		}
		return func(n *graph.Node) (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("internal error: %v", p)
				}
			}()
			return op.Infer(n)
		}
	}))
}

// Fold computes one node on constant inputs: the evaluator that graph.Simplify asks for.
func Fold(n *graph.Node, in []*onnxio.Tensor) ([]*onnxio.Tensor, error) {
	op, ok := Lookup(n.Domain(), n.Op(), n.Opset())
	if !ok {
		e := &UnsupportedError{}
		e.add(n)
		return nil, e
	}
	e := &Executor{opts: Options{Threads: 1, MemoryLimit: DefaultMemoryLimit, MaxRounds: DefaultMaxRounds}, prog: map[*graph.Graph]*program{}}
	st := &step{node: n, op: op, in: make([]ref, len(in)), out: make([]int, len(n.Outputs)), last: make([]bool, len(in))}
	if err := e.prepare(st); err != nil {
		return nil, err
	}
	for i, v := range n.Outputs {
		if v == nil {
			st.out[i] = -1
		}
	}
	s := &Session{e: e, bufs: map[unsafe.Pointer]*buffer{}, arena: &arena{limit: e.opts.MemoryLimit}}
	c := &Call{Ctx: context.Background(), Node: n, Threads: 1, In: in, Out: make([]*onnxio.Tensor, len(n.Outputs)), s: s, st: st}
	if err := c.call(); err != nil {
		return nil, err
	}
	return c.Out, nil
}
