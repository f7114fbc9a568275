package passes

import (
	"context"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// equalize moves a part of the activations' spread over channels into the weights, before activations are quantized with one scale a
// tensor: channel c of a layer's input is divided by s_c = (max|x_c|)^strength and its weights are multiplied by it, which leaves the
// model's function as it is (as Xiao et al. 2022 do, arXiv 2211.10438, but for the weights' own spread). The division goes into the
// constants of the node that computes the input where nothing else reads it, else into a Mul in front of the layers.
type equalize struct{ strength float64 }

func (equalize) Name() string { return "equalize" }

// leastSpread is the share of the largest channel's range below which channels count as if they had that.
const leastSpread = 1e-3

func (e equalize) Apply(ctx context.Context, s *State) (PassReport, error) {
	r := PassReport{}
	readers := map[*graph.Value][]*LayerState{}
	var values []*graph.Value
	for _, l := range s.active() {
		v := l.Layer.Input(l.Nodes[0])
		if why := l.cannotEqualize(); why != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("the input of %s is not equalized: %s", l.Name, why))
			continue
		}
		if readers[v] == nil {
			values = append(values, v)
		}
		readers[v] = append(readers[v], l)
	}
	values = slices.DeleteFunc(values, func(v *graph.Value) bool {
		first := readers[v][0]
		return slices.ContainsFunc(readers[v], func(l *LayerState) bool {
			return l.Groups*l.ChannelsIn != first.Groups*first.ChannelsIn || l.channelAxis() != first.channelAxis()
		})
	})
	if len(values) == 0 {
		return r, nil
	}
	ranges, err := s.channelRanges(ctx, values, readers)
	if err != nil {
		return r, err
	}
	folded := 0
	for _, v := range values {
		by := spread(ranges[v.Name], e.strength)
		if by == nil {
			continue
		}
		into, err := divide(v, readers[v], by)
		if err != nil {
			return r, err
		}
		if into {
			folded++
		}
		for _, l := range readers[v] {
			if err := l.scaleColumns(by); err != nil {
				return r, err
			}
		}
		r.Changes++
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%d inputs divided in the constants before them, %d by a Mul", folded, r.Changes-folded))
	return r, nil
}

// cannotEqualize tells why the channels of a layer's input cannot be scaled; empty when they can.
func (l *LayerState) cannotEqualize() string {
	n := l.Nodes[0]
	switch {
	case len(l.Nodes) > 1:
		return "several nodes share the weight"
	case l.InputIndex() != 0:
		return "the weight is the left factor"
	case n.Int("transA", 0) != 0:
		return "it is transposed"
	}
	return ""
}

// channelAxis is the axis of the input that runs over its channels, counted from the end where it is the last.
func (l *LayerState) channelAxis() int {
	if l.Kind == graph.Conv || l.Kind == graph.ConvTranspose {
		return 1
	}
	return -1
}

// channelRanges finds the largest magnitude of each channel of the values.
func (s *State) channelRanges(ctx context.Context, values []*graph.Value, readers map[*graph.Value][]*LayerState) (map[string][]float32, error) {
	most, axis := map[string][]float32{}, map[string]int{}
	var names []string
	for _, v := range values {
		l := readers[v][0]
		names = append(names, v.Name)
		most[v.Name], axis[v.Name] = make([]float32, l.Groups*l.ChannelsIn), l.channelAxis()
	}
	err := calib.Observe(ctx, s.Graph, names, s.Data, s.capture("equalize"), func(name string, t *onnxio.Tensor, keep []bool) error {
		t, err := t.ToFloat32()
		if err != nil {
			return err
		}
		m, inner := most[name], 1
		if axis[name] == 1 {
			for _, d := range t.Shape[2:] {
				inner *= d
			}
		}
		calib.EachKept(t.Float32s(), keep, func(x []float32) {
			for i, c := 0, 0; i+inner <= len(x); i, c = i+inner, (c+1)%len(m) {
				for _, v := range x[i : i+inner] {
					m[c] = max(m[c], v, -v)
				}
			}
		})
		return nil
	})
	return most, err
}

// spread is what each channel is divided by, nil when there is nothing to do.
func spread(most []float32, strength float64) []float32 {
	top := slices.Max(most)
	if !(top > 0) || math.IsInf(float64(top), 1) {
		return nil
	}
	by := make([]float32, len(most))
	for c, m := range most {
		by[c] = float32(math.Pow(math.Max(float64(m/top), leastSpread), strength))
	}
	return by
}

// scaleColumns multiplies the layer's weights by a factor for each input channel.
func (l *LayerState) scaleColumns(by []float32) error {
	w, err := l.Matrix()
	if err != nil {
		return err
	}
	for i := range w {
		group := i / (l.Rows * l.Cols)
		w[i] *= by[group*l.ChannelsIn+i%l.Cols%l.ChannelsIn]
	}
	return l.SetMatrix(w)
}

// divide makes the layers read v divided by by, and tells whether that went into the constants of what computes v.
func divide(v *graph.Value, readers []*LayerState, by []float32) (folded bool, err error) {
	inverse := make([]float32, len(by))
	for c, s := range by {
		inverse[c] = 1 / s
	}
	own := !v.IsOutput && len(v.Uses) == len(readers)
	if own && foldsInto(v.Producer, readers[0], len(by)) {
		for _, i := range []int{1, 2} {
			if err := scaleVector(v.Producer, i, inverse); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	l, g := readers[0], readers[0].Nodes[0].Graph
	shape := []int{len(inverse)}
	for range len(l.Kernel) {
		shape = append(shape, 1)
	}
	t, err := onnxio.TensorOf(inverse, shape...).ConvertTo(v.Type)
	if err != nil {
		return false, err
	}
	factor := g.AddInit(v.Name+"_inverse_spread", t)
	even := g.NewValue(v.Name + "_equalized")
	even.Type, even.Shape = v.Type, v.Shape
	first := readers[0].Nodes[0]
	for _, r := range readers {
		if nodePlace(r.Nodes[0]) < nodePlace(first) {
			first = r.Nodes[0]
		}
	}
	_, err = g.AddNode(&onnxpb.NodeProto{OpType: proto.String("Mul"), Name: proto.String(g.FreshName(v.Name + "_equalize")),
		Input: []string{v.Name, factor.Name}, Output: []string{even.Name}}, first)
	if err != nil {
		return false, err
	}
	for _, r := range readers {
		r.Nodes[0].SetInput(r.InputIndex(), even)
	}
	return false, nil
}

// foldsInto reports whether n is a LayerNormalization over the channels of the readers whose scale and bias can take a factor.
func foldsInto(n *graph.Node, l *LayerState, channels int) bool {
	if n == nil || n.Op() != "LayerNormalization" || n.Domain() != "" || l.channelAxis() != -1 || n.Graph != l.Nodes[0].Graph {
		return false
	}
	for i := 1; i <= 2; i++ {
		v := n.In(i)
		if v == nil && i == 2 {
			continue
		}
		if v == nil || !v.IsConst() || v.Type != onnxio.Float32 || len(v.Shape) != 1 || v.Shape[0].N != int64(channels) {
			return false
		}
	}
	return true
}

// scaleVector multiplies a node's constant vector, giving the node its own when others read it too.
func scaleVector(n *graph.Node, i int, by []float32) error {
	v := n.In(i)
	if v == nil {
		return nil
	}
	t, err := v.Tensor()
	if err != nil {
		return err
	}
	x := slices.Clone(t.Float32s())
	for c := range x {
		x[c] *= by[c]
	}
	scaled := onnxio.TensorOf(x, len(x))
	if len(v.Uses) == 1 && !v.IsOutput {
		return v.Graph.SetInit(v, scaled)
	}
	n.SetInput(i, n.Graph.AddInit(v.Name, scaled))
	return nil
}
