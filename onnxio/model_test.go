package onnxio

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/testkit"
)

// Every model of the vectors decodes and encodes to an equal message; every tensor file reads.
func TestVectors(t *testing.T) {
	root := testkit.Vectors(t)
	models, _ := filepath.Glob(filepath.Join(root, "*", "*", "model.onnx"))
	if len(models) < 1000 {
		t.Fatalf("only %d models in %s", len(models), root)
	}
	for _, path := range models {
		m, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		b, err := m.Encode()
		if err != nil {
			t.Error(path, err)
			continue
		}
		if back, err := Decode(path, b); err != nil || !proto.Equal(m.Proto, back.Proto) {
			t.Errorf("%s: not equal after a round trip (%v)", path, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(root, "*", "*", "test_data_set_*", "*.pb"))
	for _, path := range files {
		if _, _, err := LoadTensorPB(path); err != nil {
			raw, _ := os.ReadFile(path)
			if !strings.Contains(path, "seq") && !strings.Contains(path, "opt") {
				t.Errorf("%v (%d bytes)", err, len(raw))
			}
		}
	}
}

func TestTensorProtoRoundTrip(t *testing.T) {
	for dt := Float32; dt <= Float6E3M2; dt++ {
		for _, shape := range [][]int{{}, {0}, {1}, {3}, {2, 5}, {8}} {
			x := NewTensor(dt, shape...)
			if d, ok := x.Data.([]uint8); ok {
				for i := range d {
					d[i] = uint8(i*7+1) & uint8(1<<dt.Bits()-1)
				}
			}
			if d, ok := x.Data.([]int8); ok {
				for i := range d {
					d[i] = int8(uint8(i*5+1)<<(8-dt.Bits())) >> (8 - dt.Bits())
				}
			}
			y, err := New("mem", nil).Tensor(x.Proto("x"))
			if err != nil || !reflect.DeepEqual(x, y) {
				t.Errorf("%v: got %v, %v", x, y, err)
			}
		}
	}
}
