package onnxio

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// maxMessage is the size that no protobuf message may pass. Tests lower it.
var maxMessage int64 = math.MaxInt32

// sliceRef is the size from which raw_data is written from where it lies, not copied into a buffer first.
const sliceRef = 4096

// pieces is a message on its way out: buffers of its own and slices of raw_data that it does not copy.
type pieces struct {
	list [][]byte
	own  []byte // the last piece, still growing
	size int64
}

func (p *pieces) add(b []byte) {
	p.own = append(p.own, b...)
	p.size += int64(len(b))
}

// ref adds b without a copy.
func (p *pieces) ref(b []byte) {
	p.list = append(p.list, p.own, b)
	p.own = nil
	p.size += int64(len(b))
}

func (p *pieces) join(q *pieces) {
	if len(q.list) == 0 {
		p.add(q.own)
		return
	}
	p.list = append(append(p.list, p.own), q.list...)
	p.own = q.own
	p.size += q.size
}

func (p *pieces) WriteTo(w io.Writer) (n int64, err error) {
	for _, b := range append(p.list, p.own) {
		m, err := w.Write(b)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// encoder writes messages field by field in the order of the field numbers, as protobuf libraries do, with two liberties: a
// node that nobody touched keeps the bytes of its file, and a tensor may be replaced on the way.
type encoder struct {
	originals map[*onnxpb.NodeProto]original
	replace   func(t *onnxpb.TensorProto, initializer bool) (*onnxpb.TensorProto, error) // may be nil
}

// containers are the messages that may hold nodes or tensors: the encoder walks through them.
var containers = map[protoreflect.FullName]bool{}

var initializerField protoreflect.FieldDescriptor

func init() {
	for _, m := range []proto.Message{(*onnxpb.ModelProto)(nil), (*onnxpb.GraphProto)(nil), (*onnxpb.FunctionProto)(nil),
		(*onnxpb.NodeProto)(nil), (*onnxpb.AttributeProto)(nil), (*onnxpb.TensorProto)(nil),
		(*onnxpb.SparseTensorProto)(nil), (*onnxpb.TrainingInfoProto)(nil)} {
		containers[m.ProtoReflect().Descriptor().FullName()] = true
	}
	initializerField = (*onnxpb.GraphProto)(nil).ProtoReflect().Descriptor().Fields().ByName("initializer")
}

type field struct {
	fd protoreflect.FieldDescriptor
	v  protoreflect.Value
}

// fieldsOf lists the populated fields of m in the order of their numbers.
func fieldsOf(m protoreflect.Message) []field {
	var fields []field
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, field{fd, v})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return cmp.Compare(a.fd.Number(), b.fd.Number()) })
	return fields
}

// isContainer reports whether the field holds messages that the encoder walks through.
func isContainer(fd protoreflect.FieldDescriptor) bool {
	return fd.Kind() == protoreflect.MessageKind && containers[fd.Message().FullName()]
}

// children calls fn for each message in the field.
func (f field) children(fn func(protoreflect.Message) error) error {
	if !f.fd.IsList() {
		return fn(f.v.Message())
	}
	for i, l := 0, f.v.List(); i < l.Len(); i++ {
		if err := fn(l.Get(i).Message()); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) message(m protoreflect.Message) (*pieces, error) {
	out := new(pieces)
	if n, ok := m.Interface().(*onnxpb.NodeProto); ok {
		if o, ok := e.originals[n]; ok {
			canon, err := marshal(n)
			if err != nil {
				return nil, err
			}
			if sha256.Sum256(canon) == o.canonical {
				out.add(o.bytes)
				return out, nil
			}
		}
	}
	for _, f := range fieldsOf(m) {
		if err := e.field(out, m, f); err != nil {
			return nil, err
		}
	}
	out.add(m.GetUnknown())
	return out, nil
}

func (e *encoder) field(out *pieces, m protoreflect.Message, f field) error {
	if isContainer(f.fd) {
		return f.children(func(child protoreflect.Message) error {
			if t, ok := child.Interface().(*onnxpb.TensorProto); ok && e.replace != nil {
				r, err := e.replace(t, f.fd == initializerField)
				if err != nil {
					return err
				}
				child = r.ProtoReflect()
			}
			body, err := e.message(child)
			if err != nil {
				return err
			}
			out.add(protowire.AppendVarint(protowire.AppendTag(nil, f.fd.Number(), protowire.BytesType), uint64(body.size)))
			out.join(body)
			return nil
		})
	}
	if f.fd.Kind() == protoreflect.BytesKind && !f.fd.IsList() && len(f.v.Bytes()) >= sliceRef {
		b := f.v.Bytes()
		out.add(protowire.AppendVarint(protowire.AppendTag(nil, f.fd.Number(), protowire.BytesType), uint64(len(b))))
		out.ref(b)
		return nil
	}
	alone := m.New()
	alone.Set(f.fd, f.v)
	b, err := marshal(alone.Interface())
	out.add(b)
	return err
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{AllowPartial: true, Deterministic: true}.Marshal(m)
}

// Encode is the model as the bytes of a file. Nodes that were not changed since they were decoded have the bytes that they
// had. A model of 2 GiB and more cannot be one message: Save it with external data.
func (m *Model) Encode() ([]byte, error) {
	p, err := (&encoder{originals: m.originals}).message(m.Proto.ProtoReflect())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	if p.size > maxMessage {
		return nil, fmt.Errorf("%s: %d bytes are more than a protobuf message can have (%d): save it with external data", m.name, p.size, maxMessage)
	}
	return slices.Concat(append(p.list, p.own)...), nil
}
