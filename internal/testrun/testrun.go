// Package testrun runs models in tests of packages that write or change them.
package testrun

import (
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// NodeByNode are the hooks of a run that computes what the file says: no nodes run together, so there are no roundings of products that
// run on codes.
var NodeByNode = &exec.Hooks{After: func(*graph.Node, []*onnxio.Tensor, []*onnxio.Tensor) error { return nil }}

// Model is m's outputs, by name, for the given inputs. Whatever fails ends the test.
func Model(t testing.TB, m *onnxio.Model, feeds map[string]*onnxio.Tensor, o exec.Options, h *exec.Hooks) map[string]*onnxio.Tensor {
	t.Helper()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	e, err := exec.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(t.Context(), feeds, h)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
