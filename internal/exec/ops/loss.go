package ops

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// lossAttrs say how the losses of single positions become the output.
type lossAttrs struct {
	reduction string
	ignore    int
	ignoring  bool
	logits    bool // SoftmaxCrossEntropyLoss: the input is not yet a log probability
}

func prepareLoss(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := lossAttrs{n.Str("reduction", "mean"), int(n.Int("ignore_index", 0)), n.HasAttr("ignore_index"), n.Op() == "SoftmaxCrossEntropyLoss"}
	if a.reduction != "mean" && a.reduction != "sum" && a.reduction != "none" {
		return nil, fmt.Errorf("attribute reduction is %q, expected mean, sum or none", a.reduction)
	}
	return a.run, nil
}

// run is -weight[label] * log probability of the label, over [N C d...] and labels [N d...].
func (a lossAttrs) run(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	x := c.In[0]
	if len(x.Shape) < 2 {
		return fmt.Errorf("input has shape %v, expected [N C ...]", x.Shape)
	}
	logp, err := floats(x)
	if err != nil {
		return err
	}
	labels, err := ints(c.In[1])
	if err != nil {
		return err
	}
	weight, err := floats(c.Input(2))
	if err != nil {
		return err
	}
	n, classes, inner := x.Shape[0], x.Shape[1], size(x.Shape[2:])
	if len(labels) != n*inner || weight != nil && len(weight) != classes {
		return fmt.Errorf("scores of shape %v with labels of shape %v and %d weights", x.Shape, c.In[1].Shape, len(weight))
	}
	if a.logits {
		logp = logSoftmax(logp, n, classes, inner)
		if c.OutWanted(1) {
			if c.Out[1], err = onnxio.TensorOf(logp, x.Shape...).ConvertTo(x.Type); err != nil {
				return err
			}
		}
	}
	loss, sum, total := make([]float64, len(labels)), 0.0, 0.0
	for p, l := range labels {
		if a.ignoring && l == a.ignore {
			continue
		}
		if l < 0 || l >= classes {
			return fmt.Errorf("label %d is out of range for %d classes", l, classes)
		}
		w := 1.0
		if weight != nil {
			w = weight[l]
		}
		loss[p] = -w * logp[(p/inner*classes+l)*inner+p%inner]
		sum += loss[p]
		total += w
	}
	y := onnxio.TensorOf(loss, c.In[1].Shape...)
	switch a.reduction {
	case "sum":
		y = onnxio.TensorOf([]float64{sum})
	case "mean":
		y = onnxio.TensorOf([]float64{sum / total})
	}
	c.Out[0], err = y.ConvertTo(x.Type)
	return err
}

func logSoftmax(x []float64, n, classes, inner int) []float64 {
	y := make([]float64, len(x))
	for b := range n {
		for i := range inner {
			at := func(k int) int { return (b*classes+k)*inner + i }
			top, sum := math.Inf(-1), 0.0
			for k := range classes {
				top = math.Max(top, x[at(k)])
			}
			for k := range classes {
				sum += math.Exp(x[at(k)] - top)
			}
			for k := range classes {
				y[at(k)] = x[at(k)] - top - math.Log(sum)
			}
		}
	}
	return y
}

func inferLoss(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), graph.Shape{})
	if n.Str("reduction", "mean") == "none" {
		n.SetOut(0, typeOf(n, 0), shapeOf(n, 1))
	}
	n.SetOut(1, typeOf(n, 0), shapeOf(n, 0))
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "NegativeLogLikelihoodLoss", Since: 12, Infer: inferLoss, Prepare: prepareLoss, Native: true},
		exec.Op{Name: "SoftmaxCrossEntropyLoss", Since: 12, Infer: inferLoss, Prepare: prepareLoss, Native: true},
	)
}
