package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// The operators of ai.onnx.ml that rescale features, and the linear regressor. Rows hold one sample; the last axis is the features.

// perFeature computes each element from its value and its feature; to is the result's type, Undefined for the input's.
func perFeature(to onnxio.DataType, f func(v float64, feature int) float64) exec.Kernel {
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		v, err := floats(x)
		if err != nil {
			return err
		}
		width := 1
		if len(x.Shape) > 0 {
			width = x.Shape[len(x.Shape)-1]
		}
		t := to
		if t == onnxio.Undefined {
			t = x.Type
		}
		out := make([]float64, len(v))
		for i, e := range v {
			out[i] = f(e, i%width)
		}
		y := c.New(t, x.Shape...)
		c.Out[0] = y
		return store(y, out)
	}
}

// featureOf is the entry of a list for a feature: a list of one holds for all.
func featureOf(l []float32, k int) (float64, bool) {
	switch {
	case len(l) == 1:
		return float64(l[0]), true
	case k < len(l):
		return float64(l[k]), true
	}
	return 0, false
}

// checked refuses inputs whose features a list does not cover.
func checked(k exec.Kernel, lists ...[]float32) exec.Kernel {
	return func(c *exec.Call) error {
		if x := c.Input(0); x != nil && len(x.Shape) > 0 {
			for _, l := range lists {
				if n := x.Shape[len(x.Shape)-1]; len(l) > 1 && len(l) != n || len(l) == 0 {
					return fmt.Errorf("%d values for %d features", len(l), n)
				}
			}
		}
		return k(c)
	}
}

func prepareBinarizer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	threshold := float64(n.Float("threshold", 0))
	return perFeature(0, func(v float64, _ int) float64 {
		if v > threshold {
			return 1
		}
		return 0
	}), nil
}

func prepareScaler(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	offset, scale := n.Floats("offset"), n.Floats("scale")
	return checked(perFeature(onnxio.Float32, func(v float64, k int) float64 {
		o, _ := featureOf(offset, k)
		s, _ := featureOf(scale, k)
		return (v - o) * s
	}), offset, scale), nil
}

// prepareImputer replaces one value (NaN among them) by another, which each feature may have its own of.
func prepareImputer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	values, missing := n.Floats("imputed_value_floats"), float64(n.Float("replaced_value_float", 0))
	if l := n.Ints("imputed_value_int64s"); len(l) > 0 {
		values, missing = nil, float64(n.Int("replaced_value_int64", 0))
		for _, v := range l {
			values = append(values, float32(v))
		}
	}
	return checked(perFeature(0, func(v float64, k int) float64 {
		if r, ok := featureOf(values, k); ok && (v == missing || v != v && missing != missing) {
			return r
		}
		return v
	}), values), nil
}

// prepareNormalizer divides each row by its largest element, its sum of magnitudes or its length.
func prepareNormalizer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	norm := n.Str("norm", "MAX")
	if norm != "MAX" && norm != "L1" && norm != "L2" {
		return nil, fmt.Errorf("attribute norm is %q, expected MAX, L1 or L2", norm)
	}
	return func(c *exec.Call) error {
		x, rows, width, err := samples(c)
		if err != nil {
			return err
		}
		out := make([]float64, len(x))
		for r := range rows {
			row := x[r*width : (r+1)*width]
			by := 0.0
			for i, v := range row {
				switch {
				case norm == "L1":
					by += math.Abs(v)
				case norm == "L2":
					by += v * v
				case i == 0 || v > by:
					by = v
				}
			}
			if norm == "L2" {
				by = math.Sqrt(by)
			}
			for i, v := range row {
				out[r*width+i] = v
				if by != 0 {
					out[r*width+i] = v / by
				}
			}
		}
		y := c.New(onnxio.Float32, c.In[0].Shape...)
		c.Out[0] = y
		return store(y, out)
	}, nil
}

// samples reads input 0 as rows of features; a vector is one row.
func samples(c *exec.Call) (x []float64, rows, width int, err error) {
	if err := need(c, 1); err != nil {
		return nil, 0, 0, err
	}
	s := c.In[0].Shape
	if len(s) != 1 && len(s) != 2 {
		return nil, 0, 0, fmt.Errorf("input has shape %v, expected [N C] or [C]", s)
	}
	x, err = floats(c.In[0])
	return x, size(s[:len(s)-1]), s[len(s)-1], err
}

// prepareFeatureVectorizer joins the features of all inputs.
func prepareFeatureVectorizer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	want := n.Ints("inputdimensions")
	return func(c *exec.Call) error {
		if err := need(c, len(c.In)); err != nil {
			return err
		}
		list := make([]*tensor, len(c.In))
		for i, x := range c.In {
			w, err := x.ConvertTo(onnxio.Float32)
			if err != nil {
				return err
			}
			if len(w.Shape) == 1 {
				w = c.View(w, 1, w.Shape[0])
			}
			if len(w.Shape) != 2 || i < len(want) && int64(w.Shape[1]) != want[i] {
				return fmt.Errorf("input %d has shape %v, expected two dimensions and the features of inputdimensions %v", i, x.Shape, want)
			}
			list[i] = w
		}
		var err error
		c.Out[0], err = concatenated(c, list, 1)
		return err
	}, nil
}

func inferFeatureVectorizer(n *graph.Node) error {
	out := graph.Shape{graph.Unknown, graph.D(0)}
	for i := range n.Inputs {
		s := shapeOf(n, i)
		if len(s) != 1 && len(s) != 2 {
			out[1] = graph.Unknown
			continue
		}
		out[0] = graph.D(1)
		if len(s) == 2 {
			out[0] = s[0]
		}
		out[1] = out[1].Add(s[len(s)-1])
	}
	n.SetOut(0, onnxio.Float32, out)
	return nil
}

// prepareLinearRegressor: one row of coefficients for each target.
func prepareLinearRegressor(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	targets, w, b := int(n.Int("targets", 1)), n.Floats("coefficients"), n.Floats("intercepts")
	post, err := postTransformOf(n.Str("post_transform", "NONE"))
	if err != nil {
		return nil, err
	}
	if targets < 1 || len(w)%targets != 0 || len(b) > 0 && len(b) != targets {
		return nil, fmt.Errorf("%d coefficients and %d intercepts for %d targets", len(w), len(b), targets)
	}
	return func(c *exec.Call) error {
		x, rows, width, err := samples(c)
		if err != nil {
			return err
		}
		if width*targets != len(w) {
			return fmt.Errorf("%d features for %d coefficients and %d targets", width, len(w), targets)
		}
		out := make([]float64, rows*targets)
		for r := range rows {
			row := out[r*targets : (r+1)*targets]
			for t := range row {
				if len(b) > 0 {
					row[t] = float64(b[t])
				}
				for k := range width {
					row[t] += x[r*width+k] * float64(w[t*width+k])
				}
			}
			post(row)
		}
		y := c.New(onnxio.Float32, rows, targets)
		c.Out[0] = y
		return store(y, out)
	}, nil
}

// postTransformOf gives the function that finishes a row of scores.
func postTransformOf(name string) (func(row []float64), error) {
	each := func(f func(v float64) float64) func(row []float64) {
		return func(row []float64) {
			for i, v := range row {
				row[i] = f(v)
			}
		}
	}
	switch name {
	case "NONE":
		return func([]float64) {}, nil
	case "SOFTMAX":
		return func(row []float64) { softmaxRow(softmaxPlain, row, row) }, nil
	case "LOGISTIC":
		return each(sigmoid), nil
	case "PROBIT":
		return each(func(v float64) float64 { return math.Sqrt2 * math.Erfinv(2*v-1) }), nil
	case "SOFTMAX_ZERO":
		return softmaxZero, nil
	}
	return nil, fmt.Errorf("attribute post_transform is %q, expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT", name)
}

// softmaxZero is softmax where scores of 0 stay 0.
func softmaxZero(row []float64) {
	top, sum := math.Inf(-1), 0.0
	for _, v := range row {
		top = math.Max(top, v)
	}
	for i, v := range row {
		row[i] = v * math.Exp(-top)
		if math.Abs(v) > 1e-7 {
			row[i] = math.Exp(v - top)
		}
		sum += row[i]
	}
	for i := range row {
		if sum == 0 {
			row[i] = 0.5
			continue
		}
		row[i] /= sum
	}
}

func inferLinearRegressor(n *graph.Node) error {
	out := graph.Shape{graph.Unknown, graph.D(n.Int("targets", 1))}
	if s := shapeOf(n, 0); len(s) == 2 {
		out[0] = s[0]
	}
	n.SetOut(0, onnxio.Float32, out)
	return nil
}

func init() {
	reg := func(name string, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: domainML, Name: name, Since: 1, Infer: infer, Prepare: prepare, Native: true})
	}
	reg("Binarizer", sameAs(0), prepareBinarizer)
	reg("Scaler", unlike(0, onnxio.Float32), prepareScaler)
	reg("Imputer", sameAs(0), prepareImputer)
	reg("Normalizer", unlike(0, onnxio.Float32), prepareNormalizer)
	reg("FeatureVectorizer", inferFeatureVectorizer, prepareFeatureVectorizer)
	reg("LinearRegressor", inferLinearRegressor, prepareLinearRegressor)
}
