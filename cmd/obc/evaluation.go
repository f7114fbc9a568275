package main

import (
	"errors"
	"fmt"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
)

// evaluation is data to score models on, with the classes of its samples where they are known.
type evaluation struct {
	data   *calib.Set
	labels []int64
}

// openEvaluation opens data for the model g. labels names a file; "" takes the classes from the data itself, if it has any.
func (a *app) openEvaluation(d *dataFlags, flag, spec, labels string, g *graph.Graph) (*evaluation, error) {
	data, err := d.open(a, flag, spec, g)
	if err != nil {
		return nil, err
	}
	e := &evaluation{data: data}
	if labels == "" {
		if e.labels, err = data.Labels(); errors.Is(err, calib.ErrNoLabels) {
			err = nil
		}
	} else if e.labels, err = calib.LabelFile(labels); err == nil {
		e.labels, err = pick(e.labels, data.Rows(), labels)
	}
	if err != nil {
		data.Close()
		return nil, input(err)
	}
	return e, nil
}

// pick is the labels of the rows that are used.
func pick(labels []int64, rows []int, from string) ([]int64, error) {
	used := make([]int64, len(rows))
	for i, r := range rows {
		if r >= len(labels) {
			return nil, fmt.Errorf("%s: holds %d labels, the data has at least %d samples: give one label a sample", from, len(labels), r+1)
		}
		used[i] = labels[r]
	}
	return used, nil
}
