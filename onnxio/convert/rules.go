package convert

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// A rule rewrites a node, in place, from the version before to the key's version, and says what it did, if anything.
type rule func(b *body, n *onnxpb.NodeProto) (what string, err error)

type key struct {
	op      string
	version int
}

// rules has an entry for each operator and version at which the same node would no longer mean the same, or not be valid. All
// other versions of the known operators only allow more: element types, optional inputs and attributes with the old meaning.
var rules = map[key]rule{
	{"BatchNormalization", 9}:  batchNormSpatial,
	{"BatchNormalization", 14}: batchNormTraining,
	{"Clip", 11}:               clipLimits,
	{"DFT", 20}:                dftAxis,
	{"Dropout", 10}:            dropoutMask,
	{"Dropout", 12}:            attributeInput("ratio", 1),
	{"GridSample", 20}:         gridSampleModes,
	{"GroupNormalization", 21}: groupNormScale,
	{"Hardmax", 13}:            softmaxAxis,
	{"LogSoftmax", 13}:         softmaxAxis,
	{"Pad", 11}:                padInputs,
	{"ReduceL1", 18}:           attributeInput("axes", 1),
	{"ReduceL2", 18}:           attributeInput("axes", 1),
	{"ReduceLogSum", 18}:       attributeInput("axes", 1),
	{"ReduceLogSumExp", 18}:    attributeInput("axes", 1),
	{"ReduceMax", 18}:          attributeInput("axes", 1),
	{"ReduceMean", 18}:         attributeInput("axes", 1),
	{"ReduceMin", 18}:          attributeInput("axes", 1),
	{"ReduceProd", 18}:         attributeInput("axes", 1),
	{"ReduceSum", 13}:          attributeInput("axes", 1),
	{"ReduceSumSquare", 18}:    attributeInput("axes", 1),
	{"Resize", 11}:             resizeModes,
	{"Resize", 13}:             resizeInputs,
	{"RoiAlign", 16}:           roiAlignMode,
	{"Scan", 9}:                scanBatch,
	{"Scatter", 11}:            renamed("ScatterElements"),
	{"Slice", 10}:              sliceInputs,
	{"Softmax", 13}:            softmaxAxis,
	{"Split", 13}:              attributeInput("split", 1),
	{"Split", 18}:              splitCount,
	{"Squeeze", 13}:            attributeInput("axes", 1),
	{"TopK", 10}:               attributeInput("k", 1),
	{"Unsqueeze", 13}:          attributeInput("axes", 1),
	{"Upsample", 9}:            attributeInput("scales", 1),
	{"Upsample", 10}:           upsampleResize,
}

// attributeInput moves an attribute to the input at index: INTS and FLOATS become vectors, a FLOAT a scalar, an INT a vector
// of one element. An attribute that is absent, or an empty list, leaves the input out.
func attributeInput(name string, index int) rule {
	return func(b *body, n *onnxpb.NodeProto) (string, error) {
		a, err := take(n, name)
		if a == nil || err != nil {
			return "", err
		}
		var t *onnxio.Tensor
		switch {
		case len(a.Ints) > 0:
			t = onnxio.TensorOf(slices.Clone(a.Ints), len(a.Ints))
		case len(a.Floats) > 0:
			t = onnxio.TensorOf(slices.Clone(a.Floats), len(a.Floats))
		case a.F != nil:
			t = onnxio.TensorOf([]float32{a.GetF()})
		case a.I != nil:
			t = onnxio.TensorOf([]int64{a.GetI()}, 1)
		default:
			return "", nil
		}
		setInput(n, index, b.constant(title(n)+"_"+name, t))
		return fmt.Sprintf("attribute %s became an input", name), nil
	}
}

func renamed(to string) rule {
	return func(_ *body, n *onnxpb.NodeProto) (string, error) {
		n.OpType = proto.String(to)
		return "is now " + to, nil
	}
}

// batchNormSpatial: from 9 on the statistics are always per channel.
func batchNormSpatial(_ *body, n *onnxpb.NodeProto) (string, error) {
	a, err := take(n, "spatial")
	if a != nil && a.GetI() == 0 {
		return "", errors.New("spatial = 0, statistics per activation, has no counterpart in newer versions")
	}
	return "", err
}

// batchNormTraining: up to 13 the number of outputs said whether the node trains.
func batchNormTraining(_ *body, n *onnxpb.NodeProto) (string, error) {
	if slices.ContainsFunc(n.Output[min(1, len(n.Output)):], func(o string) bool { return o != "" }) {
		return "", errors.New("has the outputs of the training mode: export the model for inference (model.eval())")
	}
	n.Output = n.Output[:1]
	return "", nil
}

// clipLimits: the limits become scalar inputs of the input's own type.
func clipLimits(b *body, n *onnxpb.NodeProto) (string, error) {
	what := ""
	for i, name := range []string{"min", "max"} {
		a, err := take(n, name)
		if err != nil {
			return "", err
		}
		if a == nil {
			continue
		}
		limit, err := b.scalarLike(input(n, 0), a.GetF())
		if err != nil {
			return "", err
		}
		setInput(n, 1+i, b.constant(title(n)+"_"+name, limit))
		what = "limits became inputs"
	}
	return what, nil
}

// scalarLike is v in the element type of a value.
func (b *body) scalarLike(name string, v float32) (*onnxio.Tensor, error) {
	t := b.elemType(name)
	if t == onnxio.Undefined && !b.c.otherFloats() {
		t = onnxio.Float32
	}
	if t == onnxio.Undefined {
		return nil, fmt.Errorf("the element type of its input %q is needed, but the file does not tell it: run shape inference first", name)
	}
	return onnxio.TensorOf([]float32{v}).ConvertTo(t)
}

// otherFloats reports whether any initializer of the main graph or any declared value is a float of another type than float32.
func (c *converter) otherFloats() bool {
	other := func(t int32) bool {
		return onnxio.DataType(t).IsFloat() && onnxio.DataType(t) != onnxio.Float32
	}
	g := c.model.Proto.Graph
	return slices.ContainsFunc(g.Initializer, func(t *onnxpb.TensorProto) bool { return other(t.GetDataType()) }) ||
		slices.ContainsFunc(slices.Concat(g.Input, g.Output, g.ValueInfo), func(v *onnxpb.ValueInfoProto) bool {
			return other(v.GetType().GetTensorType().GetElemType())
		})
}

// dftAxis: the axis becomes an input, and its default changes from 1 to -2.
func dftAxis(b *body, n *onnxpb.NodeProto) (string, error) {
	axis, err := take(n, "axis")
	if err != nil {
		return "", err
	}
	at := int64(1)
	if axis != nil {
		at = axis.GetI()
	}
	setInput(n, 2, b.constant(title(n)+"_axis", onnxio.TensorOf([]int64{at})))
	return "attribute axis became an input", nil
}

// dropoutMask: the mask's type changes from the data's to bool.
func dropoutMask(_ *body, n *onnxpb.NodeProto) (string, error) {
	if len(n.Output) > 1 && n.Output[1] != "" {
		return "", errors.New("its second output, the mask, has another type in newer versions: export the model for inference (model.eval())")
	}
	return "", nil
}

// gridSampleModes: bilinear and bicubic are called linear and cubic, for more than two dimensions.
func gridSampleModes(_ *body, n *onnxpb.NodeProto) (string, error) {
	if err := ownAttr(n, "mode"); err != nil {
		return "", err
	}
	to, ok := map[string]string{"bilinear": "linear", "bicubic": "cubic"}[str(n, "mode", "")]
	if !ok {
		return "", nil
	}
	setStr(n, "mode", to)
	return "mode is now called " + to, nil
}

// groupNormScale: scale and bias have one element a channel, no longer one a group.
func groupNormScale(b *body, n *onnxpb.NodeProto) (string, error) {
	dims, ok := b.shape(input(n, 0))
	if !ok || len(dims) < 2 || dims[1] < 0 {
		return "", fmt.Errorf("the number of channels of its input %q is needed, but the file does not tell it: run shape inference first", input(n, 0))
	}
	for i, name := range []string{"scale", "bias"} {
		t := b.value(input(n, 1+i))
		if t == nil || len(t.Shape) != 1 || t.Shape[0] < 1 || dims[1]%t.Shape[0] != 0 {
			return "", fmt.Errorf("its %s is not constant, or does not divide the %d channels", name, dims[1])
		}
		all, err := repeatEach(t, dims[1]/t.Shape[0])
		if err != nil {
			return "", err
		}
		n.Input[1+i] = b.constant(title(n)+"_"+name, all)
	}
	return "scale and bias are now per channel", nil
}

// repeatEach repeats each element of a vector of floats.
func repeatEach(t *onnxio.Tensor, times int) (*onnxio.Tensor, error) {
	f, err := t.ConvertTo(onnxio.Float64)
	if err != nil {
		return nil, err
	}
	out := onnxio.NewTensor(onnxio.Float64, t.Len()*times)
	for i := range out.Float64s() {
		out.Float64s()[i] = f.Float64s()[i/times]
	}
	return out.ConvertTo(t.Type)
}

// padInputs: the pads and the value become inputs, the value in the data's own type.
func padInputs(b *body, n *onnxpb.NodeProto) (string, error) {
	value, err := take(n, "value")
	if err != nil {
		return "", err
	}
	what, err := attributeInput("pads", 1)(b, n)
	if err != nil || value.GetF() == 0 || str(n, "mode", "constant") != "constant" {
		return what, err
	}
	t, err := b.scalarLike(input(n, 0), value.GetF())
	if err != nil {
		return "", err
	}
	setInput(n, 2, b.constant(title(n)+"_value", t))
	return what, nil
}

// roiAlignMode: the default becomes half_pixel.
func roiAlignMode(_ *body, n *onnxpb.NodeProto) (string, error) {
	if attr(n, "coordinate_transformation_mode") != nil {
		return "", nil
	}
	setStr(n, "coordinate_transformation_mode", "output_half_pixel")
	return "coordinate_transformation_mode is spelled out", nil
}

// scanBatch: up to 8 Scan ran over a batch, with sequence lengths.
func scanBatch(*body, *onnxpb.NodeProto) (string, error) {
	return "", errors.New("Scan of opset 8, over a batch, has no counterpart in newer versions: export the model anew")
}

// sliceInputs: starts, ends and axes become inputs.
func sliceInputs(b *body, n *onnxpb.NodeProto) (string, error) {
	for i, name := range []string{"starts", "ends", "axes"} {
		if _, err := attributeInput(name, 1+i)(b, n); err != nil {
			return "", err
		}
	}
	return "attributes became inputs", nil
}

// splitCount: without sizes the number of parts is spelled out.
func splitCount(_ *body, n *onnxpb.NodeProto) (string, error) {
	if input(n, 1) != "" {
		return "", nil
	}
	setInt(n, "num_outputs", int64(len(n.Output)))
	return "num_outputs is spelled out", nil
}
