package onnxio

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// original is a node as its file has it, where that differs from what protobuf libraries write: fields in another order, packed
// numbers, padded lengths. While the node's own encoding has the checksum, nobody touched it.
type original struct {
	bytes     []byte
	canonical [sha256.Size]byte
}

// keepOriginals finds the nodes within m, decoded from wire, whose bytes the encoder would not reproduce.
func keepOriginals(m protoreflect.Message, wire []byte, found map[*onnxpb.NodeProto]original) {
	next := map[protowire.Number]int{} // how many messages of each field have gone by
	for len(wire) > 0 {
		num, typ, n := protowire.ConsumeTag(wire)
		size := protowire.ConsumeFieldValue(num, typ, wire[max(n, 0):])
		if n < 0 || size < 0 {
			return // decoded well before, so this does not happen
		}
		value := wire[n : n+size]
		wire = wire[n+size:]
		fd := m.Descriptor().Fields().ByNumber(num)
		if fd == nil || typ != protowire.BytesType || !isContainer(fd) {
			continue
		}
		body, _ := protowire.ConsumeBytes(value)
		at := next[num]
		next[num]++
		switch {
		case fd.IsList() && at < m.Get(fd).List().Len():
			keepOriginal(m.Get(fd).List().Get(at).Message(), body, found)
		case !fd.IsList() && at == 0:
			keepOriginal(m.Get(fd).Message(), body, found)
		}
	}
}

func keepOriginal(m protoreflect.Message, wire []byte, found map[*onnxpb.NodeProto]original) {
	if node, ok := m.Interface().(*onnxpb.NodeProto); ok {
		canon, err := marshal(node)
		if err != nil || bytes.Equal(canon, wire) {
			return // and so are the nodes within it
		}
		found[node] = original{bytes.Clone(wire), sha256.Sum256(canon)}
	}
	keepOriginals(m, wire, found)
}

// eachNode calls fn for every node of m, those within subgraphs and functions included, in the order of the file; an error ends
// it.
func eachNode(m protoreflect.Message, fn func(*onnxpb.NodeProto) error) error {
	if n, ok := m.Interface().(*onnxpb.NodeProto); ok {
		if err := fn(n); err != nil {
			return err
		}
	}
	for _, f := range fieldsOf(m) {
		if isContainer(f.fd) {
			if err := f.children(func(c protoreflect.Message) error { return eachNode(c, fn) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// cloneOriginals finds for each node of from its twin in to, a deep copy.
func cloneOriginals(originals map[*onnxpb.NodeProto]original, from, to *onnxpb.ModelProto) map[*onnxpb.NodeProto]original {
	if len(originals) == 0 {
		return nil
	}
	var nodes []*onnxpb.NodeProto
	_ = eachNode(from.ProtoReflect(), func(n *onnxpb.NodeProto) error { nodes = append(nodes, n); return nil })
	out, i := map[*onnxpb.NodeProto]original{}, 0
	_ = eachNode(to.ProtoReflect(), func(n *onnxpb.NodeProto) error {
		if o, ok := originals[nodes[i]]; ok {
			out[n] = o
		}
		i++
		return nil
	})
	return out
}
