package calib

import (
	"fmt"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// labelNames are the arrays that are taken for labels, never for inputs.
var labelNames = []string{"label", "labels"}

// bind finds the array of each model input and checks element type and shape.
func (s *Set) bind(inputs []*graph.Value) error {
	cols := s.file.columns()
	if len(cols) == 0 {
		return fmt.Errorf("holds no arrays: nothing to calibrate on")
	}
	if len(inputs) == 0 {
		return fmt.Errorf("the model has no inputs that data could be fed to")
	}
	byName := map[string]column{}
	for _, c := range cols {
		byName[c.Name] = c
	}
	if c, ok := s.onlyCandidate(cols, inputs); ok {
		byName[inputs[0].Name] = c
	}
	var missing []string
	used := map[string]bool{}
	for _, v := range inputs {
		c, ok := byName[v.Name]
		if !ok {
			missing = append(missing, fmt.Sprintf("%q (%v%v)", v.Name, v.Type, v.Shape))
			continue
		}
		used[c.Name] = true
		b, err := bindOne(v, c)
		if err != nil {
			return err
		}
		if b.cast.note != "" {
			s.note("input %q: %s", v.Name, b.cast.note)
		}
		s.inputs = append(s.inputs, b)
	}
	var rest, ignored []string
	for _, c := range cols {
		if !used[c.Name] {
			rest = append(rest, fmt.Sprintf("%q", c.Name))
			if !slices.Contains(labelNames, c.Name) { // labels are read by themselves
				ignored = append(ignored, fmt.Sprintf("%q", c.Name))
			}
		}
	}
	if len(missing) > 0 {
		found := "no other arrays"
		if len(rest) > 0 {
			found = "the arrays " + strings.Join(rest, ", ")
		}
		return fmt.Errorf("no data for model input %s; it holds %s: name the arrays after the model's inputs", strings.Join(missing, ", "), found)
	}
	if len(ignored) > 0 {
		s.note("arrays that are no model inputs are ignored: %s", strings.Join(ignored, ", "))
	}
	return nil
}

// compareDims warns of axes that the model calls by one name but the data gives different lengths: it often fails then, deep inside.
// Some models share names that mean nothing, which is why it is no error.
func (s *Set) compareDims() {
	type first struct {
		input string
		size  int
	}
	seen := map[string]first{}
	for _, b := range s.inputs {
		if b.mode != byRows || b.col.Feeds {
			continue
		}
		for axis := 1; axis < len(b.value.Shape); axis++ { // axis 0 counts samples, see count
			name, size := b.value.Shape[axis].Sym, b.col.Shape[axis]
			if name == "" {
				continue
			}
			was, ok := seen[name]
			if !ok {
				seen[name] = first{b.value.Name, size}
			} else if was.size != size {
				s.Warnings = append(s.Warnings, fmt.Sprintf("axis %q is %d long in input %q, but %d in input %q: the model gives both axes one name, so they should be equally long",
					name, was.size, was.input, size, b.value.Name))
			}
		}
	}
}

// onlyCandidate is the array to take for a model's single input when none has its name: the only one that is not a label.
func (s *Set) onlyCandidate(cols []column, inputs []*graph.Value) (column, bool) {
	if len(inputs) != 1 {
		return column{}, false
	}
	var list []column
	for _, c := range cols {
		if c.Name == inputs[0].Name {
			return c, true
		}
		if !slices.Contains(labelNames, c.Name) {
			list = append(list, c)
		}
	}
	if len(list) != 1 {
		return column{}, false
	}
	if list[0].Name != "" {
		s.note("array %q is used for the model's only input %q", list[0].Name, inputs[0].Name)
	}
	return list[0], true
}

func bindOne(v *graph.Value, c column) (*binding, error) {
	b := &binding{value: v, col: c}
	var err error
	if b.cast, err = newCaster(c.Type, v.Type); err != nil {
		return nil, fmt.Errorf("input %q: found %v%v, the model expects %v%v; %w", v.Name, c.Type, c.Shape, v.Type, v.Shape, err)
	}
	if c.Feeds {
		b.mode, b.rows = byFeed, 1
		return b, nil
	}
	want := v.Shape
	switch {
	case want == nil && len(c.Shape) == 0, want != nil && len(want) == 0 && len(c.Shape) == 0:
		b.mode = always
	case want == nil:
		b.mode = byRows
	case len(want) == len(c.Shape) && shapesFit(want[1:], c.Shape[1:]):
		b.mode = byRows
		if want[0].Known() {
			b.rows = int(want[0].N)
		}
		if want[0].N == 0 {
			return nil, fmt.Errorf("input %q: the model declares the shape %v, which holds nothing", v.Name, want)
		}
	case len(want)+1 == len(c.Shape) && shapesFit(want, c.Shape[1:]):
		b.mode, b.rows = byFeed, 1
	default:
		return nil, fmt.Errorf("input %q: found %v%v, the model expects %v%v (the first axis counts samples); %s",
			v.Name, c.Type, c.Shape, v.Type, want, shapeFix(want, c.Shape))
	}
	return b, nil
}

func shapesFit(want graph.Shape, have []int) bool {
	if len(want) != len(have) {
		return false
	}
	for i, d := range want {
		if d.Known() && d.N != int64(have[i]) {
			return false
		}
	}
	return true
}

// fits checks a tensor that is about to be fed.
func fits(v *graph.Value, t *onnxio.Tensor) error {
	if v.Shape == nil || shapesFit(v.Shape, t.Shape) {
		return nil
	}
	return fmt.Errorf("found %v, the model expects %v%v; %s", t, v.Type, v.Shape, shapeFix(v.Shape, t.Shape))
}

// shapeFix says how data of shape have could be brought to the shape want.
func shapeFix(want graph.Shape, have []int) string {
	if len(want) == 4 && len(have) == 4 {
		if fix := channelFix(want, have); fix != "" {
			return fix
		}
		if shapesFit(want[1:], []int{have[3], have[1], have[2]}) {
			return "it looks like NHWC: save x.transpose(0, 3, 1, 2)"
		}
		if shapesFit(want[1:], []int{have[2], have[3], have[1]}) {
			return "it looks like NCHW: save x.transpose(0, 2, 3, 1)"
		}
	}
	if len(want) == len(have)+1 {
		if shapesFit(want[1:], have) {
			return "it looks like a single sample without the sample axis: save x[None]"
		}
		for i := 1; i < len(want); i++ {
			if want[i].N == 1 && shapesFit(slices.Delete(want.Clone(), i, i+1)[1:], have[1:]) {
				return fmt.Sprintf("an axis of length 1 is missing: save np.expand_dims(x, %d)", i)
			}
		}
	}
	if len(want) != len(have) {
		return fmt.Sprintf("reshape the data to %d axes", len(want))
	}
	return "resize, crop, pad or reshape the data as in training"
}

// channelFix says how pictures get the channels that the model wants, where these are all that is wrong.
func channelFix(want graph.Shape, have []int) string {
	for _, axis := range []int{1, 3} {
		other := slices.Clone(have)
		if other[axis] = int(want[axis].N); !want[axis].Known() || want[axis].N == int64(have[axis]) || !shapesFit(want[1:], other[1:]) {
			continue
		}
		switch {
		case have[axis] == 3 && want[axis].N == 1:
			return "the model takes one channel: declare channels: gray in the preprocessing, or save gray pictures"
		case have[axis] == 1 && want[axis].N == 3:
			return "the model takes three channels: declare channels: rgb in the preprocessing, or save np.repeat(x, 3, " + fmt.Sprint(axis) + ")"
		case have[axis] == 4 && want[axis].N == 3:
			return "the pictures have a fourth channel (transparency): leave it out"
		}
	}
	return ""
}

// caster brings a tensor to the element type of a model input.
type caster struct {
	to   onnxio.DataType
	note string
}

// newCaster says whether and how elements of type from serve an input of type to. Casts that keep the meaning are made, with a
// note; those that guess (integers as floats: how are they scaled?) are refused.
func newCaster(from, to onnxio.DataType) (caster, error) {
	c := caster{to: to}
	switch {
	case from == to || to == onnxio.Undefined:
		c.to = from
	case from.IsFloat() && to.IsFloat():
		c.note = fmt.Sprintf("%v is cast to %v", from, to)
	case from.IsInteger() && to.IsInteger():
		c.note = fmt.Sprintf("%v is cast to %v", from, to)
	case from == onnxio.Bool && to.IsInteger(), from.IsInteger() && to == onnxio.Bool:
		c.note = fmt.Sprintf("%v is cast to %v", from, to)
	case from == onnxio.Uint8 && to.IsFloat():
		return c, fmt.Errorf("how to scale the bytes is not said: declare a preprocessing (scale, mean, std, layout) or save the values that the model was trained on as float32")
	case from.IsInteger() && to.IsFloat():
		return c, fmt.Errorf("save the values as the model was trained on them, as float32")
	case from.IsFloat() && to.IsInteger():
		return c, fmt.Errorf("save them as %v if they are whole numbers", to)
	default:
		return c, fmt.Errorf("save them as %v", to)
	}
	return c, nil
}

// apply casts a tensor that was made of the given rows of the file.
func (c caster) apply(t *onnxio.Tensor, rows []int) (*onnxio.Tensor, error) {
	if t.Type == c.to {
		return t, nil
	}
	if c.to.IsInteger() || c.to == onnxio.Bool {
		if err := inRange(t, c.to, rows); err != nil {
			return nil, err
		}
	}
	return t.ConvertTo(c.to)
}

// inRange checks that integers survive the cast to the type to.
func inRange(t *onnxio.Tensor, to onnxio.DataType, rows []int) error {
	wide := t
	if t.Type != onnxio.Int64 {
		if t.Type == onnxio.Uint64 {
			for i, x := range t.Data.([]uint64) {
				if x > 1<<63-1 {
					return fmt.Errorf("sample %d holds %d, which does not fit %v", rowOf(t, i, rows), x, to)
				}
			}
		}
		w, err := t.ConvertTo(onnxio.Int64)
		if err != nil {
			return err
		}
		wide = w
	}
	lo, hi := int64(-1)<<63, int64(1)<<62-1+int64(1)<<62
	switch bits := to.Bits(); {
	case to == onnxio.Bool:
		lo, hi = 0, 1
	case to.IsSigned():
		lo, hi = -1<<(bits-1), 1<<(bits-1)-1
	case bits < 64:
		lo, hi = 0, 1<<bits-1
	default:
		lo = 0
	}
	for i, x := range wide.Int64s() {
		if x < lo || x > hi {
			return fmt.Errorf("sample %d holds %d, which does not fit %v (%d to %d)", rowOf(t, i, rows), x, to, lo, hi)
		}
	}
	return nil
}

// chooseMask finds the input that marks padded positions.
func (s *Set) chooseMask(want string) error {
	const usual = "attention_mask"
	if want == "none" {
		return nil
	}
	name := want
	if name == "" {
		name = usual
	}
	for _, b := range s.inputs {
		if b.value.Name != name {
			continue
		}
		if !b.cast.to.IsInteger() && b.cast.to != onnxio.Bool && want == "" {
			return nil // a float mask may mean something else: only on request
		}
		s.Mask = name
		s.note("positions where input %q is 0 are padding: left out of Hessians, statistics and scores", name)
		return nil
	}
	if want != "" {
		return fmt.Errorf("mask %q is no model input; they are %q", want, s.Inputs())
	}
	return nil
}
