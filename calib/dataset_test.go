package calib

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

func writeCompressed(t testing.TB, path string, tensors map[string]*onnxio.Tensor) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for name, x := range tensors {
		w, err := z.Create(name + ".npy")
		if err == nil {
			err = WriteNPY(w, x)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// npz writes an archive and gives its path.
func npz(t testing.TB, tensors map[string]*onnxio.Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.npz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := WriteNPZ(f, tensors); err != nil {
		t.Fatal(err)
	}
	return path
}

// inputsOf is a graph that has the given inputs and nothing else.
func inputsOf(t testing.TB, add func(b *testmodel.Builder)) *graph.Graph {
	t.Helper()
	b := testmodel.New(18)
	add(b)
	g, err := graph.New(b.Model())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func imageInput(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 1, 2, 2) }

// counting is a tensor 0, 1, 2, ...
func counting(shape ...int) *onnxio.Tensor {
	t := onnxio.NewTensor(onnxio.Float32, shape...)
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(i)
	}
	return t
}

func convert(t testing.TB, x *onnxio.Tensor, to onnxio.DataType) *onnxio.Tensor {
	t.Helper()
	y, err := x.ConvertTo(to)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func TestOpenNPZ(t *testing.T) {
	g := inputsOf(t, imageInput)
	path := npz(t, map[string]*onnxio.Tensor{"x": counting(10, 1, 2, 2), "label": onnxio.TensorOf([]int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10), "weight": counting(10)})
	s, err := Open(path, g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Len() != 10 || s.BatchSize() != 10 && s.BatchSize() != defaultBatchMax || !slices.Equal(s.Inputs(), []string{"x"}) {
		t.Errorf("len %d, batch %d, inputs %v", s.Len(), s.BatchSize(), s.Inputs())
	}
	b, err := s.Batch(context.Background(), 3, 5)
	if err != nil || fmt.Sprint(b["x"].Shape) != "[2 1 2 2]" || b["x"].Float32s()[0] != 12 {
		t.Errorf("batch %v, %v", b, err)
	}
	if notes := strings.Join(s.Notes, "\n"); !strings.Contains(notes, `ignored: "weight"`) || strings.Contains(notes, `"label"`) {
		t.Errorf("notes are %q, expected that the array weight is ignored, and nothing of label, which is read as classes", s.Notes)
	}
	for _, r := range [][2]int{{-1, 2}, {9, 11}, {3, 3}} {
		if _, err := s.Batch(context.Background(), r[0], r[1]); err == nil {
			t.Errorf("batch %v: no error", r)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Batch(ctx, 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSubset(t *testing.T) {
	g := inputsOf(t, imageInput)
	path := npz(t, map[string]*onnxio.Tensor{"x": counting(50, 1, 2, 2), "label": convert(t, counting(50), onnxio.Int64)})
	pick := func(seed uint64) []int {
		s, err := Open(path, g, Options{Samples: 7, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		rows := s.Rows()
		if s.Len() != 7 || len(rows) != 7 || !slices.IsSorted(rows) || len(slices.Compact(slices.Clone(rows))) != 7 {
			t.Fatalf("rows %v", rows)
		}
		b, err := s.Batch(context.Background(), 2, 4)
		if err != nil || b["x"].Float32s()[0] != float32(rows[2]*4) || b["x"].Float32s()[4] != float32(rows[3]*4) {
			t.Errorf("batch %v (%v) for rows %v", b["x"].Data, err, rows)
		}
		labels, err := s.Labels()
		if err != nil || labels[6] != int64(rows[6]) {
			t.Errorf("labels %v (%v) for rows %v", labels, err, rows)
		}
		return rows
	}
	if a, b := pick(1), pick(1); !slices.Equal(a, b) {
		t.Errorf("one seed, two choices: %v and %v", a, b)
	}
	if a, b := pick(1), pick(2); slices.Equal(a, b) {
		t.Errorf("two seeds, one choice: %v", a)
	}
}

func TestFixedBatch(t *testing.T) {
	ctx := context.Background()
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, 4, 2) })
	s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": counting(11, 2)}), g, Options{Batch: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Len() != 2 || s.BatchSize() != 1 || len(s.Rows()) != 8 {
		t.Errorf("len %d, batch %d, rows %v", s.Len(), s.BatchSize(), s.Rows())
	}
	if b, err := s.Batch(ctx, 1, 2); err != nil || b["x"].Float32s()[0] != 8 || b["x"].Shape[0] != 4 {
		t.Errorf("%v %v", b, err)
	}
	if _, err := s.Batch(ctx, 0, 2); err == nil {
		t.Error("two samples at a time were given to a fixed model")
	}
	if !strings.Contains(strings.Join(s.Notes, "\n"), "last 3 of 11") {
		t.Errorf("notes %q", s.Notes)
	}
}

// TestMixedInputs is a model as voice detectors are: an input by samples, a state with the batch on axis 1, and a rate.
func TestMixedInputs(t *testing.T) {
	ctx := context.Background()
	g := inputsOf(t, func(b *testmodel.Builder) {
		b.Input("input", onnxio.Float32, 1, 3).Input("state", onnxio.Float32, 2, 1, 2).Input("sr", onnxio.Int64)
	})
	sr := onnxio.TensorOf([]int32{16000})
	for name, state := range map[string]*onnxio.Tensor{
		"joined": counting(10, 1, 2), "stacked": counting(5, 2, 1, 2), "shared": counting(2, 1, 2),
	} {
		s, err := Open(npz(t, map[string]*onnxio.Tensor{"input": counting(5, 3), "state": state, "sr": sr}), g, Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, err := s.Batch(ctx, 4, 5)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := float32(16)
		if name == "shared" {
			want = 0
		}
		if s.Len() != 5 || b["input"].Float32s()[0] != 12 || b["state"].Float32s()[0] != want || fmt.Sprint(b["state"].Shape) != "[2 1 2]" ||
			b["sr"].Int64s()[0] != 16000 || len(b["sr"].Shape) != 0 {
			t.Errorf("%s: %v", name, b)
		}
		s.Close()
	}
}

func TestCasts(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		from, to onnxio.DataType
		want     string // in the note, or in the error when it begins with !
	}{
		{onnxio.Float32, onnxio.Float32, ""},
		{onnxio.Float64, onnxio.Float32, "float64 is cast to float32"},
		{onnxio.Float16, onnxio.Float32, "float16 is cast to float32"},
		{onnxio.Float32, onnxio.Float16, "float32 is cast to float16"},
		{onnxio.Int32, onnxio.Int64, "int32 is cast to int64"},
		{onnxio.Int64, onnxio.Int32, "int64 is cast to int32"},
		{onnxio.Uint8, onnxio.Int64, "uint8 is cast to int64"},
		{onnxio.Uint8, onnxio.Float32, "!declare a preprocessing"},
		{onnxio.Int64, onnxio.Float32, "!as float32"},
		{onnxio.Float32, onnxio.Int64, "!as int64"},
		{onnxio.Float32, onnxio.String, "!as string"},
	} {
		g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", c.to, "N", 2) })
		s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": convert(t, counting(3, 2), c.from)}), g, Options{})
		if want, bad := strings.CutPrefix(c.want, "!"); bad {
			var de *DataError
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.from.String()) || !errors.As(err, &de) {
				t.Errorf("%v to %v: error %v", c.from, c.to, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v to %v: %v", c.from, c.to, err)
			continue
		}
		if got := strings.Join(s.Notes, " "); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v to %v: notes %q", c.from, c.to, got)
		}
		b, err := s.Batch(ctx, 1, 3)
		if err != nil || b["x"].Type != c.to || convert(t, b["x"], onnxio.Float32).Float32s()[0] != 2 {
			t.Errorf("%v to %v: %v %v", c.from, c.to, b, err)
		}
		s.Close()
	}
	g := inputsOf(t, func(b *testmodel.Builder) { b.Input("x", onnxio.Int8, "N") })
	s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": onnxio.TensorOf([]int64{1, 300}, 2)}), g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Batch(ctx, 0, 2); err == nil || !strings.Contains(err.Error(), "300") {
		t.Errorf("300 as int8: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	x := func(shape ...int) map[string]*onnxio.Tensor {
		return map[string]*onnxio.Tensor{"x": counting(shape...)}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		os.WriteFile(p, []byte(text), 0o666)
		return p
	}
	two := func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2).Input("ids", onnxio.Int64, "N", 3) }
	for _, c := range []struct {
		name, spec string
		model      func(b *testmodel.Builder)
		opts       Options
		want       []string
	}{
		{"no file", filepath.Join(dir, "none.npz"), imageInput, Options{}, []string{"none.npz", "no such file"}},
		{"unknown kind", write("x.dat", "?"), imageInput, Options{}, []string{"no known kind", ".npz"}},
		{"empty folder", t.TempDir(), imageInput, Options{}, []string{"no known kind"}},
		{"text as npz", write("t.npz", "hello"), imageInput, Options{}, []string{"no .npz archive"}},
		{"empty npz", npz(t, nil), imageInput, Options{}, []string{"no arrays"}},
		{"no rows", npz(t, x(0, 1, 2, 2)), imageInput, Options{}, []string{`"x"`, "empty"}},
		{"hostile shape", write("h.npy", string(npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 0), }\n", ""))), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", "M") }, Options{}, []string{"empty"}},
		{"missing channel", npz(t, x(5, 2, 2)), imageInput, Options{}, []string{"found float32[5 2 2]", "expects float32[N 1 2 2]", "expand_dims(x, 1)"}},
		{"no sample axis", npz(t, x(1, 2, 2)), imageInput, Options{}, []string{"x[None]"}},
		{"one channel", npz(t, x(5, 1, 6, 8)), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 6, 8) }, Options{}, []string{"found float32[5 1 6 8]", "np.repeat(x, 3, 1)"}},
		{"transparency", npz(t, x(5, 6, 8, 4)), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 6, 8, 3) }, Options{}, []string{"fourth channel"}},
		{"nhwc", npz(t, x(5, 6, 8, 3)), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 3, 6, 8) }, Options{}, []string{"looks like NHWC", "transpose(0, 3, 1, 2)"}},
		{"size", npz(t, x(5, 1, 3, 3)), imageInput, Options{}, []string{"found float32[5 1 3 3]", "resize"}},
		{"name", npz(t, map[string]*onnxio.Tensor{"a": counting(2, 2), "b": counting(2, 2)}), two, Options{}, []string{`"x"`, `"ids"`, `"a", "b"`}},
		{"lengths", npz(t, map[string]*onnxio.Tensor{"x": counting(2, 2), "ids": convert(t, counting(3, 3), onnxio.Int64)}), two, Options{}, []string{"different numbers of samples: 2 and 3"}},
		{"too few", npz(t, x(3, 2)), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, 4, 2) }, Options{}, []string{"3 rows", "4 at a time"}},
		{"no inputs", npz(t, x(3, 2)), func(b *testmodel.Builder) {}, Options{}, []string{"no inputs"}},
		{"mask", npz(t, x(3, 1, 2, 2)), imageInput, Options{Mask: "attention"}, []string{`"attention"`, `["x"]`}},
		{"negative", npz(t, x(3, 1, 2, 2)), imageInput, Options{Samples: -1}, []string{"negative"}},
		{"preprocess of floats", npz(t, x(3, 1, 2, 2)), imageInput, Options{Preprocess: &Preprocess{}}, []string{"uint8"}},
		{"bad preprocess", npz(t, x(3, 1, 2, 2)), imageInput, Options{Preprocess: &Preprocess{Layout: "chw"}}, []string{"layout", `"chw"`, "nchw, nhwc"}},
		{"csv nan", write("n.csv", "1,2\n3,nan\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"line 2, column 3", "nan"}},
		{"csv text", write("s.csv", "1,2\n3,x\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"line 2", `"x" is no number`}},
		{"csv ragged", write("r.csv", "1,2\n3\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"line 2", "number of cells"}},
		{"csv blank", write("b.csv", "1,2\n3,\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"empty cell"}},
		{"csv header only", write("h.csv", "a,b\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"no rows"}},
		{"csv width", write("w.csv", "1,2,3\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"[1 3]", "[N 2]"}},
		{"csv labels only", write("l.csv", "label\n3\n"), func(b *testmodel.Builder) { b.Input("x", onnxio.Float32, "N", 2) }, Options{}, []string{"labels only"}},
		{"random kind", "random:poisson", imageInput, Options{}, []string{"random:gaussian"}},
	} {
		s, err := Open(c.spec, inputsOf(t, c.model), c.opts)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, w := range append(c.want, c.spec) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q lacks %q", c.name, err, w)
			}
		}
	}
}

func TestNotFinite(t *testing.T) {
	for what, bad := range map[string]float64{"NaN": math.NaN(), "infinity": math.Inf(-1)} {
		for _, typ := range []onnxio.DataType{onnxio.Float32, onnxio.Float64, onnxio.Float16} {
			x := convert(t, counting(6, 1, 2, 2), onnxio.Float64)
			x.Float64s()[4*4+1] = bad
			s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": convert(t, x, typ)}), inputsOf(t, imageInput), Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Batch(context.Background(), 3, 6)
			if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "sample 4") || !strings.Contains(err.Error(), `"x"`) {
				t.Errorf("%s as %v: %v", what, typ, err)
			}
			s.Close()
		}
	}
}

// TestEmptyPast: the past of a decoder that begins is empty, and no lack of samples.
func TestEmptyPast(t *testing.T) {
	g := inputsOf(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32, "N", 3).Input("past", onnxio.Float32, "N", "P", 2)
	})
	s, err := Open(npz(t, map[string]*onnxio.Tensor{"x": counting(5, 3), "past": onnxio.NewTensor(onnxio.Float32, 5, 0, 2)}), g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Batch(context.Background(), 3, 5)
	if err != nil || s.Len() != 5 || fmt.Sprint(b["past"].Shape) != "[2 0 2]" {
		t.Errorf("%d samples, %v, %v", s.Len(), b, err)
	}
}

func TestMaskInput(t *testing.T) {
	g := inputsOf(t, func(b *testmodel.Builder) {
		b.Input("ids", onnxio.Int64, "N", "S").Input("attention_mask", onnxio.Int64, "N", "S")
	})
	ids := convert(t, counting(3, 4), onnxio.Int64)
	path := npz(t, map[string]*onnxio.Tensor{"ids": ids, "attention_mask": ids})
	for want, o := range map[string]Options{"attention_mask": {}, "": {Mask: "none"}, "ids": {Mask: "ids"}} {
		s, err := Open(path, g, o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Mask != want || (want != "") != strings.Contains(strings.Join(s.Notes, " "), "padding") {
			t.Errorf("mask %q with notes %q, want %q", s.Mask, s.Notes, want)
		}
		s.Close()
	}
}

// TestUnlikeAxes warns of inputs whose axes have one name and two lengths.
func TestUnlikeAxes(t *testing.T) {
	g := inputsOf(t, func(b *testmodel.Builder) {
		b.Input("ids", onnxio.Float32, "N", "S").Input("mask", onnxio.Float32, "N", "S").Input("other", onnxio.Float32, "N", "T")
	})
	for length, want := range map[int]int{4: 0, 3: 1} {
		s, err := Open(npz(t, map[string]*onnxio.Tensor{"ids": counting(3, 4), "mask": counting(3, length), "other": counting(3, 7)}), g, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Warnings) != want || want > 0 && !strings.Contains(s.Warnings[0], `axis "S" is 4 long in input "ids", but 3 in input "mask"`) {
			t.Errorf("length %d: warnings %q", length, s.Warnings)
		}
		s.Close()
	}
}

func TestTestDataFolders(t *testing.T) {
	g := inputsOf(t, func(b *testmodel.Builder) {
		b.Input("x", onnxio.Float32, "N", "S").Input("n", onnxio.Int64)
	})
	dir := t.TempDir()
	save := func(k, j int, name string, x *onnxio.Tensor) {
		d := filepath.Join(dir, fmt.Sprintf("test_data_set_%d", k))
		os.MkdirAll(d, 0o777)
		b, _ := proto.Marshal(x.Proto(name))
		os.WriteFile(filepath.Join(d, fmt.Sprintf("input_%d.pb", j)), b, 0o666)
	}
	for k := range 11 {
		save(k, 0, "x", counting(2, k+1))
		save(k, 1, "", onnxio.TensorOf([]int64{int64(k)}))
	}
	s, err := Open(dir, g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 11 || s.BatchSize() != 1 {
		t.Errorf("len %d, batch %d", s.Len(), s.BatchSize())
	}
	if b, err := s.Batch(context.Background(), 10, 11); err != nil || b["n"].Int64s()[0] != 10 || b["x"].Shape[1] != 11 {
		t.Errorf("%v %v", b, err)
	}
	if one, err := Open(filepath.Join(dir, "test_data_set_3"), g, Options{}); err != nil || one.Len() != 1 {
		t.Errorf("a single folder: %v", err)
	}
	os.Remove(filepath.Join(dir, "test_data_set_4", "input_1.pb"))
	if _, err := Open(dir, g, Options{}); err == nil || !strings.Contains(err.Error(), `"n" is in 10 of 11`) {
		t.Errorf("missing file: %v", err)
	}
}

func TestCSV(t *testing.T) {
	for name, text := range map[string]string{
		"plain": "0,1,2,3\n4,5,6,7\n", "header": "a, b, c, label,d\n0,1,2,9,3\n4,5,6,8,7\n",
		"tabs": "0\t1\t2\t3\n4\t5\t6\t7\n", "semicolons and mark": "\xef\xbb\xbf0;1;2;3\r\n4;5;6;7\r\n",
	} {
		path := filepath.Join(t.TempDir(), "x.csv")
		os.WriteFile(path, []byte(text), 0o666)
		for _, shape := range [][]any{{"N", 4}, {"N", 1, 2, 2}} {
			for _, typ := range []onnxio.DataType{onnxio.Float32, onnxio.Int64} {
				s, err := Open(path, inputsOf(t, func(b *testmodel.Builder) { b.Input("x", typ, shape...) }), Options{})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				b, err := s.Batch(context.Background(), 0, 2)
				if err != nil || b["x"].Type != typ || len(b["x"].Shape) != len(shape) {
					t.Fatalf("%s: %v %v", name, b, err)
				}
				for i, v := range convert(t, b["x"], onnxio.Float32).Float32s() {
					if v != float32(i) {
						t.Errorf("%s: element %d is %v", name, i, v)
					}
				}
				if l, err := s.Labels(); name == "header" && (err != nil || !slices.Equal(l, []int64{9, 8})) {
					t.Errorf("labels %v %v", l, err)
				}
				s.Close()
			}
		}
	}
}

func TestRandom(t *testing.T) {
	ctx := context.Background()
	m := testmodel.New(18).Input("ids", onnxio.Int64, "N", "S").Input("x", onnxio.Float32, "N", 5).Init("w", onnxio.NewTensor(onnxio.Float32, 9, 2)).
		Node("Gather", "w ids -> y").Outputs("y").Model()
	g, err := graph.New(m)
	if err != nil {
		t.Fatal(err)
	}
	get := func(spec string, seed uint64, lo, hi int) map[string]*onnxio.Tensor {
		s, err := Open(spec, g, Options{Seed: seed, Samples: 40})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Warnings) != 1 || s.Len() != 40 {
			t.Errorf("warnings %q, len %d", s.Warnings, s.Len())
		}
		b, err := s.Batch(ctx, lo, hi)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	all := get("random", 3, 0, 40)
	if part := get("random", 3, 7, 9); !slices.Equal(part["x"].Float32s(), all["x"].Float32s()[35:45]) {
		t.Error("a row depends on its batch")
	}
	if other := get("random", 4, 0, 40); slices.Equal(other["x"].Float32s(), all["x"].Float32s()) {
		t.Error("the seed changes nothing")
	}
	seen := map[int64]bool{}
	for _, v := range all["ids"].Int64s() {
		seen[v] = true
		if v < 0 || v >= 9 {
			t.Fatalf("index %d into a table of 9", v)
		}
	}
	if len(seen) != 9 {
		t.Errorf("indices %v", seen)
	}
	for _, v := range get("random:uniform", 3, 0, 40)["x"].Float32s() {
		if v < 0 || v >= 1 {
			t.Fatalf("uniform value %v", v)
		}
	}
}

// TestLabelFile reads files that the user names as labels: no name is asked of the file, the array or the column.
func TestLabelFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var array bytes.Buffer
	if err := WriteNPY(&array, onnxio.TensorOf([]int32{4, 5, 6}, 3)); err != nil {
		t.Fatal(err)
	}
	zipped := filepath.Join(dir, "truth.npz")
	writeCompressed(t, zipped, map[string]*onnxio.Tensor{"y": onnxio.TensorOf([]int64{4, 5, 6}, 3)})
	for _, path := range []string{
		write("y_test.npy", array.Bytes()), zipped, write("plain.csv", []byte("4\n5\n6\n")),
		write("headed.csv", []byte("label\n4\n5\n6\n")), write("other.csv", []byte("class\n4\n5\n6\n")), write("data.csv", []byte("a,label\n.1,4\n.2,5\n.3,6\n")),
	} {
		if l, err := LabelFile(path); err != nil || !slices.Equal(l, []int64{4, 5, 6}) {
			t.Errorf("%s: %v %v", path, l, err)
		}
	}
	writeCompressed(t, zipped, map[string]*onnxio.Tensor{"a": onnxio.TensorOf([]int64{4}, 1), "b": onnxio.TensorOf([]int64{4}, 1)})
	for path, want := range map[string]string{
		zipped: "truth.npz: no labels: expected", write("wide.csv", []byte("1,2\n3,4\n")): "one whole number a sample", write("half.csv", []byte("1.5\n")): "no whole number",
		dir: "no labels", filepath.Join(dir, "none.npy"): "no such file",
	} {
		if _, err := LabelFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestLabelsBeside(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "calib.npz")
	writeCompressed(t, data, map[string]*onnxio.Tensor{"x": counting(3, 1, 2, 2)})
	if _, err := Labels(data); err == nil || !strings.Contains(err.Error(), "calib_labels.npz") {
		t.Errorf("no labels: %v", err)
	}
	beside := filepath.Join(dir, "calib_labels.npz")
	writeCompressed(t, beside, map[string]*onnxio.Tensor{"y": onnxio.TensorOf([]int32{4, 5, 6}, 3)})
	for _, p := range []string{data, beside} {
		if l, err := Labels(p); err != nil || !slices.Equal(l, []int64{4, 5, 6}) {
			t.Errorf("%s: %v %v", p, l, err)
		}
	}
	writeCompressed(t, beside, map[string]*onnxio.Tensor{"y": counting(3)})
	if _, err := Labels(data); err == nil || !strings.Contains(err.Error(), "whole numbers") {
		t.Errorf("float labels: %v", err)
	}
}
