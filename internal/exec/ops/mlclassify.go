package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// The classifiers of ai.onnx.ml: output 0 is the label of each sample, output 1 its scores. What the standard leaves open, such as the
// second column of a classifier with one score, is as ONNX Runtime has it.

// classes are the labels of a classifier and how a row of scores is finished.
type classes struct {
	labels *tensor // int64 or string
	post   string
	finish func(row []float64)
}

func classesOf(n *graph.Node, ints string) (c classes, err error) {
	names, codes := n.Strings("classlabels_strings"), n.Ints(ints)
	switch {
	case len(names) > 0:
		c.labels = onnxio.TensorOf(names, len(names))
	case len(codes) > 0:
		c.labels = onnxio.TensorOf(codes, len(codes))
	default:
		return c, fmt.Errorf("one of the attributes classlabels_strings and %s must list the labels", ints)
	}
	c.post = n.Str("post_transform", "NONE")
	c.finish, err = postTransformOf(c.post)
	return c, err
}

// opposite says what the first of two columns is where a classifier has one score s for its second label.
type opposite int

const (
	complement opposite = iota // 1-s
	negative                   // -s, and with LOGISTIC 1/(1+e^s)
)

// columns finishes a row of scores. A single score becomes two columns when there are two labels.
func (c classes) columns(row []float64, how opposite) []float64 {
	switch {
	case len(row) != 1 || c.labels.Len() != 2:
		c.finish(row)
	case c.post == "LOGISTIC":
		row = []float64{sigmoid(-row[0]), sigmoid(row[0])}
	case c.post == "PROBIT":
		c.finish(row)
		row = []float64{1 - row[0], row[0]}
	case how == negative:
		row = []float64{-row[0], row[0]}
	default:
		row = []float64{1 - row[0], row[0]}
	}
	return row
}

// kernel gives labels and scores; decide rates one sample x: the position of its label, its scores, and what their opposite is.
func (c classes) kernel(decide func(x []float64) (label int, scores []float64, how opposite, err error)) exec.Kernel {
	return func(call *exec.Call) error {
		x, rows, width, err := samples(call)
		if err != nil {
			return err
		}
		y := call.New(c.labels.Type, rows)
		m := newMover(y, c.labels)
		var out []float64
		wide := 0
		for r := range rows {
			if err := call.Ctx.Err(); err != nil {
				return err
			}
			label, scores, how, err := decide(x[r*width : (r+1)*width])
			if err != nil {
				return err
			}
			m.move(r, label, 1)
			scores = c.columns(scores, how)
			if wide = len(scores); r == 0 {
				if err := call.Charge(int64(rows) * int64(wide) * 8); err != nil {
					return err
				}
			}
			out = append(out, scores...)
		}
		call.Out[0] = y
		if call.OutWanted(1) {
			z := call.New(onnxio.Float32, rows, wide)
			call.Out[1] = z
			return store(z, out)
		}
		return nil
	}
}

// largest is the position of the first largest score.
func largest(scores []float64) int {
	at := 0
	for i, v := range scores {
		if v > scores[at] {
			at = i
		}
	}
	return at
}

// prepareLinearClassifier: a row of coefficients and an intercept for each score.
func prepareLinearClassifier(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	c, err := classesOf(n, "classlabels_ints")
	if err != nil {
		return nil, err
	}
	w, b := n.Floats("coefficients"), n.Floats("intercepts")
	count := len(b)
	if count == 0 || len(w)%count != 0 || c.labels.Len() != max(count, 2) {
		return nil, fmt.Errorf("%d coefficients and %d intercepts for %d labels", len(w), count, c.labels.Len())
	}
	features := len(w) / count
	return c.kernel(func(x []float64) (int, []float64, opposite, error) {
		if len(x) != features {
			return 0, nil, 0, fmt.Errorf("samples have %d features, the coefficients are for %d", len(x), features)
		}
		scores := make([]float64, count)
		for k := range scores {
			scores[k] = float64(b[k])
			for i, v := range x {
				scores[k] += v * float64(w[k*features+i])
			}
		}
		if count > 1 {
			return largest(scores), scores, complement, nil
		}
		label := 0
		if scores[0] > 0 {
			label = 1
		}
		return label, scores, complement, nil
	}), nil
}

// prepareTreeClassifier reads trees whose leaves vote for classes.
func prepareTreeClassifier(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	c, err := classesOf(n, "classlabels_int64s")
	if err != nil {
		return nil, err
	}
	e := ensemble{targets: c.labels.Len(), aggregate: "SUM", post: func([]float64) {}}
	base, err := floatsOf(n, "base_values")
	if err != nil {
		return nil, err
	}
	if len(base) > 0 && len(base) != e.targets && (len(base) != 1 || e.targets != 2) {
		return nil, fmt.Errorf("%d base_values for %d labels", len(base), e.targets)
	}
	if err := e.readOld(n, "class"); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	positive, voted := true, map[int]bool{}
	for _, list := range e.votes {
		for _, v := range list {
			positive = positive && v.weight >= 0
			voted[v.target] = true
		}
	}
	features := e.features()
	return c.kernel(func(x []float64) (int, []float64, opposite, error) {
		if len(x) < features {
			return 0, nil, 0, fmt.Errorf("samples have %d features, the trees ask for %d", len(x), features)
		}
		scores := make([]float64, e.targets)
		if err := e.score(scores, x); err != nil {
			return 0, nil, 0, err
		}
		for k, v := range base {
			scores[k] += v
		}
		if e.targets != 2 {
			return largest(scores), scores, complement, nil
		}
		second := 1 // the score of the second label decides; where no leaf votes for it, that of the first stands for it
		if !voted[1] {
			scores, second = scores[:1], 0
		}
		label, how, limit := 0, negative, 0.0
		if positive && len(voted) == 1 {
			how, limit = complement, 0.5
		}
		if scores[second] > limit {
			label = 1
		}
		return label, scores, how, nil
	}), nil
}

func inferClassifier(ints string) graph.InferRule {
	return func(n *graph.Node) error {
		t := onnxio.Int64
		if len(n.Strings("classlabels_strings")) > 0 {
			t = onnxio.String
		}
		rows := graph.D(1)
		s := shapeOf(n, 0)
		if len(s) == 2 {
			rows = s[0]
		}
		if s == nil {
			rows = graph.Unknown
		}
		n.SetOut(0, t, graph.Shape{rows})
		n.SetOut(1, onnxio.Float32, graph.Shape{rows, graph.Unknown})
		return nil
	}
}

func init() {
	reg := func(name string, since int, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: domainML, Name: name, Since: since, Infer: infer, Prepare: prepare, Native: true})
	}
	reg("LinearClassifier", 1, inferClassifier("classlabels_ints"), prepareLinearClassifier)
	reg("TreeEnsembleClassifier", 1, inferClassifier("classlabels_int64s"), prepareTreeClassifier)
	reg("SVMClassifier", 1, inferClassifier("classlabels_ints"), prepareSVMClassifier)
	reg("SVMRegressor", 1, inferLinearRegressorOne, prepareSVMRegressor)
}

func inferLinearRegressorOne(n *graph.Node) error {
	out := graph.Shape{graph.Unknown, graph.D(1)}
	switch s := shapeOf(n, 0); len(s) {
	case 2:
		out[0] = s[0]
	case 1:
		out[0] = graph.D(1)
	}
	n.SetOut(0, onnxio.Float32, out)
	return nil
}
