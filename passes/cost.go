package passes

import (
	"context"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// floatBits is the width that counts for weights that are not quantized.
const floatBits = 32

// count fills in what the model costs before and after; it is the last pass, for the annotations count among the bytes.
type count struct{}

// Name is what the report calls the pass.
func (count) Name() string { return "count" }

// Apply leaves the bytes of the dense model to who still has it.
func (count) Apply(ctx context.Context, s *State) (PassReport, error) {
	dense := &s.Report.Dense
	for _, l := range s.Layers {
		n := l.Groups * l.Rows * l.Cols
		dense.add(n, l.Zeros, float64(l.MACs()), l.Came)
		share, now := l.Zeros, l.Came
		if l.Solution != nil {
			share, now.weights = zeros(l.Solution.W), floatBits
			if l.Solution.Codes != nil {
				now.weights = l.Solution.Grids[0].Spec.Bits
			}
		}
		if l.Input != nil {
			now.inputs = l.Input.Bits
		}
		s.Report.Compressed.add(n, share, float64(l.MACs()), now)
	}
	for _, o := range s.Fixed {
		for _, c := range []*ModelCost{dense, &s.Report.Compressed} {
			c.add(0, 0, float64(o.MACs()), width{o.WeightBits, o.InputBits})
		}
	}
	var err error
	s.Report.Compressed.Bytes, err = s.Model.SavedSize(s.Model.Path, onnxio.SaveOptions{})
	return PassReport{}, err
}

// add counts one layer.
func (c *ModelCost) add(weights int, zeros, macs float64, w width) {
	all := c.Weights + int64(weights)
	if all > 0 {
		c.Sparsity = (c.Sparsity*float64(c.Weights) + zeros*float64(weights)) / float64(all)
	}
	c.Weights = all
	c.MACs += macs * (1 - zeros)
	c.BOPs += bitOperations(macs*(1-zeros), w)
}

// bitOperations is MACs x bits; see graph.OperationBits.
func bitOperations(macs float64, w width) float64 {
	return macs * float64(graph.OperationBits(w.weights, w.inputs))
}
