package passes

import (
	"context"
	"time"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/obs"
	"github.com/obc-onnx/obc/onnxio"
)

// Pass is one step of a compression. It says what it changed in its report; an error stops the pipeline, and nothing is written.
type Pass interface {
	Name() string
	Apply(ctx context.Context, s *State) (PassReport, error)
}

// Options are what does not change the result of a compression, only how it is reached and told.
type Options struct {
	Threads     int              // 0: as many as there are CPUs
	Batch       int              // calibration samples that go through the model at a time; 0: chosen by the data
	MemoryLimit int64            // bytes of Hessians and traces in flight; 0: 1 GiB each
	Mask        string           // input that is 0 at padded positions; "": what the data found, "none": all count
	Version     string           // of the tool, for annotations and the report
	Progress    func(p Progress) // told again and again how far the work is, from any goroutine; nil for none
}

// Progress is how far a pass is.
type Progress struct {
	Pass        string // the pass's name
	Detail      string // what it is at, such as a layer's name
	Done, Total int    // in units of the pass: batches, rows
}

// State is what passes work on, from the model as it came in to the model that is written.
type State struct {
	Recipe *Recipe
	Data   calib.Dataset
	Options

	Model  *onnxio.Model     // the model on its way, at the end in sync with Graph
	Graph  *graph.Graph      // its editable view; nothing but the writing passes changes weights that Data runs through
	Layers []*LayerState     // layers of Graph in topological order, those left dense included
	Fixed  []graph.IntegerOp // what multiplies by codes and is no layer: its work is the same before and after
	Report *Report

	Links map[*graph.Value]*ActGrid // 8-bit quantizers of the LinkValues of the layers whose Input is set; empty: activations stay float

	counts map[*graph.Value]*histogram // of layer inputs and links, when activations are to be quantized
}

// LayerState is one layer on its way.
type LayerState struct {
	*graph.Layer
	Plan     Plan           // what the recipe says about it
	Shared   []string       // what else reads the constant that holds the weight: nodes that are not of this layer, outputs
	SharedAs string         // that constant's name
	ActBits  int            // to quantize its input to; 0: float
	Zeros    float64        // share of zeros in the weight as it came in
	Came     width          // how many bits weight and input came in with
	Solution *Solution      // nil while, or when, the layer is left dense
	Input    *ActGrid       // how its input is quantized; nil: float
	Moments  *calib.Moments // of the dense layer's output channels, bias included; nil until a correction asks for them
	Report   LayerReport    // filled pass by pass
}

// Solution is the compressed weight of a layer.
type Solution struct {
	W     []float32   // what the written weight stands for: Groups x Rows x Cols, ordered as by graph.Layer.Matrix
	Codes []int16     // in the same order, as Grids read them; nil: float
	Grids []*obs.Grid // one a group; nil: float
}

// Result is a finished compression.
type Result struct {
	Model  *onnxio.Model // to be saved
	Report *Report
}

// apply runs the passes in order and collects their reports.
func (s *State) apply(ctx context.Context, passes []Pass) error {
	for _, p := range passes {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		r, err := p.Apply(ctx, s)
		if err != nil {
			return err
		}
		r.Name, r.Seconds = p.Name(), time.Since(start).Seconds()
		s.Report.Passes = append(s.Report.Passes, r)
	}
	return nil
}
