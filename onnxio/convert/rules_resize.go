package convert

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// upsampleResize: Upsample is Resize with scales of at least 1.
func upsampleResize(b *body, n *onnxpb.NodeProto) (string, error) {
	b.upsampled[n] = true
	return renamed("Resize")(b, n)
}

// resizeModes: up to 10 the coordinate was the output's divided by the scale, and the nearest pixel the one before it when
// growing, the one after it when shrinking. Newer versions have many ways and others for defaults.
func resizeModes(b *body, n *onnxpb.NodeProto) (string, error) {
	if err := ownAttr(n, "mode"); err != nil {
		return "", err
	}
	setStr(n, "coordinate_transformation_mode", "asymmetric")
	if str(n, "mode", "nearest") == "nearest" {
		nearest, err := b.nearestMode(n)
		if err != nil {
			return "", err
		}
		setStr(n, "nearest_mode", nearest)
	}
	n.Input = []string{input(n, 0), "", input(n, 1)}
	return "modes are spelled out", nil
}

func (b *body) nearestMode(n *onnxpb.NodeProto) (string, error) {
	if b.upsampled[n] {
		return "floor", nil
	}
	t := b.value(input(n, 1))
	if t == nil || t.Float32s() == nil {
		return "", errors.New("its scales are not constant, so it is not known whether it grows or shrinks, which rounds in other ways")
	}
	grows, shrinks := false, false
	for _, s := range t.Float32s() {
		grows = grows || s > 1
		shrinks = shrinks || s < 1
	}
	switch {
	case grows && shrinks:
		return "", errors.New("it grows along one axis and shrinks along another, which round in different ways; newer versions have only one")
	case shrinks:
		return "ceil", nil
	}
	return "floor", nil
}

// resizeInputs: of scales and sizes only one may be there; before, scales was an empty tensor beside sizes.
func resizeInputs(b *body, n *onnxpb.NodeProto) (string, error) {
	if err := ownAttr(n, "coordinate_transformation_mode"); err != nil {
		return "", err
	}
	if str(n, "coordinate_transformation_mode", "") == "tf_half_pixel_for_nn" {
		return "", errors.New("coordinate_transformation_mode tf_half_pixel_for_nn has no counterpart in newer versions")
	}
	if input(n, 3) == "" || input(n, 2) == "" {
		return "", nil
	}
	if t := b.value(n.Input[2]); t == nil || t.Len() > 0 {
		return "", errors.New("has both scales and sizes")
	}
	n.Input[2] = ""
	return "empty scales left out", nil
}

// softmaxAxis: up to 12 all axes from the given one on, 1 by default, were one; now it is one axis, the last by default.
func softmaxAxis(b *body, n *onnxpb.NodeProto) (string, error) {
	a, err := take(n, "axis")
	if err != nil {
		return "", err
	}
	axis := 1
	if a != nil {
		axis = int(a.GetI())
	}
	setInt(n, "axis", -1)
	x, y := input(n, 0), n.Output[0]
	dims, ok := b.shape(x)
	if !ok {
		dims, ok = b.shape(y)
	}
	if axis == -1 || ok && axis == len(dims)-1 {
		return "axis is now -1, the same", nil
	}
	// flatten to a matrix, take the softmax of its rows, and give it the shape it had
	shape, flat, rows := b.c.fresh(title(n)+"_shape"), b.c.fresh(title(n)+"_flat"), b.c.fresh(title(n)+"_rows")
	flatten := newNode("Flatten", []string{x}, flat)
	setInt(flatten, "axis", int64(axis))
	b.before = append(b.before, newNode("Shape", []string{x}, shape), flatten)
	reshape := newNode("Reshape", []string{rows, shape}, y)
	reshape.Name = proto.String(b.c.fresh(title(n) + "_reshape"))
	b.after = append(b.after, reshape)
	n.Input[0], n.Output[0] = flat, rows
	return "several axes at once: flattened before and reshaped behind", nil
}
