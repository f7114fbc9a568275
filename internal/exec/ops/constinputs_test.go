package ops_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// TestConstantInputs runs the recorded cases and the vectors with all inputs but one as initializers: kernels prepare what is constant once
// a model, and that must not change the result.
func TestConstantInputs(t *testing.T) {
	for _, set := range []string{"contrib", "forms", "graphs", "opsets"} {
		for name, c := range readRecorded(t, set) {
			g, feeds, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			if err := constantInputs(g, feeds, func() (*graph.Graph, error) { g, _, err := c.open(); return g, err }); err != nil {
				t.Errorf("%s/%s: %v", set, name, err)
			}
		}
	}
	if testing.Short() {
		return
	}
	root := testkit.Vectors(t)
	failing := expectedFailures(t)
	for _, name := range cases(t, root, "node") {
		if _, ok := failing["node/"+name]; ok {
			continue
		}
		path := filepath.Join(root, "node", name, "model.onnx")
		again := func() (*graph.Graph, error) { g, _, err := open(path); return g, err }
		g, err := again()
		if err != nil {
			t.Fatal(err)
		}
		feeds, err := vectorFeeds(g, filepath.Join(root, "node", name, "test_data_set_0"))
		if err != nil {
			t.Fatal(err)
		}
		if err := constantInputs(g, feeds, again); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// constantInputs compares a run of g with runs in which only the first or only the last input is given.
func constantInputs(g *graph.Graph, feeds map[string]*onnxio.Tensor, again func() (*graph.Graph, error)) error {
	if len(feeds) < 2 {
		return nil
	}
	o := exec.Options{Threads: 2}
	want, err := runWith(g, feeds, o)
	if err != nil {
		return err
	}
	var names []string
	for _, v := range g.Inputs {
		if !v.IsConst() {
			names = append(names, v.Name)
		}
	}
	for _, given := range []string{names[0], names[len(names)-1]} {
		h, err := again()
		if err != nil {
			return err
		}
		p, left := h.Model.Proto.Graph, map[string]*onnxio.Tensor{given: feeds[given]}
		for name, x := range feeds {
			switch x.Data.(type) {
			case *exec.Sequence, *exec.Optional, *exec.Map:
				left[name] = x
			default:
				if name != given {
					p.Initializer = append(p.Initializer, x.Proto(name))
				}
			}
		}
		p.Input = slices.DeleteFunc(p.Input, func(v *onnxpb.ValueInfoProto) bool {
			return feeds[v.GetName()] != nil && left[v.GetName()] == nil
		})
		if h, err = graph.New(h.Model); err != nil {
			return err
		}
		got, err := runWith(h, left, o)
		if err != nil {
			return fmt.Errorf("only %q given: %w", given, err)
		}
		for name, x := range got {
			if err := same(x, want[name], 1e-5, 1e-6); err != nil {
				return fmt.Errorf("only %q given: output %q: %w", given, name, err)
			}
		}
	}
	return nil
}
