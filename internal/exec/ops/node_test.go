package ops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// nodeCase is one operator call with hand-checked results.
type nodeCase struct {
	name  string
	op    string // may have a domain: com.microsoft::Gelu
	opset int    // of the operator's domain
	in    []*onnxio.Tensor
	attrs []any
	want  []*onnxio.Tensor // nil entries are not looked at
	fails string           // instead of results: a part of the error
}

// eval runs one node on the given inputs; a nil input is omitted.
func eval(op string, opset, outputs int, in []*onnxio.Tensor, attrs ...any) ([]*onnxio.Tensor, error) {
	b := testmodel.New(exec.NewestOpset)
	if domain, _, ok := strings.Cut(op, "::"); ok {
		b.Import(domain, opset)
	} else {
		b = testmodel.New(opset)
	}
	feeds := map[string]*onnxio.Tensor{}
	var args, results []string
	for i, x := range in {
		name := "_"
		if x != nil {
			name = fmt.Sprintf("x%d", i)
			shape := make([]any, len(x.Shape))
			for k, d := range x.Shape {
				shape[k] = d
			}
			b.Input(name, x.Type, shape...)
			feeds[name] = x
		}
		args = append(args, name)
	}
	for i := range outputs {
		results = append(results, fmt.Sprintf("y%d", i))
	}
	b.Node(op, strings.Join(args, " ")+" -> "+strings.Join(results, " "), attrs...).Outputs(results...)
	g, err := graph.New(b.Model())
	if err != nil {
		return nil, err
	}
	e, err := exec.New(g, exec.Options{Threads: 2})
	if err != nil {
		return nil, err
	}
	got, err := e.Run(context.Background(), feeds, nil)
	if err != nil {
		return nil, err
	}
	out := make([]*onnxio.Tensor, outputs)
	for i, name := range results {
		out[i] = got[name]
	}
	return out, nil
}

func runNodeCases(t *testing.T, cases []nodeCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.op+"/"+c.name, func(t *testing.T) {
			got, err := eval(c.op, c.opset, max(len(c.want), 1), c.in, c.attrs...)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), "node ") {
					t.Fatalf("error is %v, expected one that names the node and says %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range c.want {
				if w == nil {
					continue
				}
				if err := same(got[i], w, 1e-5, 1e-6); err != nil {
					t.Errorf("output %d: %v", i, err)
				}
			}
		})
	}
}

func f32(shape []int, v ...float32) *onnxio.Tensor { return onnxio.TensorOf(v, shape...) }
func i64(shape []int, v ...int64) *onnxio.Tensor   { return onnxio.TensorOf(v, shape...) }
func strs(shape []int, v ...string) *onnxio.Tensor { return onnxio.TensorOf(v, shape...) }

// dims writes a shape shortly.
func dims(d ...int) []int { return d }

// ramp is 0, 1, 2, ... in a shape.
func ramp(shape ...int) *onnxio.Tensor {
	x := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range x.Float32s() {
		x.Float32s()[i] = float32(i)
	}
	return x
}
