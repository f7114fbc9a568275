package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// svm holds what support vector machines have in common: a kernel function over support vectors, and weights of these.
type svm struct {
	kind               string
	gamma, coef, power float64
	vectors            [][]float64
	weights, rho       []float64
	features           int
}

// readSVM reads the attributes; without support vectors the weights are those of the features.
func readSVM(n *graph.Node, count int, linear int) (s svm, err error) {
	s.kind = n.Str("kernel_type", "LINEAR")
	if s.kind != "LINEAR" && s.kind != "POLY" && s.kind != "RBF" && s.kind != "SIGMOID" {
		return s, fmt.Errorf("attribute kernel_type is %q, expected LINEAR, POLY, RBF or SIGMOID", s.kind)
	}
	switch p := n.Floats("kernel_params"); len(p) {
	case 0:
	case 3:
		s.gamma, s.coef, s.power = float64(p[0]), float64(p[1]), float64(p[2])
	default:
		return s, fmt.Errorf("attribute kernel_params has %d values, expected gamma, coef0 and degree", len(p))
	}
	s.weights, s.rho = widened64(n.Floats("coefficients")), widened64(n.Floats("rho"))
	if len(s.rho) == 0 {
		return s, fmt.Errorf("attribute rho is missing")
	}
	v := widened64(n.Floats("support_vectors"))
	if count == 0 {
		if s.features = len(s.weights) / max(linear, 1); s.features*linear != len(s.weights) {
			return s, fmt.Errorf("%d coefficients for %d classes", len(s.weights), linear)
		}
		return s, nil
	}
	if count < 0 || len(v)%count != 0 || len(v) == 0 {
		return s, fmt.Errorf("%d numbers for %d support vectors", len(v), count)
	}
	s.features = len(v) / count
	for k := range count {
		s.vectors = append(s.vectors, v[k*s.features:(k+1)*s.features])
	}
	return s, nil
}

func widened64(l []float32) []float64 {
	out := make([]float64, len(l))
	for i, v := range l {
		out[i] = float64(v)
	}
	return out
}

func (s svm) check(x []float64) error {
	if len(x) != s.features {
		return fmt.Errorf("samples have %d features, the support vectors %d", len(x), s.features)
	}
	return nil
}

// similarity is the kernel function.
func (s svm) similarity(a, b []float64) float64 {
	sum := 0.0
	if s.kind == "RBF" {
		for i, v := range a {
			sum += (v - b[i]) * (v - b[i])
		}
		return math.Exp(-s.gamma * sum)
	}
	for i, v := range a {
		sum += v * b[i]
	}
	switch s.kind {
	case "POLY":
		return math.Pow(s.gamma*sum+s.coef, s.power)
	case "SIGMOID":
		return math.Tanh(s.gamma*sum + s.coef)
	}
	return sum
}

// prepareSVMRegressor: the weighted similarities plus rho; with one_class the side it is on, 1 or -1.
func prepareSVMRegressor(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	s, err := readSVM(n, int(n.Int("n_supports", 0)), 1)
	if err != nil {
		return nil, err
	}
	if len(s.vectors) > 0 && len(s.weights) != len(s.vectors) {
		return nil, fmt.Errorf("%d coefficients for %d support vectors", len(s.weights), len(s.vectors))
	}
	one := n.Int("one_class", 0) != 0
	post, err := postTransformOf(n.Str("post_transform", "NONE"))
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		x, rows, width, err := samples(c)
		if err != nil {
			return err
		}
		out := make([]float64, rows)
		for r := range out {
			row := x[r*width : (r+1)*width]
			if err := s.check(row); err != nil {
				return err
			}
			out[r] = s.rho[0]
			if len(s.vectors) == 0 {
				out[r] += s.similarity(row, s.weights)
			}
			for k, v := range s.vectors {
				out[r] += s.weights[k] * s.similarity(row, v)
			}
			if one {
				out[r] = math.Copysign(1, out[r])
			} else {
				post(out[r : r+1])
			}
		}
		y := c.New(onnxio.Float32, rows, 1)
		c.Out[0] = y
		return store(y, out)
	}, nil
}

// svmClassifier has support vectors of one class after the other, and a machine for each pair of classes.
type svmClassifier struct {
	svm
	counts       []int
	probA, probB []float64
}

// prepareSVMClassifier: each pair of classes votes, and the scores are what the machines of the pairs say, or, with prob_a and prob_b,
// a probability for each class.
func prepareSVMClassifier(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	c, err := classesOf(n, "classlabels_ints")
	if err != nil {
		return nil, err
	}
	s := svmClassifier{counts: asInts(n.Ints("vectors_per_class")), probA: widened64(n.Floats("prob_a")), probB: widened64(n.Floats("prob_b"))}
	total := 0
	for _, k := range s.counts {
		if k < 0 || k > 1<<30 {
			return nil, fmt.Errorf("attribute vectors_per_class holds %d", k)
		}
		total += k
	}
	if s.svm, err = readSVM(n, total, c.labels.Len()); err != nil {
		return nil, err
	}
	k := len(s.counts)
	pairs := k * (k - 1) / 2
	if total > 0 && (k != c.labels.Len() || k < 2 || len(s.weights) != (k-1)*total || len(s.rho) < pairs ||
		len(s.probA) != len(s.probB) || len(s.probA) > 0 && len(s.probA) < pairs) {
		return nil, fmt.Errorf("%d classes with %d support vectors, %d coefficients, %d values of rho and %d probabilities for %d labels do not fit",
			k, total, len(s.weights), len(s.rho), len(s.probA), c.labels.Len())
	}
	return c.kernel(func(x []float64) (int, []float64, opposite, error) {
		if err := s.check(x); err != nil {
			return 0, nil, 0, err
		}
		if total == 0 {
			scores := make([]float64, c.labels.Len())
			for k := range scores {
				scores[k] = s.similarity(x, s.weights[k*s.features:(k+1)*s.features]) + s.rho[0]
			}
			label := largest(scores)
			if len(scores) == 2 { // as ONNX Runtime: the larger score only counts when it is above 0
				label = 0
				if max(scores[0], scores[1]) > 0 {
					label = 1
				}
			}
			return label, scores, complement, nil
		}
		scores := s.pairs(x)
		label := s.vote(scores)
		how := complement
		if len(s.probA) > 0 {
			scores = s.probabilities(scores)
		} else if c.post == "NONE" {
			how = negative
		}
		return label, scores, how, nil
	}), nil
}

// pairs are the decisions of all pairs of classes (i, j), i < j: above 0 for i.
func (s svmClassifier) pairs(x []float64) []float64 {
	near := make([]float64, len(s.vectors))
	for k, v := range s.vectors {
		near[k] = s.similarity(x, v)
	}
	starts := make([]int, len(s.counts))
	for i := 1; i < len(starts); i++ {
		starts[i] = starts[i-1] + s.counts[i-1]
	}
	var out []float64
	for i := range s.counts {
		for j := i + 1; j < len(s.counts); j++ {
			sum := s.rho[len(out)]
			for k := starts[i]; k < starts[i]+s.counts[i]; k++ {
				sum += s.weights[(j-1)*len(s.vectors)+k] * near[k]
			}
			for k := starts[j]; k < starts[j]+s.counts[j]; k++ {
				sum += s.weights[i*len(s.vectors)+k] * near[k]
			}
			out = append(out, sum)
		}
	}
	return out
}

func (s svmClassifier) vote(pairs []float64) int {
	votes := make([]float64, len(s.counts))
	p := 0
	for i := range s.counts {
		for j := i + 1; j < len(s.counts); j++ {
			if pairs[p] > 0 {
				votes[i]++
			} else {
				votes[j]++
			}
			p++
		}
	}
	return largest(votes)
}

// probabilities couples the pairwise probabilities 1/(1+exp(A s + B)) into one for each class (Wu, Lin, Weng: Probability Estimates
// for Multi-class Classification by Pairwise Coupling, JMLR 2004, algorithm 2).
func (s svmClassifier) probabilities(pairs []float64) []float64 {
	const least = 1e-7
	k := len(s.counts)
	r := make([]float64, k*k)
	at := 0
	for i := range k {
		for j := i + 1; j < k; j++ {
			p := min(max(sigmoid(-(pairs[at]*s.probA[at]+s.probB[at])), least), 1-least)
			r[i*k+j], r[j*k+i] = p, 1-p
			at++
		}
	}
	q := make([]float64, k*k)
	p, qp := make([]float64, k), make([]float64, k)
	for t := range k {
		p[t] = 1 / float64(k)
		for j := range k {
			if j != t {
				q[t*k+t] += r[j*k+t] * r[j*k+t]
				q[t*k+j] = -r[j*k+t] * r[t*k+j]
			}
		}
	}
	for range 100 {
		all := 0.0
		for t := range k {
			qp[t] = 0
			for j := range k {
				qp[t] += q[t*k+j] * p[j]
			}
			all += p[t] * qp[t]
		}
		worst := 0.0
		for t := range k {
			worst = max(worst, math.Abs(qp[t]-all))
		}
		if worst < 0.005/float64(k) {
			break
		}
		for t := range k {
			d := (all - qp[t]) / q[t*k+t]
			p[t] += d
			all = (all + d*(d*q[t*k+t]+2*qp[t])) / ((1 + d) * (1 + d))
			for j := range k {
				qp[j] = (qp[j] + d*q[t*k+j]) / (1 + d)
				p[j] /= 1 + d
			}
		}
	}
	return p
}
