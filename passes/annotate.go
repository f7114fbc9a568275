package passes

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// annotationPrefix begins the keys of the metadata that annotate writes.
const annotationPrefix = "obc."

// nodeMetadataIR is the ir_version from which nodes have metadata.
const nodeMetadataIR = 10

// annotate says in the model what was done: metadata of the model as a whole and of the first node of each compressed layer. In
// files of an older ir_version, whose nodes have none, a layer's entry stands in the model's, under "obc.layer." and its name.
// Entries of an earlier compression are replaced.
type annotate struct{}

// Name is what the report calls the pass.
func (annotate) Name() string { return "annotate" }

// Apply also closes the list of layers in the report: from here on nothing changes about them.
func (annotate) Apply(ctx context.Context, s *State) (PassReport, error) {
	p := s.Model.Proto
	onNodes := p.GetIrVersion() >= nodeMetadataIR
	p.MetadataProps = setMetadata(p.MetadataProps, [][2]string{
		{"tool", s.Report.Tool}, {"version", s.Report.Version}, {"recipe", s.Report.RecipeHash},
		{"samples", strconv.Itoa(s.Report.Samples)}, {"layers", strconv.Itoa(len(s.active()))},
	})
	r := PassReport{}
	for _, l := range s.active() {
		s.Report.Layers = append(s.Report.Layers, l.Report)
		facts := l.Report.facts()
		if onNodes {
			n := l.Nodes[0].Proto
			n.MetadataProps = setMetadata(n.MetadataProps, facts)
		} else {
			list := make([]string, len(facts))
			for i, f := range facts {
				list[i] = f[0] + "=" + f[1]
			}
			p.MetadataProps = append(p.MetadataProps, entry("layer."+l.Name, strings.Join(list, "; ")))
		}
		r.Changes++
	}
	return r, nil
}

// facts are the keys and values that are written about a layer.
func (l LayerReport) facts() [][2]string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	f := [][2]string{{"form", l.Form}, {"sparsity", number(l.Sparsity)}}
	if l.Method != "" {
		f = append(f, [2]string{"method", l.Method})
	}
	if l.Pattern != "" {
		f = append(f, [2]string{"pattern", l.Pattern})
	}
	if l.Bits > 0 {
		f = append(f, [2]string{"bits", strconv.Itoa(l.Bits)})
	}
	if l.ActBits > 0 {
		f = append(f, [2]string{"activation_bits", strconv.Itoa(l.ActBits)})
	}
	if l.Scaled {
		f = append(f, [2]string{"scaled_outputs", "true"})
	}
	return append(f, [2]string{"loss", number(l.Loss)}, [2]string{"relative_loss", number(l.RelativeLoss)})
}

// setMetadata replaces the tool's own entries of a list; those of others stay as they are.
func setMetadata(props []*onnxpb.StringStringEntryProto, facts [][2]string) []*onnxpb.StringStringEntryProto {
	props = slices.DeleteFunc(slices.Clone(props), func(p *onnxpb.StringStringEntryProto) bool {
		return len(p.GetKey()) >= len(annotationPrefix) && p.GetKey()[:len(annotationPrefix)] == annotationPrefix
	})
	for _, f := range facts {
		if f[1] != "" {
			props = append(props, entry(f[0], f[1]))
		}
	}
	return props
}

func entry(key, value string) *onnxpb.StringStringEntryProto {
	return &onnxpb.StringStringEntryProto{Key: proto.String(annotationPrefix + key), Value: &value}
}
