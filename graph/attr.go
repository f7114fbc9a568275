package graph

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// The accessors below give an attribute's value, or the default when the node has no attribute of that name. An attribute of
// another type than the one asked for also gives the default, and AttrErr then tells so: ask it once all attributes are read.

// AttrErr is the first attribute found to have another type than an accessor asked for, nil if there was none.
func (n *Node) AttrErr() error { return n.attrErr }

// Int is an integer attribute.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.attr(name, onnxpb.AttributeProto_INT); a != nil {
		return a.GetI()
	}
	return def
}

// Float is a float attribute.
func (n *Node) Float(name string, def float32) float32 {
	if a := n.attr(name, onnxpb.AttributeProto_FLOAT); a != nil {
		return a.GetF()
	}
	return def
}

// Str is a string attribute.
func (n *Node) Str(name, def string) string {
	if a := n.attr(name, onnxpb.AttributeProto_STRING); a != nil {
		return string(a.S)
	}
	return def
}

// Ints is a list of integers, nil when absent.
func (n *Node) Ints(name string) []int64 { return n.attr(name, onnxpb.AttributeProto_INTS).GetInts() }

// Floats is a list of floats, nil when absent.
func (n *Node) Floats(name string) []float32 {
	return n.attr(name, onnxpb.AttributeProto_FLOATS).GetFloats()
}

// Strings is a list of strings, nil when absent.
func (n *Node) Strings(name string) []string {
	var list []string
	for _, b := range n.attr(name, onnxpb.AttributeProto_STRINGS).GetStrings() {
		list = append(list, string(b))
	}
	return list
}

// Tensor is a tensor attribute, as a view that must not be written to. An absent attribute is an error.
func (n *Node) Tensor(name string) (*onnxio.Tensor, error) {
	a := n.attr(name, onnxpb.AttributeProto_TENSOR)
	if a.GetT() == nil {
		return nil, fmt.Errorf("%v: has no tensor attribute %q", n, name)
	}
	t, err := n.Graph.Model.Tensor(a.T)
	if err != nil {
		return nil, fmt.Errorf("%v: attribute %q: %w", n, name, err)
	}
	return t, nil
}

// HasAttr reports whether the node has an attribute of that name, of any type.
func (n *Node) HasAttr(name string) bool { return n.find(name) != nil }

// SetInt sets an integer attribute.
func (n *Node) SetInt(name string, v int64) {
	n.setAttr(&onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INT.Enum(), I: &v})
}

// SetFloat sets a float attribute.
func (n *Node) SetFloat(name string, v float32) {
	n.setAttr(&onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_FLOAT.Enum(), F: &v})
}

// SetStr sets a string attribute.
func (n *Node) SetStr(name, v string) {
	n.setAttr(&onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte(v)})
}

// SetInts sets a list of integers.
func (n *Node) SetInts(name string, v ...int64) {
	n.setAttr(&onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INTS.Enum(), Ints: v})
}

// SetTensor sets a tensor attribute.
func (n *Node) SetTensor(name string, t *onnxio.Tensor) {
	n.setAttr(&onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_TENSOR.Enum(), T: t.Proto("")})
}

// DelAttr removes an attribute, if there is one of that name.
func (n *Node) DelAttr(name string) {
	for i, a := range n.Proto.Attribute {
		if a.GetName() == name {
			n.Proto.Attribute = append(n.Proto.Attribute[:i:i], n.Proto.Attribute[i+1:]...)
			return
		}
	}
}

func (n *Node) setAttr(a *onnxpb.AttributeProto) {
	for i, old := range n.Proto.Attribute {
		if old.GetName() == a.GetName() {
			n.Proto.Attribute[i] = a
			return
		}
	}
	n.Proto.Attribute = append(n.Proto.Attribute, a)
}

func (n *Node) find(name string) *onnxpb.AttributeProto {
	for _, a := range n.Proto.Attribute {
		if a.GetName() == name {
			return a
		}
	}
	return nil
}

// attr finds an attribute of the wanted type. Files of IR version 1 do not state types: there any attribute will do.
func (n *Node) attr(name string, want onnxpb.AttributeProto_AttributeType) *onnxpb.AttributeProto {
	a := n.find(name)
	if a == nil {
		return nil
	}
	if have := a.GetType(); have != want && have != onnxpb.AttributeProto_UNDEFINED {
		if n.attrErr == nil {
			n.attrErr = fmt.Errorf("%v: attribute %q is %v, expected %v", n, name, have, want)
		}
		return nil
	}
	return a
}

// cloneProto copies a message.
func cloneProto[M proto.Message](m M) M { return proto.Clone(m).(M) }
