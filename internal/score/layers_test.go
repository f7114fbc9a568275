package score

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	_ "github.com/obc-onnx/obc/internal/exec/ops"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// one is a data set of one sample.
type one map[string]*onnxio.Tensor

func (o one) Len() int         { return 1 }
func (o one) Inputs() []string { return []string{"x"} }
func (o one) Batch(context.Context, int, int) (map[string]*onnxio.Tensor, error) {
	return o, nil
}

// TestCompareFolded: a layer that took in the BatchNormalization or the bias behind it is compared with the value behind those; one
// that did not, with its own.
func TestCompareFolded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	values := func(shape ...int) *onnxio.Tensor {
		x := onnxio.NewTensor(onnxio.Float32, shape...)
		for i := range x.Float32s() {
			x.Float32s()[i] = r.Float32() + 0.5
		}
		return x
	}
	b := testmodel.New(18).Input("x", onnxio.Float32, 1, 3, 5, 5).Init("w1", values(4, 3, 3, 3)).Init("w2", values(2, 4, 1, 1)).Init("bias", values(1, 2, 1, 1))
	for _, p := range []string{"scale", "shift", "mean", "var"} {
		b.Init(p, values(4))
	}
	m := b.Node("Conv", "x w1 -> c1").Node("BatchNormalization", "c1 scale shift mean var -> n").Node("Relu", "n -> a").
		Node("Conv", "a w2 -> c2").Node("Add", "c2 bias -> s").Node("Relu", "s -> y").Outputs("y").Model()
	for _, fold := range []bool{true, false} {
		graphs := make([]*graph.Graph, 2)
		for i := range graphs {
			g, err := graph.New(m.Clone())
			if err != nil {
				t.Fatal(err)
			}
			graphs[i] = g
		}
		if fold {
			changes, err := graph.Simplify(graphs[1], graph.SimplifyOptions{FoldConstants: exec.Fold})
			if err != nil || changes.String() != "1 Add, 1 BatchNormalization" {
				t.Fatal(changes, err)
			}
			if err := graphs[1].Sync(); err != nil {
				t.Fatal(err)
			}
			if graphs[1], err = graph.New(graphs[1].Model); err != nil {
				t.Fatal(err)
			}
		}
		c, err := Compare(context.Background(), graphs[0], graphs[1], one{"x": values(1, 3, 5, 5)}, 1, exec.Options{Threads: 1})
		if err != nil || len(c.Layers) != 2 || len(c.Alone) != 0 {
			t.Fatal(c, err)
		}
		for _, l := range c.Layers {
			if l.Op != "Conv" || l.SNR < 100 {
				t.Errorf("folded %v: %s %s has %.1f dB", fold, l.Op, l.Name, l.SNR)
			}
		}
	}
}
