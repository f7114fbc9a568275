package convert

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// body is the graph or function whose nodes are being converted, with what is known about its values.
type body struct {
	c      *converter
	graph  *onnxpb.GraphProto // nil in a function
	outer  *body              // the body around a subgraph
	from   int                // the version that the nodes are written for
	makers map[string]*onnxpb.NodeProto
	inits  map[string]*onnxpb.TensorProto
	types  map[string]*onnxpb.TypeProto_Tensor

	before, after []*onnxpb.NodeProto // what the rules put around the node at hand
	upsampled     map[*onnxpb.NodeProto]bool
}

func newBody(c *converter, g *onnxpb.GraphProto, outer *body, from int) *body {
	b := &body{c: c, graph: g, outer: outer, from: from, makers: map[string]*onnxpb.NodeProto{}, inits: map[string]*onnxpb.TensorProto{},
		types: map[string]*onnxpb.TypeProto_Tensor{}, upsampled: map[*onnxpb.NodeProto]bool{}}
	for _, vs := range [][]*onnxpb.ValueInfoProto{g.GetInput(), g.GetOutput(), g.GetValueInfo()} {
		for _, v := range vs {
			if t := v.GetType().GetTensorType(); t != nil {
				b.types[v.GetName()] = t
			}
		}
	}
	for _, t := range g.GetInitializer() {
		b.inits[t.GetName()] = t
	}
	return b
}

// convert returns the nodes in their new form.
func (b *body) convert(nodes []*onnxpb.NodeProto) ([]*onnxpb.NodeProto, error) {
	for _, n := range nodes {
		for _, o := range n.Output {
			b.makers[o] = n
		}
	}
	var out []*onnxpb.NodeProto
	for _, n := range nodes {
		for _, g := range subgraphs(n) {
			if err := b.c.graph(g, b, b.from); err != nil {
				return nil, err
			}
		}
		b.before, b.after = nil, nil
		if err := b.node(n); err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", title(n), n.GetOpType(), err)
		}
		out = append(append(append(out, b.before...), n), b.after...)
	}
	return out, nil
}

// node applies all rules from the version that n is written for up to the target.
func (b *body) node(n *onnxpb.NodeProto) error {
	if domain(n.GetDomain()) != "" || b.c.functions[n.GetOpType()] {
		return nil
	}
	if n.GetOpType() == "SimplifiedLayerNormalization" {
		return nil // ONNX Runtime puts its own operator into the default domain, at any version
	}
	if !known[n.GetOpType()] {
		return errors.New("is no standard operator, so nothing is known about its versions")
	}
	op := n.GetOpType()
	for v := b.from + 1; v <= b.c.target; v++ {
		rule := rules[key{n.GetOpType(), v}] // the operator may have got another name on the way
		if rule == nil {
			continue
		}
		what, err := rule(b, n)
		if err != nil {
			return err
		}
		if what != "" {
			b.c.note(title(n), op, what)
		}
	}
	return nil
}

// title is what messages call a node.
func title(n *onnxpb.NodeProto) string {
	if n.GetName() == "" && len(n.Output) > 0 {
		return n.Output[0]
	}
	return n.GetName()
}

// constant adds a constant and returns its name: an initializer, or a Constant node in a function.
func (b *body) constant(hint string, t *onnxio.Tensor) string {
	name := b.c.fresh(hint)
	p := t.Proto(name)
	if b.graph != nil {
		b.graph.Initializer = append(b.graph.Initializer, p)
		b.inits[name] = p
		return name
	}
	n := newNode("Constant", nil, name)
	n.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("value"), Type: onnxpb.AttributeProto_TENSOR.Enum(), T: p}}
	b.makers[name] = n
	b.before = append(b.before, n)
	return name
}

func newNode(op string, inputs []string, output string) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{Name: proto.String(output), OpType: proto.String(op), Input: inputs, Output: []string{output}}
}

// value is the constant of that name, nil if it is none.
func (b *body) value(name string) *onnxio.Tensor {
	for at := b; at != nil && name != ""; at = at.outer {
		p := at.inits[name]
		if n := at.makers[name]; p == nil && n != nil {
			if n.GetOpType() != "Constant" {
				return nil
			}
			if a := attr(n, "value"); a != nil {
				p = a.T
			}
		}
		if p != nil {
			t, err := b.c.model.Tensor(p)
			if err != nil {
				return nil
			}
			return t
		}
	}
	return nil
}

// shape is the shape of a value with -1 for dimensions that are not known; ok is false when not even the rank is.
func (b *body) shape(name string) (dims []int, ok bool) {
	for at := b; at != nil; at = at.outer {
		if p := at.inits[name]; p != nil {
			for _, d := range p.Dims {
				dims = append(dims, int(d))
			}
			return dims, true
		}
		if t := at.types[name]; t != nil && t.Shape != nil {
			for _, d := range t.Shape.Dim {
				n := -1
				if v, known := d.Value.(*onnxpb.TensorShapeProto_Dimension_DimValue); known && v.DimValue >= 0 {
					n = int(v.DimValue)
				}
				dims = append(dims, n)
			}
			return dims, true
		}
	}
	return nil, false
}

// typeOfFirst are operators whose output has the element type of their first input.
var typeOfFirst = map[string]bool{"Abs": true, "Add": true, "AveragePool": true, "BatchNormalization": true, "Ceil": true, "Clip": true,
	"Concat": true, "Conv": true, "ConvTranspose": true, "DepthToSpace": true, "Div": true, "Dropout": true, "Elu": true, "Exp": true,
	"Expand": true, "Flatten": true, "Floor": true, "Gather": true, "Gemm": true, "GlobalAveragePool": true, "GlobalMaxPool": true,
	"HardSigmoid": true, "Identity": true, "InstanceNormalization": true, "LRN": true, "LeakyRelu": true, "Log": true, "MatMul": true,
	"Max": true, "MaxPool": true, "Mean": true, "Min": true, "Mul": true, "Neg": true, "PRelu": true, "Pad": true, "Pow": true,
	"ReduceMax": true, "ReduceMean": true, "ReduceMin": true, "ReduceSum": true, "Relu": true, "Reshape": true, "Resize": true,
	"Sigmoid": true, "Slice": true, "Softmax": true, "Softplus": true, "SpaceToDepth": true, "Split": true, "Sqrt": true,
	"Squeeze": true, "Sub": true, "Sum": true, "Tanh": true, "Tile": true, "Transpose": true, "Unsqueeze": true, "Upsample": true}

// maxSteps ends the way back in a graph with a cycle.
const maxSteps = 1 << 20

// elemType is the element type of a value as far as the file tells it: by its declaration, or that of what it is computed from.
func (b *body) elemType(name string) onnxio.DataType {
	for at, steps := b, 0; at != nil && name != "" && steps < maxSteps; steps++ {
		if p := at.inits[name]; p != nil {
			return onnxio.DataType(p.GetDataType())
		}
		if t := at.types[name]; t != nil {
			return onnxio.DataType(t.GetElemType())
		}
		n := at.makers[name]
		switch {
		case n == nil:
			at = at.outer
			continue
		case n.GetOpType() == "Cast":
			if a := attr(n, "to"); a != nil {
				return onnxio.DataType(a.GetI())
			}
		case n.GetOpType() == "Constant":
			if t := at.value(name); t != nil {
				return t.Type
			}
		case typeOfFirst[n.GetOpType()] && len(n.Input) > 0 && n.Input[0] != name:
			name = n.Input[0]
			continue
		}
		break
	}
	return onnxio.Undefined
}

func attr(n *onnxpb.NodeProto, name string) *onnxpb.AttributeProto {
	for _, a := range n.Attribute {
		if a.GetName() == name {
			return a
		}
	}
	return nil
}

// take removes an attribute and returns it, nil if the node has none of that name.
func take(n *onnxpb.NodeProto, name string) (*onnxpb.AttributeProto, error) {
	for i, a := range n.Attribute {
		if a.GetName() == name {
			if a.GetRefAttrName() != "" {
				return nil, ownAttr(n, name)
			}
			n.Attribute = append(n.Attribute[:i:i], n.Attribute[i+1:]...)
			return a, nil
		}
	}
	return nil, nil
}

// ownAttr fails when the attribute's value is not the node's own but comes from the caller of the function around it.
func ownAttr(n *onnxpb.NodeProto, name string) error {
	if attr(n, name).GetRefAttrName() != "" {
		return fmt.Errorf("its attribute %q comes from the function's caller, so it cannot be rewritten: inline the function first", name)
	}
	return nil
}

func str(n *onnxpb.NodeProto, name, def string) string {
	if a := attr(n, name); a != nil {
		return string(a.S)
	}
	return def
}

func setStr(n *onnxpb.NodeProto, name, value string) {
	if a := attr(n, name); a != nil {
		a.S = []byte(value)
		return
	}
	n.Attribute = append(n.Attribute, &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte(value)})
}

func setInt(n *onnxpb.NodeProto, name string, value int64) {
	if a := attr(n, name); a != nil {
		a.I = proto.Int64(value)
		return
	}
	n.Attribute = append(n.Attribute, &onnxpb.AttributeProto{Name: proto.String(name), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(value)})
}

// input is the name of input i, empty when it is left out.
func input(n *onnxpb.NodeProto, i int) string {
	if i < len(n.Input) {
		return n.Input[i]
	}
	return ""
}

// setInput puts name in place i, leaving out those before it that the node does not have.
func setInput(n *onnxpb.NodeProto, i int, name string) {
	for len(n.Input) <= i {
		n.Input = append(n.Input, "")
	}
	n.Input[i] = name
}
