package obs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"unsafe"
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
	kept          []path // by row; nil in "less memory"
	double        bool   // rows run in float64
}

// path is the weights of a row after each step, those that are left, by position.
type path struct {
	w  []float32
	at []place
}

// place tells where the weights after a step begin, how many they are, and the column of each.
type place struct {
	start int
	cols  []int32
}

// pathBytes is the most that the path of a row takes: weights, places, and a list of columns for each panel of 16 columns or more.
func pathBytes(cols, steps int) int64 {
	n := int64(cols + 3*tile)
	return int64(steps)*(n*2+int64(unsafe.Sizeof(place{}))) + n*n/8
}

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
	if int64(w.Rows)*pathBytes(w.Cols, steps) <= o.traceMemory() {
		t.kept = make([]path, w.Rows)
	}
	var keep func(e state, row, step int) bool
	if t.kept != nil {
		keep = func(e state, row, step int) bool {
			t.kept[row].keep(e, t.Steps, t.Steps*(t.Cols+3*tile)/2)
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
		i, sum, stopped := 0, 0.0, false
		if t.kept != nil {
			t.kept[row] = path{}
		}
		err := e.run(x, row, r, func(p int, cost float64) bool {
			i, sum = i+1, sum+cost
			if i%t.C != 0 {
				return true
			}
			s := i/t.C - 1
			t.Cost[row*t.Steps+s], t.Order[row*t.Steps+s] = sum, e.at[p]/int32(t.C)
			sum = 0
			stopped = each != nil && !each(e, row, s)
			return !stopped
		})
		if err == nil && !stopped && i < t.Steps*t.C {
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
func (k *path) keep(e state, steps, room int) {
	if k.w == nil {
		k.w, k.at = make([]float32, 0, room), make([]place, 0, steps)
	}
	p := place{start: len(k.w)}
	w, cols := e.open(k.w)
	if cols != nil {
		p.cols = make([]int32, len(cols))
		copy(p.cols, cols)
	} else {
		p.cols = k.at[len(k.at)-1].cols
	}
	k.w, k.at = w, append(k.at, p)
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
				t.kept[r].at[n-1].weights(t, r, n, t.kept[r].w, out[l].Row(r))
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
func (p place) weights(t *Trace, r, n int, w, dst []float32) {
	for i, c := range p.cols {
		dst[c] = w[p.start+i]
	}
	for _, b := range t.Order[r*t.Steps : r*t.Steps+n] {
		clear(dst[int(b)*t.C : (int(b)+1)*t.C])
	}
}
