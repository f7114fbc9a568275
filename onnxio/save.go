package onnxio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/atomicfile"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// External says which tensors Save puts in a file beside the model.
type External uint8

const (
	ExternalKeep   External = iota // those that were external when the model was loaded; all large ones when the model would pass 2 GiB
	ExternalAlways                 // all initializers of at least SizeThreshold bytes
	ExternalNever                  // none; an error when the model would pass 2 GiB
)

// SaveOptions says how Save writes a model. The zero value keeps things as they are.
type SaveOptions struct {
	External      External
	DataFile      string // name of the file for external data, in the model's folder; default: the model's name + ".data"
	SizeThreshold int    // bytes from which an initializer becomes external; default 1024
}

const (
	dataAlignment    = 4096 // offsets in a data file: the page size, so that tensors can be mapped
	defaultThreshold = 1024
)

// Save writes the model to path, and its external data, if any, to one file beside it. Both are written to temporary files
// first and take their places only when they are whole, so that a failure leaves older files as they were; path may be the file
// that the model was loaded from. The model itself does not change.
func (m *Model) Save(path string, o SaveOptions) error {
	if err := m.save(path, o); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	return nil
}

// layOut is the model's file as Save writes it to path, and what goes to the data file.
func (m *Model) layOut(path string, o SaveOptions) (data *dataWriter, body *pieces, err error) {
	if o.SizeThreshold <= 0 {
		o.SizeThreshold = defaultThreshold
	}
	data = &dataWriter{model: m, options: o, name: o.DataFile}
	if data.name == "" {
		data.name = m.defaultDataFile(path)
	}
	body, err = data.encode(m)
	if err == nil && body.size > maxMessage && o.External == ExternalKeep {
		data = &dataWriter{model: m, options: o, name: data.name, large: true}
		body, err = data.encode(m)
	}
	return data, body, err
}

func (m *Model) save(path string, o SaveOptions) error {
	data, body, err := m.layOut(path, o)
	if err != nil {
		return err
	}
	if body.size > maxMessage {
		return fmt.Errorf("%d bytes, with %d initializers in external data, are more than a protobuf message can have (%d): allow external data, or lower its size threshold",
			body.size, len(data.tensors), maxMessage)
	}
	if m.ReadsData(path) {
		return errors.New("the file holds the model's own external data: choose another name")
	}
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := body.WriteTo(f); err != nil {
		return err
	}
	if err := f.Finish(); err != nil {
		return err
	}
	if len(data.tensors) > 0 {
		if err := data.write(path); err != nil {
			return err
		}
	}
	return f.Commit()
}

// defaultDataFile names the data file after the model; a model that is saved over itself keeps the name it has.
func (m *Model) defaultDataFile(path string) string {
	name := filepath.Base(path) + ".data"
	if m.files == nil || !sameFile(path, m.Path) {
		return name
	}
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	if len(m.files.files) == 1 {
		for location := range m.files.files {
			if filepath.Base(location) == location {
				return location
			}
		}
	}
	return name
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// dataWriter collects the tensors that go to the data file, and writes it.
type dataWriter struct {
	model   *Model
	options SaveOptions
	name    string
	large   bool // the model is too large without external data
	tensors []*onnxpb.TensorProto
	offsets []int64
	end     int64
}

func (d *dataWriter) encode(m *Model) (*pieces, error) {
	return (&encoder{originals: m.originals, replace: d.replace}).message(m.Proto.ProtoReflect())
}

// replace gives the tensor as the new model file has it.
func (d *dataWriter) replace(p *onnxpb.TensorProto, initializer bool) (*onnxpb.TensorProto, error) {
	was := isExternal(p)
	size, err := d.model.byteSize(p)
	if err != nil {
		return p, ignoreUnlessExternal(err, was)
	}
	should := initializer && size >= d.options.SizeThreshold && (d.options.External == ExternalAlways || d.large)
	if d.options.External == ExternalKeep {
		should = should || was
	}
	switch {
	case should:
		return d.place(p, size), nil
	case was:
		raw, err := d.model.external(p, size)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", p.GetName(), err)
		}
		return withData(p, &onnxpb.TensorProto{RawData: raw}), nil
	}
	return p, nil
}

// ignoreUnlessExternal lets a faulty tensor pass as it is, unless its data has to move.
func ignoreUnlessExternal(err error, external bool) error {
	if external {
		return err
	}
	return nil
}

// place gives the tensor the next free place in the data file.
func (d *dataWriter) place(p *onnxpb.TensorProto, size int) *onnxpb.TensorProto {
	offset := (d.end + dataAlignment - 1) / dataAlignment * dataAlignment
	d.tensors, d.offsets = append(d.tensors, p), append(d.offsets, offset)
	d.end = offset + int64(size)
	ext := &onnxpb.TensorProto{DataLocation: onnxpb.TensorProto_EXTERNAL.Enum()}
	for _, kv := range [][2]string{{"location", d.name}, {"offset", strconv.FormatInt(offset, 10)}, {"length", strconv.Itoa(size)}} {
		ext.ExternalData = append(ext.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(kv[0]), Value: proto.String(kv[1])})
	}
	return withData(p, ext)
}

// withData is p with the data of another tensor in place of its own.
func withData(p, data *onnxpb.TensorProto) *onnxpb.TensorProto {
	out := &onnxpb.TensorProto{Dims: p.Dims, DataType: p.DataType, Name: p.Name, DocString: p.DocString, MetadataProps: p.MetadataProps,
		RawData: data.RawData, ExternalData: data.ExternalData, DataLocation: data.DataLocation}
	out.ProtoReflect().SetUnknown(p.ProtoReflect().GetUnknown())
	return out
}

// write makes the data file beside the model at path.
func (d *dataWriter) write(path string) error {
	target := filepath.Join(filepath.Dir(path), d.name)
	if d.name != filepath.Base(d.name) || !filepath.IsLocal(d.name) || d.name == filepath.Base(path) {
		return fmt.Errorf("data file %q: give a plain name other than the model's own, without a folder", d.name)
	}
	if d.model.ReadsData(target) && !sameFile(path, d.model.Path) {
		return fmt.Errorf("data file %s belongs to %s, which would lose it: choose another name", target, d.model.Path)
	}
	f, err := atomicfile.Create(target)
	if err != nil {
		return err
	}
	defer f.Abort()
	for i, p := range d.tensors {
		raw, err := d.model.rawData(p)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", p.GetName(), err)
		}
		if _, err := f.Seek(d.offsets[i], io.SeekStart); err != nil {
			return err
		}
		if _, err := f.Write(raw); err != nil {
			return err
		}
	}
	return f.Commit()
}

// ReadsData reports whether the model's external data lies in the file at path.
func (m *Model) ReadsData(path string) bool {
	info, err := os.Stat(path)
	if err != nil || m.files == nil {
		return false
	}
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	for _, f := range m.files.files {
		if os.SameFile(info, f.info) {
			return true
		}
	}
	return false
}

// byteSize is what the tensor's elements take as raw_data.
func (m *Model) byteSize(p *onnxpb.TensorProto) (int, error) {
	t := DataType(p.GetDataType())
	n := product(p.Dims)
	if n < 0 || n > maxElements || t.Bits() == 0 || p.Segment != nil {
		return 0, errors.New("has no size in bytes")
	}
	return rawLen(t, n), nil
}

// rawData is the tensor's elements in the layout of raw_data, from wherever they are.
func (m *Model) rawData(p *onnxpb.TensorProto) ([]byte, error) {
	size, err := m.byteSize(p)
	switch {
	case err != nil:
		return nil, err
	case isExternal(p):
		return m.external(p, size)
	case isRaw(p) && len(p.RawData) == size:
		return p.RawData, nil
	}
	t, err := m.tensor(p)
	if err != nil {
		return nil, err
	}
	return t.raw(), nil
}
