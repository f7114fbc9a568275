package calib

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// testData reads folders as ONNX's own tests have them: test_data_set_K/input_J.pb, one TensorProto a file. Each folder is one
// sample, a whole set of inputs whose shapes may differ from those of the next.
type testData struct {
	dirs  []string
	cols  []column
	files map[string][]string // input name -> file in each of dirs
}

var inputFile = regexp.MustCompile(`^input_(\d+)\.pb$`)

// isTestData accepts a folder with test_data_set_* folders and such a folder itself.
func isTestData(path string, info os.FileInfo) bool {
	return info.IsDir() && len(testDirs(path)) > 0
}

func testDirs(path string) []string {
	if own, _ := filepath.Glob(filepath.Join(path, "input_*.pb")); len(own) > 0 {
		return []string{path}
	}
	dirs, _ := filepath.Glob(filepath.Join(path, "test_data_set_*"))
	slices.SortFunc(dirs, func(a, b string) int {
		return trailing(a) - trailing(b)
	})
	return dirs
}

var digits = regexp.MustCompile(`\d+$`)

// trailing is the number at the end of a name, so that set 10 comes after set 9.
func trailing(s string) int {
	n, _ := strconv.Atoi(digits.FindString(s))
	return n
}

func openTestData(path string, inputs []*graph.Value, _ Options) (reader, error) {
	d := &testData{dirs: testDirs(path), files: map[string][]string{}}
	for k, dir := range d.dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "input_*.pb"))
		if len(files) == 0 {
			return nil, fmt.Errorf("%s holds no input_0.pb", filepath.Base(dir))
		}
		for _, f := range files {
			m := inputFile.FindStringSubmatch(filepath.Base(f))
			if m == nil {
				continue
			}
			t, name, err := onnxio.LoadTensorPB(f)
			if err != nil {
				return nil, err
			}
			if j, _ := strconv.Atoi(m[1]); !isInput(inputs, name) && j < len(inputs) {
				name = inputs[j].Name // files are numbered in the order of the model's inputs
			}
			if k == 0 {
				d.cols = append(d.cols, column{Name: name, Type: t.Type, Shape: append([]int{len(d.dirs)}, t.Shape...), Feeds: true})
			}
			d.files[name] = append(d.files[name], f)
		}
	}
	for _, c := range d.cols {
		if n := len(d.files[c.Name]); n != len(d.dirs) {
			return nil, fmt.Errorf("input %q is in %d of %d folders: each test_data_set_* must hold all inputs", c.Name, n, len(d.dirs))
		}
	}
	return d, nil
}

func isInput(inputs []*graph.Value, name string) bool {
	return slices.ContainsFunc(inputs, func(v *graph.Value) bool { return v.Name == name })
}

func (d *testData) columns() []column { return d.cols }

func (d *testData) read(_ context.Context, name string, idx []int) (*onnxio.Tensor, error) {
	t, _, err := onnxio.LoadTensorPB(d.files[name][idx[0]])
	return t, err
}

func (d *testData) fileOf(row int) string { return filepath.Base(d.dirs[row]) }

func (d *testData) close() error { return nil }
