package convert_test

import (
	"fmt"
	"log"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Raise the operator set of a copy, and tell what that changed.
func ExampleOpset() {
	m := onnxio.New("model.onnx", &onnxpb.ModelProto{
		IrVersion:   proto.Int64(6),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(11)}},
		Graph: &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{{Name: proto.String("mean"), OpType: proto.String("ReduceMean"),
			Input: []string{"x"}, Output: []string{"y"},
			Attribute: []*onnxpb.AttributeProto{{Name: proto.String("axes"), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: []int64{2, 3}}}}}},
	})
	c := m.Clone()
	changes, err := convert.Opset(c, 21)
	if err != nil {
		log.Fatal(err)
	}
	for _, change := range changes {
		fmt.Println(change)
	}
	fmt.Println(m.Opset(""), c.Opset(""))
	// Output:
	// ir_version 6 to 10
	// node "mean" (ReduceMean): attribute axes became an input
	// opset 11 to 21
	// 11 21
}
