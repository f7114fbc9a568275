package obs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Trace is the whole elimination of a layer: every row pruned step by step, cheapest block of C columns first, until
// nothing is left. From it any sparsity of any row can be had.
//
// The weights after each step are kept for as many rows as the memory limit has room for ("less compute"); of the others only order and
// costs are, and Levels runs those rows once more ("less memory"). Both give the same weights.
type Trace struct {
	Rows, Cols, C int
	Steps         int       // blocks a row: the columns that blocks may take / C
	Cost          []float64 // Rows x Steps: rise of the (damped) loss by each step, in order
	Order         []int32   // Rows x Steps: the block that each step removes
	w             Matrix
	p             *Prepared
	o             Options
	kept          []path      // of the first rows
	slabs         [][]float32 // what the paths lie in, those of some rows each
	double        bool        // rows run in float64
}

// path is the weights of a row after each step, those that are left, by position.
type path struct {
	w    []float32
	at   []place
	cols []int32 // the columns at the positions, panel after panel
}

// place tells where the weights after a step begin, where their columns do, and how many there are.
type place struct {
	start         int
	cols, columns int32
}

// pathSize is how many numbers the path of a row has, and how many columns: those left when a panel begins, for each step and once.
func pathSize(cols, steps, c int) (numbers, columns int) {
	n, left := cols, steps*c
	for left > 0 {
		depth := min(panelDepth(n, c), left)
		numbers += depth / c * n
		columns += n
		n, left = n-depth, left-depth
	}
	return numbers, columns
}

// pathBytes is what so many paths take in one slab, at the most: a ninth of lists is lost to the sizes in which memory comes.
func (t *Trace) pathBytes(rows int) int64 {
	numbers, columns := pathSize(t.Cols, t.Steps, t.C)
	return 4*int64(kernel.SlabSize(rows*numbers)) + int64(rows)*(int64(t.Steps)*int64(unsafe.Sizeof(place{}))+4*int64(columns))*9/8
}

// slabNumbers is the size of the slabs that paths lie in: enough for large pages, and little enough to be used again by the next trace.
const slabNumbers = 8 << 20

// reserve makes room for the paths of as many rows as fit into so many bytes.
func (t *Trace) reserve(bytes int64) {
	if t.Steps == 0 {
		return
	}
	size, columns := pathSize(t.Cols, t.Steps, t.C)
	for len(t.kept) < t.Rows {
		rows := min(max(slabNumbers/size, 1), t.Rows-len(t.kept))
		for rows > 0 && t.pathBytes(rows) > bytes {
			rows /= 2
		}
		if rows == 0 {
			return
		}
		bytes -= t.pathBytes(rows)
		slab := kernel.Slab[float32](rows * size)
		t.slabs = append(t.slabs, slab)
		for r := range rows {
			t.kept = append(t.kept, path{w: slab[r*size : r*size : (r+1)*size], at: make([]place, 0, t.Steps), cols: make([]int32, 0, columns)})
		}
	}
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
	t.reserve(o.traceMemory())
	return t, t.rows(ctx, 0, func(e state, row, step int) bool {
		if row < len(t.kept) {
			t.kept[row].keep(e)
		}
		return true
	})
}

// state is what a trace sees of an engine.
type state interface {
	weights(dst []float32)
	// open appends the weights by position, those of the panel's eliminated columns included, and tells the column of each
	// position if they changed since the last call.
	open(w []float32) (grown []float32, cols []int32)
}

// rows runs the rows from the given one on, filling Cost and Order, and calls each after each step until it returns false.
func (t *Trace) rows(ctx context.Context, from int, each func(e state, row, step int) bool) error {
	var err error
	if !t.double {
		err = traceRows[float32](ctx, t, from, each)
		t.double = errors.Is(err, errDigits)
	}
	if t.double {
		err = traceRows[float64](ctx, t, from, each)
	}
	return err
}

func traceRows[T number](ctx context.Context, t *Trace, from int, each func(e state, row, step int) bool) error {
	fresh := func() rule[T] {
		if t.C > 1 {
			return &blocks[T]{c: t.C}
		}
		return unstructured[T]{}
	}
	w := Matrix{Rows: t.Rows - from, Cols: t.Cols, Data: t.w.Data[from*t.Cols:]}
	return eachEngine(ctx, w, t.p, t.C, t.o, fresh, func(e *engine[T], r rule[T], x []float32, row int) error {
		row += from
		s, stopped := 0, false
		if row < len(t.kept) {
			t.kept[row].begin()
		}
		err := e.run(x, row, r, func(p int, cost float64) bool {
			t.Cost[row*t.Steps+s], t.Order[row*t.Steps+s] = cost, e.at[p]/int32(t.C)
			s++
			stopped = !each(e, row, s-1)
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

// begin makes k the path of no steps yet.
func (k *path) begin() { k.w, k.at, k.cols = k.w[:0], k.at[:0], k.cols[:0] }

// keep appends the weights of e as they are now.
func (k *path) keep(e state) {
	p := place{start: len(k.w)}
	w, cols := e.open(k.w)
	k.cols = append(k.cols, cols...)
	p.columns = int32(len(w) - p.start)
	p.cols = int32(len(k.cols)) - p.columns
	k.w, k.at = w, append(k.at, p)
}

// Release gives the memory of a trace back for the next one. Levels runs the rows once more after that.
func (t *Trace) Release() {
	for _, s := range t.slabs {
		kernel.ReleaseSlab(s)
	}
	t.slabs, t.kept = nil, nil
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
			} else if r < len(t.kept) {
				t.kept[r].weights(t, r, n, out[l].Row(r))
			}
		}
	}
	if len(t.kept) == t.Rows {
		return out, ctx.Err()
	}
	err := t.rows(ctx, len(t.kept), func(e state, row, step int) bool {
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
	for i, c := range k.cols[p.cols : p.cols+p.columns] {
		dst[c] = k.w[p.start+i]
	}
	for _, b := range t.Order[r*t.Steps : r*t.Steps+n] {
		clear(dst[int(b)*t.C : (int(b)+1)*t.C])
	}
}
