package calib

import (
	"context"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Walker takes a model through all batches of the data piece by piece: every batch stops at a node, waits while weights behind it are
// changed, and goes on from there. What the batches hold between two pieces is kept in memory as far as walkMemory reaches and in a
// temporary file beyond.
//
//	w, err := calib.NewWalker(g, data, o)
//	defer w.Close()
//	for _, n := range nodes {
//		err = w.To(ctx, n, nil, nil)      // all batches up to n, which has not run
//		... change the weights of n ...
//		err = w.Refresh(n)
//	}
type Walker struct {
	run *runner
	at  *graph.Node // where the batches wait; meaningless before begun
	begun,
	ended bool
	wait []waiting
	file *os.File
	keep int64 // bytes of waiting activations that stay in memory
}

// walkMemory is how many bytes of waiting activations stay in memory.
const walkMemory = 96 << 20

// waiting is a batch between two pieces.
type waiting struct {
	live  map[string]*onnxio.Tensor // values in memory
	spill []spilled                 // values in the file
	mask  *onnxio.Tensor
}

// spilled is a float32 tensor in the file.
type spilled struct {
	name  string
	shape []int
	at    int64
}

// NewWalker prepares a walk of g over the data.
func NewWalker(g *graph.Graph, ds Dataset, o CaptureOptions) (*Walker, error) {
	r, err := newRunner(g, ds, o)
	if err != nil {
		return nil, err
	}
	if ds.Len() == 0 {
		return nil, fmt.Errorf("the calibration data has no samples")
	}
	return &Walker{run: r, wait: make([]waiting, r.batches()), keep: walkMemory}, nil
}

// Batches is the number of batches.
func (w *Walker) Batches() int { return len(w.wait) }

// Close removes what the walk has spilled.
func (w *Walker) Close() error {
	f := w.file
	w.file = nil
	return discard(f)
}

func discard(f *os.File) error {
	if f == nil {
		return nil
	}
	err := f.Close()
	os.Remove(f.Name())
	return err
}

// Refresh tells that weights which n reads have changed.
func (w *Walker) Refresh(n *graph.Node) error { return w.run.exec.Refresh(n) }

// Visit is one batch of a walk.
type Visit struct {
	Batch int
	// Lo and Hi are the samples of the batch, Lo <= i < Hi.
	Lo, Hi int
	// Live holds the values that are still read where the batch waits, by name. They are the walk's own: what is written to them is
	// what the nodes behind read.
	Live map[string]*onnxio.Tensor
	// Keep tells which rows of a tensor of the given shape are not padding; nil for all.
	Keep func(shape []int) []bool
}

// To runs every batch from where it waits up to stop, a node of the main graph that is not run; nil for the end. hooks, if not nil,
// gives the hooks of a batch. Then before, if not nil, is shown the batch as it begins, and after as it waits at stop.
func (w *Walker) To(ctx context.Context, stop *graph.Node, hooks func(v *Visit) *exec.Hooks, before, after func(v *Visit) error) error {
	p, err := w.begin(stop)
	if err != nil {
		return err
	}
	for b := range w.wait {
		if err := p.batch(ctx, b, hooks, before, after); err != nil {
			discard(p.next)
			return err
		}
	}
	return p.end()
}

// Together runs two walks over the same data side by side, each up to its own stop, and shows fn every batch as both wait.
func Together(ctx context.Context, a, b *Walker, stopA, stopB *graph.Node, hooksA, hooksB func(v *Visit) *exec.Hooks, fn func(a, b *Visit) error) error {
	pa, err := a.begin(stopA)
	if err != nil {
		return err
	}
	pb, err := b.begin(stopB)
	if err != nil {
		discard(pa.next)
		return err
	}
	for i := range a.wait {
		var va *Visit
		err := pa.batch(ctx, i, hooksA, nil, func(v *Visit) error { va = v; return nil })
		if err == nil {
			err = pb.batch(ctx, i, hooksB, nil, func(v *Visit) error { return fn(va, v) })
		}
		if err != nil {
			discard(pa.next)
			discard(pb.next)
			return err
		}
	}
	if err := pa.end(); err != nil {
		discard(pb.next)
		return err
	}
	return pb.end()
}

// piece is a walk's way to its next stop.
type piece struct {
	w    *Walker
	stop *graph.Node
	next *os.File // where batches wait next
	at   int64    // the end of next
	held int64    // bytes of batches that wait in memory
}

func (w *Walker) begin(stop *graph.Node) (*piece, error) {
	if w.ended {
		return nil, fmt.Errorf("the walk has ended")
	}
	next, err := w.newFile()
	return &piece{w: w, stop: stop, next: next}, err
}

func (p *piece) end() error {
	w := p.w
	old := w.file
	w.file, w.at, w.begun, w.ended = p.next, p.stop, true, p.stop == nil
	return discard(old)
}

func (w *Walker) newFile() (*os.File, error) {
	f, err := os.CreateTemp(w.run.o.TempDir, "obc-walk-*")
	if err != nil {
		return nil, fmt.Errorf("no room for waiting activations: %w", err)
	}
	os.Remove(f.Name()) // where the system allows it, the file goes with the process
	return f, nil
}

// batch runs one batch to the stop.
func (p *piece) batch(ctx context.Context, b int, hooks func(v *Visit) *exec.Hooks, before, after func(v *Visit) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, stop := p.w, p.stop
	v := &Visit{Batch: b}
	v.Lo, v.Hi = w.run.samples(b)
	first := !w.begun
	var err error
	if first {
		if v.Live, _, err = w.run.read(ctx, b); err != nil {
			return err
		}
		w.wait[b].mask = v.Live[w.run.mask]
	} else if v.Live, err = w.load(b); err != nil {
		return err
	}
	mask := w.wait[b].mask
	v.Keep = func(shape []int) []bool { return keepRows(mask, shape) }
	if before != nil {
		if err := before(v); err != nil {
			return err
		}
	}
	s := w.run.exec.Start(v.Live)
	if !first {
		s = w.run.exec.Resume(v.Live, w.at)
	}
	var h *exec.Hooks
	if hooks != nil {
		h = hooks(v)
	}
	if err := s.RunUntil(ctx, stop, h); err != nil {
		return Blame(ctx, w.run.exec, w.run.ds, v.Lo, v.Hi, err)
	}
	if stop == nil {
		v.Live = s.Outputs()
	} else {
		v.Live = s.Live()
	}
	if after != nil {
		if err := after(v); err != nil {
			return err
		}
	}
	if stop != nil {
		w.wait[b], err = p.store(v.Live, mask)
	}
	if w.run.o.Progress != nil {
		w.run.o.Progress(b+1, len(w.wait))
	}
	return err
}

// store keeps the values of a batch, in memory or in the file.
func (p *piece) store(live map[string]*onnxio.Tensor, mask *onnxio.Tensor) (waiting, error) {
	b := waiting{live: map[string]*onnxio.Tensor{}, mask: mask}
	names := make([]string, 0, len(live))
	for name := range live {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t := live[name]
		data := t.Float32s()
		size := int64(len(data)) * 4
		if p.held+size <= p.w.keep || size == 0 {
			b.live[name] = t
			p.held += size
			continue
		}
		if _, err := p.next.WriteAt(bytesOf(data), p.at); err != nil {
			return b, fmt.Errorf("no room for waiting activations: %w", err)
		}
		b.spill = append(b.spill, spilled{name, slices.Clone(t.Shape), p.at})
		p.at += size
	}
	return b, nil
}

// load gives the values of a waiting batch.
func (w *Walker) load(b int) (map[string]*onnxio.Tensor, error) {
	live := w.wait[b].live
	for _, s := range w.wait[b].spill {
		t := onnxio.NewTensor(onnxio.Float32, s.shape...)
		if _, err := w.file.ReadAt(bytesOf(t.Float32s()), s.at); err != nil {
			return nil, fmt.Errorf("waiting activations are lost: %w", err)
		}
		live[s.name] = t
	}
	w.wait[b] = waiting{mask: w.wait[b].mask}
	return live, nil
}

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*4)
}

// After is the node of the main graph that comes right after n, or after the node that holds n's subgraph; nil for the end.
func After(n *graph.Node) *graph.Node {
	n = Outermost(n)
	i := slices.Index(n.Graph.Nodes, n)
	if i+1 >= len(n.Graph.Nodes) {
		return nil
	}
	return n.Graph.Nodes[i+1]
}

// Outermost is the node of the main graph that n is, or whose subgraph holds it.
func Outermost(n *graph.Node) *graph.Node {
	for n.Graph.Owner != nil {
		n = n.Graph.Owner
	}
	return n
}
