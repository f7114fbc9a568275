package calib

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/onnxio"
)

// ErrNoLabels tells that there are none to read, which is no fault where labels are optional.
var ErrNoLabels = errors.New("no labels")

// Labels reads the class numbers that belong to the data at path: the array label or labels of the .npz file or CSV table itself,
// else the single array (or label) of a file beside it named NAME_labels.npz or NAME_labels.npy; path may also be such a file
// of labels. The result has one label for each row of the data; Set.Labels picks those in use.
func Labels(path string) ([]int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, plain(err))
	}
	base := strings.TrimSuffix(path, filepath.Ext(path))
	if info.IsDir() {
		base = strings.TrimSuffix(path, string(filepath.Separator))
	}
	for i, p := range []string{path, base + "_labels.npz", base + "_labels.npy"} {
		info, err := os.Stat(p)
		if err != nil || info.IsDir() {
			continue
		}
		if t, err := readLabels(p, info, i > 0 || strings.HasSuffix(base, "labels")); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		} else if t != nil {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: put an integer array called label into the .npz, or beside it into %s_labels.npz", path, ErrNoLabels, filepath.Base(base))
}

// LabelFile reads the class numbers in a file that is named as one of labels: its array label or labels, else its only array or
// column, whatever that and the file are called.
func LabelFile(path string) ([]int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, plain(err))
	}
	t, err := readLabels(path, info, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if t == nil {
		return nil, fmt.Errorf("%s: %w: expected an .npz, .npy or .csv file with an integer array or a column called label, or with nothing else", path, ErrNoLabels)
	}
	return t, nil
}

// readLabels gives the labels in a file, nil when it has none. only says that the file is nothing but labels.
func readLabels(path string, info os.FileInfo, only bool) ([]int64, error) {
	for _, f := range formats {
		if !f.match(path, info) || f.name == "pictures" || f.name == "test_data_set" {
			continue
		}
		r, err := f.open(path, nil, Options{})
		if err != nil {
			return nil, plain(err)
		}
		defer r.close()
		cols := r.columns()
		i := slices.IndexFunc(cols, func(c column) bool { return slices.Contains(labelNames, c.Name) })
		if i < 0 && only && len(cols) == 1 {
			i = 0
		}
		if i < 0 {
			return nil, nil
		}
		return labelColumn(r, cols[i])
	}
	return nil, nil
}

func labelColumn(r reader, c column) ([]int64, error) {
	if len(c.Shape) == 0 || elements(c.Shape) != c.Shape[0] {
		return nil, fmt.Errorf("array %q has shape %v: labels are one whole number a sample", c.Name, c.Shape)
	}
	idx := make([]int, c.Shape[0])
	for i := range idx {
		idx[i] = i
	}
	t, err := r.read(context.Background(), c.Name, idx)
	if err != nil {
		return nil, err
	}
	if f := t.Float64s(); f != nil { // a CSV table
		if i := slices.IndexFunc(f, func(x float64) bool { return x != float64(int64(x)) }); i >= 0 {
			return nil, fmt.Errorf("label %g of row %d is no whole number", f[i], i)
		}
	} else if !t.Type.IsInteger() && t.Type != onnxio.Bool {
		return nil, fmt.Errorf("array %q is %v: labels are whole numbers", c.Name, t.Type)
	}
	if t, err = t.ConvertTo(onnxio.Int64); err != nil {
		return nil, err
	}
	return t.Int64s(), nil
}

// Labels are the class numbers of the samples in use, in their order; see the function Labels for where they are looked for.
func (s *Set) Labels() ([]int64, error) {
	if _, made := randomKind(s.Source); made {
		return nil, fmt.Errorf("%s: %w: the data is made up", s.Source, ErrNoLabels)
	}
	all, err := Labels(s.Source)
	if err != nil {
		return nil, err
	}
	rows := s.Rows()
	out := make([]int64, len(rows))
	for i, r := range rows {
		if r >= len(all) {
			return nil, fmt.Errorf("%s: holds %d labels, the data has at least %d samples: give one label a sample", s.Source, len(all), r+1)
		}
		out[i] = all[r]
	}
	return out, nil
}
