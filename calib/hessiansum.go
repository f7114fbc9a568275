package calib

import (
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// HessianSum adds up the Hessians of one layer from inputs at hand, as Capture does for the layers of a running model.
type HessianSum struct{ rows *rowsOf }

// NewHessianSum begins the sum for the layer's first node.
func NewHessianSum(l *graph.Layer, threads int) *HessianSum {
	return &HessianSum{&rowsOf{layer: l, node: l.Nodes[0], gram: newGram(l.Groups, l.Cols, threads)}}
}

// Add takes a float32 input of the node.
func (s *HessianSum) Add(x *onnxio.Tensor) error {
	_, err := s.rows.take(x, nil)
	return err
}

// Hessians is 2/N sum x x^T for each group, Cols x Cols; the sum is then used up.
func (s *HessianSum) Hessians() [][]float64 { return s.rows.finish() }
