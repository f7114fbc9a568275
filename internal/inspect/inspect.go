// Package inspect describes a model: its inputs and outputs, what can be compressed and what cannot, and what was done to it.
package inspect

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/convert"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// Summary is a model at a glance.
type Summary struct {
	File        string            `json:"file"`
	IR          int64             `json:"ir_version"`
	Opsets      map[string]int64  `json:"opsets"` // "" is named ai.onnx
	Producer    string            `json:"producer"`
	Inputs      []Value           `json:"inputs"`
	Outputs     []Value           `json:"outputs"`
	Nodes       int               `json:"nodes"` // with those of subgraphs
	Operators   map[string]int    `json:"operators"`
	Unsupported []string          `json:"unsupported"` // operators that obc cannot run, so that it cannot calibrate
	Layers      []Layer           `json:"layers"`
	Skipped     []Skipped         `json:"skipped"`
	Weights     int64             `json:"weights"`  // in layers
	Sparsity    float64           `json:"sparsity"` // share of zeros among them
	MACs        *int64            `json:"macs"`     // per sample, with those of operators that are quantized already; nil when shapes are not known
	BOPs        *int64            `json:"bops"`     // MACs x bits of the wider operand, floats 32; nil when shapes are not known
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Value is an input or output.
type Value struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape string `json:"shape"`
}

// Layer is what can be compressed.
type Layer struct {
	Name        string            `json:"name"`
	Op          string            `json:"op"`
	Nodes       int               `json:"nodes"` // that share the weight
	Weight      string            `json:"weight"`
	Groups      int               `json:"groups"`
	Rows        int               `json:"rows"` // of one group
	Cols        int               `json:"cols"`
	Kernel      []int             `json:"kernel,omitempty"`
	MACs        string            `json:"macs"` // per sample: a number, or an expression in symbolic dimensions, or "?"
	Sparsity    float64           `json:"sparsity"`
	Pattern     string            `json:"pattern,omitempty"` // that the zeros follow: "2:4", "block 4", "unstructured"
	Stored      string            `json:"stored"`            // element type of the stored weight
	Bits        int               `json:"bits,omitempty"`    // of codes that the weight is stored as; absent: float
	InputBits   int               `json:"input_bits,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Skipped is a node with weights that is no layer. Those that are quantized already multiply integers of some bits.
type Skipped struct {
	Name      string `json:"name"`
	Op        string `json:"op"`
	Reason    string `json:"reason"`
	MACs      string `json:"macs,omitempty"`
	Bits      int    `json:"bits,omitempty"`
	InputBits int    `json:"input_bits,omitempty"`
}

// annotationPrefix begins the keys of obc's own metadata.
const annotationPrefix = "obc."

// Model describes m. The model is not changed.
func Model(m *onnxio.Model) (*Summary, error) {
	file := m.Proto
	m = m.Clone()
	if _, err := convert.Inline(m); err != nil {
		return nil, err
	}
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	p := m.Proto
	s := &Summary{
		File: m.Name(), IR: p.GetIrVersion(), Opsets: map[string]int64{}, Operators: map[string]int{},
		Producer:    strings.TrimSpace(p.GetProducerName() + " " + p.GetProducerVersion()),
		Annotations: annotations(p.MetadataProps), Unsupported: []string{},
		Inputs: []Value{}, Outputs: []Value{}, Layers: []Layer{}, Skipped: []Skipped{},
	}
	for _, o := range file.OpsetImport {
		domain := o.GetDomain()
		if domain == "" {
			domain = "ai.onnx"
		}
		s.Opsets[domain] = o.GetVersion()
	}
	for _, v := range g.Inputs {
		if !v.IsConst() {
			s.Inputs = append(s.Inputs, value(v))
		}
	}
	g.Walk(func(n *graph.Node) {
		s.Nodes++
		op := n.Op()
		if n.Domain() != "" {
			op = n.Domain() + "." + op
		}
		s.Operators[op]++
		if _, ok := exec.Lookup(n.Domain(), n.Op(), n.Opset()); !ok && op != "Constant" && !slices.Contains(s.Unsupported, op) {
			s.Unsupported = append(s.Unsupported, op)
		}
	})
	sort.Strings(s.Unsupported)
	stored, err := foldWeights(g)
	if err != nil {
		return nil, err
	}
	if err := exec.InferShapes(g); err != nil {
		return nil, err
	}
	for _, v := range g.Outputs {
		s.Outputs = append(s.Outputs, value(v))
	}
	return s, s.layers(g, stored)
}

func (s *Summary) layers(g *graph.Graph, stored map[string]onnxio.DataType) error {
	layers, skipped := graph.Layers(g)
	zeros, work := int64(0), totals{known: true}
	for _, l := range layers {
		w, err := l.Matrix()
		if err != nil {
			return err
		}
		n := int64(0)
		for _, x := range w {
			if x == 0 {
				n++
			}
		}
		zeros += n
		s.Weights += int64(len(w))
		kind := stored[l.Weight.Name]
		if t, ok := l.Weight.Const(); kind == onnxio.Undefined && ok {
			kind = t.Type
		}
		share := float64(n) / float64(max(len(w), 1))
		found := Layer{
			Name: l.Name, Op: l.Kind.String(), Nodes: len(l.Nodes), Weight: l.Weight.Name, Groups: l.Groups, Rows: l.Rows, Cols: l.Cols, Kernel: l.Kernel,
			MACs: l.SymbolicMACs().String(), Sparsity: share, Pattern: pattern(w, l.ChannelsIn), Stored: kind.String(), InputBits: l.InputBits(),
			Annotations: s.layerAnnotations(l),
		}
		if !kind.IsFloat() || kind.Bits() <= 8 {
			found.Bits = codeBits(kind, found.Annotations["bits"])
		}
		work.add(l.SymbolicMACs(), share, found.Bits, found.InputBits)
		s.Layers = append(s.Layers, found)
	}
	integer := map[*graph.Node]graph.IntegerOp{}
	for _, o := range graph.IntegerOps(g) {
		integer[o.Node] = o
		work.add(o.SymbolicMACs(), 0, o.WeightBits, o.InputBits)
	}
	for _, k := range skipped {
		found := Skipped{Name: k.Node.Name(), Op: k.Node.Op(), Reason: k.Reason}
		if o, ok := integer[k.Node]; ok {
			found.MACs, found.Bits, found.InputBits = o.SymbolicMACs().String(), o.WeightBits, o.InputBits
		}
		s.Skipped = append(s.Skipped, found)
	}
	s.Sparsity = float64(zeros) / float64(max(s.Weights, 1))
	if work.known {
		macs, bops := work.macs, int64(work.bops)
		s.MACs, s.BOPs = &macs, &bops
	}
	return nil
}

// totals adds up what layers compute.
type totals struct {
	macs  int64
	bops  float64
	known bool
}

// add counts multiplications, a share of them by zeros, of weights and inputs of so many bits, 0 for floats. Those with
// zeros are none: as reports of obc compress count.
func (t *totals) add(macs graph.Dim, zeros float64, bits, inputBits int) {
	t.known = t.known && macs.Known()
	n := max(macs.N, 0)
	t.macs += n
	t.bops += float64(n) * (1 - zeros) * float64(graph.OperationBits(bits, inputBits))
}

// codeBits is the width of codes of a stored type: what obc noted about them where it used fewer bits than the type has.
func codeBits(stored onnxio.DataType, noted string) int {
	if n, err := strconv.Atoi(noted); err == nil && n > 0 && n < stored.Bits() {
		return n
	}
	return stored.Bits()
}

func value(v *graph.Value) Value { return Value{v.Name, v.Type.String(), v.Shape.String()} }

// annotations are obc's entries of the metadata, without their prefix; nil when there are none.
func annotations(props []*onnxpb.StringStringEntryProto) map[string]string {
	var found map[string]string
	for _, p := range props {
		if key, ours := strings.CutPrefix(p.GetKey(), annotationPrefix); ours {
			if found == nil {
				found = map[string]string{}
			}
			found[key] = p.GetValue()
		}
	}
	return found
}

// layerAnnotations are those of a layer: in the metadata of its first node or, in files of an ir_version whose nodes have none,
// as one entry of the model's, "layer.NAME" with a list of key=value.
func (s *Summary) layerAnnotations(l *graph.Layer) map[string]string {
	if a := annotations(l.Nodes[0].Proto.MetadataProps); a != nil {
		return a
	}
	key := "layer." + l.Name
	text, ok := s.Annotations[key]
	if !ok {
		return nil
	}
	delete(s.Annotations, key)
	a := map[string]string{}
	for _, f := range strings.Split(text, "; ") {
		k, v, _ := strings.Cut(f, "=")
		a[k] = v
	}
	return a
}

// views are the operators between a stored constant and the weight that a layer reads.
var views = map[string]bool{"DequantizeLinear": true, "Transpose": true, "Reshape": true, "Identity": true, "Cast": true, "Squeeze": true, "Unsqueeze": true}

// foldWeights replaces what views compute from constants by initializers of the same name, so that layers behind them are
// found, and returns the element type that each such weight is stored in.
func foldWeights(g *graph.Graph) (map[string]onnxio.DataType, error) {
	stored := map[string]onnxio.DataType{}
	var err error
	g.Walk(func(n *graph.Node) {
		if err != nil || n.Domain() != "" || !views[n.Op()] || n.In(0) == nil || len(n.Outputs) != 1 {
			return
		}
		var in []*onnxio.Tensor
		for _, v := range n.Inputs {
			var t *onnxio.Tensor
			if v != nil {
				if !v.IsConst() {
					return
				}
				if t, err = v.Tensor(); err != nil {
					return
				}
			}
			in = append(in, t)
		}
		out, ferr := exec.Fold(n, in)
		if ferr != nil {
			err = fmt.Errorf("%v: %w", n, ferr)
			return
		}
		old := n.Outputs[0]
		folded := n.Graph.AddInit(old.Name, out[0])
		if err = n.Graph.ReplaceUses(old, folded); err != nil {
			return
		}
		kind := stored[n.In(0).Name]
		if kind == onnxio.Undefined {
			kind = in[0].Type
		}
		stored[folded.Name] = kind
	})
	return stored, err
}
