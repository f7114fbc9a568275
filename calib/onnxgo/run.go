package onnxgo

import (
	"context"
	"fmt"
	"sort"

	"google.golang.org/protobuf/proto"
	"gorgonia.org/tensor"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// program is the graph prepared for the executor.
type program struct {
	exec    *exec.Executor
	inputs  []*Node
	outputs []*Node
}

// Run computes all results. Their tensors can be read from the nodes, or by the model's GetOutputTensors.
func (b *Backend) Run() error { return b.RunContext(context.Background()) }

// RunContext is Run that ends when ctx is done.
func (b *Backend) RunContext(ctx context.Context) error {
	if b.run == nil {
		p, err := b.compile()
		if err != nil {
			return err
		}
		b.run = p
	}
	feeds := map[string]*onnxio.Tensor{}
	for _, n := range b.run.inputs {
		t, err := fromGorgonia(n.value)
		if err != nil {
			return fmt.Errorf("input %v: %w", n, err)
		}
		feeds[n.name] = t
	}
	got, err := b.run.exec.Run(ctx, feeds, nil)
	if err != nil {
		return err
	}
	for _, n := range b.run.outputs {
		if n.value, err = toGorgonia(got[n.name]); err != nil {
			return fmt.Errorf("output %v: %w", n, err)
		}
	}
	return nil
}

// compile writes the collected operations as a model. Values that the file brought are constants, values that the user set are
// inputs. Results are kept where the file declares them or where nothing reads them.
func (b *Backend) compile() (*program, error) {
	p := &program{}
	g := &onnxpb.GraphProto{Name: proto.String("onnx-go")}
	made, read := map[*Node]bool{}, map[*Node]bool{}
	for _, o := range b.ops {
		n, err := o.proto()
		if err != nil {
			return nil, err
		}
		g.Node = append(g.Node, n)
		for _, v := range o.out {
			made[v] = true
		}
		for _, v := range o.in {
			read[v] = true
		}
	}
	for _, n := range b.byID() {
		switch {
		case n.name == "": // an omitted input or output
		case made[n] && (n.value != nil || !read[n]):
			p.outputs = append(p.outputs, n)
			g.Output = append(g.Output, &onnxpb.ValueInfoProto{Name: proto.String(n.name)})
		case made[n] || !read[n]:
		case n.value == nil:
			return nil, fmt.Errorf("input %v has no value: set it with the model's SetInput", n)
		case n.late:
			p.inputs = append(p.inputs, n)
			g.Input = append(g.Input, &onnxpb.ValueInfoProto{Name: proto.String(n.name)})
		default:
			t, err := fromGorgonia(n.value)
			if err != nil {
				return nil, fmt.Errorf("value %v: %w", n, err)
			}
			g.Initializer = append(g.Initializer, t.Proto(n.name))
		}
	}
	m := &onnxpb.ModelProto{IrVersion: proto.Int64(10), Graph: g}
	for _, d := range domains {
		version := 1
		if d == "" {
			version = b.opset
		} else if d == "ai.onnx.ml" {
			version = 3
		}
		m.OpsetImport = append(m.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String(d), Version: proto.Int64(int64(version))})
	}
	return p, p.prepare(m, exec.Options{Threads: b.Threads, MemoryLimit: b.MemoryLimit})
}

func (p *program) prepare(m *onnxpb.ModelProto, o exec.Options) error {
	g, err := graph.New(onnxio.New("onnx-go model", m))
	if err != nil {
		return err
	}
	p.exec, err = exec.New(g, o)
	return err
}

func (b *Backend) byID() []*Node {
	list := make([]*Node, 0, len(b.nodes))
	for _, n := range b.nodes {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}

// proto is the operation as a NodeProto.
func (o operation) proto() (*onnxpb.NodeProto, error) {
	n := &onnxpb.NodeProto{OpType: proto.String(o.op.Name)}
	if o.domain != "" {
		n.Domain = proto.String(o.domain)
	}
	for _, v := range o.in {
		n.Input = append(n.Input, v.name)
	}
	for _, v := range o.out {
		n.Output = append(n.Output, v.name)
	}
	for _, name := range sortedKeys(o.op.Attributes) {
		a, err := attribute(name, o.op.Attributes[name])
		if err != nil {
			return nil, fmt.Errorf("operator %s of result %v: attribute %q: %w", o.op.Name, o.out[0], name, err)
		}
		n.Attribute = append(n.Attribute, a)
	}
	return n, nil
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// attribute makes an AttributeProto of what onnx-go made of one.
func attribute(name string, value any) (*onnxpb.AttributeProto, error) {
	a := &onnxpb.AttributeProto{Name: proto.String(name)}
	set := func(t onnxpb.AttributeProto_AttributeType) { a.Type = t.Enum() }
	switch v := value.(type) {
	case float32:
		a.F = proto.Float32(v)
		set(onnxpb.AttributeProto_FLOAT)
	case int64:
		a.I = proto.Int64(v)
		set(onnxpb.AttributeProto_INT)
	case string:
		a.S = []byte(v)
		set(onnxpb.AttributeProto_STRING)
	case []float32:
		a.Floats = v
		set(onnxpb.AttributeProto_FLOATS)
	case []int64:
		a.Ints = v
		set(onnxpb.AttributeProto_INTS)
	case []string:
		for _, s := range v {
			a.Strings = append(a.Strings, []byte(s))
		}
		set(onnxpb.AttributeProto_STRINGS)
	case tensor.Tensor:
		t, err := fromGorgonia(v)
		if err != nil {
			return nil, err
		}
		a.T = t.Proto("")
		set(onnxpb.AttributeProto_TENSOR)
	default:
		return nil, fmt.Errorf("onnx-go gives no value for it (%T): the file does not state its type", value)
	}
	return a, nil
}
