package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
)

// TestUntouchedNodes compresses a model and finds the nodes and tensors that have nothing to do with layers in the written
// file byte for byte, and all names as they were.
func TestUntouchedNodes(t *testing.T) {
	dir := t.TempDir()
	in, data, out := filepath.Join(dir, "net.onnx"), filepath.Join(dir, "data.npz"), filepath.Join(dir, "out.onnx")
	for name, file := range map[string]string{"net": in, "data": data} {
		if err := os.WriteFile(file, fixtures[name](), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if code := run(t.Context(), []string{"compress", in, "--calib", data, "--nm", "2:4", "--correction", "none", "--quiet", "-o", out}, io.Discard, os.Stderr); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	before, err := onnxio.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	after, err := onnxio.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	untouched := 0
	for i, n := range before.Proto.Graph.Node {
		if n.GetName() != after.Proto.Graph.Node[i].GetName() {
			t.Errorf("node %q is called %q", n.GetName(), after.Proto.Graph.Node[i].GetName())
		}
		if n.GetOpType() == "Conv" || n.GetOpType() == "Gemm" {
			continue
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
		if err != nil || !bytes.Contains(written, b) {
			t.Errorf("node %q is not what it was (%v)", n.GetName(), err)
		}
		untouched++
	}
	if untouched != 3 {
		t.Errorf("%d nodes were looked at", untouched)
	}
	for i, x := range before.Proto.Graph.Initializer {
		y := after.Proto.Graph.Initializer[i]
		if x.GetName() != y.GetName() || proto.Equal(x, y) == (x.GetName() == "conv.weight" || x.GetName() == "fc.weight") {
			t.Errorf("initializer %q, then %q", x.GetName(), y.GetName())
		}
	}
	for i, v := range before.Proto.Graph.Input {
		if !proto.Equal(v, after.Proto.Graph.Input[i]) {
			t.Errorf("input %q has changed", v.GetName())
		}
	}
	for i, v := range before.Proto.Graph.Output {
		if !proto.Equal(v, after.Proto.Graph.Output[i]) {
			t.Errorf("output %q has changed", v.GetName())
		}
	}
}
