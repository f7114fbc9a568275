package ops_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// TestEinsumProducts compares matrix products under all orders of labels with the plain sum, which integers take.
func TestEinsumProducts(t *testing.T) {
	sizes := map[rune]int{'b': 2, 'h': 3, 'i': 4, 'j': 5, 'k': 6, 'd': 7}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, equation := range []string{"bhid,bhjd->bhij", "bhij,bhjd->bhid", "bhij,bhjd->bihd", "ij,jk->ik", "ij,kj->ik", "ji,jk->ki", "bij,bjk->bik",
		"ibj,jbk->kib", "i,j->ij", "ij,ij->", "ij,j->i", "bi,bi->b", "ijk,kd->ijd", "bhi,h->bi", "hij,jkd->hikd", "bi,bj->ijb", "ij,jk,kd->id", "ij,k->i"} {
		for _, float := range []onnxio.DataType{onnxio.Float32, onnxio.Float64} {
			if err := checkEinsum(equation, float, sizes, rng); err != nil {
				t.Errorf("%s in %v: %v", equation, float, err)
			}
		}
	}
}

func checkEinsum(equation string, float onnxio.DataType, sizes map[rune]int, rng *rand.Rand) error {
	var shapes [][]int
	shape := []int{}
	for _, l := range equation {
		switch {
		case l == ',', l == '-':
			shapes, shape = append(shapes, shape), []int{}
		case l != '>':
			shape = append(shape, sizes[l])
		}
	}
	run := func(to onnxio.DataType, in []*onnxio.Tensor) (*onnxio.Tensor, error) {
		b := testmodel.New(12)
		feeds, names := map[string]*onnxio.Tensor{}, ""
		for i, x := range in {
			y, err := x.ConvertTo(to)
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("x%d", i)
			dims := make([]any, len(x.Shape))
			for k, d := range x.Shape {
				dims[k] = d
			}
			b.Input(name, to, dims...)
			feeds[name] = y
			names += name + " "
		}
		g, err := graph.New(b.Node("Einsum", names+"-> y", "equation", equation).Output("y", to).Model())
		if err != nil {
			return nil, err
		}
		e, err := exec.New(g, exec.Options{Threads: 3})
		if err != nil {
			return nil, err
		}
		out, err := e.Run(context.Background(), feeds, nil)
		return out["y"], err
	}
	in := make([]*onnxio.Tensor, len(shapes))
	for i, s := range shapes {
		in[i] = onnxio.NewTensor(onnxio.Int64, s...)
		for k := range in[i].Int64s() {
			in[i].Int64s()[k] = int64(rng.IntN(9)) - 4
		}
	}
	want, err := run(onnxio.Int64, in)
	if err != nil {
		return err
	}
	got, err := run(float, in)
	if err != nil {
		return err
	}
	w, err := want.ConvertTo(float)
	if err != nil {
		return err
	}
	return same(got, w, 0, 0) // small integers: the sums are exact
}
