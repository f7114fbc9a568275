package onnxio_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// model is y = x * w.
func model() *onnxio.Model {
	value := func(name string) *onnxpb.ValueInfoProto {
		return &onnxpb.ValueInfoProto{Name: proto.String(name), Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
			TensorType: &onnxpb.TypeProto_Tensor{ElemType: onnxio.Float32.Proto()}}}}
	}
	return onnxio.New("example", &onnxpb.ModelProto{
		IrVersion:   proto.Int64(10),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(21)}},
		Graph: &onnxpb.GraphProto{
			Name:        proto.String("g"),
			Input:       []*onnxpb.ValueInfoProto{value("x")},
			Output:      []*onnxpb.ValueInfoProto{value("y")},
			Initializer: []*onnxpb.TensorProto{onnxio.TensorOf([]float32{1, 2, 3, 4}, 2, 2).Proto("w")},
			Node: []*onnxpb.NodeProto{{Name: proto.String("fc"), OpType: proto.String("MatMul"),
				Input: []string{"x", "w"}, Output: []string{"y"}}},
		},
	})
}

// Load a model, change a weight, and save it over itself.
func Example() {
	dir, err := os.MkdirTemp("", "onnxio")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.onnx")
	if err := model().Save(path, onnxio.SaveOptions{}); err != nil {
		log.Fatal(err)
	}

	m, err := onnxio.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	for i, p := range m.Proto.Graph.Initializer {
		t, err := m.Tensor(p)
		if err != nil {
			log.Fatal(err)
		}
		half := onnxio.NewTensor(t.Type, t.Shape...) // views are read-only: write to a new tensor
		for j, v := range t.Float32s() {
			half.Float32s()[j] = v / 2
		}
		fmt.Println(p.GetName(), t, half.Data)
		m.Proto.Graph.Initializer[i] = half.Proto(p.GetName())
	}
	fmt.Println(m.Save(path, onnxio.SaveOptions{}))
	// Output:
	// w float32[2 2] [0.5 1 1.5 2]
	// <nil>
}

// A check names what is wrong.
func ExampleModel_Check() {
	m := model()
	m.Proto.Graph.Node[0].Input[1] = "weight"
	fmt.Println(m.Check())
	// Output:
	// example: node "fc" (MatMul): its input "weight" is made by no node, input or initializer
}

// Convert to a type of eight bits and back to see what is lost.
func ExampleTensor_ConvertTo() {
	t := onnxio.TensorOf([]float32{0.1, 1.3, 1000}, 3)
	f8, err := t.ConvertTo(onnxio.Float8E4M3FN)
	if err != nil {
		log.Fatal(err)
	}
	back, err := f8.ToFloat32()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f8, back.Data)
	// Output:
	// float8e4m3fn[3] [0.1015625 1.25 448]
}

// Weights in a file of their own.
func ExampleModel_Save_external() {
	dir, err := os.MkdirTemp("", "onnxio")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	err = model().Save(filepath.Join(dir, "model.onnx"), onnxio.SaveOptions{External: onnxio.ExternalAlways, SizeThreshold: 16})
	if err != nil {
		log.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "model.onnx.data"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Name(), info.Size())
	// Output:
	// model.onnx.data 16
}
