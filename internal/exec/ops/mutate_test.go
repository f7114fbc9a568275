package ops_test

import (
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// TestMutatedCases breaks calls that are right: an input of another type or shape, hostile numbers, an attribute or input too few or
// too many. Each must give a result or an error of the node, within its limits, and types and shapes must be inferred as they come
// out. OBC_MUTATIONS is how often each case is broken.
func TestMutatedCases(t *testing.T) {
	ran := 0
	for _, set := range []string{"contrib", "forms", "ml", "opsets"} {
		all := readRecorded(t, set)
		for _, name := range sortedKeys(all) {
			p := &onnxpb.ModelProto{}
			if err := proto.Unmarshal(all[name]["model.onnx"], p); err != nil {
				t.Fatal(err)
			}
			_, feeds, err := all[name].open()
			if err != nil {
				t.Fatal(err)
			}
			ran += mutateOften(t, set+"/"+name, p, feeds)
		}
	}
	if t.Logf("%d broken calls gave a result all the same", ran); ran == 0 {
		t.Error("no broken call gave a result: the mutations are too wild")
	}
}

// TestMutatedVectors breaks the official vectors in the same ways.
func TestMutatedVectors(t *testing.T) {
	root := testkit.Vectors(t)
	if testing.Short() {
		t.Skip("the broken vectors are left out with -short")
	}
	for _, kind := range []string{"node", "simple", "pytorch-operator"} {
		for _, name := range cases(t, root, kind) {
			dir := filepath.Join(root, kind, name)
			m, err := onnxio.Load(filepath.Join(dir, "model.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			g, err := graph.New(m)
			if err != nil {
				continue
			}
			if feeds, err := vectorFeeds(g, filepath.Join(dir, "test_data_set_0")); err == nil {
				mutateOften(t, kind+"/"+name, m.Proto, feeds)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// mutateOften breaks one case in several ways and counts the results.
func mutateOften(t *testing.T, name string, p *onnxpb.ModelProto, feeds map[string]*onnxio.Tensor) (ran int) {
	rounds, _ := strconv.Atoi(os.Getenv("OBC_MUTATIONS"))
	seed := int64(0)
	for _, c := range name {
		seed = seed*31 + int64(c)
	}
	for round := range int64(max(rounds, 1)) {
		m := &mutation{r: rand.New(rand.NewSource(seed + round)), p: proto.Clone(p).(*onnxpb.ModelProto), feeds: map[string]*onnxio.Tensor{}}
		for k, v := range feeds {
			m.feeds[k] = v
		}
		for range 1 + m.r.Intn(2) {
			m.once()
		}
		if m.run(func(format string, args ...any) {
			t.Helper()
			t.Errorf(name+": "+format, args...)
			if s := prototext.Format(m.p); len(s) < 4000 {
				t.Log(s)
			}
			for k, x := range m.feeds {
				t.Log(k, x)
			}
		}) {
			ran++
		}
	}
	return ran
}

type mutation struct {
	r     *rand.Rand
	p     *onnxpb.ModelProto
	feeds map[string]*onnxio.Tensor
}

// run reports whether the broken call gave a result.
func (m *mutation) run(fail func(string, ...any)) bool {
	declared := false // the model's own output shapes are no longer true
	for _, v := range m.p.Graph.Output {
		if x := v.GetType().GetTensorType(); x != nil {
			v.Type, declared = nil, true
		}
	}
	m.p.Graph.ValueInfo = nil
	for _, n := range m.p.Graph.Node {
		for _, a := range n.Attribute {
			for _, v := range append(a.GetG().GetInput(), a.GetG().GetOutput()...) {
				v.Type = nil // may no longer be true
			}
		}
	}
	g, err := graph.New(onnxio.New("mutated.onnx", m.p))
	if err != nil {
		return false
	}
	inferErr := exec.InferShapes(g)
	bug(fail, inferErr)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	out, _, err := runGraph(g, m.feeds, exec.Options{Threads: 2, MemoryLimit: fuzzLimit, MaxRounds: 2000}, nil)
	runtime.ReadMemStats(&after)
	bug(fail, err)
	if d := time.Since(start); d > fuzzTime {
		fail("took %v", d)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > fuzzHeap {
		fail("allocated %d bytes with a limit of %d", n, fuzzLimit)
	}
	if err != nil {
		return false
	}
	if inferErr == nil && declared {
		for _, v := range g.Outputs {
			if bad := asInferred(v, out[v.Name]); bad != "" {
				fail("output %q: %s", v.Name, bad)
			}
		}
	}
	return true
}

// once changes one thing.
func (m *mutation) once() {
	nodes := m.p.Graph.Node
	if len(nodes) == 0 {
		return
	}
	n := nodes[m.r.Intn(len(nodes))]
	switch m.r.Intn(8) {
	case 0, 1, 2, 3:
		m.tensor()
	case 4, 5:
		m.attribute(n)
	case 6:
		if k := len(n.Input); k > 0 {
			n.Input[m.r.Intn(k)] = ""
		}
	case 7:
		if k := len(n.Input); k > 0 {
			n.Input[m.r.Intn(k)] = n.Input[m.r.Intn(k)]
		}
	}
}

// tensor changes one input or initializer.
func (m *mutation) tensor() {
	names := sortedKeys(m.feeds)
	k := m.r.Intn(len(names) + len(m.p.Graph.Initializer) + 1)
	switch k -= 1; {
	case k < 0:
	case k < len(names):
		x := m.feeds[names[k]]
		if x == nil || exec.IsSequence(x) || x.Type == onnxio.Undefined {
			return
		}
		x = m.change(x)
		m.feeds[names[k]] = x
		for _, v := range m.p.Graph.Input {
			if v.GetName() == names[k] {
				v.Type = tensorType(x, m.r.Intn(2) == 0)
			}
		}
	default:
		k -= len(names)
		p := m.p.Graph.Initializer[k]
		if x, err := tensorOf(p); err == nil {
			m.p.Graph.Initializer[k] = m.change(x).Proto(p.GetName())
		}
	}
}

// tensorType declares what x is, or, symbolically, only its type and rank.
func tensorType(x *onnxio.Tensor, symbolic bool) *onnxpb.TypeProto {
	s := &onnxpb.TensorShapeProto{}
	for i, d := range x.Shape {
		dim := &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}}
		if symbolic {
			dim.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "d" + strconv.Itoa(i)}
		}
		s.Dim = append(s.Dim, dim)
	}
	return &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: x.Type.Proto(), Shape: s}}}
}

// change gives x another type, another shape or other elements.
func (m *mutation) change(x *onnxio.Tensor) *onnxio.Tensor {
	t, shape := x.Type, append([]int{}, x.Shape...)
	switch m.r.Intn(6) {
	case 0:
		t = []onnxio.DataType{onnxio.Float32, onnxio.Float64, onnxio.Float16, onnxio.Int64, onnxio.Int32, onnxio.Uint8, onnxio.Int8, onnxio.Bool, onnxio.String}[m.r.Intn(9)]
	case 1:
		if len(shape) > 0 {
			shape[m.r.Intn(len(shape))] = []int{0, 1, 2, 7}[m.r.Intn(4)]
		}
	case 2:
		if k := len(shape); k > 0 {
			i := m.r.Intn(k)
			shape = append(shape[:i], shape[i+1:]...)
		}
	case 3:
		shape = append(shape, 1+m.r.Intn(2))
	case 4:
		if len(shape) > 0 {
			i := m.r.Intn(len(shape))
			shape[i] = max(shape[i]+1-2*m.r.Intn(2), 0)
		}
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	if n > 1<<16 {
		return x
	}
	y := onnxio.NewTensor(t, shape...)
	wild := m.r.Intn(4) == 0
	for i := range y.Len() {
		fillElement(y, i, x, i%max(x.Len(), 1), wild && m.r.Intn(3) == 0, m.r)
	}
	return y
}

// fillElement copies element k of x where types agree, else takes a small number; wild: a hostile one.
func fillElement(y *onnxio.Tensor, i int, x *onnxio.Tensor, k int, wild bool, r *rand.Rand) {
	c := &choices{[]byte{byte(r.Intn(256)), byte(r.Intn(256))}}
	same := x.Type == y.Type && x.Len() > 0 && !wild
	switch d := y.Data.(type) {
	case []float32:
		if d[i] = c.float(); same {
			d[i] = x.Float32s()[k]
		}
	case []float64:
		if d[i] = float64(c.float()); same {
			d[i] = x.Float64s()[k]
		}
	case []int64:
		if d[i] = c.size(); same {
			d[i] = x.Int64s()[k]
		}
	case []int32:
		if d[i] = int32(c.size()); same {
			d[i] = onnxio.Slice[int32](x)[k]
		}
	case []uint8:
		if d[i] = uint8(c.byte()); same {
			d[i] = onnxio.Slice[uint8](x)[k]
		}
	case []int8:
		if d[i] = int8(c.byte()); same {
			d[i] = onnxio.Slice[int8](x)[k]
		}
	case []bool:
		if d[i] = c.byte() > 127; same {
			d[i] = onnxio.Slice[bool](x)[k]
		}
	case []string:
		if d[i] = []string{"", "a", "A b"}[c.upTo(3)]; same {
			d[i] = onnxio.Slice[string](x)[k]
		}
	case []uint16:
		if d[i] = uint16(c.byte() << 6); same {
			d[i] = onnxio.Slice[uint16](x)[k]
		}
	}
}

// attribute removes an attribute, or changes its number or its list.
func (m *mutation) attribute(n *onnxpb.NodeProto) {
	if len(n.Attribute) == 0 {
		return
	}
	k := m.r.Intn(len(n.Attribute))
	a := n.Attribute[k]
	c := &choices{[]byte{byte(m.r.Intn(256)), byte(m.r.Intn(256))}}
	switch {
	case m.r.Intn(4) == 0:
		n.Attribute = append(n.Attribute[:k:k], n.Attribute[k+1:]...)
	case a.GetType() == onnxpb.AttributeProto_INT:
		a.I = proto.Int64(c.size())
	case a.GetType() == onnxpb.AttributeProto_FLOAT:
		a.F = proto.Float32(c.float())
	case a.GetType() == onnxpb.AttributeProto_STRING:
		a.S = []byte([]string{"", "x", "linear", "VALID"}[c.upTo(4)])
	case a.GetType() == onnxpb.AttributeProto_INTS:
		a.Ints = changeList(m.r, a.Ints, c.size())
	case a.GetType() == onnxpb.AttributeProto_FLOATS:
		a.Floats = changeList(m.r, a.Floats, c.float())
	case a.GetType() == onnxpb.AttributeProto_STRINGS:
		a.Strings = changeList(m.r, a.Strings, []byte("x"))
	case a.GetType() == onnxpb.AttributeProto_TENSOR:
		if x, err := tensorOf(a.T); err == nil {
			a.T = m.change(x).Proto("")
		}
	}
}

func changeList[T any](r *rand.Rand, l []T, v T) []T {
	switch k := r.Intn(max(len(l), 1)); {
	case r.Intn(3) == 0:
		return append(l, v)
	case len(l) == 0:
		return l
	case r.Intn(2) == 0:
		return append(l[:k:k], l[k+1:]...)
	default:
		l[k] = v
		return l
	}
}
