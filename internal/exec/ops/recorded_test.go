package ops_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// TestContrib compares the com.microsoft operators with what ONNX Runtime gave: testdata/recorded/contrib.py says for what.
func TestContrib(t *testing.T) { runRecorded(t, "contrib") }

// recordedCase holds the files of one case of an archive in testdata/recorded; recorder.py says what they are.
type recordedCase map[string][]byte

func readRecorded(t testing.TB, set string) map[string]recordedCase {
	t.Helper()
	f, err := os.Open("testdata/recorded/" + set + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]recordedCase{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Dir(h.Name)
		if cases[name] == nil {
			cases[name] = recordedCase{}
		}
		cases[name][path.Base(h.Name)] = b
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no cases", f.Name())
	}
	return cases
}

func runRecorded(t *testing.T, set string) {
	cases := readRecorded(t, set)
	var names []string
	for name := range cases {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if err := cases[name].check(exec.Options{Threads: 2}); err != nil {
				t.Error(err)
			}
		})
	}
}

// check runs the case and compares its outputs.
func (c recordedCase) check(o exec.Options) error {
	var tol struct {
		Rtol, Atol, Codes float64
	}
	if err := json.Unmarshal(c["tolerance.json"], &tol); err != nil {
		return err
	}
	g, feeds, err := c.open()
	if err != nil {
		return err
	}
	e, err := exec.New(g, o)
	if err != nil {
		return err
	}
	got, err := e.Run(context.Background(), feeds, nil)
	if err != nil {
		return err
	}
	for k, v := range g.Outputs {
		want, err := c.tensor(fmt.Sprintf("output_%d.pb", k))
		if err != nil {
			return err
		}
		if err := closeTo(got[v.Name], want, tol.Rtol, tol.Atol, tol.Codes); err != nil {
			return fmt.Errorf("output %q: %w", v.Name, err)
		}
	}
	return nil
}

func (c recordedCase) open() (*graph.Graph, map[string]*onnxio.Tensor, error) {
	p := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(c["model.onnx"], p); err != nil {
		return nil, nil, err
	}
	g, err := graph.New(onnxio.New("model.onnx", p))
	if err != nil {
		return nil, nil, err
	}
	feeds := map[string]*onnxio.Tensor{}
	for k, v := range g.Inputs {
		if feeds[v.Name], err = c.tensor(fmt.Sprintf("input_%d.pb", k)); err != nil {
			return nil, nil, err
		}
	}
	return g, feeds, nil
}

func (c recordedCase) tensor(file string) (*onnxio.Tensor, error) {
	p := &onnxpb.TensorProto{}
	if err := proto.Unmarshal(c[file], p); err != nil {
		return nil, err
	}
	return tensorOf(p)
}

// closeTo is same, with integers allowed to be off by codes.
func closeTo(got, want *onnxio.Tensor, rtol, atol, codes float64) error {
	if codes == 0 || want.Type.IsFloat() || got == nil || got.Type != want.Type {
		return same(got, want, rtol, atol)
	}
	a, err := got.ConvertTo(onnxio.Float64)
	if err != nil {
		return err
	}
	b, err := want.ConvertTo(onnxio.Float64)
	if err != nil {
		return err
	}
	return same(a, b, 0, codes)
}

// TestGraphs runs small modules as PyTorch's exporters write them: testdata/recorded/graphs.py says which.
func TestGraphs(t *testing.T) { runRecorded(t, "graphs") }

// TestForms runs what other converters write: testdata/recorded/forms.py says what.
func TestForms(t *testing.T) { runRecorded(t, "forms") }
