package passes

import (
	"context"
	"fmt"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// renormalize re-estimates mean and variance of every BatchNormalization from the compressed model's own activations, in order, each on what
// those before it now give. It does what BatchNorm tuning does in training frameworks, over all samples at once.
type renormalize struct{}

func (renormalize) Name() string { return "batchnorm re-estimation" }

func (p renormalize) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	var nodes []*graph.Node
	for _, n := range s.Graph.Nodes {
		if n.Op() == "BatchNormalization" && n.Domain() == "" {
			if why := ownParams(s.Graph, n); why != "" {
				r.Notes = append(r.Notes, fmt.Sprintf("%s keeps its statistics: %s", n.Name(), why))
				continue
			}
			nodes = append(nodes, n)
		}
	}
	if len(nodes) == 0 {
		r.Notes = append(r.Notes, "the model has no BatchNormalization with constant statistics: nothing is corrected")
		return r, nil
	}
	w, err := calib.NewWalker(s.Graph, s.Data, s.capture(p.Name()))
	if err != nil {
		return r, err
	}
	defer w.Close()
	hooks := s.rounded()
	for i, n := range nodes {
		s.progress(p.Name(), n.Name(), i, len(nodes))
		m := &calib.Moments{}
		err := w.To(ctx, n, func(*calib.Visit) *exec.Hooks { return hooks }, nil, func(v *calib.Visit) error {
			x := v.Live[n.In(0).Name]
			return m.Add(x, 1, v.Keep(x.Shape))
		})
		if err != nil {
			return r, err
		}
		if m.N == 0 {
			continue
		}
		for k, stat := range [][]float64{m.Mean(), m.Var()} {
			if err := setVector(n.In(3+k), stat); err != nil {
				return r, fmt.Errorf("%v: %w", n, err)
			}
		}
		if err := w.Refresh(n); err != nil {
			return r, err
		}
		r.Changes++
	}
	return r, nil
}

// ownParams gives mean and variance of a BatchNormalization to it alone, and tells why that cannot be done.
func ownParams(g *graph.Graph, n *graph.Node) (why string) {
	for i := 3; i < 5; i++ {
		v := n.In(i)
		if v == nil || !v.IsConst() {
			return fmt.Sprintf("input %d is not constant", i)
		}
		if len(v.Uses) == 1 && !v.IsOutput {
			continue
		}
		t, err := v.Tensor()
		if err != nil {
			return err.Error()
		}
		n.SetInput(i, g.AddInit(v.Name, t))
	}
	return ""
}

// setVector stores numbers in a constant vector, in its own type.
func setVector(v *graph.Value, x []float64) error {
	f := make([]float32, len(x))
	for i := range x {
		f[i] = float32(x[i])
	}
	t, err := onnxio.TensorOf(f, len(f)).ConvertTo(v.Type)
	if err != nil {
		return err
	}
	return v.Graph.SetInit(v, t)
}
