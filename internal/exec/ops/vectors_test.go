package ops_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// TestVectorsInOtherWays runs the vectors that pass in all the ways that a model may be run, which must not change the result: as
// float64 throughout, with any number of threads, and, for the shape rules, with nothing known of the inputs' sizes.
func TestVectorsInOtherWays(t *testing.T) {
	root := testkit.Vectors(t)
	if testing.Short() {
		t.Skip("the vectors in other ways are left out with -short")
	}
	failing := expectedFailures(t)
	for _, kind := range []string{"node", "simple", "pytorch-converted", "pytorch-operator"} {
		for _, name := range cases(t, root, kind) {
			if _, ok := failing[kind+"/"+name]; ok {
				continue
			}
			if err := otherWays(filepath.Join(root, kind, name)); err != nil {
				t.Errorf("%s/%s: %v", kind, name, err)
			}
		}
	}
}

func otherWays(dir string) error {
	g, err := symbolicGraph(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	if err := exec.InferShapes(g); err != nil {
		return fmt.Errorf("sizes unknown: %w", err)
	}
	if err := trueShapes(g, dir); err != nil {
		return fmt.Errorf("sizes unknown: %w", err)
	}
	g, _, err = open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	feeds, err := vectorFeeds(g, filepath.Join(dir, "test_data_set_0"))
	if err != nil {
		return err
	}
	var first map[string]*onnxio.Tensor
	for _, threads := range []int{1, 3, 8} {
		got, err := runWith(g, feeds, exec.Options{Threads: threads})
		if err != nil {
			return err
		}
		if first == nil {
			first = got
		}
		for name, x := range got {
			if !identical(x, first[name]) {
				return fmt.Errorf("output %q depends on the number of threads", name)
			}
		}
	}
	if g.Nodes[0].Op() == "BitCast" {
		return nil // the bits of a float64 are others
	}
	wide, err := runWith(g, feeds, exec.Options{Threads: 2, Float64: true})
	if err != nil {
		return fmt.Errorf("in float64: %w", err)
	}
	for name, x := range first {
		if x.Type != onnxio.Float32 || x.Len() == 0 {
			continue
		}
		if err := roughly(wide[name], x, 1e-3); err != nil {
			return fmt.Errorf("in float64: output %q: %w", name, err)
		}
	}
	return nil
}

// symbolicGraph is strippedGraph with names in place of the inputs' sizes.
func symbolicGraph(path string) (*graph.Graph, error) {
	m, err := onnxio.Load(path)
	if err != nil {
		return nil, err
	}
	inits := map[string]bool{}
	for _, x := range m.Proto.Graph.Initializer {
		inits[x.GetName()] = true
	}
	for _, v := range m.Proto.Graph.Input {
		if inits[v.GetName()] {
			continue
		}
		for k, d := range v.GetType().GetTensorType().GetShape().GetDim() {
			d.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: fmt.Sprintf("%s_%d", v.GetName(), k)}
		}
	}
	m.Proto.Graph.ValueInfo = nil
	for _, v := range m.Proto.Graph.Output {
		if x := v.GetType().GetTensorType(); x != nil {
			x.Shape = nil
		}
	}
	return graph.New(m)
}

func vectorFeeds(g *graph.Graph, set string) (map[string]*onnxio.Tensor, error) {
	feeds := map[string]*onnxio.Tensor{}
	k := 0
	for _, v := range g.Inputs {
		path := filepath.Join(set, fmt.Sprintf("input_%d.pb", k))
		if v.IsConst() {
			continue
		}
		x, err := loadValue(path, v.Info.GetType())
		if err != nil {
			return nil, err
		}
		feeds[v.Name] = x
		k++
	}
	return feeds, nil
}

func runWith(g *graph.Graph, feeds map[string]*onnxio.Tensor, o exec.Options) (map[string]*onnxio.Tensor, error) {
	e, err := exec.New(g, o)
	if err != nil {
		return nil, err
	}
	return e.Run(context.Background(), feeds, nil)
}

// identical compares bit by bit.
func identical(a, b *onnxio.Tensor) bool {
	if x, ok := a.Data.(*exec.Sequence); ok {
		y := b.Data.(*exec.Sequence)
		for i := range x.Elems {
			if !identical(x.Elems[i], y.Elems[i]) {
				return false
			}
		}
		return len(x.Elems) == len(y.Elems)
	}
	if x, ok := a.Data.(*exec.Optional); ok {
		y := b.Data.(*exec.Optional)
		return (x.Value == nil) == (y.Value == nil) && (x.Value == nil || identical(x.Value, y.Value))
	}
	if a.Type != b.Type || fmt.Sprint(a.Shape) != fmt.Sprint(b.Shape) {
		return false
	}
	return bytes.Equal(packed(a), packed(b))
}

func packed(x *onnxio.Tensor) []byte {
	if s, ok := x.Data.([]string); ok {
		var b []byte
		for _, e := range s {
			b = protowire.AppendString(b, e)
		}
		return b
	}
	return x.Proto("").RawData
}

// TestRecordedShapes holds the shape rules against the recorded outputs of older operator sets and other domains.
func TestRecordedShapes(t *testing.T) {
	for _, set := range []string{"opsets", "contrib", "ml"} {
		for name, c := range readRecorded(t, set) {
			g, _, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			if err := exec.InferShapes(g); err != nil {
				t.Errorf("%s/%s: %v", set, name, err)
				continue
			}
			for k, v := range g.Outputs {
				want, err := c.tensor(fmt.Sprintf("output_%d.pb", k))
				if err != nil {
					t.Fatal(err)
				}
				ok := v.Shape == nil || len(v.Shape) == len(want.Shape)
				for i := 0; ok && i < len(v.Shape); i++ {
					ok = !v.Shape[i].Known() || v.Shape[i].N == int64(want.Shape[i])
				}
				if !ok || v.Type != onnxio.Undefined && v.Type != want.Type {
					t.Errorf("%s/%s: %v is inferred, but the output is %v", set, name, v, want)
				}
			}
		}
	}
}
