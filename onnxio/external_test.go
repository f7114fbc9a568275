package onnxio

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// large is a model with an initializer of each fixed-size type, some in typed fields, all worth a place in a data file.
func large() (*onnxpb.ModelProto, []*Tensor) {
	p := tiny()
	var want []*Tensor
	for dt := Float32; dt <= Float6E3M2; dt++ {
		if dt == String {
			continue
		}
		x := pattern(dt, 64, 65)
		want = append(want, x)
		p.Graph.Initializer = append(p.Graph.Initializer, x.Proto("big_"+dt.String()))
	}
	typed := p.Graph.Initializer[2]
	typed.FloatData, typed.RawData = want[0].Float32s(), nil
	return p, want
}

func sameTensors(t *testing.T, m *Model, want []*Tensor) {
	t.Helper()
	for i, w := range want {
		if got, err := m.Tensor(m.Proto.Graph.Initializer[2+i]); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("tensor %v: other elements (%v)", w, err)
		}
	}
}

func load(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func save(t *testing.T, m *Model, path string, o SaveOptions) {
	t.Helper()
	if err := m.Save(path, o); err != nil {
		t.Fatal(err)
	}
}

func TestExternalRoundTrip(t *testing.T) {
	p, want := large()
	dir := t.TempDir()
	one, two, three := filepath.Join(dir, "one.onnx"), filepath.Join(dir, "two.onnx"), filepath.Join(dir, "three.onnx")
	save(t, New("mem", p), one, SaveOptions{External: ExternalAlways})
	m := load(t, one)
	sameTensors(t, m, want)
	for i, x := range m.Proto.Graph.Initializer {
		location, s, err := locationOf(x)
		switch {
		case i < 2 && isExternal(x):
			t.Errorf("%s is below the threshold, but external", x.GetName())
		case i >= 2 && (!isExternal(x) || err != nil || location != "one.onnx.data" || s.offset%4096 != 0 || s.length <= 0 || len(x.RawData) > 0):
			t.Errorf("%s: location %q, %v (%v)", x.GetName(), location, s, err)
		}
	}
	clone := m.Clone()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	sameTensors(t, clone, want) // the files stay open for it
	save(t, clone, two, SaveOptions{})
	kept := load(t, two)
	sameTensors(t, kept, want)
	if location, _, _ := locationOf(kept.Proto.Graph.Initializer[2]); location != "two.onnx.data" {
		t.Errorf("the second model's data is in %q", location)
	}
	save(t, clone, three, SaveOptions{External: ExternalNever})
	inline := load(t, three)
	sameTensors(t, inline, want)
	if _, err := os.Stat(three + ".data"); err == nil {
		t.Error("a data file although none was wanted")
	}
	// with the data back in place the model is the one that was built, raw_data for typed fields aside
	p.Graph.Initializer[2] = want[0].Proto("big_float32")
	if !proto.Equal(inline.Proto, p) {
		t.Error("differs from the model that was built")
	}
	if err := clone.Close(); err != nil {
		t.Error(err)
	}
}

// A model may be saved over itself while its data is mapped, again and again, and keeps the name of its data file.
func TestSaveOverSource(t *testing.T) {
	p, want := large()
	path := filepath.Join(t.TempDir(), "m.onnx")
	save(t, New("mem", p), path, SaveOptions{External: ExternalAlways, DataFile: "weights.bin"})
	for range 3 {
		m := load(t, path)
		sameTensors(t, m, want)
		m.Proto.Graph.Initializer[2], m.Proto.Graph.Initializer[27] = m.Proto.Graph.Initializer[27], m.Proto.Graph.Initializer[2]
		want[0], want[25] = want[25], want[0] // offsets change
		save(t, m, path, SaveOptions{})
		sameTensors(t, m, want) // the old data is still there for the old model
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 2 || entries[1].Name() != "weights.bin" {
		t.Errorf("folder holds %v", entries)
	}
	sameTensors(t, load(t, path), want)
}

// A model that would pass the limit of a protobuf message gets external data by itself.
func TestTooLargeForOneMessage(t *testing.T) {
	p, want := large()
	defer func(was int64) { maxMessage = was }(maxMessage)
	maxMessage = 20000
	path := filepath.Join(t.TempDir(), "m.onnx")
	m := New("mem", p)
	if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), "external data") {
		t.Errorf("Encode: %v", err)
	}
	if err := m.Save(path, SaveOptions{External: ExternalNever}); err == nil || !strings.Contains(err.Error(), "allow external data") {
		t.Errorf("Save without external data: %v", err)
	}
	save(t, m, path, SaveOptions{})
	sameTensors(t, load(t, path), want)
	maxMessage = 500
	if err := m.Save(path, SaveOptions{}); err == nil || !strings.Contains(err.Error(), "more than a protobuf message") {
		t.Errorf("too large even so: %v", err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "more than an ONNX file can have") {
		t.Errorf("Load: %v", err)
	}
}

// Without maps the pieces are read one by one.
func TestExternalWithoutMap(t *testing.T) {
	p, want := large()
	path := filepath.Join(t.TempDir(), "m.onnx")
	save(t, New("mem", p), path, SaveOptions{External: ExternalAlways})
	m := load(t, path)
	for _, f := range m.files.files {
		if f.mapped != nil {
			if err := f.unmap(); err != nil {
				t.Fatal(err)
			}
			f.mapped = nil
		}
	}
	sameTensors(t, m, want)
	sameTensors(t, m, want)
	save(t, m, path, SaveOptions{})
	sameTensors(t, load(t, path), want)
}

func TestExternalRefused(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	inside := filepath.Join(dir, "data")
	for _, f := range []string{outside, inside, filepath.Join(dir, "short")} {
		if err := os.WriteFile(f, bytes.Repeat([]byte{1}, 24), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	os.Truncate(filepath.Join(dir, "short"), 23)
	os.Mkdir(filepath.Join(dir, "sub"), 0o777)
	links := os.Symlink(outside, filepath.Join(dir, "link")) == nil && os.Symlink(inside, filepath.Join(dir, "near")) == nil &&
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "way")) == nil
	for _, c := range []struct {
		location, offset, length, want string
		link                           bool
	}{
		{location: "data"}, {location: "data", offset: "0", length: "24"}, {location: "sub/../data"},
		{location: outside, want: "may not leave"},
		{location: "../" + filepath.Base(filepath.Dir(outside)) + "/secret", want: "may not leave"},
		{location: "sub/../../x", want: "may not leave"},
		{location: `..\x`, want: "may not leave"},
		{location: "link", want: "symbolic link", link: true},
		{location: "near", want: "symbolic link", link: true},
		{location: "way/secret", want: "symbolic link", link: true},
		{location: "missing", want: "no such file"},
		{location: "sub", want: "not a regular file"},
		{location: "short", want: "which has 23 bytes"},
		{location: "data", offset: "1", want: "bytes 1 to 25"},
		{location: "data", offset: "9223372036854775807", want: "which has 24 bytes"},
		{location: "data", offset: "-1", want: `offset "-1"`},
		{location: "data", offset: "x", want: `offset "x"`},
		{location: "data", length: "-5", want: `length "-5"`},
		{location: "data", length: "20", want: "external data of 20 bytes, but its shape needs 24"},
		{location: "", want: "without a location"},
	} {
		if c.link && !links {
			continue
		}
		p := tiny()
		w := p.Graph.Initializer[0]
		w.RawData, w.DataLocation = nil, onnxpb.TensorProto_EXTERNAL.Enum()
		for k, v := range map[string]string{"location": c.location, "offset": c.offset, "length": c.length} {
			if v != "" {
				w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(k), Value: proto.String(v)})
			}
		}
		path := filepath.Join(dir, "m.onnx")
		b, _ := marshal(p)
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := Load(path)
		if c.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			} else if x, err := m.Tensor(m.Proto.Graph.Initializer[0]); err != nil || x.Float32s()[5] == 0 {
				t.Errorf("%+v: %v, %v", c, x, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `tensor "w"`) {
			t.Errorf("%+v: got %v, want it to say %q", c, err, c.want)
		}
		if err == nil {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	p := tiny()
	p.Graph.Initializer[0].DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
	p.Graph.Initializer[0].ExternalData = []*onnxpb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String("data")}}
	if _, err := New("mem", p).Tensor(p.Graph.Initializer[0]); err == nil || !strings.Contains(err.Error(), "read from memory") {
		t.Errorf("model without a file: %v", err)
	}
}

func TestSaveRefused(t *testing.T) {
	p, want := large()
	dir := t.TempDir()
	path := filepath.Join(dir, "m.onnx")
	save(t, New("mem", p), path, SaveOptions{External: ExternalAlways})
	m := load(t, path)
	for _, c := range []struct {
		path, data, want string
	}{
		{dir, "", "is a folder"},
		{filepath.Join(dir, "none", "x.onnx"), "", "cannot write"},
		{filepath.Join(dir, "x.onnx"), "m.onnx.data", "which would lose it"},
		{filepath.Join(dir, "x.onnx"), "x.onnx", "plain name"},
		{filepath.Join(dir, "x.onnx"), "../d", "plain name"},
		{filepath.Join(dir, "x.onnx"), "a/d", "plain name"},
	} {
		if err := m.Save(c.path, SaveOptions{DataFile: c.data}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with data in %q: got %v, want it to say %q", c.path, c.data, err, c.want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("failed saves left files behind: %v", entries)
	}
	sameTensors(t, load(t, path), want)
}

// Views of a mapped file need no copy.
func TestExternalViewsAllocateNothingLarge(t *testing.T) {
	p := tiny()
	p.Graph.Initializer = append(p.Graph.Initializer, NewTensor(Float32, 1<<20).Proto("big"))
	path := filepath.Join(t.TempDir(), "m.onnx")
	save(t, New("mem", p), path, SaveOptions{External: ExternalAlways})
	m := load(t, path)
	if m.files.files["m.onnx.data"].mapped == nil {
		t.Skip("no maps on this system")
	}
	big := m.Proto.Graph.Initializer[2]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if _, err := m.Tensor(big); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes allocated for ten views of 4 MiB", got)
	}
}

// TestSaveOverOwnData keeps the file that holds the weights.
func TestSaveOverOwnData(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	p := &onnxpb.ModelProto{Graph: &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{NewTensor(Float32, 1000).Proto("w")}}}
	save(t, New("mem", p), path, SaveOptions{External: ExternalAlways, DataFile: "weights.bin"})
	m := load(t, path)
	weights := filepath.Join(filepath.Dir(path), "weights.bin")
	if !m.ReadsData(weights) || m.ReadsData(path) {
		t.Errorf("reads %s: %v, %s: %v", weights, m.ReadsData(weights), path, m.ReadsData(path))
	}
	for _, o := range []SaveOptions{{}, {External: ExternalNever}} {
		if err := m.Clone().Save(weights, o); err == nil || !strings.Contains(err.Error(), "own external data") {
			t.Errorf("saved over its weights: %v", err)
		}
	}
	if info, err := os.Stat(weights); err != nil || info.Size() != 4000 {
		t.Errorf("the weights are %v, %v", info, err)
	}
}
