package passes

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// equalize moves a part of the activations' spread over channels into the weights, before activations are quantized with one scale a
// tensor: channel c of a layer's input is divided by s_c = (max|x_c|)^strength and its weights are multiplied by it, which leaves the
// model's function as it is (as Xiao et al. 2022 do, arXiv 2211.10438). The division goes into what computes the input, a LayerNormalization or
// another layer (as Nagel et al. 2019 do, arXiv 1906.04721), where nothing else reads it, else into a Mul in front of the layers.
// With auto, each input of a MatMul or Gemm has the spread of the least predicted error (predictor.error), none unless that pays. Those of
// convolutions stay as they are: they run on the codes of those before them, which a Mul would part, and what a chain of them won on calibration
// data (fmnist-resnet, efficientnet-lite0) was lost on other data.
type equalize struct {
	strength float64 // NaN: not a number
	auto     bool
}

// equalizer is the pass that the recipe asks for.
func (r *Recipe) equalizer() equalize {
	if r.Equalize == "auto" {
		return equalize{auto: true}
	}
	v, err := strconv.ParseFloat(r.Equalize, 64)
	if err != nil {
		v = math.NaN()
	}
	return equalize{strength: v}
}

func (equalize) Name() string { return "equalize" }

// leastSpread is the share of the largest channel's range below which channels count as if they had that.
const leastSpread = 1e-3

// leastValues is how many values a channel must have had for its range to be trusted with auto: with fewer, other data reaches beyond it.
const leastValues = 1000

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
	stats, err := s.channelStats(ctx, values, readers)
	if err != nil {
		return r, err
	}
	links := LinkValues(s.active())
	spreads, into := make([][]float32, len(values)), make([]func([]float32) error, len(values))
	for i, v := range values {
		into[i] = s.divider(v, readers[v], len(stats[v.Name].lo))
		if e.auto && (readers[v][0].channelAxis() != -1 || slices.Contains(links, v) || stats[v.Name].n < leastValues) {
			continue
		}
		if spreads[i], err = e.spread(stats[v.Name], readers[v], into[i] != nil); err != nil {
			return r, err
		}
	}
	folded := 0
	for i, v := range values {
		by := spreads[i]
		if by == nil {
			continue
		}
		inverse := make([]float32, len(by))
		for c, s := range by {
			inverse[c] = 1 / s
		}
		if divide := into[i]; divide != nil {
			err = divide(inverse)
			folded++
		} else {
			err = multiply(v, readers[v], inverse)
		}
		if err != nil {
			return r, err
		}
		for _, l := range readers[v] {
			if err := l.scaleColumns(by); err != nil {
				return r, err
			}
		}
		r.Changes++
	}
	r.Notes = append(r.Notes, fmt.Sprintf("%d inputs divided in the constants of what computes them, %d by a Mul", folded, r.Changes-folded))
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

// channelStats gathers the statistics of the values' channels over the calibration data.
func (s *State) channelStats(ctx context.Context, values []*graph.Value, readers map[*graph.Value][]*LayerState) (map[string]*channelStats, error) {
	all, axis := map[string]*channelStats{}, map[string]int{}
	var names []string
	for _, v := range values {
		l := readers[v][0]
		n := l.Groups * l.ChannelsIn
		names = append(names, v.Name)
		all[v.Name], axis[v.Name] = &channelStats{lo: make([]float32, n), hi: make([]float32, n), power: make([]float64, n)}, l.channelAxis()
	}
	err := calib.Observe(ctx, s.Graph, names, s.Data, s.capture("equalize"), func(name string, t *onnxio.Tensor, keep []bool) error {
		t, err := t.ToFloat32()
		if err != nil {
			return err
		}
		inner := 1
		if axis[name] == 1 {
			for _, d := range t.Shape[2:] {
				inner *= d
			}
		}
		calib.EachKept(t.Float32s(), keep, func(x []float32) { all[name].add(x, inner) })
		return nil
	})
	return all, err
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

// divider gives the function that multiplies the channels of v by factors in the constants of what computes it; nil when that cannot be done.
func (s *State) divider(v *graph.Value, readers []*LayerState, channels int) func(by []float32) error {
	if v.IsOutput || len(v.Uses) != len(readers) {
		return nil
	}
	if foldsInto(v.Producer, readers[0], channels) {
		return func(by []float32) error {
			for _, i := range []int{1, 2} {
				if err := scaleVector(v.Producer, i, by); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if l := s.maker(v, readers[0], channels); l != nil {
		return l.scaleOutputs
	}
	return nil
}

// maker is the layer whose output is v, directly or through a function that scaling by a positive number passes through; nil when there is none,
// or it has another reader or other channels than the layer that reads v.
func (s *State) maker(v *graph.Value, reader *LayerState, channels int) *LayerState {
	n := v.Producer
	if n != nil && n.Domain() == "" && (n.Op() == "Relu" || n.Op() == "LeakyRelu") {
		in := n.In(0)
		if in.IsOutput || len(in.Uses) != 1 {
			return nil
		}
		n = in.Producer
	}
	for _, l := range s.active() {
		if len(l.Nodes) != 1 || l.Nodes[0] != n {
			continue
		}
		same := l.Kind == graph.Conv && reader.channelAxis() == 1 || l.Kind == graph.Gemm && l.InputIndex() == 0 && reader.channelAxis() == -1
		if _, err := l.BiasVector(n); err != nil || !same || l.Groups*l.Rows != channels || n.Graph != reader.Nodes[0].Graph {
			return nil
		}
		return l
	}
	return nil
}

// scaleOutputs multiplies the layer's output channels, in its weights and its bias.
func (l *LayerState) scaleOutputs(by []float32) error {
	w, err := l.Matrix()
	if err != nil {
		return err
	}
	for i := range w {
		w[i] *= by[i/l.Cols]
	}
	bias, err := l.BiasVector(l.Nodes[0])
	if err != nil {
		return err
	}
	for k := range bias {
		bias[k] *= by[k]
	}
	if err := l.SetMatrix(w); err != nil {
		return err
	}
	l.Report.Scaled = true
	return l.SetBias(l.Nodes[0], bias)
}

// multiply makes the layers read v times by.
func multiply(v *graph.Value, readers []*LayerState, by []float32) error {
	l, g := readers[0], readers[0].Nodes[0].Graph
	shape := []int{len(by)}
	for range len(l.Kernel) {
		shape = append(shape, 1)
	}
	t, err := onnxio.TensorOf(by, shape...).ConvertTo(v.Type)
	if err != nil {
		return err
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
		return err
	}
	for _, r := range readers {
		r.Nodes[0].SetInput(r.InputIndex(), even)
	}
	return nil
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
