package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// The operators of ai.onnx.ml that replace or pick elements.

const domainML = "ai.onnx.ml"

// labelMap replaces elements by their partners in a table.
type labelMap struct {
	keys, values, fallback *tensor // fallback has one element
}

// listAttr is the first attribute present of those that hold a list: tensor, strings, int64s or floats; nil without one.
func listAttr(n *graph.Node, prefix string) (*tensor, error) {
	switch {
	case n.HasAttr(prefix + "_tensor"):
		return n.Tensor(prefix + "_tensor")
	case n.HasAttr(prefix + "_strings"):
		l := n.Strings(prefix + "_strings")
		return onnxio.TensorOf(l, len(l)), nil
	case n.HasAttr(prefix + "_int64s"):
		l := n.Ints(prefix + "_int64s")
		return onnxio.TensorOf(l, len(l)), nil
	case n.HasAttr(prefix + "_floats"):
		l := n.Floats(prefix + "_floats")
		return onnxio.TensorOf(l, len(l)), nil
	}
	return nil, nil
}

// fallbackAttr is what stands for elements without a partner.
func fallbackAttr(n *graph.Node, t onnxio.DataType) (*tensor, error) {
	if n.HasAttr("default_tensor") {
		return n.Tensor("default_tensor")
	}
	switch {
	case t == onnxio.String:
		return onnxio.TensorOf([]string{n.Str("default_string", "_Unused")}), nil
	case t.IsFloat():
		return onnxio.TensorOf([]float32{n.Float("default_float", float32(math.Copysign(0, -1)))}).ConvertTo(t)
	}
	return onnxio.TensorOf([]int64{n.Int("default_int64", -1)}).ConvertTo(t)
}

func prepareLabelEncoder(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	m, err := labelMapOf(n)
	if err != nil {
		return nil, err
	}
	if m.keys == nil || m.values == nil || m.keys.Len() != m.values.Len() {
		return nil, fmt.Errorf("attributes keys_* and values_* must be there and have one length")
	}
	if m.fallback, err = fallbackAttr(n, m.values.Type); err != nil {
		return nil, err
	}
	if m.fallback.Len() != 1 || m.fallback.Type != m.values.Type {
		return nil, fmt.Errorf("the default is %v for values of type %v", m.fallback, m.values.Type)
	}
	return m.kernel()
}

// labelMapOf reads the table: version 1 maps a list of classes to their positions, or back, as the element type of the input asks.
func labelMapOf(n *graph.Node) (m labelMap, err error) {
	if n.Op() == "LabelEncoder" && n.Opset() >= 2 {
		if m.keys, err = listAttr(n, "keys"); err != nil {
			return m, err
		}
		m.values, err = listAttr(n, "values")
		return m, err
	}
	names := n.Strings("classes_strings")
	codes := make([]int64, len(names))
	for i := range codes {
		codes[i] = int64(i)
	}
	if n.Op() == "CategoryMapper" {
		names, codes = n.Strings("cats_strings"), n.Ints("cats_int64s")
	}
	if len(names) != len(codes) {
		return m, fmt.Errorf("%d names for %d numbers", len(names), len(codes))
	}
	m.keys, m.values = onnxio.TensorOf(names, len(names)), onnxio.TensorOf(codes, len(codes))
	if typeOf(n, 0) == onnxio.Int64 {
		m.keys, m.values = m.values, m.keys
	}
	return m, nil
}

// kernel looks elements up by the text that stands for them: all floats that are no number are one, as are 0 and -0.
func (m labelMap) kernel() (exec.Kernel, error) {
	at := map[any]int{}
	keys, err := comparables(m.keys)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		at[k] = i
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		if (x.Type == onnxio.String) != (m.keys.Type == onnxio.String) {
			return fmt.Errorf("input is %v, but the keys are %v", x.Type, m.keys.Type)
		}
		elems, err := comparables(x)
		if err != nil {
			return err
		}
		y := c.New(m.values.Type, x.Shape...)
		found, other := newMover(y, m.values), newMover(y, m.fallback)
		for i, e := range elems {
			if k, ok := at[e]; ok {
				found.move(i, k, 1)
			} else {
				other.move(i, 0, 1)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

// comparables gives elements as values that Go compares as the standard does.
func comparables(x *tensor) ([]any, error) {
	out := make([]any, x.Len())
	switch d := x.Data.(type) {
	case []string:
		for i, s := range d {
			out[i] = s
		}
		return out, nil
	case []int64:
		for i, v := range d {
			out[i] = float64(v)
			if int64(float64(v)) != v {
				out[i] = v
			}
		}
		return out, nil
	}
	f, err := floats(x)
	if err != nil {
		return nil, err
	}
	for i, v := range f {
		out[i] = v
		if v != v {
			out[i] = "no number"
		}
	}
	return out, nil
}

func inferLabelMap(n *graph.Node) error {
	m, err := labelMapOf(n)
	if err != nil || m.values == nil {
		return err
	}
	n.SetOut(0, m.values.Type, shapeOf(n, 0))
	return nil
}

// arrayFeatureExtractor picks elements of the last axis.
func arrayFeatureExtractor(c *exec.Call) error {
	if err := need(c, 2); err != nil {
		return err
	}
	x := c.In[0]
	if len(x.Shape) == 0 {
		return fmt.Errorf("input is a scalar")
	}
	last := x.Shape[len(x.Shape)-1]
	idx, err := indices(c.In[1], last)
	if err != nil {
		return err
	}
	shape := append(slices.Clone(x.Shape[:len(x.Shape)-1]), len(idx))
	if len(x.Shape) == 1 {
		shape = []int{1, len(idx)}
	}
	y := c.New(x.Type, shape...)
	m := newMover(y, x)
	for r := range size(x.Shape[:len(x.Shape)-1]) {
		for k, i := range idx {
			m.move(r*len(idx)+k, r*last+i, 1)
		}
	}
	c.Out[0] = y
	return nil
}

func inferFeatures(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	x, idx := shapeOf(n, 0), shapeOf(n, 1)
	if len(x) == 0 || idx == nil {
		return nil
	}
	out := append(x[:len(x)-1:len(x)-1], idx.Elements())
	if len(x) == 1 {
		out = graph.Shape{graph.D(1), idx.Elements()}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// prepareOneHotEncoder gives each element a row that is 1 at its category.
func prepareOneHotEncoder(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	names, codes, zeros := n.Strings("cats_strings"), n.Ints("cats_int64s"), n.Int("zeros", 1) != 0
	at := map[any]int{}
	for i, s := range names {
		at[s] = i
	}
	for i, v := range codes {
		at[v] = i
	}
	width := len(names) + len(codes)
	if len(names) > 0 && len(codes) > 0 || width == 0 {
		return nil, fmt.Errorf("one of the attributes cats_strings and cats_int64s must be there")
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		y := c.Zeros(onnxio.Float32, append(slices.Clone(x.Shape), width)...)
		elems := make([]any, x.Len())
		if s, ok := x.Data.([]string); ok {
			for i, v := range s {
				elems[i] = v
			}
		} else {
			w, err := x.ConvertTo(onnxio.Int64)
			if err != nil {
				return err
			}
			for i, v := range w.Int64s() {
				elems[i] = v
			}
		}
		for i, e := range elems {
			k, ok := at[e]
			if !ok && !zeros {
				return fmt.Errorf("element %d, %v, is no category", i, e)
			}
			if ok {
				y.Float32s()[i*width+k] = 1
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

func inferOneHotEncoder(n *graph.Node) error {
	n.SetOut(0, onnxio.Float32, nil)
	if s := shapeOf(n, 0); s != nil {
		n.SetOut(0, onnxio.Float32, append(s.Clone(), graph.D(int64(len(n.Strings("cats_strings"))+len(n.Ints("cats_int64s"))))))
	}
	return nil
}

// prepareCategoryMapper maps names to numbers or back.
func prepareCategoryMapper(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	m, err := labelMapOf(n)
	if err != nil {
		return nil, err
	}
	back := labelMap{keys: m.values, values: m.keys}
	for _, t := range []*labelMap{&m, &back} {
		if t.fallback, err = fallbackAttr(n, t.values.Type); err != nil {
			return nil, err
		}
	}
	forward, err := m.kernel()
	if err != nil {
		return nil, err
	}
	backward, err := back.kernel()
	if err != nil {
		return nil, err
	}
	return func(c *exec.Call) error {
		if x := c.Input(0); x != nil && (x.Type == onnxio.String) != (m.keys.Type == onnxio.String) {
			return backward(c) // the input's type was not known before
		}
		return forward(c)
	}, nil
}

func init() {
	reg := func(name string, since int, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: domainML, Name: name, Since: since, Infer: infer, Prepare: prepare, Native: true})
	}
	reg("LabelEncoder", 1, inferLabelMap, prepareCategoryMapper)
	reg("LabelEncoder", 2, inferLabelMap, prepareLabelEncoder)
	reg("CategoryMapper", 1, inferLabelMap, prepareCategoryMapper)
	reg("OneHotEncoder", 1, inferOneHotEncoder, prepareOneHotEncoder)
	reg("ArrayFeatureExtractor", 1, inferFeatures, always(arrayFeatureExtractor))
}
