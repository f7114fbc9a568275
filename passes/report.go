package passes

import "errors"

// ErrNothingChanged tells that every layer was left as it was; the message that wraps it says why.
var ErrNothingChanged = errors.New("nothing was changed")

// Report says what was done to which layer and at what loss. All sizes are bytes, all times seconds.
type Report struct {
	Tool       string        `json:"tool"`
	Version    string        `json:"version"`
	RecipeHash string        `json:"recipe_hash"`
	Samples    int           `json:"samples"` // calibration samples that were read
	Layers     []LayerReport `json:"layers"`
	Kept       []KeptLayer   `json:"kept"` // left dense, each with its reason
	Passes     []PassReport  `json:"passes"`
	Dense      ModelCost     `json:"dense"`
	Compressed ModelCost     `json:"compressed"`
	Opset      [2]int        `json:"opset"` // before, after
	Target     string        `json:"target,omitempty"`
	Reached    float64       `json:"reached,omitempty"` // dense cost / compressed cost in the target's unit
	Warnings   []string      `json:"warnings"`
	PeakRSS    int64         `json:"peak_rss"`
	Seconds    float64       `json:"seconds"`
}

// LayerReport is one compressed layer.
type LayerReport struct {
	Name         string  `json:"name"`
	Op           string  `json:"op"`
	Weight       string  `json:"weight"` // initializer
	Shape        []int   `json:"shape"`  // of the stored weight
	Groups       int     `json:"groups"`
	Rows         int     `json:"rows"` // per group
	Cols         int     `json:"cols"`
	Method       string  `json:"method"`
	Pattern      string  `json:"pattern,omitempty"` // "unstructured", "2:4", "block 4"
	Sparsity     float64 `json:"sparsity"`          // share of zeros in the written weight
	Bits         int     `json:"bits,omitempty"`    // of weights; 0 = float
	ActBits      int     `json:"activation_bits,omitempty"`
	Loss         float64 `json:"loss"`          // 1/2 tr(dW H dW^T), mean squared output error per sample and row
	RelativeLoss float64 `json:"relative_loss"` // loss / loss of the all-zero weight
	Damping      float64 `json:"damping"`       // in force
	Raised       int     `json:"damping_raised,omitempty"`
	LeftDense    int     `json:"columns_left_dense,omitempty"` // columns that the pattern does not reach: M or c does not divide the input channels
	DeadColumns  int     `json:"dead_columns,omitempty"`
	MACs         int64   `json:"macs"`                     // per sample, dense
	Scaled       bool    `json:"scaled_outputs,omitempty"` // equalization scaled its output channels, for the layers that read them
	Form         string  `json:"form"`                     // how the weight is stored: "float32", "int8", "int4", ...
	Seconds      float64 `json:"seconds"`
}

// KeptLayer is a layer, or a node that could have been one, that was left as it is.
type KeptLayer struct {
	Name   string `json:"name"`
	Op     string `json:"op"`
	Reason string `json:"reason"`
}

// PassReport is what one pass says about itself.
type PassReport struct {
	Name    string   `json:"name"`
	Changes int      `json:"changes"`
	Notes   []string `json:"notes,omitempty"`
	Seconds float64  `json:"seconds"`
}

// ModelCost counts one sample's work and the stored bytes.
type ModelCost struct {
	Bytes    int64   `json:"bytes"`    // on the disk: the model's file and its external data; of the result as Save writes it without options
	Weights  int64   `json:"weights"`  // number of weights in layers
	Sparsity float64 `json:"sparsity"` // share of zeros among them
	MACs     float64 `json:"macs"`     // multiplications with a non-zero weight
	BOPs     float64 `json:"bops"`     // MACs x bits, float32 = 32 (as the method's authors count)
}
