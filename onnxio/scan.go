package onnxio

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	maxDepth = 200 // messages within messages; protobuf's C++ library stops at 100

	// A decoded message takes about 256 bytes. A file may hold this many of them for free, beyond that one in 12 bytes:
	// real models have fewer than one in 20, a file made to exhaust memory has one in 2.
	freeMessages    = 1 << 18
	bytesPerMessage = 12
)

// scanner walks the wire format before anything is allocated for it.
type scanner struct{ messages int }

// scanModel finds what is wrong with the wire format of a message: where it ends early, which known field has another wire
// type than its own, nesting too deep, and more messages than its size warrants.
func scanModel(md protoreflect.MessageDescriptor, wire []byte) error {
	s := new(scanner)
	if err := s.scan(md, wire, 0); err != nil {
		return err
	}
	if s.messages > freeMessages+len(wire)/bytesPerMessage {
		return fmt.Errorf("%d messages in %d bytes: the file is damaged or made to exhaust memory", s.messages, len(wire))
	}
	return nil
}

func (s *scanner) scan(md protoreflect.MessageDescriptor, wire []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf(": more than %d messages within each other", maxDepth)
	}
	s.messages++
	index := map[protowire.Number]int{}
	for total := len(wire); len(wire) > 0; {
		num, typ, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return fmt.Errorf(": no field begins at byte %d of %d", total-len(wire), total)
		}
		fd := md.Fields().ByNumber(num)
		size := protowire.ConsumeFieldValue(num, typ, wire[n:])
		if size < 0 {
			return cutShort(fd, num, typ, wire[n:])
		}
		value := wire[n : n+size]
		wire = wire[n+size:]
		if fd == nil {
			continue // a field of a later version: kept as it is
		}
		if !wireTypeFits(fd, typ) {
			return fmt.Errorf(": field %s has wire type %d, which it cannot have", fd.Name(), typ)
		}
		if fd.Kind() != protoreflect.MessageKind {
			continue
		}
		body, _ := protowire.ConsumeBytes(value)
		if err := s.scan(fd.Message(), body, depth+1); err != nil {
			if fd.IsList() {
				return fmt.Errorf(".%s[%d]%w", fd.Name(), index[num], err)
			}
			return fmt.Errorf(".%s%w", fd.Name(), err)
		}
		if fd.IsList() {
			index[num]++
		}
	}
	return nil
}

// cutShort says how a field whose value cannot be read ends early.
func cutShort(fd protoreflect.FieldDescriptor, num protowire.Number, typ protowire.Type, rest []byte) error {
	name := fmt.Sprintf("field %d", num)
	if fd != nil {
		name = string(fd.Name())
	}
	if want, n := protowire.ConsumeVarint(rest); typ == protowire.BytesType && n > 0 && want > uint64(len(rest)-n) {
		return fmt.Errorf(": %s has %d of its %d bytes", name, len(rest)-n, want)
	}
	return fmt.Errorf(": %s cannot be read", name)
}

// wireTypeFits reports whether a field may be written with the wire type; numbers in lists may be packed or not.
func wireTypeFits(fd protoreflect.FieldDescriptor, typ protowire.Type) bool {
	want := protowire.VarintType
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.BytesKind:
		want = protowire.BytesType
	case protoreflect.FloatKind:
		want = protowire.Fixed32Type
	case protoreflect.DoubleKind:
		want = protowire.Fixed64Type
	}
	return typ == want || fd.IsList() && typ == protowire.BytesType
}

// foreign recognises files that are often taken for ONNX models, and says what they are and what to do; nil if it does not.
func foreign(data []byte) error {
	head := bytes.TrimSpace(data[:min(len(data), 512)])
	has := func(s string) bool { return bytes.HasPrefix(head, []byte(s)) }
	lower := bytes.ToLower(head)
	switch {
	case len(data) == 0:
		return errors.New("the file is empty")
	case has("version https://git-lfs"):
		return errors.New("a git-lfs pointer, not the model itself: fetch it with \"git lfs pull\"")
	case bytes.HasPrefix(lower, []byte("<!doctype html")) || bytes.HasPrefix(lower, []byte("<html")):
		return errors.New("a web page, not a model: download the file itself, not the page about it")
	case has("PK\x03\x04"):
		return errors.New("a zip archive (a PyTorch or NumPy file?), not an ONNX model: unpack it, or export the model to ONNX")
	case has("\x89HDF"):
		return errors.New("an HDF5 file (Keras?), not an ONNX model: export the model to ONNX")
	case has("\x1f\x8b"):
		return errors.New("gzip-compressed: unpack it first")
	case len(data) > 8 && string(data[4:8]) == "TFL3":
		return errors.New("a TensorFlow Lite model, not an ONNX model: export the model to ONNX")
	case len(data) > 8 && string(data[4:8]) == "ORTM":
		return errors.New("an ONNX Runtime .ort file: give the .onnx file that it was made from")
	case utf8.Valid(data[:min(len(data), 256)]) && !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }):
		return errors.New("a text file, not an ONNX model")
	}
	return nil
}
