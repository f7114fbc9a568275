package calib

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// Dataset is calibration or evaluation data for a model: numbered samples, read when asked for.
type Dataset interface {
	// Len is the number of samples.
	Len() int
	// Inputs names the model inputs that Batch feeds.
	Inputs() []string
	// Batch gives the model's inputs for samples lo <= i < hi, joined along axis 0. It may be called from one goroutine at a
	// time, again and again for the same samples, and gives the same tensors each time.
	Batch(ctx context.Context, lo, hi int) (map[string]*onnxio.Tensor, error)
}

// Options say how data is read.
type Options struct {
	Preprocess *Preprocess // for pictures: image folders and uint8 arrays; nil: none declared
	Samples    int         // use so many samples, chosen by Seed; 0: all
	Batch      int         // samples a batch; 0: chosen so that a batch's inputs stay small
	Seed       uint64      // chooses the subset, and the values of random data
	Mask       string      // integer input that is 0 at padded positions; "": attention_mask if the model has it; "none": no mask
}

// Set is the Dataset that Open makes.
type Set struct {
	Source   string   // the path as given
	Notes    []string // what was done to the data: casts, dropped rows, ignored arrays, the mask
	Warnings []string // what every report must repeat: random data
	Mask     string   // the input that marks padded positions with 0; "" for none

	file   reader
	inputs []*binding
	pick   []int // sample -> unit of the file
	batch  int
	fixed  bool // the model takes one sample (of several rows, perhaps) at a time
}

// binding is how one model input is cut out of an array.
type binding struct {
	value  *graph.Value
	col    column
	mode   bindMode
	rows   int // of the array in one sample; 0: the same for every sample
	cast   caster
	shared *onnxio.Tensor // the tensor of a binding with rows 0
}

type bindMode int

const (
	byRows bindMode = iota // axis 0 of array and model input are samples
	byFeed                 // each slice along axis 0 of the array is a whole model input
	always                 // the array is the model input, for every sample
)

// Open opens data for the model g. spec is the path of an .npz, .npy or .csv file, of a folder of pictures, of a folder with
// test_data_set_*/input_*.pb, or "random" (see random.go). Names, element types and shapes are checked against the model's
// inputs: a difference that cannot be bridged without a guess is an error that says what was found, what the model expects
// and what to do. Close the set when done.
func Open(spec string, g *graph.Graph, o Options) (*Set, error) {
	s, err := open(spec, g, o)
	if err != nil {
		return nil, &DataError{spec, err}
	}
	return s, nil
}

// DataError says that the data, not the program, is at fault: Source is the path given to Open.
type DataError struct {
	Source string
	Err    error
}

func (e *DataError) Error() string { return fmt.Sprintf("%s: %v", e.Source, e.Err) }

// Unwrap is the reason.
func (e *DataError) Unwrap() error { return e.Err }

func open(spec string, g *graph.Graph, o Options) (*Set, error) {
	if o.Samples < 0 || o.Batch < 0 {
		return nil, fmt.Errorf("samples and batch may not be negative")
	}
	if o.Preprocess != nil {
		if err := o.Preprocess.Validate(); err != nil {
			return nil, err
		}
	}
	inputs := feedable(g)
	f, err := openReader(spec, inputs, o)
	if err != nil {
		return nil, err
	}
	s := &Set{Source: spec, file: f}
	if err := s.setUp(inputs, o); err != nil {
		f.close()
		return nil, err
	}
	return s, nil
}

func (s *Set) setUp(inputs []*graph.Value, o Options) error {
	if w, ok := s.file.(interface {
		warnings() (notes, warnings []string)
	}); ok {
		s.Notes, s.Warnings = w.warnings()
	}
	if err := s.bind(inputs); err != nil {
		return err
	}
	s.compareDims()
	units, err := s.count()
	if err != nil {
		return err
	}
	s.choose(units, o)
	if err := s.chooseMask(o.Mask); err != nil {
		return err
	}
	return s.chooseBatch(o.Batch)
}

// feedable lists the inputs that a run must be given: those without an initializer.
func feedable(g *graph.Graph) []*graph.Value {
	var list []*graph.Value
	for _, v := range g.Inputs {
		if !v.IsConst() {
			list = append(list, v)
		}
	}
	return list
}

// count finds the number of samples and how many rows of each array make one. Inputs of a fixed size say how many rows they
// take at a time; what the others take follows.
func (s *Set) count() (int, error) {
	units, by := 0, ""
	full := func(b *binding) bool { return elements(b.col.Shape) > 0 }
	for _, b := range s.inputs {
		// Beside an input that holds something, another may be empty but for its samples: the past of a decoder that begins.
		if !full(b) && (b.mode == always || b.col.Shape[0] == 0 || !slices.ContainsFunc(s.inputs, full)) {
			return 0, fmt.Errorf("input %q: the array is empty (shape %v): give at least one sample", b.value.Name, b.col.Shape)
		}
		if b.rows == 0 {
			continue
		}
		n, rest := b.col.Shape[0]/b.rows, b.col.Shape[0]%b.rows
		if n == 0 {
			return 0, fmt.Errorf("input %q: %d rows found, the model takes %d at a time", b.value.Name, b.col.Shape[0], b.rows)
		}
		if rest > 0 {
			s.note("input %q: the last %d of %d rows are left out, the model takes %d at a time", b.value.Name, rest, b.col.Shape[0], b.rows)
		}
		if n > units {
			units, by = n, b.value.Name
		}
	}
	s.fixed = units > 0
	for _, b := range s.inputs {
		if b.mode == always {
			continue
		}
		n := b.col.Shape[0]
		switch {
		case b.rows > 0 && n/b.rows == 1 && units > 1:
			s.share(b)
		case b.rows > 0 && n/b.rows != units, b.rows == 0 && !s.fixed && units > 0 && n != units:
			return 0, fmt.Errorf("inputs %q and %q have different numbers of samples: %d and %d", by, b.value.Name, units, n/max(b.rows, 1))
		case b.rows == 0 && s.fixed && n%units != 0:
			return 0, fmt.Errorf("input %q: %d rows cannot be spread over the %d samples of input %q", b.value.Name, n, units, by)
		case b.rows == 0 && s.fixed:
			b.rows = n / units
		case b.rows == 0:
			units, by, b.rows = n, b.value.Name, 1
		}
	}
	return max(units, 1), nil
}

// share turns a binding into one value for all samples.
func (s *Set) share(b *binding) {
	if b.mode == byRows {
		b.mode = always
		b.col.Shape = append([]int{b.rows}, b.col.Shape[1:]...)
	}
	b.rows = 0
	s.note("input %q: one sample is given and used for all", b.value.Name)
}

// choose picks the samples that are used.
func (s *Set) choose(units int, o Options) {
	want := o.Samples
	if want > 0 {
		per := 1
		for _, b := range s.inputs {
			if b.mode == byRows {
				per = max(per, b.rows)
			}
		}
		want = (want + per - 1) / per
	}
	s.pick = make([]int, units)
	for i := range s.pick {
		s.pick[i] = i
	}
	if want == 0 || want >= units {
		return
	}
	r := rand.New(rand.NewPCG(o.Seed, 0x6f6263)) // any fixed second word
	r.Shuffle(units, func(i, j int) { s.pick[i], s.pick[j] = s.pick[j], s.pick[i] })
	s.pick = s.pick[:want]
	slices.Sort(s.pick)
	s.note("%d of %d samples are used, chosen with seed %d", want, units, o.Seed)
}

// defaultBatchBytes bounds a batch's inputs, and so in practice its activations, when no batch size is asked for:
// 13 pictures of 224 x 224, and the limit below for small inputs.
const (
	defaultBatchBytes = 8 << 20
	defaultBatchMax   = 32
)

func (s *Set) chooseBatch(want int) error {
	if s.fixed {
		s.batch = 1
		if want > 1 {
			s.note("the model's inputs have a fixed size, so it is run one sample at a time, not %d", want)
		}
		return nil
	}
	if s.batch = want; want > 0 {
		return nil
	}
	size := 1
	for _, b := range s.inputs {
		if b.mode == byRows {
			size += elements(b.col.Shape[1:]) * 4
		}
	}
	s.batch = max(1, min(defaultBatchMax, defaultBatchBytes/size))
	return nil
}

func (s *Set) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Len is the number of samples in use.
func (s *Set) Len() int { return len(s.pick) }

// BatchSize is the number of samples to ask Batch for at a time.
func (s *Set) BatchSize() int { return s.batch }

// Inputs names the model inputs that are fed, in the model's order.
func (s *Set) Inputs() []string {
	names := make([]string, len(s.inputs))
	for i, b := range s.inputs {
		names[i] = b.value.Name
	}
	return names
}

// Close releases the files.
func (s *Set) Close() error { return s.file.close() }

// Rows lists the rows of the file that are in use, in the order of the samples: sample i is row Rows()[i] unless the model takes
// several rows at a time.
func (s *Set) Rows() []int {
	per := 1
	for _, b := range s.inputs {
		if b.mode == byRows {
			per = max(per, b.rows)
		}
	}
	rows := make([]int, 0, per*len(s.pick))
	for _, u := range s.pick {
		for k := range per {
			rows = append(rows, u*per+k)
		}
	}
	return rows
}

// Batch gives the inputs for samples lo <= i < hi. A NaN or an infinity in the data is an error that names input and sample.
func (s *Set) Batch(ctx context.Context, lo, hi int) (map[string]*onnxio.Tensor, error) {
	if lo < 0 || hi > len(s.pick) || lo >= hi {
		return nil, fmt.Errorf("%s: there are no samples %d to %d (of %d)", s.Source, lo, hi, len(s.pick))
	}
	if s.fixed && hi-lo > 1 {
		return nil, fmt.Errorf("%s: the model takes one sample at a time, %d were asked for", s.Source, hi-lo)
	}
	feeds := make(map[string]*onnxio.Tensor, len(s.inputs))
	for _, b := range s.inputs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := s.read(ctx, b, s.pick[lo:hi])
		if err != nil {
			if e := ctx.Err(); e != nil {
				return nil, e
			}
			return nil, &DataError{s.Source, fmt.Errorf("input %q: %w", b.value.Name, err)}
		}
		feeds[b.value.Name] = t
	}
	return feeds, nil
}

// read gives one input for the given units of the file.
func (s *Set) read(ctx context.Context, b *binding, units []int) (*onnxio.Tensor, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	per := max(b.rows, 1)
	idx := make([]int, 0, len(units)*per)
	switch {
	case b.mode == always && len(b.col.Shape) == 0:
		idx = nil
	case b.mode == always:
		for r := range b.col.Shape[0] {
			idx = append(idx, r)
		}
	case b.rows == 0:
		idx = append(idx, 0)
	default:
		for _, u := range units {
			for k := range per {
				idx = append(idx, u*per+k)
			}
		}
	}
	t, err := s.file.read(ctx, b.col.Name, idx)
	if err != nil {
		return nil, err
	}
	if b.mode == byFeed && !b.col.Feeds {
		t = &onnxio.Tensor{Type: t.Type, Shape: t.Shape[1:], Data: t.Data}
	}
	if err := checkFinite(t, idx); err != nil {
		return nil, err
	}
	if t, err = b.cast.apply(t, idx); err != nil {
		return nil, err
	}
	if err := fits(b.value, t); err != nil {
		if b.col.Feeds {
			return nil, fmt.Errorf("sample %d: %w", idx[0], err)
		}
		return nil, err
	}
	if b.mode == always || b.rows == 0 {
		b.shared = t
	}
	return t, nil
}

// checkFinite looks for NaN and infinities. rows are the rows of the file that t was made of.
func checkFinite(t *onnxio.Tensor, rows []int) error {
	i := -1
	switch d := t.Data.(type) {
	case []float32:
		i = slices.IndexFunc(d, func(x float32) bool { return x-x != 0 })
	case []float64:
		i = slices.IndexFunc(d, func(x float64) bool { return x-x != 0 })
	case []uint16:
		if t.Type == onnxio.Float16 {
			i = slices.IndexFunc(d, func(x uint16) bool { return x&0x7c00 == 0x7c00 })
		}
	}
	if i < 0 {
		return nil
	}
	what := "an infinity"
	if t.Type != onnxio.Float16 && math.IsNaN(at(t, i)) || t.Type == onnxio.Float16 && t.Data.([]uint16)[i]&0x3ff != 0 {
		what = "NaN"
	}
	return fmt.Errorf("sample %d holds %s: clean the data, a single such value would spoil every statistic", rowOf(t, i, rows), what)
}

// rowOf is the row of the file that element i of t came from; rows are those that t was made of.
func rowOf(t *onnxio.Tensor, i int, rows []int) int {
	if len(rows) == 0 {
		return 0
	}
	return rows[i/max(1, t.Len()/len(rows))]
}

// at is element i of a float32 or float64 tensor.
func at(t *onnxio.Tensor, i int) float64 {
	if d := t.Float32s(); d != nil {
		return float64(d[i])
	}
	return t.Float64s()[i]
}
