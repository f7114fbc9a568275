package ops_test

import (
	"strings"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestUnsupported: what cannot run is named before anything runs, with the reason where there is one.
func TestUnsupported(t *testing.T) {
	x := []*onnxio.Tensor{f32(nil, 1)}
	for op, part := range map[string]string{
		"ai.onnx.preview.training::GraphCall": `ai.onnx.preview.training.GraphCall (opset 1) at node "n_y0" is not an inference operator`,
		"com.microsoft.nchwc::Conv":           `com.microsoft.nchwc.Conv (opset 1) at node "n_y0" is for the machine that ONNX Runtime optimized the file on`,
		"com.example::Frobnicate":             `com.example.Frobnicate (opset 1) at node "n_y0"`,
	} {
		if _, err := eval(op, 1, 1, x); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error is %v, expected %q in it", op, err, part)
		}
	}
}
