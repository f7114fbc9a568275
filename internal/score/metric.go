// Package score measures models: accuracy against labels, and how far one model's outputs and layers are from another's.
package score

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/onnxio"
)

// MaxSNR is the signal-to-noise ratio, in dB, that stands for equal outputs, so that results stay finite.
const MaxSNR = 200

// Difference says how far a set of outputs is from a reference's.
type Difference struct {
	Rows      int     `json:"rows"`       // entries along the first axis of which something counts
	MSE       float64 `json:"mse"`        // mean of the squared differences
	MaxAbs    float64 `json:"max_abs"`    // largest absolute difference
	Range     float64 `json:"range"`      // largest minus smallest value of the reference
	Cosine    float64 `json:"cosine"`     // mean over rows of the cosine between the two rows
	SNR       float64 `json:"snr_db"`     // 10 log10(sum ref^2 / sum (ref-got)^2), at most MaxSNR
	Agreement float64 `json:"agreement"`  // share of vectors along the last axis with the same largest entry
	TopFive   float64 `json:"top5_holds"` // share of vectors whose five largest entries hold the reference's largest
	NotFinite int     `json:"not_finite"` // elements that are infinite or not a number on either side; left out of the sums
}

// Comparison adds up a Difference over batches.
type Comparison struct {
	rows, vectors, elements, equal, held int
	notFinite                            int
	signal, noise, cosine                float64
	maxAbs, low, high                    float64
}

// Add compares one batch of outputs with the reference's; axis 0 is the batch. keep says which equal pieces of the outputs count, in
// their order, each of one or more vectors along the last axis: padded positions do not. nil counts all.
func (c *Comparison) Add(ref, got *onnxio.Tensor, keep []bool) error {
	if len(ref.Shape) != len(got.Shape) || ref.Len() != got.Len() {
		return fmt.Errorf("the outputs differ in shape: %v, reference %v", got.Shape, ref.Shape)
	}
	for i, d := range ref.Shape {
		if got.Shape[i] != d {
			return fmt.Errorf("the outputs differ in shape: %v, reference %v", got.Shape, ref.Shape)
		}
	}
	a, err := values(ref)
	if err != nil {
		return err
	}
	b, err := values(got)
	if err != nil {
		return err
	}
	if len(a) == 0 {
		return nil
	}
	if c.elements == 0 {
		c.low, c.high = math.Inf(1), math.Inf(-1)
	}
	rows, last := 1, 1
	if r := ref.Rank(); r > 0 {
		rows, last = ref.Shape[0], ref.Shape[r-1]
	}
	n := len(a) / rows
	for r := range rows {
		x, y := kept(a[r*n:(r+1)*n], r*n, len(a), keep), kept(b[r*n:(r+1)*n], r*n, len(b), keep)
		if len(x) == 0 {
			continue
		}
		c.row(x, y)
		c.rows++
	}
	c.rank(kept(a, 0, len(a), keep), kept(b, 0, len(b), keep), last)
	return nil
}

// kept is what of x counts; x begins at an element of a tensor of all elements, which keep divides into equal pieces.
func kept(x []float64, at, all int, keep []bool) []float64 {
	if len(keep) == 0 || slices.Index(keep, false) < 0 {
		return x
	}
	piece := all / len(keep)
	counts := make([]float64, 0, len(x))
	for i := 0; i < len(x); i += piece {
		if keep[(at+i)/piece] {
			counts = append(counts, x[i:i+piece]...)
		}
	}
	return counts
}

// rank counts the vectors whose largest entry the other has too.
func (c *Comparison) rank(a, b []float64, last int) {
	for at := 0; at < len(a); at += last {
		top := argmax(a[at : at+last])
		switch rank(b[at:at+last], top) {
		case 0:
			c.equal++
			c.held++
		case 1, 2, 3, 4:
			c.held++
		}
	}
	c.vectors += len(a) / last
	c.elements += len(a)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// row adds one row's sums; the cosine of two zero rows is 1.
func (c *Comparison) row(a, b []float64) {
	var aa, bb, ab, noise float64
	for i, x := range a {
		y := b[i]
		if !finite(x) || !finite(y) {
			c.notFinite++
			continue
		}
		aa += x * x
		bb += y * y
		ab += x * y
		d := math.Abs(x - y)
		noise += d * d
		c.maxAbs = max(c.maxAbs, d)
		c.low, c.high = min(c.low, x), max(c.high, x)
	}
	c.signal += aa
	c.noise += noise
	switch {
	case aa == 0 && bb == 0:
		c.cosine++
	case aa != 0 && bb != 0:
		c.cosine += ab / math.Sqrt(aa*bb)
	}
}

// Result is the Difference of everything added so far.
func (c *Comparison) Result() Difference {
	if c.elements == c.notFinite {
		return Difference{Rows: c.rows, NotFinite: c.notFinite}
	}
	return Difference{
		Rows: c.rows, MSE: c.noise / float64(c.elements-c.notFinite), MaxAbs: c.maxAbs, Range: c.high - c.low, NotFinite: c.notFinite,
		Cosine: c.cosine / float64(c.rows), SNR: SNR(c.signal, c.noise),
		Agreement: float64(c.equal) / float64(c.vectors), TopFive: float64(c.held) / float64(c.vectors),
	}
}

// SNR is 10 log10(signal / noise) in dB, within -MaxSNR and MaxSNR; both are sums of squares.
func SNR(signal, noise float64) float64 {
	switch {
	case noise == 0:
		return MaxSNR
	case signal == 0:
		return -MaxSNR
	}
	return max(-MaxSNR, min(MaxSNR, 10*math.Log10(signal/noise)))
}

// Accuracy counts how often the labelled class is the largest entry of an output vector, or among its five largest.
type Accuracy struct{ n, top1, top5 int }

// LabelError tells that labels do not fit the data or the model's output.
type LabelError string

func (e LabelError) Error() string { return string(e) }

// Add scores one batch: out is N x classes (further axes of size one are allowed), labels are N classes.
func (a *Accuracy) Add(out *onnxio.Tensor, labels []int64) error {
	x, err := values(out)
	if err != nil {
		return err
	}
	if out.Rank() < 2 || out.Shape[0] != len(labels) || out.Len() == 0 {
		return LabelError(fmt.Sprintf("the output is %v, accuracy needs one vector of classes for each of the %d labels", out.Shape, len(labels)))
	}
	classes := len(x) / len(labels)
	for _, d := range out.Shape[1:] {
		if d != 1 && d != classes {
			return LabelError(fmt.Sprintf("the output is %v, accuracy needs one vector of classes a sample: choose another output with --output", out.Shape))
		}
	}
	for i, l := range labels {
		if l < 0 || l >= int64(classes) {
			return LabelError(fmt.Sprintf("label %d of sample %d is outside of the output's %d classes", l, a.n+i, classes))
		}
		switch rank(x[i*classes:(i+1)*classes], int(l)) {
		case 0:
			a.top1++
			a.top5++
		case 1, 2, 3, 4:
			a.top5++
		}
	}
	a.n += len(labels)
	return nil
}

// Result is the share of samples right at the first place and among the first five; 0, 0 without samples.
func (a *Accuracy) Result() (top1, top5 float64) {
	n := float64(max(a.n, 1))
	return float64(a.top1) / n, float64(a.top5) / n
}

// argmax is the index of the first largest entry.
func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// rank is how many entries stand before entry i when sorted from the largest, ties by index. An entry that is not a number
// is nowhere.
func rank(x []float64, i int) int {
	if math.IsNaN(x[i]) {
		return math.MaxInt
	}
	before := 0
	for j, v := range x {
		if v > x[i] || v == x[i] && j < i {
			before++
		}
	}
	return before
}

// values are the tensor's elements as float64.
func values(t *onnxio.Tensor) ([]float64, error) {
	d, err := t.ConvertTo(onnxio.Float64)
	if err != nil {
		return nil, fmt.Errorf("an output of type %v cannot be compared: %w", t.Type, err)
	}
	return d.Float64s(), nil
}

// Range is the smallest, mean and largest of the tensor's finite elements, and how many are not finite. A tensor without
// numbers has the range 0, 0, 0.
func Range(t *onnxio.Tensor) (low, mean, high float64, notFinite int) {
	x, err := values(t)
	if err != nil {
		return 0, 0, 0, 0
	}
	sum, n := 0.0, 0
	for _, v := range x {
		if !finite(v) {
			notFinite++
			continue
		}
		if n == 0 {
			low, high = v, v
		}
		low, high = min(low, v), max(high, v)
		sum += v
		n++
	}
	return low, sum / float64(max(n, 1)), high, notFinite
}
