package ops_test

import (
	"math"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"

	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/internal/testmodel"
)

// choices turns fuzz bytes into decisions; beyond the end all are 0.
type choices struct{ data []byte }

func (c *choices) byte() int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b)
}

func (c *choices) upTo(n int) int { return c.byte() % n }

// size is a dimension: mostly small, at times 0, at times hostile.
func (c *choices) size() int64 {
	switch b := c.byte(); {
	case b < 230:
		return int64(b % 6)
	case b < 245:
		return -int64(b % 4)
	case b < 250:
		return int64(b) << 12
	default:
		return []int64{1 << 31, 1 << 40, math.MaxInt64, math.MinInt64, 1 << 62, -1 << 40}[b%6]
	}
}

func (c *choices) sizes(most int) []int64 {
	l := make([]int64, c.upTo(most+1))
	for i := range l {
		l[i] = c.size()
	}
	return l
}

func (c *choices) float() float32 {
	switch b := c.byte(); {
	case b < 248:
		return float32(b-124) / 40
	default:
		return []float32{0, 1e30, -1e30, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 1e-30, float32(math.Copysign(0, -1))}[b-248]
	}
}

// fuzzValue is a value that nodes may read.
type fuzzValue struct {
	name  string
	typ   onnxio.DataType
	shape []int
}

// fuzzBuilder makes a model, and feeds for it.
type fuzzBuilder struct {
	*choices
	b      *testmodel.Builder
	values []fuzzValue
	feeds  map[string]*onnxio.Tensor
	likely bool // all nodes are of the kind that may be valid
	smooth bool // results depend on the inputs without jumps, so that float32 and float64 must agree
	next   int
}

var fuzzTypes = []onnxio.DataType{onnxio.Float32, onnxio.Float32, onnxio.Float32, onnxio.Float32, onnxio.Float32, onnxio.Int64, onnxio.Int64, onnxio.Int32,
	onnxio.Bool, onnxio.Uint8, onnxio.Int8, onnxio.Float16, onnxio.Float64, onnxio.String}

// tensor makes a small tensor.
func (f *fuzzBuilder) tensor(t onnxio.DataType, shape ...int) *onnxio.Tensor {
	x := onnxio.NewTensor(t, shape...)
	for i := range x.Len() {
		switch d := x.Data.(type) {
		case []float32:
			d[i] = f.float()
		case []float64:
			d[i] = float64(f.float())
		case []int64:
			d[i] = f.size()
		case []int32:
			d[i] = int32(f.size())
		case []bool:
			d[i] = f.upTo(2) == 1
		case []uint8:
			d[i] = uint8(f.byte())
		case []int8:
			d[i] = int8(f.byte())
		case []uint16:
			d[i] = uint16(f.byte()<<8 | f.byte())
		case []string:
			d[i] = []string{"", "a", "A b", "\xff"}[f.upTo(4)]
		}
	}
	return x
}

func (f *fuzzBuilder) name() string {
	f.next++
	return "v" + string(rune('a'+f.next%26)) + string(rune('a'+f.next/26%26))
}

func (f *fuzzBuilder) add(t onnxio.DataType, shape []int, constant bool) fuzzValue {
	v := fuzzValue{f.name(), t, shape}
	x := f.tensor(t, shape...)
	if constant {
		f.b.Init(v.name, x)
	} else {
		dims := make([]any, len(shape))
		for i, d := range shape {
			if dims[i] = d; f.upTo(3) == 0 {
				dims[i] = "n"
			}
		}
		f.b.Input(v.name, t, dims...)
		f.feeds[v.name] = x
	}
	f.values = append(f.values, v)
	f.smooth = f.smooth && t != onnxio.Float16 // whose rounding shows
	return v
}

func (f *fuzzBuilder) shape(least, most int) []int {
	s := make([]int, least+f.upTo(most-least+1))
	for i := range s {
		s[i] = []int{1, 2, 3, 4, 5, 3, 2, 0}[f.upTo(8)]
	}
	return s
}

// pick is the name of some value, preferring late ones.
func (f *fuzzBuilder) pick() string {
	k := f.byte()
	if k%2 == 0 {
		return f.values[len(f.values)-1].name
	}
	return f.values[k/2%len(f.values)].name
}

// ints is a constant int64 vector.
func (f *fuzzBuilder) ints(l ...int64) string {
	name := f.name()
	f.b.Int64s(name, l...)
	return name
}

func (f *fuzzBuilder) result() string {
	v := fuzzValue{name: f.name()}
	f.values = append(f.values, v)
	return v.name
}

// buildFuzz makes a model of a few nodes.
func buildFuzz(data []byte) *fuzzBuilder {
	f := &fuzzBuilder{choices: &choices{data}, feeds: map[string]*onnxio.Tensor{}, smooth: true, likely: true}
	f.b = testmodel.New([]int{7, 9, 10, 11, 12, 13, 15, 17, 18, 19, 21, 22, 23, 25}[f.upTo(14)]).Import("com.microsoft", 1)
	for range 1 + f.upTo(3) {
		f.add(fuzzTypes[f.upTo(len(fuzzTypes))], f.shape(0, 4), f.upTo(4) == 0)
	}
	for range 1 + f.upTo(5) {
		if f.upTo(3) == 0 {
			f.anyNode()
		} else {
			f.likelyNode()
		}
	}
	for i, v := range f.values {
		if v.typ == onnxio.Undefined && (i == len(f.values)-1 || f.upTo(2) == 0) {
			f.b.Proto().Graph.Output = append(f.b.Proto().Graph.Output, &onnxpb.ValueInfoProto{Name: proto.String(v.name)})
		}
	}
	if len(f.b.Proto().Graph.Output) == 0 {
		f.b.Outputs(f.values[len(f.values)-1].name)
	}
	return f
}

var fuzzOps = func() (list []exec.Op) {
	for _, op := range exec.Registered() {
		if (op.Domain == "" || op.Domain == "com.microsoft") && op.Name != "If" && op.Name != "Loop" && op.Name != "Scan" && op.Name != "SequenceMap" {
			list = append(list, op)
		}
	}
	return list
}()

// anyNode takes any operator, with any inputs and attributes: mostly nonsense, which must give errors.
func (f *fuzzBuilder) anyNode() {
	f.smooth, f.likely = false, false
	op := fuzzOps[(f.byte()<<8|f.byte())%len(fuzzOps)]
	wires := ""
	for range f.upTo(6) {
		if f.upTo(8) == 0 {
			wires += " _"
		} else {
			wires += " " + f.pick()
		}
	}
	wires += " ->"
	for range 1 + f.upTo(2) {
		wires += " " + f.result()
	}
	name := op.Name
	if op.Domain != "" {
		name = op.Domain + "::" + name
	}
	var attrs []any
	for range f.upTo(5) {
		attrs = append(attrs, f.attr()...)
	}
	f.b.Node(name, wires, attrs...)
}

var fuzzAttrs = []struct {
	name string
	kind byte
}{{"axis", 'i'}, {"axes", 'l'}, {"keepdims", 'i'}, {"perm", 'l'}, {"to", 'i'}, {"kernel_shape", 'l'}, {"pads", 'l'}, {"strides", 'l'}, {"dilations", 'l'},
	{"group", 'i'}, {"alpha", 'f'}, {"beta", 'f'}, {"epsilon", 'f'}, {"mode", 's'}, {"auto_pad", 's'}, {"block_size", 'i'}, {"blocksize", 'i'}, {"num_heads", 'i'},
	{"kv_num_heads", 'i'}, {"q_num_heads", 'i'}, {"hidden_size", 'i'}, {"bits", 'i'}, {"K", 'i'}, {"N", 'i'}, {"shape", 'l'}, {"value", 't'}, {"dtype", 'i'},
	{"output_dtype", 'i'}, {"ceil_mode", 'i'}, {"output_shape", 'l'}, {"output_padding", 'l'}, {"scale", 'f'}, {"batch_dims", 'i'}, {"num_groups", 'i'},
	{"split", 'l'}, {"num_outputs", 'i'}, {"largest", 'i'}, {"size", 'i'}, {"p", 'i'}, {"equation", 's'}, {"starts", 'l'}, {"ends", 'l'}, {"direction", 's'},
	{"unidirectional", 'i'}, {"exclusive", 'i'}, {"reverse", 'i'}, {"upper", 'i'}, {"k", 'i'}, {"sample_size", 'i'}, {"output_height", 'i'}, {"output_width", 'i'},
	{"axis", 'l'}, {"detect_positive", 's'}, {"transA", 'i'}, {"transB", 'i'}, {"channels_last", 'i'}, {"qkv_hidden_sizes", 'l'}, {"opset", 'i'}}

func (f *fuzzBuilder) attr() []any {
	a := fuzzAttrs[f.upTo(len(fuzzAttrs))]
	switch a.kind {
	case 'i':
		return []any{a.name, f.size()}
	case 'l':
		return []any{a.name, f.sizes(5)}
	case 'f':
		return []any{a.name, f.float()}
	case 't':
		return []any{a.name, f.tensor(fuzzTypes[f.upTo(5)], 1)}
	}
	return []any{a.name, []string{"", "constant", "reflect", "edge", "linear", "cubic", "SAME_UPPER", "SAME_LOWER", "VALID", "ij,jk->ik", "...->", "bij,bjk", "bidirectional",
		"reverse", "CRD", "wrap"}[f.upTo(16)]}
}
