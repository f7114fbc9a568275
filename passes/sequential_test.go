package passes

import (
	"math"
	"testing"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

// outputError is the mean squared error of the model's outputs over their mean square.
func outputError(t *testing.T, dense, other *onnxio.Model, data calib.Dataset) float64 {
	t.Helper()
	a, b := outputsOf(t, dense, data), outputsOf(t, other, data)
	err, power := 0.0, 0.0
	for i := range a {
		err += (a[i] - b[i]) * (a[i] - b[i])
		power += a[i] * a[i]
	}
	return err / power
}

func outputsOf(t *testing.T, m *onnxio.Model, data calib.Dataset) []float64 {
	t.Helper()
	g, err := graph.New(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	var all []float64
	err = calib.Observe(t.Context(), g, []string{g.Outputs[0].Name}, data, calib.CaptureOptions{}, func(_ string, y *onnxio.Tensor, _ []bool) error {
		for _, v := range y.Float32s() {
			all = append(all, float64(v))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSequentialMakesGoodForEarlierLayers compares the error at the output, where samples outnumber columns.
func TestSequentialMakesGoodForEarlierLayers(t *testing.T) {
	for name, net := range map[string]func() (*onnxio.Model, arrays){"conv": convNet, "dense": denseNet} {
		for _, what := range []string{"sparsity: 0.6", "weights: {bits: 3, search: shrink}"} {
			found := map[string]float64{}
			for _, mode := range []string{"independent", "sequential"} {
				m, data := net()
				res, err := Compress(t.Context(), m, data, recipeOf(t, "{correction: none, mode: "+mode+", "+what+"}"), Options{Batch: 7})
				if err != nil {
					t.Fatal(err)
				}
				found[mode] = outputError(t, m, res.Model, data)
			}
			if found["sequential"] > 0.9*found["independent"] {
				t.Errorf("%s, %s: output errors %v", name, what, found)
			}
		}
	}
}

// normNet is a convolution and its BatchNormalization, twice.
func normNet() (*onnxio.Model, arrays) {
	b := testmodel.New(17).Input("x", onnxio.Float32, "N", 3, 6, 6)
	in := "x"
	for i, c := range []int{3, 8} {
		s := string(rune('0' + i))
		vec := func(name string, base, scale float64) {
			v := randoms(uint64(30+7*i+len(name)), scale, 8)
			for k := range v.Float32s() {
				v.Float32s()[k] = float32(base + math.Abs(float64(v.Float32s()[k])))
			}
			b.Init(name+s, v)
		}
		b.Init("w"+s, randoms(uint64(40+i), 0.3, 8, c, 3, 3))
		vec("g", 0.5, 0.3)
		vec("be", 0, 0.2)
		vec("mea", 0, 0.3)
		vec("vari", 0.5, 0.5)
		b.Node("Conv", in+" w"+s+" -> c"+s).Node("BatchNormalization", "c"+s+" g"+s+" be"+s+" mea"+s+" vari"+s+" -> n"+s).Node("Relu", "n"+s+" -> r"+s)
		in = "r" + s
	}
	return b.Outputs("r1").Model(), arrays{[]string{"x"}, []*onnxio.Tensor{randoms(50, 1, 16, 3, 6, 6)}}
}

func TestBatchNormIsReestimated(t *testing.T) {
	m, data := normNet()
	res, err := Compress(t.Context(), m, data, recipeOf(t, "{sparsity: 0.5, keep_batchnorm: true, correction: batchnorm}"), Options{Batch: 3})
	if err != nil {
		t.Fatal(err)
	}
	g, err := graph.New(res.Model.Clone())
	if err != nil {
		t.Fatal(err)
	}
	moments := map[string]*calib.Moments{"c0": {}, "c1": {}}
	err = calib.Observe(t.Context(), g, []string{"c0", "c1"}, data, calib.CaptureOptions{}, func(name string, y *onnxio.Tensor, _ []bool) error {
		return moments[name].Add(y, 1, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []string{"c0", "c1"} {
		n := g.Node("n_n" + string(rune('0'+i)))
		mean, _ := n.In(3).Const()
		vari, _ := n.In(4).Const()
		for k := range mean.Float32s() {
			if math.Abs(float64(mean.Float32s()[k])-moments[c].Mean()[k]) > 1e-4 || math.Abs(float64(vari.Float32s()[k])-moments[c].Var()[k]) > 1e-4 {
				t.Errorf("%s, channel %d: statistics %v, %v; its input has %v, %v", n.Name(), k, mean.Float32s()[k], vari.Float32s()[k], moments[c].Mean()[k], moments[c].Var()[k])
			}
		}
	}
}

// TestSequentialDoesNotFitNoise calibrates on about as many rows as the layers have columns, where the least squares for the inputs behind
// rounded activations fit those samples and no others: on other samples, the error must not be greater than that of mode independent.
func TestSequentialDoesNotFitNoise(t *testing.T) {
	const d = 48
	m := testmodel.New(17).Input("x", onnxio.Float32, "N", 4, d).
		Init("w0", randoms(61, 0.15, d, d)).Init("w1", randoms(62, 0.15, d, d)).Init("w2", randoms(63, 0.15, d, d)).
		Node("MatMul", "x w0 -> m0").Node("Tanh", "m0 -> t0").Node("MatMul", "t0 w1 -> m1").Node("Tanh", "m1 -> t1").Node("MatMul", "t1 w2 -> y").
		Output("y", onnxio.Float32, "N", 4, d).Model()
	few, others := arrays{[]string{"x"}, []*onnxio.Tensor{randoms(64, 1, 14, 4, d)}}, arrays{[]string{"x"}, []*onnxio.Tensor{randoms(65, 1, 100, 4, d)}}
	found := map[string]float64{}
	for _, mode := range []string{"independent", "sequential"} {
		res, err := Compress(t.Context(), m, few, recipeOf(t, "{correction: none, weights: {bits: 8}, activations: {bits: 5}, mode: "+mode+"}"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		found[mode] = outputError(t, m, res.Model, others)
	}
	if found["sequential"] > 1.02*found["independent"] {
		t.Errorf("errors on other samples: %v", found)
	}
}
