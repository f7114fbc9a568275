package ops_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// typeVariable is a set of inputs that share an element type, and the types that the standard allows there.
type typeVariable struct {
	name    string
	inputs  []int
	repeats bool // the last of them stands for all that follow
	allowed []onnxio.DataType
}

// typeVariables reads the operators' types from operators.txt.
func typeVariables(t *testing.T) map[opVersion][]typeVariable {
	text, err := os.ReadFile("testdata/conformance/operators.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[opVersion][]typeVariable{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		since, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		var list []typeVariable
		for i, field := range f[5:] {
			name, types, _ := strings.Cut(field, "=")
			types, repeats := strings.CutSuffix(types, "+")
			k := slices.IndexFunc(list, func(v typeVariable) bool { return v.name == name })
			if k < 0 {
				v := typeVariable{name: name}
				for _, s := range strings.FieldsFunc(types, func(r rune) bool { return r == ',' }) {
					n, err := strconv.Atoi(s)
					if err != nil {
						t.Fatal(err)
					}
					v.allowed = append(v.allowed, onnxio.DataType(n))
				}
				k, list = len(list), append(list, v)
			}
			list[k].inputs, list[k].repeats = append(list[k].inputs, i), repeats
		}
		out[opVersion{f[0], f[1], since}] = list
	}
	return out
}

// TestElementTypes runs, for each operator, its first official vector with the inputs of each type variable converted to every
// type that the standard allows there. Floating-point types must give what float32 gives, as far as their digits go; of the others it is
// asked only that they are taken.
func TestElementTypes(t *testing.T) {
	root := testkit.Vectors(t)
	versions, _ := standardOperators(t)
	variables := typeVariables(t)
	done := map[opVersion]bool{}
	tried := 0
	for _, name := range cases(t, root, "node") {
		if strings.Contains(name, "_expanded") {
			continue
		}
		op, err := subject(root, name, versions)
		if err != nil {
			t.Fatal(err)
		}
		v := loadVector(t, filepath.Join(root, "node", name))
		if done[op] || v == nil {
			continue
		}
		done[op] = true
		for _, variable := range variables[op] {
			for _, to := range variable.allowed {
				if to == onnxio.String && (op.name == "Col2Im" || op.name == "GridSample") {
					continue // there is no sum of strings
				}
				n, err := v.checkType(variable, to)
				tried += n
				if err != nil {
					t.Errorf("%s: %s with %s as %v: %v", name, op.name, variable.name, to, err)
				}
			}
		}
	}
	t.Logf("%d operators, %d types", len(done), tried)
}

// vector is an official vector of one node.
type vector struct {
	model *onnxpb.ModelProto
	feeds []*onnxio.Tensor // by graph input
	base  map[string]*onnxio.Tensor
}

// loadVector gives nil for vectors that have more than one node, no tensors as inputs, random outputs or a body (whose operators take
// fewer types), or that do not run.
func loadVector(t *testing.T, dir string) *vector {
	m, err := onnxio.Load(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	g := m.Proto.Graph
	if len(g.Node) != 1 || slices.Contains([]string{"Bernoulli", "Scan", "Loop"}, g.Node[0].GetOpType()) {
		return nil
	}
	v := &vector{model: m.Proto}
	for i, in := range g.Input {
		if in.GetType().GetTensorType() == nil {
			return nil
		}
		x, err := loadValue(filepath.Join(dir, "test_data_set_0", fmt.Sprintf("input_%d.pb", i)), in.Type)
		if err != nil {
			t.Fatal(err)
		}
		v.feeds = append(v.feeds, x)
	}
	if v.base, err = v.run(v.feeds); err != nil {
		return nil
	}
	return v
}

// run feeds the model with tensors whose types may differ from the declared ones.
func (v *vector) run(feeds []*onnxio.Tensor) (map[string]*onnxio.Tensor, error) {
	p := proto.Clone(v.model).(*onnxpb.ModelProto)
	p.Graph.ValueInfo = nil
	named := map[string]*onnxio.Tensor{}
	for i, in := range p.Graph.Input {
		in.GetType().GetTensorType().ElemType = proto.Int32(int32(feeds[i].Type))
		named[in.GetName()] = feeds[i]
	}
	for _, out := range p.Graph.Output {
		out.Type = nil
	}
	g, err := graph.New(onnxio.New("vector", p))
	if err != nil {
		return nil, err
	}
	e, err := exec.New(g, exec.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	return e.Run(context.Background(), named, nil)
}

// checkType converts the variable's inputs; it gives the number of runs made.
func (v *vector) checkType(variable typeVariable, to onnxio.DataType) (int, error) {
	feeds, rounded := slices.Clone(v.feeds), slices.Clone(v.feeds)
	from := onnxio.Undefined
	for i, in := range v.model.Graph.Input {
		pos := slices.Index(v.model.Graph.Node[0].Input, in.GetName())
		last := variable.inputs[len(variable.inputs)-1]
		if !slices.Contains(variable.inputs, pos) && !(variable.repeats && pos > last) {
			continue
		}
		from = feeds[i].Type
		y, err := feeds[i].ConvertTo(to)
		if err != nil {
			return 0, nil // no numbers, or no such conversion
		}
		feeds[i] = y
		if rounded[i], err = y.ConvertTo(from); err != nil {
			return 0, nil
		}
	}
	if from == onnxio.Undefined || from == to {
		return 0, nil
	}
	got, err := v.run(feeds)
	if err != nil {
		return 1, typeRefused(err)
	}
	digits := map[onnxio.DataType]float64{onnxio.Float64: 1e-4, onnxio.Float32: 1e-4, onnxio.Float16: 1e-2, onnxio.BFloat16: 6e-2}
	tol := digits[to]
	if digits[from] == 0 || tol == 0 {
		return 1, nil
	}
	want, err := v.run(rounded)
	if err != nil {
		return 1, err
	}
	for name, w := range want {
		if y := got[name]; to == onnxio.Float16 && onnxio.Undefined != y.Type {
			if w, err = w.ConvertTo(y.Type); err != nil { // what overflows there overflows here
				return 1, err
			}
		}
		if err := roughly(got[name], w, math.Max(tol, digits[from])); err != nil {
			return 1, fmt.Errorf("output %q: %w", name, err)
		}
	}
	return 1, nil
}

// typeRefused keeps only errors that speak of types or of the program itself: values may fit no longer after a conversion.
func typeRefused(err error) error {
	for _, s := range []string{"type", "internal", "expected", "panic"} {
		if strings.Contains(err.Error(), s) {
			return err
		}
	}
	return nil
}

// roughly compares within tol of the largest number.
func roughly(got, want *onnxio.Tensor, tol float64) error {
	if got == nil || exec.IsSequence(want) || exec.IsOptional(want) || !want.Type.IsFloat() {
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
	most := 0.0
	for _, x := range b.Float64s() {
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			most = math.Max(most, math.Abs(x))
		}
	}
	return same(a, b, 0, tol*most)
}
