package passes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// write puts the solutions into the model, each layer in the form that the recipe asks for or that runtimes execute best:
//
//   - values in place, for weights that stay float;
//   - codes behind a DequantizeLinear, whose output has the old weight's name; beside it QuantizeLinear and DequantizeLinear around
//     the activations, and biases as int32, when activations are quantized too: runtimes turn the whole into integer operators;
//   - com.microsoft MatMulNBits.
//
// The operator set is raised when, and only as far as, the forms need it.
type write struct{}

// Name is what the report calls the pass.
func (write) Name() string { return "write" }

// Apply edits the graph, brings the model in step with it and raises its operator set.
func (write) Apply(ctx context.Context, s *State) (PassReport, error) {
	w := &writer{State: s, weights: map[*LayerState]*storedWeight{}, rounded: map[roundKey]*graph.Value{}, grids: map[*graph.Node]ActGrid{}}
	for _, l := range s.Layers {
		if err := w.plan(l); err != nil {
			return PassReport{}, err
		}
	}
	if err := w.round(); err != nil {
		return PassReport{}, err
	}
	for _, l := range s.Layers {
		if err := ctx.Err(); err != nil {
			return PassReport{}, err
		}
		if err := w.layer(l); err != nil {
			return PassReport{}, fmt.Errorf("%v: %w", l, err)
		}
	}
	w.noteCopies()
	if err := s.Graph.Sync(); err != nil {
		return PassReport{}, err
	}
	if err := w.raise(); err != nil {
		return PassReport{}, err
	}
	return PassReport{Changes: w.changes, Notes: w.notes}, nil
}

// writer is the state of the pass.
type writer struct {
	*State
	weights map[*LayerState]*storedWeight // of the layers that are not written as float
	opset   int                           // least version of the default operator set that the forms need
	changes int
	notes   []string

	rounded map[roundKey]*graph.Value // what reads a value through a quantizer reads
	grids   map[*graph.Node]ActGrid   // of the nodes of layers whose input is rounded
}

func (w *writer) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(w.notes, n) {
		w.notes = append(w.notes, n)
	}
}

// need asks for an operator set.
func (w *writer) need(opset int) { w.opset = max(w.opset, opset) }

// plan decides how the layer is stored and what that needs.
func (w *writer) plan(l *LayerState) error {
	if l.Input != nil {
		w.need(10)
		if l.Input.Bits < linkBits {
			w.need(12) // Clip of integers
		}
	}
	if l.Solution == nil || l.Solution.Codes == nil || w.Recipe.Form == "float" {
		return nil
	}
	t, err := w.storage(l)
	if err != nil {
		return fmt.Errorf("%v: %w", l, err)
	}
	if t == nil {
		return nil
	}
	w.weights[l] = t
	w.need(t.opset())
	return nil
}

// layer writes the weight of one layer, then its biases.
func (w *writer) layer(l *LayerState) error {
	if l.Input != nil {
		l.Report.ActBits = l.Input.Bits
	}
	if l.Solution == nil {
		return nil
	}
	w.changes++
	t := w.weights[l]
	if t == nil {
		return w.float(l)
	}
	l.Report.Form = t.String()
	if t.nbits != nil {
		return w.matMulNBits(l, t)
	}
	if t.beside {
		if err := w.widen(l, t); err != nil {
			return err
		}
	}
	if err := w.dequantized(l, t); err != nil {
		return err
	}
	if !t.beside {
		return w.unfuse(l)
	}
	for _, n := range l.Nodes {
		if err := w.bias(l, n, t); err != nil {
			return err
		}
	}
	return nil
}

// noteCopies tells of float weights that stay in the file, because something else reads them, beside what a layer reads now.
func (w *writer) noteCopies() {
	compressed := map[graph.Use]bool{}
	for _, l := range w.Layers {
		if l.Solution != nil {
			for _, n := range l.Nodes {
				compressed[graph.Use{Node: n, Index: l.WeightIndex()}] = true
			}
		}
	}
	for _, l := range w.Layers {
		if l.Solution == nil || len(l.Shared) == 0 {
			continue
		}
		v := w.Graph.Value(l.SharedAs)
		if v == nil || !v.IsConst() || !v.Type.IsFloat() {
			continue
		}
		if left := graph.Readers(v, func(u graph.Use) bool { return compressed[u] }); len(left) > 0 {
			w.note("%v: its weight %q is in the file twice, as %s for the layer and as it was for %s", l, v.Name, l.Report.Form, strings.Join(left, ", "))
		}
	}
}

// float puts the values in place.
func (w *writer) float(l *LayerState) error {
	if err := l.SetMatrix(l.Solution.W); err != nil {
		return err
	}
	if was := l.Came.weights; was > 0 && was <= 8 {
		w.note("%v: its weight came in %d bits and is float now, which takes more room: quantize it anew (weights: %d)", l, was, was)
	}
	l.Report.Form = l.Weight.Type.String()
	if w.Recipe.Sparse {
		return w.sparse(l)
	}
	return nil
}

// sparse stores the weight as a sparse initializer where that is smaller: each number that is not zero takes its own bytes and
// eight for its place.
func (w *writer) sparse(l *LayerState) error {
	v := l.Weight
	if v.Init == nil || v.Type != onnxio.Float32 {
		w.note("%v: not stored as sparse_initializer, its weight is %v of %s", l, v.Type, map[bool]string{true: "an initializer", false: "a Constant node"}[v.Init != nil])
		return nil
	}
	t, err := v.Tensor()
	if err != nil {
		return err
	}
	var values []float32
	var at []int64
	for i, x := range t.Float32s() {
		if x != 0 {
			values, at = append(values, x), append(at, int64(i))
		}
	}
	if len(values)*12 >= t.Len()*4 {
		w.note("%v: not stored as sparse_initializer, that would be larger with %.0f%% zeros", l, 100*(1-float64(len(values))/float64(t.Len())))
		return nil
	}
	v.Sparse = &onnxpb.SparseTensorProto{Values: onnxio.TensorOf(values, len(values)).Proto(v.Name), Indices: onnxio.TensorOf(at, len(at)).Proto(""), Dims: v.Init.Dims}
	v.Init = nil
	w.need(11)
	l.Report.Form = "sparse float32"
	return nil
}

// raise brings the model to the operator set that the forms need.
func (w *writer) raise() error {
	m := w.Model
	from := m.Opset("")
	if from >= w.opset {
		return nil
	}
	changes, err := convert.Opset(m, max(w.opset, convert.MinTarget))
	if err != nil {
		return fmt.Errorf("the chosen form needs operator set %d, and the model has %d: %w; write float weights (form: float) or export the model anew", w.opset, from, err)
	}
	said := make([]string, len(changes))
	for i, c := range changes {
		said[i] = c.String()
	}
	w.note("operator set raised from %d to %d, which the written form needs: %s", from, m.Opset(""), strings.Join(said, "; "))
	w.Report.Opset[1] = m.Opset("")
	return nil
}

// reachable tells whether the model can be brought to an operator set.
func (w *writer) reachable(opset int) error {
	if w.Model.Opset("") >= opset {
		return nil
	}
	_, err := convert.Opset(w.Model.Clone(), max(opset, convert.MinTarget))
	return err
}

// importSet makes the model import an operator set, unless it does.
func (w *writer) importSet(domain string, version int64) {
	if w.Model.Opset(domain) == 0 {
		w.Model.Proto.OpsetImport = append(w.Model.Proto.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: &domain, Version: &version})
	}
}

// node adds an operator with one output. It is named after the output unless out exists already; at nil adds at the end.
func addNode(g *graph.Graph, at *graph.Node, op, name string, out *graph.Value, in ...*graph.Value) (*graph.Node, error) {
	p := &onnxpb.NodeProto{OpType: proto.String(op), Name: proto.String(g.FreshName(name)), Output: []string{out.Name}}
	for _, v := range in {
		p.Input = append(p.Input, v.Name)
	}
	return g.AddNode(p, at)
}

// annotate says in the graph which tensors hold the scale and the zero point of the tensor of codes.
func quantizedBy(codes, scale, zero *graph.Value) {
	a := &onnxpb.TensorAnnotation{TensorName: proto.String(codes.Name)}
	for _, kv := range []struct {
		key string
		v   *graph.Value
	}{{"SCALE_TENSOR", scale}, {"ZERO_POINT_TENSOR", zero}} {
		if kv.v != nil {
			a.QuantParameterTensorNames = append(a.QuantParameterTensorNames, &onnxpb.StringStringEntryProto{Key: proto.String(kv.key), Value: proto.String(kv.v.Name)})
		}
	}
	codes.Graph.Proto.QuantizationAnnotation = append(codes.Graph.Proto.QuantizationAnnotation, a)
}
