package onnxio

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Model is an ONNX model: the message itself, free to edit, and where it came from.
type Model struct {
	Proto *onnxpb.ModelProto
	Path  string // the file it was loaded from; empty when decoded from memory
	name  string // for messages

	files     *store // external data; nil when decoded from memory
	originals map[*onnxpb.NodeProto]original
}

// Load reads the model file at path and checks it (see Check). External data is found beside it and mapped when it is needed.
func Load(path string) (*Model, error) {
	m, err := decodeFile(path)
	if err != nil {
		return nil, err
	}
	m.Path = path
	m.files = &store{dir: filepath.Dir(path), users: 1}
	if err := m.Check(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Decode reads a model from memory; name stands for it in messages. The model keeps no reference to data.
func Decode(name string, data []byte) (*Model, error) {
	return decode(name, data, func(int) {})
}

// decode is Decode that tells done how many bytes of data need not stay in memory.
func decode(name string, data []byte, done func(n int)) (*Model, error) {
	m := &Model{Proto: new(onnxpb.ModelProto), name: name, originals: map[*onnxpb.NodeProto]original{}}
	if err := unmarshal(data, m.Proto, done); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	keepOriginals(m.Proto.ProtoReflect(), data, m.originals)
	return m, nil
}

// unmarshal decodes p after a look at the wire format, so that messages are clear and a small file cannot ask for much memory.
func unmarshal(data []byte, p proto.Message, done func(n int)) error {
	err := scanModel(p.ProtoReflect().Descriptor(), data)
	if err == nil {
		var graph protowire.Number // its fields are most of a model
		if fd := p.ProtoReflect().Descriptor().Fields().ByName("graph"); fd != nil {
			graph = fd.Number()
		}
		err = (&gradual{data, done}).decode(p.ProtoReflect(), 0, len(data), graph)
	}
	model, ok := p.(*onnxpb.ModelProto)
	if err == nil && (!ok || model.Graph != nil) {
		return nil
	}
	if known := foreign(data); known != nil {
		return known
	}
	if err == nil {
		err = errors.New(": there is no graph in it")
	}
	what := strings.TrimSuffix(strings.ToLower(string(p.ProtoReflect().Descriptor().Name())), "proto")
	return fmt.Errorf("not an ONNX %s, or cut short or damaged: %s%w", what, what, err)
}

// New wraps a message that was built in memory; name stands for it in messages.
func New(name string, p *onnxpb.ModelProto) *Model { return &Model{Proto: p, name: name} }

// Close releases what the model holds open. Tensors that are views of external data must not be used afterwards.
func (m *Model) Close() error {
	err := m.files.release()
	m.files = nil
	return err
}

// Name is the file's path, or the name that Decode was given.
func (m *Model) Name() string { return m.name }

// Clone is a deep copy of the model. Both share the external data files, which stay open until both are closed.
func (m *Model) Clone() *Model {
	p := proto.Clone(m.Proto).(*onnxpb.ModelProto)
	return &Model{Proto: p, Path: m.Path, name: m.name, files: m.files.share(), originals: cloneOriginals(m.originals, m.Proto, p)}
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
	t, n, err := m.layout(p)
	if err != nil {
		return nil, err
	}
	switch {
	case isExternal(p):
		var raw []byte
		if raw, err = m.external(p, rawLen(t.Type, n)); err == nil {
			t.Data, err = fromRaw(t.Type, n, raw)
		}
	case isRaw(p):
		t.Data, err = fromRaw(t.Type, n, p.RawData)
	default:
		t.Data, err = fromTyped(p, t.Type, n)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func isExternal(p *onnxpb.TensorProto) bool {
	return p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL
}

// isRaw reports whether the elements are in raw_data. A writer may leave it empty beside a typed field.
func isRaw(p *onnxpb.TensorProto) bool {
	return len(p.RawData) > 0 || p.RawData != nil && slices.Contains(p.Dims, 0)
}

// layout checks all of p but its elements: type, shape, and that there is as much data as they need. It returns the tensor
// still without data, and the number of elements.
func (m *Model) layout(p *onnxpb.TensorProto) (*Tensor, int, error) {
	t := &Tensor{Type: DataType(p.GetDataType())}
	n := product(p.GetDims())
	switch {
	case !t.Type.Valid():
		return nil, 0, fmt.Errorf("data_type %d is no element type of IR version 14", p.GetDataType())
	case p.Segment != nil:
		return nil, 0, errors.New("is one segment of a larger tensor, which is not supported")
	case n < 0 || n > maxElements:
		return nil, 0, fmt.Errorf("shape %v has a negative dimension or is larger than memory can be", p.Dims)
	case t.Type == String && (isExternal(p) || isRaw(p)):
		return nil, 0, errors.New("strings outside of string_data")
	}
	size, field, have := rawLen(t.Type, n), "raw_data", len(p.RawData)
	switch {
	case isExternal(p) && m.files != nil:
		if _, _, err := m.externalFile(p, size); err != nil {
			return nil, 0, err
		}
	case isExternal(p):
	case isRaw(p):
		if have != size {
			return nil, 0, fmt.Errorf("%d bytes in raw_data, but %v%v needs %d", have, t.Type, p.Dims, size)
		}
	default:
		var want int
		if field, have, want = typedCount(p, t.Type, n); have != want {
			return nil, 0, fmt.Errorf("%d values in %s, but %v%v needs %d", have, field, t.Type, p.Dims, want)
		}
	}
	t.Shape = make([]int, len(p.Dims))
	for i, d := range p.Dims {
		t.Shape[i] = int(d)
	}
	return t, n, nil
}

// maxElements keeps sizes in bytes and bits of any element type within an int.
const maxElements = int(^uint(0)>>1) / 128

// LoadTensorPB reads a tensor file such as test_data_set_0/input_0.pb.
func LoadTensorPB(path string) (t *Tensor, name string, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, "", err
	}
	p := new(onnxpb.TensorProto)
	if err := unmarshal(data, p, func(int) {}); err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	m := &Model{Path: path, name: path}
	t, err = m.Tensor(p)
	return t, p.GetName(), err
}
