package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/report"
	"github.com/obc-onnx/obc/internal/score"
	"github.com/obc-onnx/obc/onnxio"
)

// check is how the result of a compression is scored before it is written.
type check struct {
	data, labels, metric, maxDrop string

	limit float64 // of the fall in the metric, a share; below 0: none
}

// checkMetrics are the figures that --max-drop can bound: shares of the samples.
var checkMetrics = []string{"top1", "top5", "agreement"}

func (c *check) add(f *pflag.FlagSet) {
	f.StringVar(&c.data, "eval", "", "data to score the dense and the compressed model on before the result is written")
	f.StringVar(&c.labels, "labels", "", "classes of the --eval samples (.npy, .npz or .csv); default: the array \"label\" in the data")
	f.StringVar(&c.metric, "metric", "", "what --max-drop bounds: top1, top5 or agreement (default top1 where the classes are known, else agreement)")
	f.StringVar(&c.maxDrop, "max-drop", "", "write nothing when the metric falls by more than this share, such as 1% or 0.01; needs --eval")
}

func (c *check) validate(f *pflag.FlagSet) (err error) {
	c.limit = -1
	for _, flag := range []string{"labels", "metric", "max-drop"} {
		if f.Changed(flag) && c.data == "" {
			return badUsage("--%s needs --eval: give data to score on", flag)
		}
	}
	if c.metric != "" {
		if err := oneOf("metric", c.metric, checkMetrics); err != nil {
			return err
		}
	}
	if c.maxDrop != "" {
		c.limit, err = parseShare("max-drop", c.maxDrop)
	}
	return err
}

// scored scores the dense and the compressed model on the data; the error tells when the metric fell by more than allowed.
func (a *app) scored(ctx context.Context, c *check, test *evaluation, g *graph.Graph, small *onnxio.Model) ([]report.Score, error) {
	metric := c.metric
	if metric == "" {
		metric = "agreement"
		if test.labels != nil {
			metric = "top1"
		}
	}
	if metric != "agreement" && test.labels == nil {
		return nil, badUsage("--metric %s needs the classes of the samples: give --labels, or an array \"label\" in %s", metric, c.data)
	}
	r, err := a.evaluatePair(ctx, g, small, test.data, test.data.BatchSize(), test.labels)
	if err != nil {
		return nil, err
	}
	dense, now := 1.0, r.Difference.Agreement
	switch metric {
	case "top1":
		dense, now = *r.ReferenceTop1, *r.Top1
	case "top5":
		dense, now = *r.ReferenceTop5, *r.Top5
	}
	if drop := dense - now; c.limit >= 0 && drop > c.limit {
		return nil, fmt.Errorf("%s falls by %.2f points, from %s to %s on %s, more than --max-drop %s allows: nothing was written; use milder settings, or keep more layers dense",
			metric, 100*drop, report.Quantity(dense, "%"), report.Quantity(now, "%"), c.data, c.maxDrop)
	}
	return scoreRows(r), nil
}

// evaluatePair scores the first output of the compressed model beside that of the dense one.
func (a *app) evaluatePair(ctx context.Context, g *graph.Graph, small *onnxio.Model, data calib.Dataset, batch int, labels []int64) (*score.Result, error) {
	sg, err := graph.New(small)
	if err != nil {
		return nil, err
	}
	var pair [2]*score.Model
	for i, g := range []*graph.Graph{sg, g} {
		e, err := exec.New(g, exec.Options{Threads: a.threads})
		if err != nil {
			return nil, err
		}
		output, err := outputNamed(g, "")
		if err != nil {
			return nil, err
		}
		pair[i] = &score.Model{Executor: e, Output: output}
	}
	return score.Evaluate(ctx, pair[0], pair[1], data, batch, labels)
}

// scoreRows are the lines of the report's first table.
func scoreRows(r *score.Result) []report.Score {
	var rows []report.Score
	if r.Top1 != nil {
		rows = append(rows, report.NewScore("top-1 accuracy", "%", *r.ReferenceTop1, *r.Top1),
			report.NewScore("top-5 accuracy", "%", *r.ReferenceTop5, *r.Top5))
	}
	d := r.Difference
	return append(rows,
		report.Score{Name: "agreement with dense", Unit: "%", Compressed: &d.Agreement},
		report.Score{Name: "SNR of the output", Unit: "dB", Compressed: &d.SNR})
}
