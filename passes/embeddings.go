package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// leastEmbedding is how many numbers a table must have for its codes to be worth three more nodes.
const leastEmbedding = 1 << 12

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
		if !ok || t.Rank() != 2 || t.Type != onnxio.Float32 || t.Len() < max(leastEmbedding, s.Recipe.MinSize) {
			continue
		}
		if other := otherReader(v); other != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("%s stays float: it is %s too", v.Name, other))
			continue
		}
		codes, scale, noise := roundRows(t.Float32s(), t.Shape[0])
		if codes == nil {
			r.Notes = append(r.Notes, fmt.Sprintf("%s stays float: it holds infinite values or values that are not numbers", v.Name))
			continue
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%s (%d x %d) is stored as int8, %.1f dB above what is lost", v.Name, t.Shape[0], t.Shape[1], noise))
		if err := pickCodes(v, onnxio.TensorOf(codes, t.Shape...), onnxio.TensorOf(scale, t.Shape[0], 1)); err != nil {
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

// roundRows is x, whose rows are equally long, as int8 times a scale for each row, symmetric, and the signal-to-noise ratio in dB. It
// is nil when x is not finite.
func roundRows(x []float32, rows int) (codes []int8, scale []float32, snr float64) {
	codes, scale = make([]int8, len(x)), make([]float32, rows)
	cols := len(x) / rows
	var signal, noise float64
	for r := range rows {
		row := x[r*cols : (r+1)*cols]
		top := float32(0)
		for _, v := range row {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return nil, nil, 0
			}
			top = max(top, float32(math.Abs(float64(v))))
		}
		scale[r] = top / 127
		if scale[r] == 0 {
			scale[r] = 1
		}
		for c, v := range row {
			q := max(-127, min(127, math.RoundToEven(float64(v)/float64(scale[r]))))
			codes[r*cols+c] = int8(q)
			d := float64(v) - q*float64(scale[r])
			signal, noise = signal+float64(v)*float64(v), noise+d*d
		}
	}
	return codes, scale, 10 * math.Log10(signal/max(noise, 1e-20*signal, math.SmallestNonzeroFloat64))
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
