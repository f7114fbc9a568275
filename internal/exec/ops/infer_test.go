package ops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
)

// TestInferredShapes compares the shape rules with onnx.shape_inference on the official vectors (recorded in shapes.txt by record.py):
// whatever that finds, we find. What we find beyond must hold for the vector's expected outputs.
func TestInferredShapes(t *testing.T) {
	root := testkit.Vectors(t)
	text, err := os.ReadFile("testdata/conformance/shapes.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		name := fields[0]
		g, err := strippedGraph(filepath.Join(root, name, "model.onnx"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := exec.InferShapes(g); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n++
		if err := sameShapes(g, fields[1:]); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := trueShapes(g, filepath.Join(root, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d models", n)
}

// strippedGraph reads a model without what it declares about values behind its inputs.
func strippedGraph(path string) (*graph.Graph, error) {
	m, err := onnxio.Load(path)
	if err != nil {
		return nil, err
	}
	p := m.Proto.Graph
	p.ValueInfo = nil
	for _, v := range p.Output {
		if x := v.GetType().GetTensorType(); x != nil {
			x.Shape = nil
		}
	}
	return graph.New(m)
}

// sameShapes compares all values that nodes compute, in order, with the recorded ones.
func sameShapes(g *graph.Graph, want []string) error {
	k := 0
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			if v == nil {
				continue
			}
			if k == len(want) {
				return fmt.Errorf("more values than the %d recorded", len(want))
			}
			typ, dims, ranked := strings.Cut(strings.TrimSuffix(want[k], "]"), "[")
			k++
			if typ == "-" {
				continue
			}
			if typ != strconv.Itoa(int(v.Type)) {
				return fmt.Errorf("%v: %v has type %v, expected %s", n, v, v.Type, typ)
			}
			if !ranked {
				continue
			}
			if v.Shape == nil {
				return fmt.Errorf("%v: %v has no shape, expected [%s]", n, v, dims)
			}
			list := strings.FieldsFunc(dims, func(r rune) bool { return r == ',' })
			if len(list) != len(v.Shape) {
				return fmt.Errorf("%v: %v, expected [%s]", n, v, dims)
			}
			for i, d := range list {
				if d != "?" && d != v.Shape[i].String() {
					return fmt.Errorf("%v: %v, expected [%s]", n, v, dims)
				}
			}
		}
	}
	return nil
}

// trueShapes holds the inferred shapes of a graph's outputs against the tensors that a vector expects.
func trueShapes(g *graph.Graph, dir string) error {
	for i, v := range g.Outputs {
		path := filepath.Join(dir, "test_data_set_0", fmt.Sprintf("output_%d.pb", i))
		if _, err := os.Stat(path); err != nil || v.Shape == nil || v.Info.GetType().GetTensorType() == nil {
			continue
		}
		x, err := loadValue(path, v.Info.GetType())
		if err != nil {
			return err
		}
		ok := len(x.Shape) == len(v.Shape) && x.Type == v.Type
		for k := 0; ok && k < len(x.Shape); k++ {
			ok = !v.Shape[k].Known() || v.Shape[k].N == int64(x.Shape[k])
		}
		if !ok {
			return fmt.Errorf("%v is inferred, but the output is %v", v, x)
		}
	}
	return nil
}
