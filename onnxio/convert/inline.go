package convert

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Inline puts the body of a model-local function in the place of each call of it, in the graph and in the graphs within nodes,
// as often as functions call others, and returns the number of calls. Values and nodes of a body are named after the node that
// called it. A function written for an older operator set than the model's is raised to that as Opset does it. The model is
// edited in place, and its functions are gone afterwards, unless a training graph may call them; a model without calls is left
// alone. After an error the model is half converted, so give a Clone.
//
// It fails, naming node and function, where a function calls itself, imports a version of an operator set that cannot be
// brought to the model's, and where the calls stand for more than maxInlined nodes.
func Inline(m *onnxio.Model) (int, error) {
	p := m.Proto
	if len(p.Functions) == 0 || p.Graph == nil {
		return 0, nil
	}
	c := &converter{model: m, target: m.Opset(""), names: map[string]bool{}, functions: map[string]bool{}}
	c.collectGraph(p.Graph)
	in := &inliner{c: c, functions: map[functionKey]*onnxpb.FunctionProto{}, domains: map[string]bool{}}
	for _, f := range p.Functions {
		d := domain(f.GetDomain())
		in.functions[functionKey{d, f.GetName(), f.GetOverload()}] = f
		in.weight += proto.Size(f)
		if d == "" {
			c.functions[f.GetName()] = true
			continue
		}
		in.domains[d] = true
	}
	if err := in.graph(p.Graph); err != nil {
		return 0, fmt.Errorf("%s: %w", m.Name(), err)
	}
	if in.calls > 0 && len(p.TrainingInfo) == 0 {
		in.dropFunctions(p)
	}
	return in.calls, nil
}

// Bounds on what calls may grow to: functions that call each other twice, and again, ask for any size.
const (
	maxInlined = 1 << 18 // nodes
	maxCopied  = 64      // times the bytes of all functions, beyond freeBytes
	freeBytes  = 64 << 20
)

type functionKey struct{ domain, name, overload string }

type inliner struct {
	c         *converter
	functions map[functionKey]*onnxpb.FunctionProto
	domains   map[string]bool         // of functions, but for the default one
	weight    int                     // bytes of all functions
	stack     []*onnxpb.FunctionProto // whose bodies are being put in place

	calls, nodes, bytes int // so far
}

func (in *inliner) function(n *onnxpb.NodeProto) *onnxpb.FunctionProto {
	return in.functions[functionKey{domain(n.GetDomain()), n.GetOpType(), n.GetOverload()}]
}

func (in *inliner) graph(g *onnxpb.GraphProto) (err error) {
	g.Node, err = in.list(g.Node)
	return err
}

// list replaces the calls among nodes.
func (in *inliner) list(nodes []*onnxpb.NodeProto) ([]*onnxpb.NodeProto, error) {
	var out []*onnxpb.NodeProto
	for _, n := range nodes {
		for _, g := range subgraphs(n) {
			if err := in.graph(g); err != nil {
				return nil, err
			}
		}
		f := in.function(n)
		if f == nil {
			out = append(out, n)
			continue
		}
		body, err := in.call(n, f)
		if err != nil {
			return nil, fmt.Errorf("node %q calls function %q: %w", title(n), f.GetName(), err)
		}
		out = append(out, body...)
	}
	return out, nil
}

// call is the body of f with the values and attributes of n.
func (in *inliner) call(n *onnxpb.NodeProto, f *onnxpb.FunctionProto) ([]*onnxpb.NodeProto, error) {
	if slices.Contains(in.stack, f) {
		return nil, errors.New("it calls itself")
	}
	in.calls++
	in.nodes += len(f.Node)
	s := &scope{in: in, prefix: title(n) + "/", names: map[string]string{}, attrs: callAttrs(n, f)}
	in.bytes += proto.Size(f) + 4*len(f.Node)*len(s.prefix)
	if err := in.check(); err != nil {
		return nil, err
	}
	copies := s.bind(n, f)
	nodes := make([]*onnxpb.NodeProto, 0, len(f.Node))
	for _, old := range f.Node {
		nodes = append(nodes, proto.Clone(old).(*onnxpb.NodeProto))
	}
	s.rename(nodes)
	if err := in.check(); err != nil {
		return nil, err
	}
	nodes, err := in.raise(f, append(nodes, copies...))
	if err != nil {
		return nil, err
	}
	in.stack = append(in.stack, f)
	defer func() { in.stack = in.stack[:len(in.stack)-1] }()
	return in.list(nodes)
}

// check fails when the calls stand for too much.
func (in *inliner) check() error {
	if most := freeBytes + maxCopied*in.weight; in.nodes > maxInlined || in.bytes > most {
		return fmt.Errorf("functions that call functions grow to %d nodes and %d bytes or more, at most %d and %d are allowed", in.nodes, in.bytes, maxInlined, most)
	}
	return nil
}

// raise brings a body to the operator sets of the model.
func (in *inliner) raise(f *onnxpb.FunctionProto, nodes []*onnxpb.NodeProto) ([]*onnxpb.NodeProto, error) {
	p := in.c.model.Proto
	for _, o := range f.OpsetImport {
		had, want := int(o.GetVersion()), in.c.model.Opset(o.GetDomain())
		switch {
		case in.domains[domain(o.GetDomain())] || had == want: // versions of functions mean nothing
		case want == 0:
			p.OpsetImport = append(p.OpsetImport, proto.Clone(o).(*onnxpb.OperatorSetIdProto))
		case domain(o.GetDomain()) != "":
			return nil, fmt.Errorf("it imports version %d of %q, the model %d: export the model anew", had, o.GetDomain(), want)
		case had > want || had < Oldest || want > Newest:
			return nil, fmt.Errorf("it imports operator set %d, the model %d; only %d and later can be raised, to %d at most: export the model anew",
				had, want, Oldest, Newest)
		default:
			raised, err := newBody(in.c, nil, nil, had).convert(nodes)
			if err != nil {
				return nil, fmt.Errorf("opset %d to %d: %w", had, want, err)
			}
			nodes = raised
		}
	}
	return nodes, nil
}

// dropFunctions removes the functions, and the import of what only they defined.
func (in *inliner) dropFunctions(p *onnxpb.ModelProto) {
	var used func(g *onnxpb.GraphProto)
	used = func(g *onnxpb.GraphProto) {
		for _, n := range g.GetNode() {
			delete(in.domains, domain(n.GetDomain()))
			for _, sub := range subgraphs(n) {
				used(sub)
			}
		}
	}
	used(p.Graph)
	p.Functions = nil
	p.OpsetImport = slices.DeleteFunc(p.OpsetImport, func(o *onnxpb.OperatorSetIdProto) bool { return in.domains[domain(o.GetDomain())] })
}

// callAttrs are the attributes of the call, and the defaults of those that it leaves out.
func callAttrs(n *onnxpb.NodeProto, f *onnxpb.FunctionProto) map[string]*onnxpb.AttributeProto {
	attrs := map[string]*onnxpb.AttributeProto{}
	for _, a := range slices.Concat(f.AttributeProto, n.Attribute) {
		attrs[a.GetName()] = a
	}
	return attrs
}

// scope renames the values of a body, or of a graph within it.
type scope struct {
	in     *inliner
	outer  *scope // of the body or graph around this graph
	prefix string
	names  map[string]string // what the scope's own values are called in the caller's graph
	attrs  map[string]*onnxpb.AttributeProto
}

// bind gives the function's inputs and outputs the names of the call's. An output that is an input too, or comes twice, becomes a
// copy.
func (s *scope) bind(n *onnxpb.NodeProto, f *onnxpb.FunctionProto) (copies []*onnxpb.NodeProto) {
	for i, name := range f.Input {
		s.names[name] = input(n, i)
	}
	for i, name := range f.Output {
		if i >= len(n.Output) || n.Output[i] == "" {
			continue
		}
		from, ok := s.names[name]
		if !ok {
			s.names[name] = n.Output[i]
			continue
		}
		to := newNode("Identity", []string{from}, n.Output[i])
		to.Name = proto.String(s.in.c.fresh(s.prefix + "copy"))
		copies = append(copies, to)
	}
	return copies
}

// define is the new name of a value of the scope's own.
func (s *scope) define(name string) string {
	if _, ok := s.names[name]; !ok && name != "" {
		s.names[name] = s.in.c.fresh(s.prefix + name)
	}
	return s.names[name]
}

// reads is the new name of a value that is read, its own where it is not the function's.
func (s *scope) reads(name string) string {
	for at := s; at != nil; at = at.outer {
		if to, ok := at.names[name]; ok {
			return to
		}
	}
	return name
}

// rename gives the nodes of the scope new names, and the attributes of the call that they refer to.
func (s *scope) rename(nodes []*onnxpb.NodeProto) {
	for _, n := range nodes {
		for i, name := range n.Output {
			n.Output[i] = s.define(name)
		}
	}
	for _, n := range nodes {
		if name := n.GetName(); name != "" {
			n.Name = proto.String(s.in.c.fresh(s.prefix + name))
		}
		for i, name := range n.Input {
			n.Input[i] = s.reads(name)
		}
		for _, g := range subgraphs(n) {
			s.within(g)
		}
		s.refer(n)
	}
}

// refer puts the attributes of the call, or their defaults, in the place of references to them. One that the call leaves out has
// the operator's own default.
func (s *scope) refer(n *onnxpb.NodeProto) {
	attrs := n.Attribute[:0]
	for _, a := range n.Attribute {
		if ref := a.GetRefAttrName(); ref != "" {
			given := s.attrs[ref]
			if given == nil {
				continue
			}
			s.in.bytes += proto.Size(given)
			if s.in.check() != nil {
				return // the caller fails
			}
			name := a.GetName()
			a = proto.Clone(given).(*onnxpb.AttributeProto)
			a.Name = proto.String(name)
		}
		attrs = append(attrs, a)
	}
	n.Attribute = attrs
}

// within renames the values of a graph inside the body.
func (s *scope) within(g *onnxpb.GraphProto) {
	sub := &scope{in: s.in, outer: s, prefix: s.prefix, names: map[string]string{}, attrs: s.attrs}
	for _, v := range g.Input {
		v.Name = proto.String(sub.define(v.GetName()))
	}
	for _, t := range g.Initializer {
		t.Name = proto.String(sub.define(t.GetName()))
	}
	for _, t := range g.SparseInitializer {
		if v := t.Values; v != nil {
			v.Name = proto.String(sub.define(v.GetName()))
		}
	}
	sub.rename(g.Node)
	for _, v := range slices.Concat(g.Output, g.ValueInfo) {
		v.Name = proto.String(sub.reads(v.GetName()))
	}
	for _, q := range g.QuantizationAnnotation {
		q.TensorName = proto.String(sub.reads(q.GetTensorName()))
		for _, e := range q.QuantParameterTensorNames {
			e.Value = proto.String(sub.reads(e.GetValue()))
		}
	}
}
