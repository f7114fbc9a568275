// Package convert raises the operator set of a model without changing what it computes.
//
// A newer operator set is needed when a pass writes something that the model's own does not know, such as 4-bit weights or
// blocked scales. The version cannot simply be set: on the way some operators changed their meaning.
//
//	c := m.Clone()
//	changes, err := convert.Opset(c, 21)
//
// Each operator and version where something changed is one rule of the table in rules.go. Where a node cannot be carried over
// rightly, the error names it and says why; nothing is guessed.
package convert

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// The versions of the default operator set that Opset can start from and end at.
const (
	Oldest    = 7
	MinTarget = 13
	Newest    = 25
)

// Change tells one thing that was rewritten.
type Change struct {
	Node string // the node's name, or its first output where it has none; empty for the model itself
	Op   string // its operator before
	What string
}

func (c Change) String() string {
	if c.Node == "" {
		return c.What
	}
	return fmt.Sprintf("node %q (%s): %s", c.Node, c.Op, c.What)
}

// Opset raises the default operator set of m, its subgraphs and functions to version target, and ir_version to the least that
// this version needs. A model that has the version or a later one is left alone. The model is edited in place; after an error
// it is half converted, so give a Clone. The changes are listed in the order of the file.
func Opset(m *onnxio.Model, target int) ([]Change, error) {
	from := m.Opset("")
	switch {
	case from == 0 || from >= target:
		return nil, nil
	case from < Oldest:
		return nil, fmt.Errorf("%s: opset %d is older than %d, from which a conversion is possible: export the model anew", m.Name(), from, Oldest)
	case target < MinTarget || target > Newest:
		return nil, fmt.Errorf("%s: cannot convert to opset %d, only to %d up to %d", m.Name(), target, MinTarget, Newest)
	}
	c := &converter{model: m, target: target, names: map[string]bool{}, functions: map[string]bool{}}
	if err := c.run(from); err != nil {
		return nil, fmt.Errorf("%s: opset %d to %d: %w", m.Name(), from, target, err)
	}
	return c.changes, nil
}

type converter struct {
	model     *onnxio.Model
	target    int
	changes   []Change
	names     map[string]bool // of all values and nodes, everywhere
	functions map[string]bool // model-local functions that stand for operators of the default domain
}

func (c *converter) run(from int) error {
	p := c.model.Proto
	graphs := []*onnxpb.GraphProto{p.Graph}
	for _, t := range p.TrainingInfo {
		graphs = append(graphs, t.Initialization, t.Algorithm)
	}
	for _, g := range graphs {
		c.collectGraph(g)
	}
	for _, f := range p.Functions {
		c.collectNodes(f.Node)
		if domain(f.GetDomain()) == "" {
			c.functions[f.GetName()] = true
		}
	}
	c.raiseIR()
	for _, g := range graphs {
		if err := c.graph(g, nil, from); err != nil {
			return err
		}
	}
	setVersion(p.OpsetImport, c.target)
	for _, f := range p.Functions {
		had := version(f.OpsetImport)
		if had == 0 {
			continue
		}
		if had < Oldest {
			return fmt.Errorf("function %q: opset %d is older than %d: export the model anew", f.GetName(), had, Oldest)
		}
		b := newBody(c, nil, nil, had)
		nodes, err := b.convert(f.Node)
		if err != nil {
			return fmt.Errorf("function %q: %w", f.GetName(), err)
		}
		f.Node = nodes
		setVersion(f.OpsetImport, c.target)
	}
	c.note("", "", fmt.Sprintf("opset %d to %d", from, c.target))
	return nil
}

func (c *converter) note(node, op, what string) {
	c.changes = append(c.changes, Change{node, op, what})
}

// graph converts g and the graphs within its nodes.
func (c *converter) graph(g *onnxpb.GraphProto, outer *body, from int) error {
	if g == nil {
		return nil
	}
	nodes, err := newBody(c, g, outer, from).convert(g.Node)
	if err != nil {
		return err
	}
	g.Node = nodes
	return nil
}

// irVersions are the least ir_version for each operator set from 7 on.
var irVersions = map[int]int64{7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9,
	21: 10, 22: 10, 23: 11, 24: 12, 25: 13}

// raiseIR raises ir_version. Before version 4 each initializer had to be listed as an input too, and was constant all the
// same; from then on that would let callers replace it, so such inputs go.
func (c *converter) raiseIR() {
	p := c.model.Proto
	had, need := p.GetIrVersion(), irVersions[c.target]
	if had >= need {
		return
	}
	p.IrVersion = proto.Int64(need)
	c.note("", "", fmt.Sprintf("ir_version %d to %d", had, need))
	if had >= 4 {
		return
	}
	init := map[string]bool{}
	for _, t := range p.Graph.Initializer {
		init[t.GetName()] = true
	}
	before := len(p.Graph.Input)
	p.Graph.Input = slices.DeleteFunc(p.Graph.Input, func(v *onnxpb.ValueInfoProto) bool { return init[v.GetName()] })
	if n := before - len(p.Graph.Input); n > 0 {
		c.note("", "", fmt.Sprintf("%d inputs that ir_version %d wanted for initializers are no longer listed", n, had))
	}
}

func (c *converter) collectGraph(g *onnxpb.GraphProto) {
	for _, v := range g.GetInput() {
		c.names[v.GetName()] = true
	}
	for _, v := range g.GetOutput() {
		c.names[v.GetName()] = true
	}
	for _, t := range g.GetInitializer() {
		c.names[t.GetName()] = true
	}
	for _, t := range g.GetSparseInitializer() {
		c.names[t.GetValues().GetName()] = true
	}
	c.collectNodes(g.GetNode())
}

func (c *converter) collectNodes(nodes []*onnxpb.NodeProto) {
	for _, n := range nodes {
		c.names[n.GetName()] = true
		for _, o := range n.Output {
			c.names[o] = true
		}
		for _, g := range subgraphs(n) {
			c.collectGraph(g)
		}
	}
}

// fresh is a name that nothing has yet.
func (c *converter) fresh(hint string) string {
	name := hint
	for i := 1; c.names[name]; i++ {
		name = fmt.Sprintf("%s_%d", hint, i)
	}
	c.names[name] = true
	return name
}

func subgraphs(n *onnxpb.NodeProto) []*onnxpb.GraphProto {
	var out []*onnxpb.GraphProto
	for _, a := range n.Attribute {
		if a.G != nil {
			out = append(out, a.G)
		}
		out = append(out, a.Graphs...)
	}
	return out
}

func domain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

func version(imports []*onnxpb.OperatorSetIdProto) int {
	for _, o := range imports {
		if domain(o.GetDomain()) == "" {
			return int(o.GetVersion())
		}
	}
	return 0
}

func setVersion(imports []*onnxpb.OperatorSetIdProto, to int) {
	for _, o := range imports {
		if domain(o.GetDomain()) == "" && o.GetVersion() < int64(to) {
			o.Version = proto.Int64(int64(to))
		}
	}
}

// known are the operators of the default domain up to opset 25: for each of them every version was looked at.
var known = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(`
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad
Clip Col2Im Compress Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum
DFT DeformConv DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand
EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity
If ImageDecoder InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean
MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression
NonZero Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearConv QLinearMatMul
QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements
ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap
Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split
SplitToSequence Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub Sum Swish Tan Tanh TensorScatter
TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor`) {
		m[name] = true
	}
	return m
}()
