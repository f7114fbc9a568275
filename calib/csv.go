package calib

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// table is the reader for CSV (and tab-separated) files: a row is a sample, a cell a number, the first row may name the columns.
// The columns called label or labels are the labels; all others, in their order, are the model's input vector.
type table struct {
	cols []column
	data map[string][]float64 // by column name, row-major
	ints bool                 // the model wants integers
}

func openCSV(path string, inputs []*graph.Value, _ Options) (reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := readCSV(f)
	if err != nil {
		return nil, err
	}
	if t.data[""] == nil && len(inputs) > 0 {
		return nil, errors.New("has labels only, no columns of inputs")
	}
	if len(inputs) == 1 {
		t.ints = inputs[0].Type.IsInteger()
		t.shapeFor(inputs[0])
	}
	return t, nil
}

// readCSV reads a whole table.
func readCSV(in io.Reader) (*table, error) {
	text := bufio.NewReader(in)
	if mark, _ := text.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		text.Discard(3)
	}
	r := csv.NewReader(text)
	r.ReuseRecord, r.TrimLeadingSpace = true, true
	if line, _ := text.Peek(4096); !bytes.ContainsRune(line, ',') {
		if bytes.ContainsRune(line, '\t') {
			r.Comma = '\t'
		} else if bytes.ContainsRune(line, ';') {
			r.Comma = ';'
		}
	}
	t := &table{data: map[string][]float64{}}
	var names []string
	rows := 0
	for first := true; ; first = false {
		rec, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, csvError(err)
		}
		if first && isHeader(rec) {
			names = slices.Clone(rec)
			continue
		}
		for i, cell := range rec {
			x, err := number(cell)
			if err != nil {
				line, col := r.FieldPos(i)
				return nil, fmt.Errorf("line %d, column %d: %w", line, col, err)
			}
			key := ""
			if names != nil && slices.Contains(labelNames, names[i]) {
				key = names[i]
			}
			t.data[key] = append(t.data[key], x)
		}
		rows++
	}
	if rows == 0 {
		return nil, errors.New("holds no rows of numbers")
	}
	for _, key := range append([]string{""}, labelNames...) {
		if d := t.data[key]; d != nil {
			t.cols = append(t.cols, column{Name: key, Type: onnxio.Float64, Shape: []int{rows, len(d) / rows}})
		}
	}
	return t, nil
}

func csvError(err error) error {
	var pe *csv.ParseError
	if errors.As(err, &pe) && errors.Is(err, csv.ErrFieldCount) {
		return fmt.Errorf("line %d has another number of cells than the first line", pe.Line)
	}
	return err
}

// isHeader reports whether no cell is a number.
func isHeader(rec []string) bool {
	return !slices.ContainsFunc(rec, func(s string) bool {
		_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return err == nil || strings.TrimSpace(s) == ""
	})
}

func number(cell string) (float64, error) {
	cell = strings.TrimSpace(cell)
	x, err := strconv.ParseFloat(cell, 64)
	switch {
	case cell == "":
		return 0, errors.New("an empty cell: fill it or drop the row")
	case err != nil:
		return 0, fmt.Errorf("%.40q is no number", cell)
	case math.IsNaN(x) || math.IsInf(x, 0):
		return 0, fmt.Errorf("%q cannot be used: clean the data", cell)
	}
	return x, nil
}

// shapeFor lets the vectors serve an input of several axes that holds as many elements, and of integer type.
func (t *table) shapeFor(v *graph.Value) {
	c := &t.cols[0] // the unnamed columns
	if t.ints && !slices.ContainsFunc(t.data[c.Name], func(x float64) bool { return x != math.Trunc(x) || math.Abs(x) >= 1<<53 }) {
		c.Type = onnxio.Int64
	} else {
		t.ints = false
	}
	if len(v.Shape) < 1 {
		return
	}
	if dims, ok := v.Shape[1:].Ints(); ok && elements(dims) == c.Shape[1] {
		c.Shape = append([]int{c.Shape[0]}, dims...)
	}
}

func (t *table) columns() []column { return t.cols }

func (t *table) read(_ context.Context, name string, idx []int) (*onnxio.Tensor, error) {
	c := t.cols[slices.IndexFunc(t.cols, func(c column) bool { return c.Name == name })]
	size := elements(c.Shape[1:])
	out := onnxio.NewTensor(onnxio.Float64, append([]int{len(idx)}, c.Shape[1:]...)...)
	for k, i := range idx {
		copy(out.Float64s()[k*size:], t.data[name][i*size:(i+1)*size])
	}
	if c.Type != onnxio.Float64 {
		return out.ConvertTo(c.Type)
	}
	return out, nil
}

func (t *table) close() error { return nil }
