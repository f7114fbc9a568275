package calib

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestNumPyFiles reads an archive that NumPy wrote (compressed, all element types, both byte orders, Fortran order): each array
// counts up from 0, in C order.
func TestNumPyFiles(t *testing.T) {
	r, err := openNPZ(filepath.Join("testdata", "numpy.npz"), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if n := len(r.columns()); n != 29 {
		t.Errorf("%d arrays, want 29", n)
	}
	for _, c := range r.columns() {
		if c.Name == "empty" {
			continue
		}
		var idx []int
		if len(c.Shape) > 0 {
			idx = []int{0, 1}
		}
		x, err := r.read(context.Background(), c.Name, idx)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if code, ok := strings.CutPrefix(c.Name, "le_"); ok && npyTypes[code] != x.Type {
			t.Errorf("%s: type %v", c.Name, x.Type)
		}
		if code, ok := strings.CutPrefix(c.Name, "be_"); ok && npyTypes[code] != x.Type {
			t.Errorf("%s: type %v", c.Name, x.Type)
		}
		want := func(i int) float64 { return float64(i) }
		switch {
		case c.Name == "scalar":
			want = func(int) float64 { return 7 }
		case c.Name == "bool":
			want = func(i int) float64 { return float64(i % 2) }
		}
		f, err := x.ConvertTo(onnxio.Float64)
		if x.Type == onnxio.Complex64 || x.Type == onnxio.Complex128 {
			f, err = realPart(x), nil
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		for i, v := range f.Float64s() {
			if v != want(i) {
				t.Errorf("%s: element %d is %v, want %v", c.Name, i, v, want(i))
				break
			}
		}
	}
	x, _ := r.read(context.Background(), "fortran", []int{1})
	if x.Float32s()[0] != 12 || fmt.Sprint(x.Shape) != "[1 3 4]" {
		t.Errorf("row 1 of the Fortran array: %v %v", x, x.Float32s())
	}
}

func realPart(x *onnxio.Tensor) *onnxio.Tensor {
	f := onnxio.NewTensor(onnxio.Float64, x.Shape...)
	for i := range f.Float64s() {
		switch d := x.Data.(type) {
		case []complex64:
			f.Float64s()[i] = float64(real(d[i]))
		case []complex128:
			f.Float64s()[i] = real(d[i])
		}
	}
	return f
}

func TestNPYVersions(t *testing.T) {
	for _, v := range []string{"version2", "version3"} {
		r, err := openNPY(filepath.Join("testdata", v+".npy"), nil, Options{})
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		x, err := r.read(context.Background(), "", []int{2, 0})
		if err != nil || x.Float32s()[0] != 2 || x.Float32s()[1] != 0 {
			t.Errorf("%s: %v %v", v, x, err)
		}
		r.close()
	}
}

func TestNPYRoundTrip(t *testing.T) {
	tensors := map[string]*onnxio.Tensor{
		"f":      onnxio.TensorOf([]float32{1, 2, 3, 4, 5, 6}, 2, 3),
		"i":      onnxio.TensorOf([]int64{-1, 1 << 60}, 2),
		"scalar": onnxio.TensorOf([]float64{2.5}),
		"b":      onnxio.TensorOf([]bool{true, false}, 2, 1),
		"u":      onnxio.TensorOf([]uint8{0, 255}, 1, 2),
		"s":      onnxio.TensorOf([]string{"a", "", "Zürich 日", "b"}, 2, 2),
		"h":      {Type: onnxio.Float16, Shape: []int{1}, Data: []uint16{0x3c00}},
	}
	var one, two bytes.Buffer
	if err := WriteNPZ(&one, tensors); err != nil {
		t.Fatal(err)
	}
	if err := WriteNPZ(&two, tensors); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("writing twice gives other bytes (%v)", err)
	}
	path := filepath.Join(t.TempDir(), "x.npz")
	os.WriteFile(path, one.Bytes(), 0o666)
	r, err := openNPZ(path, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, c := range r.columns() {
		var idx []int
		for i := 0; len(c.Shape) > 0 && i < c.Shape[0]; i++ {
			idx = append(idx, i)
		}
		got, err := r.read(context.Background(), c.Name, idx)
		if want := tensors[c.Name]; err != nil || got.String() != want.String() || fmt.Sprint(got.Data) != fmt.Sprint(want.Data) {
			t.Errorf("%s: got %v %v (%v), want %v %v", c.Name, got, got.Data, err, want, want.Data)
		}
	}
	if err := WriteNPY(&one, mapLike()); err == nil {
		t.Error("what is no tensor was written")
	}
}

func mapLike() *onnxio.Tensor { return &onnxio.Tensor{Data: struct{}{}} }

// TestNPYStrings reads what NumPy wrote: Unicode and bytes.
func TestNPYStrings(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "string.npy"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{b, "[a]"},
		{npyFile("{'descr': '|S2', 'fortran_order': False, 'shape': (2,), }\n", "abc\x00"), "[ab c]"},
	} {
		a, err := newArray(bytes.NewReader(c.data), int64(len(c.data)))
		if err != nil {
			t.Fatal(err)
		}
		x, err := a.whole()
		if err != nil || fmt.Sprint(x.Data) != c.want {
			t.Errorf("got %v (%v), want %s", x.Data, err, c.want)
		}
	}
}

// npyFile is a .npy file with the given dictionary and body.
func npyFile(dict, body string) []byte {
	b := append([]byte(npyMagic+"\x01\x00"), byte(len(dict)), byte(len(dict)>>8))
	return append(append(b, dict...), body...)
}

func TestNPYErrors(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty file", "signature", nil},
		{"text", "signature", []byte("hello, this is no array")},
		{"object", "object array", read("object.npy")},
		{"wide strings", "not believed", npyFile("{'descr': '<U99999999', 'fortran_order': False, 'shape': (1,), }\n", "")},
		{"strings of no size", "no characters", npyFile("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,), }\n", "")},
		{"strings cut off", "cut off", npyFile("{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }\n", "abcd")},
		{"strings overflow", "absurd", npyFile("{'descr': '<U1000000', 'fortran_order': False, 'shape': (4294967296, 134217728), }\n", "")},
		{"record", "structured", read("record.npy")},
		{"void", "raw bytes", npyFile("{'descr': '|V2', 'fortran_order': False, 'shape': (1,), }\n", "ab")},
		{"unknown type", `"<m8"`, npyFile("{'descr': '<m8', 'fortran_order': False, 'shape': (1,), }\n", "abcdefgh")},
		{"cut off", "cut off", npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", "abcd")},
		{"header cut off", "cut off", npyFile("{'descr': '<f4'", "")[:12]},
		{"no shape", "lacks", npyFile("{'descr': '<f4', 'fortran_order': False}\n", "")},
		{"negative", "bad dimension", npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }\n", "abcd")},
		{"overflow", "absurd", npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", "")},
		{"overflow with zero", "absurd", npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296), }\n", "")},
		{"huge", "cut off", npyFile("{'descr': '<f4', 'fortran_order': True, 'shape': (1048576, 1048576), }\n", "abcd")},
		{"huge header", "not believed", []byte(npyMagic + "\x02\x00\xff\xff\xff\x7f")},
		{"version", "version 9", []byte(npyMagic + "\x09\x00")},
	} {
		_, err := newArray(bytes.NewReader(c.data), int64(len(c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %q, want %q in it", c.name, err, c.want)
		}
	}
}

// TestSpooledArray checks that a big compressed array is read through a temporary file that goes away.
func TestSpooledArray(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	n := spoolLimit/4 + 1000
	x := make([]float32, n)
	x[n-1] = 5
	path := filepath.Join(dir, "big.npz")
	writeCompressed(t, path, map[string]*onnxio.Tensor{"x": onnxio.TensorOf(x, n, 1)})
	r, err := openNPZ(path, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.read(context.Background(), "x", []int{n - 1, 0})
	if err != nil || got.Float32s()[0] != 5 || got.Float32s()[1] != 0 {
		t.Errorf("got %v %v", got.Data, err)
	}
	if len(r.(*arrays).temps) != 1 {
		t.Error("the array was not spooled")
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

// TestDamagedArchive reads a stored and a compressed array whose bytes do not have the checksum that the archive names.
func TestDamagedArchive(t *testing.T) {
	for name, method := range map[string]uint16{"stored": zip.Store, "compressed": zip.Deflate} {
		var npy, b bytes.Buffer
		if err := WriteNPZ(&npy, map[string]*onnxio.Tensor{"x": onnxio.TensorOf(make([]float32, 4*600), 600, 4)}); err != nil {
			t.Fatal(err)
		}
		src, err := zip.NewReader(bytes.NewReader(npy.Bytes()), int64(npy.Len()))
		if err != nil {
			t.Fatal(err)
		}
		r, err := src.File[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		member, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(&b)
		w, err := z.CreateHeader(&zip.FileHeader{Name: "x.npy", Method: method})
		if err == nil {
			_, err = w.Write(member)
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		data := b.Bytes()
		path := filepath.Join(t.TempDir(), "x.npz")
		open := func() error {
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			a, err := openNPZ(path, nil, Options{})
			if err == nil {
				err = a.close()
			}
			return err
		}
		if err := open(); err != nil {
			t.Fatalf("%s, whole: %v", name, err)
		}
		// Changing the checksum in the directory is as good as changing the data.
		sum := bytes.LastIndex(data, []byte("PK\x01\x02")) + 16
		data[sum] ^= 1
		if err := open(); err == nil || !strings.Contains(err.Error(), "the archive is damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
