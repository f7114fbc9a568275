package onnxio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// missing is the error of a file that is not there; it is fs.ErrNotExist to errors.Is.
type missing string

func (path missing) Error() string { return string(path) + ": no such file" }

func (missing) Is(target error) bool { return target == fs.ErrNotExist }

// loadable tells folders, devices and files that are larger than a protobuf message apart from those that may be read.
func loadable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing(path)
	case err != nil:
		return err
	case info.IsDir():
		inside, _ := filepath.Glob(filepath.Join(path, "*.onnx"))
		return fmt.Errorf("%s: is a folder (with %d .onnx files in it): give the file itself", path, len(inside))
	case info.Mode()&fs.ModeDevice != 0:
		return fmt.Errorf("%s: is a device, not a file", path)
	case info.Size() > maxMessage:
		return fmt.Errorf("%s: %d bytes are more than an ONNX file can have (%d); larger models keep their weights in external data", path, info.Size(), maxMessage)
	}
	return nil
}

// readFile reads a whole file that is loadable.
func readFile(path string) ([]byte, error) {
	if err := loadable(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// decodeFile decodes the model file at path. A large one is mapped and its pages are let go as they are decoded, so that the
// file's bytes and the decoded copies are never in memory together.
func decodeFile(path string) (*Model, error) {
	if err := loadable(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() >= pieceBytes {
		if data, unmap, err := mapFile(f, info.Size()); err == nil {
			defer unmap()
			return decodeMapped(path, data)
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return Decode(path, data)
}

// decodeMapped decodes a mapped file. One that another program cuts short meanwhile has no bytes to give: that is a fault, and an
// error here.
func decodeMapped(path string, data []byte) (m *Model, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			m, err = nil, fmt.Errorf("%s: was cut short while it was read", path)
		}
	}()
	return decode(path, data, func(n int) { forget(data[:n]) })
}

// pieceBytes is how much of a file is decoded at once; a field that is larger is a piece of its own.
const pieceBytes = 1 << 20

// gradual decodes the message in data piece by piece and tells done how far it has come. The outcome is that of decoding it at once.
type gradual struct {
	data []byte
	done func(n int)
}

// decode merges the fields of m in bytes [from, to); the message in field split, 0 for none, is taken apart as well.
func (g *gradual) decode(m protoreflect.Message, from, to int, split protowire.Number) error {
	for at := from; at < to; {
		num, typ, n := protowire.ConsumeTag(g.data[at:to])
		size := protowire.ConsumeFieldValue(num, typ, g.data[at+max(n, 0):to])
		if n < 0 || size < 0 {
			return protowire.ParseError(min(n, size))
		}
		begin, end := at+n, at+n+size
		at = end
		switch {
		case num == split && typ == protowire.BytesType:
			if err := g.merge(m, from, begin-n); err != nil {
				return err
			}
			_, prefix := protowire.ConsumeVarint(g.data[begin:end])
			if err := g.decode(m.Mutable(m.Descriptor().Fields().ByNumber(num)).Message(), begin+prefix, end, 0); err != nil {
				return err
			}
		case end-from >= pieceBytes:
			if err := g.merge(m, from, end); err != nil {
				return err
			}
		default:
			continue
		}
		from = end
	}
	return g.merge(m, from, to)
}

func (g *gradual) merge(m protoreflect.Message, from, to int) error {
	opts := proto.UnmarshalOptions{AllowPartial: true, Merge: true, RecursionLimit: maxDepth + 10}
	err := opts.Unmarshal(g.data[from:to], m.Interface())
	g.done(to)
	return err
}
