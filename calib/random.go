package calib

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// randomKind tells whether spec asks for random data, "random" or "random:KIND", and of which kind.
func randomKind(spec string) (kind string, ok bool) {
	kind, ok = strings.CutPrefix(spec, "random")
	return strings.TrimPrefix(kind, ":"), ok && (kind == "" || kind[0] == ':')
}

// randomData makes up inputs: "random" or "random:gaussian" draws floats from a normal distribution, "random:uniform" from
// [0, 1). Integers are uniform below the size of the table that they index, as far as that can be seen, else 0 or 1. It is
// never a default: what is calibrated on noise is wrong for real inputs, and the warning says so in every report.
type randomData struct {
	cols    []column
	limit   map[string]int64 // integers are below this
	uniform bool
	seed    uint64
	notes   []string
}

const (
	randomSamples  = 64
	randomPicture  = 224 // unknown height or width
	randomSequence = 32  // any other unknown size
)

func openRandom(kind string, inputs []*graph.Value, o Options) (reader, error) {
	r := &randomData{limit: map[string]int64{}, seed: o.Seed}
	switch kind {
	case "", "gaussian":
	case "uniform":
		r.uniform = true
	default:
		return nil, fmt.Errorf("no such random data: write random, random:gaussian or random:uniform")
	}
	n := o.Samples
	if n == 0 {
		n = randomSamples
	}
	for _, v := range inputs {
		c, err := r.column(v, n)
		if err != nil {
			return nil, err
		}
		r.cols = append(r.cols, c)
		r.limit[v.Name] = 2
		if rows, ok := tableRows(v); ok {
			r.limit[v.Name] = rows
		}
	}
	return r, nil
}

// column decides the sizes of one input; n is the number of samples.
func (r *randomData) column(v *graph.Value, n int) (column, error) {
	switch {
	case v.Shape == nil:
		return column{}, fmt.Errorf("input %q declares no shape: random data needs one", v.Name)
	case !v.Type.IsFloat() && !v.Type.IsInteger() && v.Type != onnxio.Bool:
		return column{}, fmt.Errorf("input %q is %v: random data is made of numbers only", v.Name, v.Type)
	case len(v.Shape) == 0:
		return column{Name: v.Name, Type: v.Type, Shape: []int{}}, nil
	}
	shape := []int{n}
	if b := v.Shape[0]; b.Known() {
		shape[0] = int(max(b.N, 1)) * ((n + int(max(b.N, 1)) - 1) / int(max(b.N, 1)))
	}
	for i, d := range v.Shape[1:] {
		size := int(d.N)
		if !d.Known() {
			size = randomSequence
			if len(v.Shape) == 4 && i > 0 && v.Type.IsFloat() {
				size = randomPicture
			}
			r.notes = append(r.notes, fmt.Sprintf("input %q: axis %d (%v) is unknown, %d is taken", v.Name, i+1, d, size))
		}
		shape = append(shape, size)
	}
	if total := elements(shape[1:]); total > 1<<28 {
		return column{}, fmt.Errorf("input %q: a sample of %v is too big for random data", v.Name, shape[1:])
	}
	return column{Name: v.Name, Type: v.Type, Shape: shape}, nil
}

// tableRows is the size of the constant table that an integer input indexes.
func tableRows(v *graph.Value) (int64, bool) {
	for _, u := range v.Uses {
		if u.Node.Op() == "Gather" && u.Index == 1 && u.Node.In(0).IsConst() {
			shape := u.Node.In(0).Shape
			axis := u.Node.Int("axis", 0)
			if axis >= 0 && int(axis) < len(shape) && shape[axis].Known() {
				return shape[axis].N, true
			}
		}
		if op := u.Node.Op(); op == "Cast" || op == "Identity" {
			if n, ok := tableRows(u.Node.Out(0)); ok {
				return n, true
			}
		}
	}
	return 0, false
}

func (r *randomData) columns() []column { return r.cols }

// read draws each row from a generator of its own, so that a row is the same in any batch.
func (r *randomData) read(_ context.Context, name string, idx []int) (*onnxio.Tensor, error) {
	var c column
	for _, x := range r.cols {
		if x.Name == name {
			c = x
		}
	}
	shape := c.Shape
	if len(shape) == 0 {
		idx = []int{0}
	} else {
		shape = append([]int{len(idx)}, shape[1:]...)
	}
	work, whole := onnxio.Float32, false
	if !c.Type.IsFloat() {
		work, whole = onnxio.Int64, true
	}
	t := onnxio.NewTensor(work, shape...)
	h := fnv.New64a()
	h.Write([]byte(name))
	size := t.Len() / max(1, len(idx))
	for k, row := range idx {
		g := rand.New(rand.NewPCG(r.seed^h.Sum64(), uint64(row)))
		for i := k * size; i < (k+1)*size; i++ {
			switch {
			case whole && strings.Contains(name, "mask"):
				t.Int64s()[i] = 1
			case whole:
				t.Int64s()[i] = g.Int64N(max(r.limit[name], 1))
			case r.uniform:
				t.Float32s()[i] = g.Float32()
			default:
				t.Float32s()[i] = float32(g.NormFloat64())
			}
		}
	}
	return t.ConvertTo(c.Type)
}

func (r *randomData) close() error { return nil }

func (r *randomData) warnings() (notes, warnings []string) {
	return r.notes, []string{"random data: the values are made up: figures that rest on them, such as ranges, Hessians and accuracy, say little about real inputs; give real data to compress or score a model"}
}
