package onnxio

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// largeModel has weights larger than a piece and smaller ones, fields on both sides of the graph, and a second graph field, which
// protobuf merges into the first.
func largeModel(t *testing.T) []byte {
	t.Helper()
	g := &onnxpb.GraphProto{Name: proto.String("g"), Node: []*onnxpb.NodeProto{{OpType: proto.String("Relu"), Input: []string{"a"}, Output: []string{"b"}}}}
	for i, n := range []int{10, pieceBytes + 5, 100, pieceBytes / 2, pieceBytes / 2, 3 * pieceBytes} {
		g.Initializer = append(g.Initializer, &onnxpb.TensorProto{Name: proto.String(string(rune('a' + i))), DataType: proto.Int32(2),
			Dims: []int64{int64(n)}, RawData: bytes.Repeat([]byte{byte(i), 7}, n)[:n]})
	}
	g.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), "later"))
	wire, err := proto.Marshal(&onnxpb.ModelProto{IrVersion: proto.Int64(10), Graph: g, ProducerName: proto.String("p")})
	if err != nil {
		t.Fatal(err)
	}
	more, err := proto.Marshal(&onnxpb.ModelProto{Graph: &onnxpb.GraphProto{DocString: proto.String("more"), Input: []*onnxpb.ValueInfoProto{{Name: proto.String("x")}}}})
	if err != nil {
		t.Fatal(err)
	}
	return append(wire, more...)
}

func TestDecodeInPieces(t *testing.T) {
	wire := largeModel(t)
	var want onnxpb.ModelProto
	if err := proto.Unmarshal(wire, &want); err != nil {
		t.Fatal(err)
	}
	last, calls := 0, 0
	m, err := decode("m", wire, func(n int) {
		if n < last || n > len(wire) {
			t.Errorf("%d of %d bytes done after %d", n, len(wire), last)
		}
		last = n
		calls++
	})
	if err != nil || !proto.Equal(m.Proto, &want) {
		t.Fatalf("decoded in pieces the model is another one (%v)", err)
	}
	if last != len(wire) || calls < 5 {
		t.Errorf("%d of %d bytes done in %d pieces", last, len(wire), calls)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, wire, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err = decodeFile(path); err != nil || !proto.Equal(m.Proto, &want) {
		t.Fatalf("decoded from a map the model is another one (%v)", err)
	}
}

func TestFileCutShortWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := os.WriteFile(path, largeModel(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	data, unmap, err := mapFile(f, info.Size())
	if err != nil {
		t.Skipf("no maps here: %v", err)
	}
	defer unmap()
	if err := os.Truncate(path, pieceBytes); err != nil {
		t.Skipf("a mapped file keeps its length here: %v", err)
	}
	if _, err := decodeMapped(path, data); err == nil || !strings.Contains(err.Error(), "cut short while it was read") {
		t.Errorf("error is %v", err)
	}
}
