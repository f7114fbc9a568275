package ops

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// The operators of ai.onnx.ml that make or read dictionaries.

// zipMap gives each row of scores its labels as keys: a sequence of dictionaries.
func prepareZipMap(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	names, codes := n.Strings("classlabels_strings"), n.Ints("classlabels_int64s")
	keys := onnxio.TensorOf(codes, len(codes))
	if len(names) > 0 {
		keys = onnxio.TensorOf(names, len(names))
	}
	if (len(names) > 0) == (len(codes) > 0) {
		return nil, fmt.Errorf("one of the attributes classlabels_strings and classlabels_int64s must list the keys")
	}
	return func(c *exec.Call) error {
		x, rows, width, err := samples(c)
		if err != nil {
			return err
		}
		if width != keys.Len() {
			return fmt.Errorf("input has %d columns for %d keys", width, keys.Len())
		}
		list := make([]*tensor, rows)
		for r := range list {
			if err := c.Charge(int64(r+1) * int64(width*4+overhead)); err != nil {
				return err
			}
			v := onnxio.NewTensor(onnxio.Float32, width)
			for i := range width {
				v.Float32s()[i] = float32(x[r*width+i])
			}
			list[r] = &tensor{Data: &exec.Map{Keys: keys, Values: v}}
		}
		c.Out[0] = exec.NewSequence(onnxio.Undefined, list...)
		return nil
	}, nil
}

// dictionary is input i as a map.
func dictionary(c *exec.Call, i int) (*exec.Map, error) {
	x := c.Input(i)
	if x == nil {
		return nil, fmt.Errorf("input %d is missing", i)
	}
	m, ok := x.Data.(*exec.Map)
	if !ok {
		return nil, fmt.Errorf("input %d is %v, expected a map", i, x)
	}
	return m, nil
}

// prepareDictVectorizer lays the values of a dictionary out in the order of a vocabulary; keys that are missing give zeros.
func prepareDictVectorizer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	names, codes := n.Strings("string_vocabulary"), n.Ints("int64_vocabulary")
	words := onnxio.TensorOf(codes, len(codes))
	if len(names) > 0 {
		words = onnxio.TensorOf(names, len(names))
	}
	if (len(names) > 0) == (len(codes) > 0) {
		return nil, fmt.Errorf("one of the attributes string_vocabulary and int64_vocabulary must list the keys")
	}
	return func(c *exec.Call) error {
		d, err := dictionary(c, 0)
		if err != nil {
			return err
		}
		if d.Keys.Type != words.Type {
			return fmt.Errorf("the keys are %v, the vocabulary %v", d.Keys.Type, words.Type)
		}
		keys, err := comparables(d.Keys)
		if err != nil {
			return err
		}
		wanted, err := comparables(words)
		if err != nil {
			return err
		}
		at := map[any]int{}
		for i, k := range keys {
			at[k] = i
		}
		y := c.Zeros(d.Values.Type, 1, len(wanted))
		if d.Values.Type == onnxio.String {
			y = c.New(onnxio.String, 1, len(wanted))
		}
		m := newMover(y, d.Values)
		for i, w := range wanted {
			if k, ok := at[w]; ok {
				m.move(i, k, 1)
			}
		}
		c.Out[0] = y
		return nil
	}, nil
}

// prepareCastMap makes a row of the values of a dictionary with integer keys, in their order; SPARSE puts each where its key says.
func prepareCastMap(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	form, most := n.Str("map_form", "DENSE"), n.Int("max_map", 1)
	to, ok := map[string]onnxio.DataType{"TO_FLOAT": onnxio.Float32, "TO_INT64": onnxio.Int64, "TO_STRING": onnxio.String}[n.Str("cast_to", "TO_FLOAT")]
	if !ok || form != "DENSE" && form != "SPARSE" || form == "SPARSE" && (most < 1 || most > 1<<30) {
		return nil, fmt.Errorf("attributes cast_to, map_form %q and max_map %d: expected TO_FLOAT, TO_INT64 or TO_STRING, and DENSE or SPARSE with a positive size", form, most)
	}
	return func(c *exec.Call) error {
		d, err := dictionary(c, 0)
		if err != nil {
			return err
		}
		keys := onnxio.Slice[int64](d.Keys)
		if keys == nil && d.Keys.Len() > 0 {
			return fmt.Errorf("the keys are %v, expected int64", d.Keys.Type)
		}
		order := make([]int, len(keys))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return int(max(min(keys[a]-keys[b], 1), -1)) })
		width := len(keys)
		if form == "SPARSE" {
			width = int(most)
		}
		values, err := castElements(d.Values, to)
		if err != nil {
			return err
		}
		y := c.Zeros(to, 1, width)
		if to == onnxio.String {
			y = c.New(to, 1, width)
		}
		m := newMover(y, values)
		for i, k := range order {
			at := i
			if form == "SPARSE" {
				at = int(keys[k])
			}
			if at < 0 || at >= width {
				continue // as ONNX Runtime: no place for it
			}
			m.move(at, k, 1)
		}
		c.Out[0] = y
		return nil
	}, nil
}

// castElements converts numbers to and from their text too.
func castElements(x *tensor, to onnxio.DataType) (*tensor, error) {
	if (x.Type == onnxio.String) == (to == onnxio.String) {
		if to == onnxio.String {
			return x, nil
		}
		return x.ConvertTo(to)
	}
	if to == onnxio.String {
		v, err := floats(x)
		if err != nil {
			return nil, err
		}
		y := onnxio.NewTensor(to, x.Shape...)
		for i, f := range v {
			onnxio.Slice[string](y)[i] = strconv.FormatFloat(f, 'g', -1, 32)
		}
		return y, nil
	}
	y := onnxio.NewTensor(onnxio.Float64, x.Shape...)
	for i, s := range onnxio.Slice[string](x) {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("value %q of the map is no number", s)
		}
		y.Float64s()[i] = f
	}
	return y.ConvertTo(to)
}

func inferZipMap(n *graph.Node) error {
	n.SetOut(0, onnxio.Undefined, nil)
	return nil
}

func inferCastMap(n *graph.Node) error {
	to := map[string]onnxio.DataType{"TO_FLOAT": onnxio.Float32, "TO_INT64": onnxio.Int64, "TO_STRING": onnxio.String}[n.Str("cast_to", "TO_FLOAT")]
	out := graph.Shape{graph.D(1), graph.Unknown}
	if n.Str("map_form", "DENSE") == "SPARSE" && n.Int("max_map", 1) > 0 {
		out[1] = graph.D(n.Int("max_map", 1))
	}
	n.SetOut(0, to, out)
	return nil
}

func inferDictVectorizer(n *graph.Node) error {
	n.SetOut(0, onnxio.Undefined, graph.Shape{graph.D(1), graph.D(int64(len(n.Strings("string_vocabulary")) + len(n.Ints("int64_vocabulary"))))})
	return nil
}

func init() {
	reg := func(name string, infer graph.InferRule, prepare func(*graph.Node, *exec.Prep) (exec.Kernel, error)) {
		exec.Register(exec.Op{Domain: domainML, Name: name, Since: 1, Infer: infer, Prepare: prepare, Native: true, Containers: true})
	}
	reg("ZipMap", inferZipMap, prepareZipMap)
	reg("DictVectorizer", inferDictVectorizer, prepareDictVectorizer)
	reg("CastMap", inferCastMap, prepareCastMap)
}
