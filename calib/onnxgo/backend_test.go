package onnxgo_test

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	onnx "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/testbackend"
	_ "github.com/owulveryck/onnx-go/backend/testbackend/onnx" // registers the tests
	"gorgonia.org/tensor"

	"github.com/obc-onnx/obc/calib/onnxgo"
	"github.com/obc-onnx/obc/internal/testkit"
)

// TestRegistered runs all operator tests that onnx-go registers. Those whose expectation is not today's specification are listed with
// the reason in testdata/expected_failures.txt; a listed test that passes fails here, but for those that compare more finely than float32
// does: their last digit depends on the order of sums, which is another on processors of other widths. docs/ONNXGO.md states the count.
func TestRegistered(t *testing.T) {
	listed := expectedFailures(t)
	passed, all := 0, 0
	tests := testbackend.GetAllRegisteredTests()
	cases := make([]*testbackend.TestCase, len(tests))
	for i, f := range tests {
		cases[i] = f()
	}
	slices.SortFunc(cases, func(a, b *testbackend.TestCase) int { return strings.Compare(a.Title, b.Title) })
	for _, tc := range cases {
		all++
		if reason, ok := listed[tc.Title]; ok {
			delete(listed, tc.Title)
			if err := run(tc); err == nil && !strings.HasPrefix(reason, "compares ") {
				t.Errorf("%s passes: remove it from expected_failures.txt (%s)", tc.Title, reason)
			}
			continue
		}
		if t.Run(tc.Title, tc.RunTest(backendFor(t, tc), false)) && !tc.Skipped && !tc.Failed {
			passed++
		} else {
			t.Errorf("%s: %v", tc.Title, run(tc))
		}
	}
	for title := range listed {
		t.Errorf("expected_failures.txt lists %s, which is not registered", title)
	}
	doc, err := os.ReadFile(filepath.Join(testkit.Root(), "docs", "ONNXGO.md"))
	if err != nil {
		t.Fatal(err)
	}
	if count := fmt.Sprintf("%d of %d", passed, all); !strings.Contains(string(doc), count) {
		t.Errorf("%s tests pass, docs/ONNXGO.md does not say so", count)
	}
}

func backendFor(t *testing.T, tc *testbackend.TestCase) *onnxgo.Backend {
	opset, err := onnxgo.OpsetOf(tc.ModelB)
	if err != nil {
		t.Fatalf("%s: %v", tc.Title, err)
	}
	return onnxgo.New(opset)
}

// run is a test of onnx-go with its outcome as an error.
func run(tc *testbackend.TestCase) error {
	opset, err := onnxgo.OpsetOf(tc.ModelB)
	if err != nil {
		return err
	}
	b := onnxgo.New(opset)
	m := onnx.NewModel(b)
	if err := m.UnmarshalBinary(tc.ModelB); err != nil {
		return err
	}
	for i, x := range tc.Input {
		if err := m.SetInput(i, x); err != nil {
			return err
		}
	}
	if err := b.Run(); err != nil {
		return err
	}
	got, err := m.GetOutputTensors()
	if err != nil {
		return err
	}
	if len(got) != len(tc.ExpectedOutput) {
		return fmt.Errorf("%d outputs, expected %d", len(got), len(tc.ExpectedOutput))
	}
	for i, want := range tc.ExpectedOutput {
		if !slices.Equal(got[i].Shape(), want.Shape()) {
			return fmt.Errorf("output %d has shape %v, expected %v", i, got[i].Shape(), want.Shape())
		}
		a, b := reflect.ValueOf(got[i].Data()), reflect.ValueOf(want.Data())
		if a.Type() != b.Type() {
			return fmt.Errorf("output %d holds %v, expected %v", i, a.Type(), b.Type())
		}
		if a.Kind() != reflect.Slice {
			continue
		}
		for k := range b.Len() {
			g, w := number(a.Index(k)), number(b.Index(k))
			if !(math.Abs(g-w) <= 1e-6) {
				return fmt.Errorf("output %d: element %d is %v, expected %v", i, k, g, w)
			}
		}
	}
	return nil
}

func number(v reflect.Value) float64 {
	switch {
	case v.CanFloat():
		return v.Float()
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	case v.Kind() == reflect.Bool && v.Bool():
		return 1
	}
	return 0
}

func expectedFailures(t *testing.T) map[string]string {
	f, err := os.Open("testdata/expected_failures.txt")
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

// TestInputs runs a model again with other inputs, and without any.
func TestInputs(t *testing.T) {
	var tc *testbackend.TestCase
	for _, f := range testbackend.FindAllTestsMatching(regexp.MustCompile("^TestAddBcast$")) {
		tc = f()
	}
	if tc == nil {
		t.Fatal("no test TestAddBcast")
	}
	b := backendFor(t, tc)
	m := onnx.NewModel(b)
	if err := m.UnmarshalBinary(tc.ModelB); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		x := tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]float32{float32(round), 1}))
		y := tensor.New(tensor.FromScalar(float32(10)))
		if err := m.SetInput(0, x); err != nil {
			t.Fatal(err)
		}
		if err := m.SetInput(1, y); err != nil {
			t.Fatal(err)
		}
		if err := b.Run(); err != nil {
			t.Fatal(err)
		}
		out, err := m.GetOutputTensors()
		if err != nil {
			t.Fatal(err)
		}
		if got := out[0].Data().([]float32); got[0] != float32(round)+10 || got[1] != 11 {
			t.Errorf("round %d: output is %v", round, got)
		}
	}
	if err := m.SetInput(1, tensor.New(tensor.WithShape(3), tensor.WithBacking([]float32{1, 2, 3}))); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(); err == nil || !strings.Contains(err.Error(), "Add") {
		t.Errorf("shapes [1 2] and [3]: error is %v, expected one that names the operator", err)
	}
}

// TestUnknownOperator gives the error by which onnx-go tells that a backend lacks an operator.
func TestUnknownOperator(t *testing.T) {
	b := onnxgo.New(0)
	n := b.NewNode()
	b.AddNode(n)
	err := b.ApplyOperation(onnx.Operation{Name: "NoSuchOperator"}, n)
	if _, ok := err.(*onnx.ErrNotImplemented); !ok {
		t.Errorf("error is %v, expected ErrNotImplemented", err)
	}
}
