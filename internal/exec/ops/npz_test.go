package ops_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

var npyHeader = regexp.MustCompile(`'descr': '[<|]?(\w+)'.*'fortran_order': False.*'shape': \(([^)]*)\)`)

// readNPZ reads a NumPy archive of plain little-endian arrays, enough for the recorded outputs of the zoo.
func readNPZ(t *testing.T, path string) map[string]*onnxio.Tensor {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*onnxio.Tensor{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		x, err := parseNPY(b)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, f.Name, err)
		}
		out[strings.TrimSuffix(f.Name, ".npy")] = x
	}
	return out
}

func parseNPY(b []byte) (*onnxio.Tensor, error) {
	n := 10 + int(binary.LittleEndian.Uint16(b[8:]))
	m := npyHeader.FindSubmatch(b[:n])
	if m == nil {
		return nil, fmt.Errorf("header %q", b[10:n])
	}
	shape := []int{}
	for _, s := range strings.Split(string(m[2]), ",") {
		if s = strings.TrimSpace(s); s != "" {
			d, err := strconv.Atoi(s)
			if err != nil {
				return nil, err
			}
			shape = append(shape, d)
		}
	}
	types := map[string]onnxio.DataType{"f4": onnxio.Float32, "f8": onnxio.Float64, "i8": onnxio.Int64, "i4": onnxio.Int32,
		"u1": onnxio.Uint8, "i1": onnxio.Int8, "b1": onnxio.Bool}
	typ, ok := types[string(m[1])]
	if !ok {
		return nil, fmt.Errorf("element type %q", m[1])
	}
	x := onnxio.NewTensor(typ, shape...)
	return x, binary.Read(bytes.NewReader(b[n:]), binary.LittleEndian, x.Data)
}
