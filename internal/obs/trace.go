package obs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Trace is the whole elimination of a layer: every row pruned step by step, cheapest block of C columns first, until
// nothing is left. From it any sparsity of any row can be had.
//
// The weights after each step are kept when they fit into the memory limit ("less compute"); otherwise only order and costs are,
// and Levels runs the rows once more ("less memory"). Both give the same weights.
type Trace struct {
	Rows, Cols, C int
	Steps         int       // blocks a row: the columns that blocks may take / C
	Cost          []float64 // Rows x Steps: rise of the (damped) loss by each step, in order
	Order         []int32   // Rows x Steps: the block that each step removes
	w             Matrix
	p             *Prepared
	o             Options
	kept          []path    // by row; nil in "less memory"
	slab          []float32 // what the paths lie in, room numbers each
	double        bool      // rows run in float64
}

// path is the weights of a row after each step, those that are left, by position.
type path struct {
	w    []float32
	at   []place
	cols [][]int32
}

// place tells where the weights after a step begin, and in which list of cols their columns stand.
type place struct {
	start int
	cols  int32
}

// pathsBytes is the most that the paths of so many rows take: weights, places, and a list of columns for each panel of 16 columns or more.
func pathsBytes(rows, cols, steps int) int64 {
	n := int64(cols + 3*tile)
	return 4*int64(kernel.SlabSize(rows*pathRoom(cols, steps))) + int64(rows)*(int64(steps)*int64(unsafe.Sizeof(place{}))+n*n/8+n*24/16)
}

// pathRoom is the most numbers that the path of a row takes.
func pathRoom(cols, steps int) int { return steps * (cols + 3*tile) / 2 }

// mostC is the largest block: it must fit into a panel.
const mostC = deepest

// NewTrace eliminates every row of w completely. c = 1 is unstructured.
func NewTrace(ctx context.Context, w Matrix, p *Prepared, c int, o Options) (*Trace, error) {
	if c < 1 || c > mostC {
		return nil, fmt.Errorf("block size is %d, expected 1 to %d", c, mostC)
	}
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	steps := p.whole(c) / c
	t := &Trace{Rows: w.Rows, Cols: w.Cols, C: c, Steps: steps, Cost: make([]float64, w.Rows*steps), Order: make([]int32, w.Rows*steps), w: w, p: p, o: o, double: p.double()}
	if pathsBytes(w.Rows, w.Cols, steps) <= o.traceMemory() {
		t.kept = make([]path, w.Rows)
		t.slab = kernel.Slab[float32](w.Rows * pathRoom(w.Cols, steps))
	}
	var keep func(e state, row, step int) bool
	if t.kept != nil {
		keep = func(e state, row, step int) bool {
			t.kept[row].keep(e)
			return true
		}
	}
	return t, t.rows(ctx, keep)
}

// state is what a trace sees of an engine.
type state interface {
	weights(dst []float32)
	// open appends the weights by position, those of the panel's eliminated columns included, and tells the column of each
	// position if they changed since the last call.
	open(w []float32) (grown []float32, cols []int32)
}

// rows runs all rows, filling Cost and Order, and calls each, if not nil, after each step until it returns false.
func (t *Trace) rows(ctx context.Context, each func(e state, row, step int) bool) error {
	var err error
	if !t.double {
		err = traceRows[float32](ctx, t, each)
		t.double = errors.Is(err, errDigits)
	}
	if t.double {
		err = traceRows[float64](ctx, t, each)
	}
	return err
}

func traceRows[T number](ctx context.Context, t *Trace, each func(e state, row, step int) bool) error {
	fresh := func() rule[T] {
		if t.C > 1 {
			return &blocks[T]{c: t.C}
		}
		return unstructured[T]{}
	}
	return eachEngine(ctx, t.w, t.p, t.C, t.o, fresh, func(e *engine[T], r rule[T], x []float32, row int) error {
		s, stopped := 0, false
		if t.kept != nil {
			room := pathRoom(t.Cols, t.Steps)
			t.kept[row] = path{w: t.slab[row*room : row*room : (row+1)*room], at: make([]place, 0, t.Steps)}
		}
		err := e.run(x, row, r, func(p int, cost float64) bool {
			t.Cost[row*t.Steps+s], t.Order[row*t.Steps+s] = cost, e.at[p]/int32(t.C)
			s++
			stopped = each != nil && !each(e, row, s-1)
			return !stopped
		})
		if err == nil && !stopped && s < t.Steps {
			return errDigits // no block's cost was a number any more
		}
		return err
	})
}

// open implements state.
func (e *engine[T]) open(w []float32) ([]float32, []int32) {
	if x, ok := any(e.w).([]float32); ok {
		w = append(w, x[:e.n]...)
	} else {
		for _, v := range e.w[:e.n] {
			w = append(w, float32(v))
		}
	}
	if e.t == e.unit {
		return w, e.at[:e.n]
	}
	return w, nil
}

// keep appends the weights of e as they are now.
func (k *path) keep(e state) {
	p := place{start: len(k.w)}
	w, cols := e.open(k.w)
	if cols != nil {
		k.cols = append(k.cols, slices.Clone(cols))
	}
	p.cols = int32(len(k.cols) - 1)
	k.w, k.at = w, append(k.at, p)
}

// Release gives the memory of a trace back for the next one. Levels runs the rows once more after that.
func (t *Trace) Release() {
	kernel.ReleaseSlab(t.slab)
	t.slab, t.kept = nil, nil
}

// Counts is how many blocks each row loses when ceil(Rows*Steps*share) steps are taken, those of least cost over all rows; of equal
// costs the earlier row's, then the earlier step's.
func (t *Trace) Counts(share float64) []int {
	counts := make([]int, t.Rows)
	take := int(math.Ceil(float64(len(t.Cost)) * share))
	if take == 0 {
		return counts
	}
	last, below := kth(t.Cost, take-1)
	ties := take - below // steps that cost as much as the last one taken
	for i, c := range t.Cost {
		if c == last && ties > 0 {
			ties--
		} else if c >= last {
			continue
		}
		counts[i/t.Steps]++
	}
	return counts
}

// kth is the element of x that has k elements before it in ascending order, and how many are less than it: a radix search, byte by
// byte from the highest, on the bits of the numbers.
func kth(x []float64, k int) (value float64, below int) {
	bits := make([]uint64, len(x))
	for i, v := range x {
		b := math.Float64bits(v + 0)                 // -0 is 0
		bits[i] = b ^ (uint64(int64(b)>>63) | 1<<63) // ascending as the numbers are
	}
	for shift := 56; shift >= 0; shift -= 8 {
		var count [256]int
		for _, b := range bits {
			count[b>>shift&0xff]++
		}
		digit := 0
		for ; count[digit] <= k-below; digit++ {
			below += count[digit]
		}
		kept := bits[:0]
		for _, b := range bits {
			if int(b>>shift&0xff) == digit {
				kept = append(kept, b)
			}
		}
		bits = kept
	}
	b := bits[0]
	return math.Float64frombits(b ^ (^uint64(int64(b)>>63) | 1<<63)), below
}

// At is the weight matrix with counts[r] blocks of row r removed.
func (t *Trace) At(ctx context.Context, counts []int) (Matrix, error) {
	ms, err := t.Levels(ctx, [][]int{counts})
	if err != nil {
		return Matrix{}, err
	}
	return ms[0], nil
}

// Levels is At for several levels at once: the way to fill a level database, since rows whose trace was not kept run again
// only once.
func (t *Trace) Levels(ctx context.Context, counts [][]int) ([]Matrix, error) {
	out := make([]Matrix, len(counts))
	most := make([]int, t.Rows)
	for l, cs := range counts {
		if len(cs) != t.Rows {
			return nil, fmt.Errorf("level %d has counts for %d rows, expected %d", l, len(cs), t.Rows)
		}
		out[l] = NewMatrix(t.Rows, t.Cols)
		for r, n := range cs {
			if n < 0 || n > t.Steps {
				return nil, fmt.Errorf("level %d removes %d blocks of row %d, expected 0 to %d", l, n, r, t.Steps)
			}
			most[r] = max(most[r], n)
			if n == 0 {
				t.p.start(t.w, r, out[l].Row(r))
			} else if t.kept != nil {
				t.kept[r].weights(t, r, n, out[l].Row(r))
			}
		}
	}
	if t.kept != nil {
		return out, ctx.Err()
	}
	err := t.rows(ctx, func(e state, row, step int) bool {
		for l, cs := range counts {
			if cs[row] == step+1 {
				e.weights(out[l].Row(row))
			}
		}
		return step+1 < most[row]
	})
	return out, err
}

// weights writes row r after n steps to dst.
func (k *path) weights(t *Trace, r, n int, dst []float32) {
	p := k.at[n-1]
	w := k.w[p.start:]
	for i, c := range k.cols[p.cols] {
		dst[c] = w[i]
	}
	for _, b := range t.Order[r*t.Steps : r*t.Steps+n] {
		clear(dst[int(b)*t.C : (int(b)+1)*t.C])
	}
}
