package onnxio

import (
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Model is an ONNX model: the message itself, free to edit, and where it came from.
type Model struct {
	Proto *onnxpb.ModelProto
	Path  string // the file it was loaded from; empty when decoded from memory
	name  string // for messages
}

// Load reads the model file at path.
func Load(path string) (*Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := Decode(path, data)
	if err != nil {
		return nil, err
	}
	m.Path = path
	return m, nil
}

// Decode reads a model from memory; name stands for it in messages. The model keeps no reference to data.
func Decode(name string, data []byte) (*Model, error) {
	m := &Model{Proto: new(onnxpb.ModelProto), name: name}
	if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(data, m.Proto); err != nil {
		return nil, fmt.Errorf("%s: not a readable ONNX model: %w", name, err)
	}
	return m, nil
}

// New wraps a message that was built in memory; name stands for it in messages.
func New(name string, p *onnxpb.ModelProto) *Model { return &Model{Proto: p, name: name} }

// Close releases what the model holds open. Tensors that are views of external data must not be used afterwards.
func (m *Model) Close() error { return nil }

// Name is the file's path, or the name that Decode was given.
func (m *Model) Name() string { return m.name }

// Encode is the model as the bytes of a file.
func (m *Model) Encode() ([]byte, error) {
	return proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m.Proto)
}

// SaveOptions says how Save writes a model.
type SaveOptions struct{}

// Save writes the model to path: to a temporary file beside it first, which then takes its place.
func (m *Model) Save(path string, _ SaveOptions) error {
	data, err := m.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".obc-*.onnx")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// Clone is a deep copy of the model.
func (m *Model) Clone() *Model {
	return &Model{Proto: proto.Clone(m.Proto).(*onnxpb.ModelProto), Path: m.Path, name: m.name}
}

// Opset is the version of the operator set domain ("" and "ai.onnx" are the default one) that the model imports, 0 if none.
func (m *Model) Opset(domain string) int {
	for _, o := range m.Proto.OpsetImport {
		if normalDomain(o.GetDomain()) == normalDomain(domain) {
			return int(o.GetVersion())
		}
	}
	return 0
}

func normalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// Tensor is a typed view of p, which is one of the model's initializers or attributes. It shares memory with p, or with the
// mapped external file, where the layout allows: treat it as read-only.
func (m *Model) Tensor(p *onnxpb.TensorProto) (*Tensor, error) {
	t, err := m.tensor(p)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", m.name, p.GetName(), err)
	}
	return t, nil
}

func (m *Model) tensor(p *onnxpb.TensorProto) (*Tensor, error) {
	t := &Tensor{Type: DataType(p.GetDataType()), Shape: make([]int, len(p.Dims))}
	if !t.Type.Valid() {
		return nil, fmt.Errorf("element type %d is not one of IR version 14", p.GetDataType())
	}
	if p.Segment != nil {
		return nil, fmt.Errorf("is one segment of a larger tensor, which is not supported")
	}
	n := product(p.Dims)
	if n < 0 || n > maxElements {
		return nil, fmt.Errorf("impossible shape %v", p.Dims)
	}
	for i, d := range p.Dims {
		t.Shape[i] = int(d)
	}
	var err error
	switch {
	case p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL:
		var raw []byte
		if raw, err = m.external(p); err == nil {
			t.Data, err = fromRaw(t.Type, n, raw)
		}
	case p.RawData != nil:
		t.Data, err = fromRaw(t.Type, n, p.RawData)
	default:
		t.Data, err = fromTyped(p, t.Type, n)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// maxElements keeps sizes in bytes and bits of any element type within an int.
const maxElements = int(^uint(0)>>1) / 128

// LoadTensorPB reads a tensor file such as test_data_set_0/input_0.pb.
func LoadTensorPB(path string) (t *Tensor, name string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	p := new(onnxpb.TensorProto)
	if err := proto.Unmarshal(data, p); err != nil {
		return nil, "", fmt.Errorf("%s: not a readable tensor file: %w", path, err)
	}
	m := &Model{Path: path, name: path}
	t, err = m.Tensor(p)
	return t, p.GetName(), err
}

func (m *Model) external(p *onnxpb.TensorProto) ([]byte, error) {
	return nil, fmt.Errorf("external data is not mapped yet")
}
