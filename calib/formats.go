package calib

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// reader is an opened data source: named arrays whose axis 0 counts rows (samples). A new format is one file that implements it
// and one line in formats.
type reader interface {
	columns() []column
	// read gives rows idx of a column joined along axis 0. idx is nil for a column without axes.
	read(ctx context.Context, name string, idx []int) (*onnxio.Tensor, error)
	close() error
}

// column is one array of a source.
type column struct {
	Name  string
	Type  onnxio.DataType
	Shape []int // with axis 0
	Feeds bool  // each row is a whole model input, read alone and without an axis for rows; its shape may differ from the others'
}

// format is one kind of data source.
type format struct {
	name  string
	match func(path string, info os.FileInfo) bool
	open  func(path string, inputs []*graph.Value, o Options) (reader, error)
}

// formats are tried in order.
var formats = []format{
	{"npz", byExt(".npz"), openNPZ},
	{"npy", byExt(".npy"), openNPY},
	{"csv", byExt(".csv", ".tsv"), openCSV},
	{"test_data_set", isTestData, openTestData},
	{"pictures", isPictures, openPictures},
}

func byExt(exts ...string) func(string, os.FileInfo) bool {
	return func(path string, info os.FileInfo) bool {
		for _, e := range exts {
			if !info.IsDir() && strings.EqualFold(filepath.Ext(path), e) {
				return true
			}
		}
		return false
	}
}

const knownFormats = "an .npz, .npy or .csv file, a folder of PNG, JPEG, WebP or BMP pictures, or a folder with test_data_set_*/input_*.pb"

func openReader(spec string, inputs []*graph.Value, o Options) (reader, error) {
	if kind, ok := randomKind(spec); ok {
		return openRandom(kind, inputs, o)
	}
	info, err := os.Stat(spec)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("no such file or folder; calibration data is %s", knownFormats)
	}
	if err != nil {
		return nil, plain(err)
	}
	for _, f := range formats {
		if f.match(spec, info) {
			r, err := f.open(spec, inputs, o)
			if err != nil {
				return nil, plain(err)
			}
			if pic := o.Preprocess; pic != nil && f.name != "pictures" {
				return preprocessed(r, pic)
			}
			return r, nil
		}
	}
	return nil, fmt.Errorf("no known kind of data%s; calibration data is %s", holds(spec, info), knownFormats)
}

// holds names some of the files in a folder, "" for other things.
func holds(path string, info os.FileInfo) string {
	if !info.IsDir() {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	names, _ := f.Readdirnames(1000) // enough to tell, in whatever folder
	slices.Sort(names)
	switch n := len(names); {
	case n == 0:
		return ": the folder is empty"
	case n > 3:
		names = append(names[:3], "...")
	}
	return ": the folder holds " + strings.Join(names, ", ")
}

// plain strips the operation and path off a file error: the caller names the path.
func plain(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
