package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// leastEmbedding is how many numbers a table must have for its codes to be worth three more nodes.
const leastEmbedding = 1 << 12

// leastTied is the same for tables from which a layer took a copy, now codes: the file is not to grow by it.
const leastTied = 1 << 10

// quantizeEmbeddings stores tables of float32 whose rows Gather picks as int8, with a scale for each row. An embedding is a layer whose
// inputs are one-hot: its Hessian is diagonal, the rows' columns have no part in each other's error, and rounding to nearest is the
// solution that the exact method would give. Gather picks codes and scales then, and their product is what it picked before:
//
//	y = Cast(Gather(codes, i)) * Gather(scale, i)
//
// so that no runtime has to decode the table, and all have these operators.
type quantizeEmbeddings struct{}

// Name is what the report calls the pass.
func (quantizeEmbeddings) Name() string { return "quantize embeddings" }

// Apply edits the graph.
func (quantizeEmbeddings) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	var tables []*graph.Value
	s.Graph.Walk(func(n *graph.Node) {
		if v := n.In(0); n.Op() == "Gather" && v != nil && v.IsConst() && !slices.Contains(tables, v) {
			tables = append(tables, v)
		}
	})
	for _, v := range tables {
		t, ok := v.Const()
		least := leastEmbedding
		if slices.ContainsFunc(s.active(), func(l *LayerState) bool { return l.SharedAs == v.Name && len(l.Shared) > 0 }) {
			least = leastTied
		}
		if !ok || t.Rank() != 2 || t.Type != onnxio.Float32 || t.Len() < max(least, s.Recipe.MinSize) {
			continue
		}
		if other := otherReader(v); other != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("%s stays float: it is %s too", v.Name, other))
			continue
		}
		codes, scale, snr, err := roundRows(obs.Matrix{Rows: t.Shape[0], Cols: t.Shape[1], Data: t.Float32s()})
		if err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s stays float: it holds infinite values or values that are not numbers", v.Name))
			continue
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%s (%d x %d) is stored as int8, %.1f dB above what is lost", v.Name, t.Shape[0], t.Shape[1], snr))
		stored, err := integers(onnxio.Int8, codes, t.Shape)
		if err != nil {
			return r, err
		}
		if err := pickCodes(v, stored, onnxio.TensorOf(scale, t.Shape[0], 1)); err != nil {
			return r, err
		}
		r.Changes++
	}
	return r, nil
}

// otherReader names what a table serves as beside rows that Gathers pick; "" is nothing.
func otherReader(v *graph.Value) string {
	if v.IsOutput {
		return "an output of the graph"
	}
	if v.IsInput {
		return "an input of the graph"
	}
	for _, u := range v.Uses {
		if axis := u.Node.Int("axis", 0); u.Node.Op() != "Gather" || u.Index != 0 || axis != 0 && axis != -2 {
			return fmt.Sprintf("read by %v", u.Node)
		}
	}
	return ""
}

// rowGrid is one symmetric grid of int8 for each row, over the row's whole range.
var rowGrid = obs.GridSpec{Bits: 8, Symmetric: true, Signed: true, Narrow: true}

// roundRows is the codes of a table on rowGrid, the scale of each row, and the signal-to-noise ratio in dB. The error is for values that are
// not finite.
func roundRows(table obs.Matrix) (codes []int16, scale []float32, snr float64, err error) {
	g, err := obs.FitGrid(table, rowGrid)
	if err != nil {
		return nil, nil, 0, err
	}
	codes = make([]int16, len(table.Data))
	var signal, noise float64
	for i, v := range table.Data {
		var q float32
		codes[i], q = g.Quant(i/table.Cols, i%table.Cols, v)
		d := float64(v) - float64(q)
		signal, noise = signal+float64(v)*float64(v), noise+d*d
	}
	return codes, g.Scale, 10 * math.Log10(signal/max(noise, 1e-20*signal, math.SmallestNonzeroFloat64)), nil
}

// pickCodes makes the table v one of codes, and each Gather's result the product of the codes and the scale that it picks.
func pickCodes(v *graph.Value, codes, scale *onnxio.Tensor) error {
	if err := v.Graph.SetInit(v, codes); err != nil {
		return err
	}
	scales := v.Graph.AddInit(v.Name+"_scale", scale)
	quantizedBy(v, scales, nil)
	for _, u := range slices.Clone(v.Uses) {
		n := u.Node
		g, y := n.Graph, n.Outputs[0]
		picked := g.NewValue(y.Name + "_quantized")
		if err := n.SetOutput(0, picked); err != nil {
			return err
		}
		var next *graph.Node
		if i := slices.Index(g.Nodes, n); i+1 < len(g.Nodes) {
			next = g.Nodes[i+1]
		}
		float, by := g.NewValue(y.Name+"_float"), g.NewValue(y.Name+"_scale")
		cast, err := addNode(g, next, "Cast", n.Name()+"_Cast", float, picked)
		if err != nil {
			return err
		}
		cast.SetInt("to", int64(onnxio.Float32))
		if _, err := addNode(g, next, "Gather", n.Name()+"_scale", by, scales, n.In(1)); err != nil {
			return err
		}
		if _, err := addNode(g, next, "Mul", n.Name()+"_Mul", y, float, by); err != nil {
			return err
		}
	}
	return nil
}
