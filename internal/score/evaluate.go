package score

import (
	"context"
	"fmt"
	"time"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Model is a model to score by one of its outputs.
type Model struct {
	Executor *exec.Executor
	Output   string
}

// Result is a model's score on a data set. Figures that the data or the missing reference do not allow are nil.
type Result struct {
	Samples          int         `json:"samples"`
	Top1             *float64    `json:"top1,omitempty"`
	Top5             *float64    `json:"top5,omitempty"`
	ReferenceTop1    *float64    `json:"reference_top1,omitempty"`
	ReferenceTop5    *float64    `json:"reference_top5,omitempty"`
	Difference       *Difference `json:"difference,omitempty"` // to the reference's output
	Seconds          float64     `json:"seconds"`              // in the executor, all samples
	ReferenceSeconds float64     `json:"reference_seconds,omitempty"`
}

// Evaluate runs m, and ref unless nil, on all of the data, batch samples at a time. labels holds the class of each sample, or
// nothing. Positions that the data's mask marks as padding do not count.
func Evaluate(ctx context.Context, m, ref *Model, data calib.Dataset, batch int, labels []int64) (*Result, error) {
	if len(labels) > 0 && len(labels) != data.Len() {
		return nil, LabelError(fmt.Sprintf("%d labels for %d samples: give one label a sample", len(labels), data.Len()))
	}
	r := &Result{Samples: data.Len()}
	var own, refs Accuracy
	var diff Comparison
	err := batches(ctx, m.Executor, data, batch, func(lo, hi int, feeds map[string]*onnxio.Tensor) error {
		out, err := m.output(ctx, feeds, &r.Seconds)
		if err != nil {
			return err
		}
		if len(labels) > 0 {
			if err := own.Add(out, labels[lo:hi]); err != nil {
				return err
			}
		}
		if ref == nil {
			return nil
		}
		want, err := ref.output(ctx, feeds, &r.ReferenceSeconds)
		if err != nil {
			return fmt.Errorf("reference: %w", err)
		}
		if len(labels) > 0 {
			if err := refs.Add(want, labels[lo:hi]); err != nil {
				return fmt.Errorf("reference: %w", err)
			}
		}
		return diff.Add(want, out, calib.Unpadded(data, feeds, out.Shape))
	})
	if err != nil {
		return nil, err
	}
	if len(labels) > 0 {
		r.Top1, r.Top5 = shares(&own)
	}
	if ref != nil {
		d := diff.Result()
		r.Difference = &d
		if len(labels) > 0 {
			r.ReferenceTop1, r.ReferenceTop5 = shares(&refs)
		}
	}
	return r, nil
}

func shares(a *Accuracy) (top1, top5 *float64) {
	one, five := a.Result()
	return &one, &five
}

// output runs one batch and adds the time it took.
func (m *Model) output(ctx context.Context, feeds map[string]*onnxio.Tensor, seconds *float64) (*onnxio.Tensor, error) {
	start := time.Now()
	outs, err := m.Executor.Run(ctx, feeds, nil)
	if err != nil {
		return nil, err
	}
	*seconds += time.Since(start).Seconds()
	out := outs[m.Output]
	if out == nil {
		return nil, fmt.Errorf("the model has no output %q", m.Output)
	}
	return out, nil
}

// batches hands all samples to fn, batch at a time (0 or less: one at a time). When a batch fails, e, whose run it was first, is asked
// for the sample behind it.
func batches(ctx context.Context, e *exec.Executor, data calib.Dataset, batch int, fn func(lo, hi int, feeds map[string]*onnxio.Tensor) error) error {
	batch = max(batch, 1)
	for lo := 0; lo < data.Len(); lo += batch {
		hi := min(lo+batch, data.Len())
		feeds, err := data.Batch(ctx, lo, hi)
		if err != nil {
			return err
		}
		if err := fn(lo, hi, feeds); err != nil {
			return calib.Blame(ctx, e, data, lo, hi, err)
		}
	}
	return nil
}
