package ops_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// kinds are the folders of the official vectors.
var kinds = []string{"node", "simple", "pytorch-converted", "pytorch-operator", "light"}

// TestConformance runs the official ONNX vectors. Cases that do not pass yet are listed, each with its reason, in
// testdata/conformance/expected_failures.txt; a listed case that passes fails the test, so the list only shrinks. The results must be
// those that docs/CONFORMANCE.md shows.
func TestConformance(t *testing.T) {
	root := testkit.Vectors(t)
	expected := expectedFailures(t)
	results := map[string]bool{}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			names := cases(t, root, kind)
			passed := 0
			for _, name := range names {
				key := kind + "/" + name
				err := runCase(filepath.Join(root, kind), name, kind)
				reason, listed := expected[key]
				switch {
				case err == nil && listed:
					t.Errorf("%s passes: remove it from expected_failures.txt (%s)", key, reason)
				case err != nil && !listed:
					t.Errorf("%s: %v", key, err)
				}
				if results[key] = err == nil; err == nil {
					passed++
				}
			}
			t.Logf("%s: %d of %d pass", kind, passed, len(names))
		})
	}
	t.Run("table", func(t *testing.T) { checkTable(t, root, results, expected) })
}

func expectedFailures(t *testing.T) map[string]string {
	f, err := os.Open("testdata/conformance/expected_failures.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := map[string]string{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, reason, ok := strings.Cut(line, " ")
		if !ok {
			t.Errorf("expected_failures.txt: %q has no reason", line)
		}
		list[name] = reason
	}
	return list
}

func cases(t *testing.T, root, kind string) []string {
	entries, err := os.ReadDir(filepath.Join(root, kind))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".onnx"); ok && kind == "light" {
			names = append(names, name)
		} else if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names
}

// runCase runs one vector and compares the outputs.
func runCase(dir, name, kind string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if kind == "light" {
		return runLight(dir, name)
	}
	dir = filepath.Join(dir, name)
	g, e, err := open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		return err
	}
	tol := struct{ Rtol, Atol float64 }{1e-3, 1e-7}
	if b, err := os.ReadFile(filepath.Join(dir, "tolerance.json")); err == nil {
		if err := json.Unmarshal(b, &tol); err != nil {
			return err
		}
	}
	sets, _ := filepath.Glob(filepath.Join(dir, "test_data_set_*"))
	for _, set := range sets {
		feeds := map[string]*onnxio.Tensor{}
		k := 0
		for _, v := range g.Inputs {
			path := filepath.Join(set, fmt.Sprintf("input_%d.pb", k))
			if _, err := os.Stat(path); err != nil || v.IsConst() {
				continue
			}
			k++
			if feeds[v.Name], err = loadValue(path, v.Info.GetType()); err != nil {
				return err
			}
		}
		got, err := e.Run(context.Background(), feeds, nil)
		if err != nil {
			return err
		}
		for i, v := range g.Outputs {
			path := filepath.Join(set, fmt.Sprintf("output_%d.pb", i))
			if _, err := os.Stat(path); err != nil {
				continue
			}
			want, err := loadValue(path, v.Info.GetType())
			if err != nil {
				return err
			}
			if err := same(got[v.Name], want, tol.Rtol, tol.Atol); err != nil {
				return fmt.Errorf("output %q: %w", v.Name, err)
			}
		}
	}
	return nil
}

func open(path string) (*graph.Graph, *exec.Executor, error) {
	m, err := onnxio.Load(path)
	if err != nil {
		return nil, nil, err
	}
	g, err := graph.New(m)
	if err != nil {
		return nil, nil, err
	}
	e, err := exec.New(g, exec.Options{Threads: 2})
	return g, e, err
}

// runLight feeds the ramp i/n that the light networks' expected outputs were computed from.
func runLight(dir, name string) error {
	g, e, err := open(filepath.Join(dir, name+".onnx"))
	if err != nil {
		return err
	}
	feeds := map[string]*onnxio.Tensor{}
	for _, v := range g.Inputs {
		shape, ok := v.Shape.Ints()
		if v.IsConst() || !ok {
			continue
		}
		x := onnxio.NewTensor(onnxio.Float32, shape...)
		for i := range x.Float32s() {
			x.Float32s()[i] = float32(float64(i) / float64(x.Len()))
		}
		feeds[v.Name] = x
	}
	got, err := e.Run(context.Background(), feeds, nil)
	if err != nil {
		return err
	}
	want, _, err := onnxio.LoadTensorPB(filepath.Join(dir, name+"_output_0.pb"))
	if err != nil {
		return err
	}
	return same(got[g.Outputs[0].Name], want, 1e-3, 1e-7)
}

// loadValue reads a file of the vectors: a tensor, a sequence or an optional, as the declared type says.
func loadValue(path string, typ *onnxpb.TypeProto) (*onnxio.Tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	switch v := typ.GetValue().(type) {
	case *onnxpb.TypeProto_SequenceType:
		return sequenceOf(b, v.SequenceType)
	case *onnxpb.TypeProto_OptionalType:
		return optionalOf(b)
	}
	p := &onnxpb.TensorProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		return nil, err
	}
	return tensorOf(p)
}

func tensorOf(p *onnxpb.TensorProto) (*onnxio.Tensor, error) {
	return onnxio.New("vector", &onnxpb.ModelProto{}).Tensor(p)
}

// The messages SequenceProto and OptionalProto of onnx-data.proto hold tensors in field 3 and a sequence in field 5.

func sequenceOf(b []byte, typ *onnxpb.TypeProto_Sequence) (*onnxio.Tensor, error) {
	var list []*onnxio.Tensor
	err := messages(b, func(field protowire.Number, b []byte) error {
		p := &onnxpb.TensorProto{}
		if field != 3 {
			return nil
		}
		if err := proto.Unmarshal(b, p); err != nil {
			return err
		}
		x, err := tensorOf(p)
		list = append(list, x)
		return err
	})
	return exec.NewSequence(onnxio.DataType(typ.GetElemType().GetTensorType().GetElemType()), list...), err
}

func optionalOf(b []byte) (*onnxio.Tensor, error) {
	out := exec.NewOptional(nil)
	err := messages(b, func(field protowire.Number, b []byte) error {
		var x *onnxio.Tensor
		var err error
		switch field {
		case 3:
			p := &onnxpb.TensorProto{}
			if err = proto.Unmarshal(b, p); err == nil {
				x, err = tensorOf(p)
			}
		case 5:
			x, err = sequenceOf(b, nil)
		default:
			return nil
		}
		out = exec.NewOptional(x)
		return err
	})
	return out, err
}

// messages calls fn for each embedded message (or string) of an encoded message.
func messages(b []byte, fn func(field protowire.Number, b []byte) error) error {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if typ == protowire.BytesType {
			m, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if err := fn(field, m); err != nil {
				return err
			}
		}
		n = protowire.ConsumeFieldValue(field, typ, b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}

// same compares a result with what is expected: |got - want| <= atol + rtol |want|, NaN equal to NaN.
func same(got, want *onnxio.Tensor, rtol, atol float64) error {
	if got == nil {
		return fmt.Errorf("is missing")
	}
	if a, ok := want.Data.(*exec.Optional); ok {
		b, ok := got.Data.(*exec.Optional)
		if !ok {
			if a.Value == nil {
				return fmt.Errorf("is %v, want none", got)
			}
			return same(got, a.Value, rtol, atol)
		}
		if (a.Value == nil) != (b.Value == nil) {
			return fmt.Errorf("optional differs in presence")
		}
		if a.Value == nil {
			return nil
		}
		return same(b.Value, a.Value, rtol, atol)
	}
	if a, ok := want.Data.(*exec.Sequence); ok {
		b, ok := got.Data.(*exec.Sequence)
		if !ok || len(a.Elems) != len(b.Elems) {
			return fmt.Errorf("is %v, want a sequence of %d", got, len(a.Elems))
		}
		for i := range a.Elems {
			if err := same(b.Elems[i], a.Elems[i], rtol, atol); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	}
	if got.Type != want.Type || fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) {
		return fmt.Errorf("is %v, want %v", got, want)
	}
	if got.Type == onnxio.String {
		for i, w := range onnxio.Slice[string](want) {
			if g := onnxio.Slice[string](got)[i]; g != w {
				return fmt.Errorf("element %d is %q, want %q", i, g, w)
			}
		}
		return nil
	}
	if got.Type == onnxio.Complex64 || got.Type == onnxio.Complex128 {
		if a, b := fmt.Sprint(got.Data), fmt.Sprint(want.Data); a != b {
			return fmt.Errorf("is %s, want %s", a, b)
		}
		return nil
	}
	a, err := got.ConvertTo(onnxio.Float64)
	if err != nil {
		return err
	}
	b, err := want.ConvertTo(onnxio.Float64)
	if err != nil {
		return err
	}
	switch {
	case !want.Type.IsFloat():
		rtol, atol = 0, 0
	case want.Type == onnxio.BFloat16:
		rtol = max(rtol, 1.0/64) // two steps, as the standard's own runner allows
	}
	bad, first := 0, ""
	for i, w := range b.Float64s() {
		g := a.Float64s()[i]
		if g == w || math.IsNaN(g) && math.IsNaN(w) || math.Abs(g-w) <= atol+rtol*math.Abs(w) {
			continue
		}
		if bad++; bad == 1 {
			first = fmt.Sprintf("element %d is %v, want %v", i, g, w)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d elements differ: %s", bad, len(b.Float64s()), first)
	}
	return nil
}
