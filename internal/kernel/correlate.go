package kernel

import "sort"

// Correlator sums outer products of rows of a matrix X (n x c) with other rows of it: what the Hessian of a convolution is made of,
// whose blocks are sum_u x(u) x(u+offset)^T over pixels u. X is laid out for the matrix kernel once, and all sums draw on it.
type Correlator struct {
	c     int
	t     *tiling[float32]
	left  [][]float32 // X and variants of it, in panels of mr columns
	right []float32   // X in panels of nr columns
	ld    int         // rows that fit
}

// NewCorrelator makes room for n rows of c columns, on the left in several variants.
func NewCorrelator(n, c, variants int) *Correlator {
	k := &Correlator{c: c, t: tiling32(), left: make([][]float32, variants), ld: n}
	for i := range k.left {
		k.left[i] = make([]float32, roundUp(c, k.t.mr)*n+packSlack)
	}
	k.right = make([]float32, roundUp(c, k.t.nr)*n+packSlack)
	return k
}

// Right sets the rows that stand on the right of the products: x is n x c.
func (k *Correlator) Right(x []float32, threads int) { k.pack(k.right, k.t.nr, x, threads) }

// Left sets variant v of the rows on the left.
func (k *Correlator) Left(v int, x []float32, threads int) { k.pack(k.left[v], k.t.mr, x, threads) }

func (k *Correlator) pack(dst []float32, w int, x []float32, threads int) {
	parallelStep(threads, k.c, w, func(lo, hi int) {
		packPanels(dst[lo*k.ld:], w, x, k.c, false, 0, k.ld, lo, hi-lo, 1)
	})
}

// Run is the rows Left.. of the left side and Right.. of the right side, N of each.
type Run struct{ Left, Right, N int }

// Correlation is one sum: Sum (c x c) += x(u) y(v)^T over all u, v in step along the runs.
type Correlation struct {
	Sum     []float64
	Variant int
	Upper   bool // only entries on and above the diagonal are wanted
	Set     bool // Sum holds anything and is set
	Runs    []Run
}

// correlateBlock is how many products are summed in float32 before they go into a float64 sum: see syrkBlock; twice as many here, since a
// sum gets fewer of them.
const correlateBlock = 512

// Add takes all sums a step further. Workers take parts of equal work of all columns of all sums. A panel of columns of a sum stays in
// the cache until all blocks of products have gone into it.
func (k *Correlator) Add(sums []Correlation, threads int) {
	panels := (k.c + k.t.nr - 1) / k.t.nr
	parts := make([][][]Run, len(sums))
	work := make([]int, len(sums)*panels+1) // of all columns before
	for i, s := range sums {
		parts[i] = cutRuns(s.Runs, correlateBlock)
		if s.Set && len(parts[i]) == 0 {
			clear(s.Sum)
		}
		n := k.work(parts[i])
		for j := range panels {
			rows := k.c
			if s.Upper {
				rows = min(k.c, (j+1)*k.t.nr)
			}
			work[i*panels+j+1] = work[i*panels+j] + n*rows
		}
	}
	all := work[len(work)-1]
	threads = max(1, min(threads, len(sums)*panels))
	Parallel(threads, threads, func(lo, hi int) {
		s := borrow[float32]()
		defer s.giveBack()
		tile := grow(&s.tile, k.t.mr*k.t.nr)
		from, to := sort.SearchInts(work, all/threads*lo), sort.SearchInts(work, all/threads*hi)
		if hi == threads {
			to = len(sums) * panels
		}
		for i := from; i < to; i++ {
			for n, runs := range parts[i/panels] {
				k.column(&sums[i/panels], runs, i%panels*k.t.nr, tile, n == 0)
			}
		}
	})
}

// work is about the time of the parts of a sum, in products: a run costs as much as some more, and so does the addition to the sum.
func (k *Correlator) work(parts [][]Run) (n int) {
	const run, addition = 4, 32
	for _, p := range parts {
		n += addition
		for _, r := range p {
			n += r.N + run
		}
	}
	return n
}

// cutRuns splits runs into parts of at most most rows.
func cutRuns(runs []Run, most int) (parts [][]Run) {
	var part []Run
	room := most
	for _, r := range runs {
		for r.N > 0 {
			n := min(r.N, room)
			part = append(part, Run{r.Left, r.Right, n})
			r = Run{r.Left + n, r.Right + n, r.N - n}
			if room -= n; room == 0 {
				parts, part, room = append(parts, part), nil, most
			}
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// column adds the products of runs, the first or later ones, to the panel of columns from j on.
func (k *Correlator) column(c *Correlation, runs []Run, j int, tile []float32, first bool) {
	t, cols := k.t, min(k.t.nr, k.c-j)
	put := active.addWide
	if first && c.Set {
		put = active.widen
	}
	last := k.c
	if c.Upper {
		last = j + cols
	}
	right := k.right[j*k.ld:]
	vecs := roundUp(cols, t.vec)
	for i := 0; i < last; i += t.mr {
		rows := min(t.mr, k.c-i)
		left := k.left[c.Variant][i*k.ld:]
		for n, r := range runs {
			t.micro(rows, vecs, r.N, left[r.Left*t.mr:], 1, t.mr, right[r.Right*t.nr:], t.nr, tile, t.nr, n > 0, nil)
		}
		for r := range rows {
			skip := 0
			if c.Upper {
				skip = max(0, i+r-j)
			}
			if skip < cols {
				put(c.Sum[(i+r)*k.c+j+skip:(i+r)*k.c+j+cols], tile[r*t.nr+skip:r*t.nr+cols])
			}
		}
	}
}
