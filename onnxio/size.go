package onnxio

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// SavedSize is the number of bytes that Save takes on the disk for the model at path: its file and the data file beside it, with the gaps
// before tensors that begin at a page.
func (m *Model) SavedSize(path string, o SaveOptions) (int64, error) {
	data, body, err := m.layOut(path, o)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.name, err)
	}
	return body.size + data.end, nil
}

// Size is the number of bytes that the model takes where it came from: its message, and the whole of each file that its initializers lie in.
func (m *Model) Size() (int64, error) {
	body, err := (&encoder{originals: m.originals}).message(m.Proto.ProtoReflect())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", m.name, err)
	}
	size, counted := body.size, map[*dataFile]bool{}
	for _, p := range m.Proto.GetGraph().GetInitializer() {
		if !isExternal(p) {
			continue
		}
		f, err := m.fileOf(p)
		if err != nil {
			return 0, fmt.Errorf("%s: tensor %q: %w", m.name, p.GetName(), err)
		}
		if !counted[f] {
			counted[f] = true
			size += f.info.Size()
		}
	}
	return size, nil
}

// fileOf is the file with the external data of p.
func (m *Model) fileOf(p *onnxpb.TensorProto) (*dataFile, error) {
	size, err := m.byteSize(p)
	if err != nil {
		return nil, err
	}
	f, _, err := m.externalFile(p, size)
	return f, err
}
