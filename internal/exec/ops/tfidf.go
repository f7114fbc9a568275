package ops

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// grams counts the n-grams of a TfIdfVectorizer.
type grams struct {
	shortest, longest, skips int
	column                   map[string]int // output column by n-gram
	width                    int
	binary                   bool // IDF: whether it occurs, not how often
	weights                  []float32
}

// gramKey is one string for a run of items, each preceded by its length, so that no two runs look the same.
func gramKey(items []string, at, n, step int) string {
	var b strings.Builder
	for k := range n {
		s := items[at+k*step]
		b.WriteString(strconv.Itoa(len(s)))
		b.WriteByte(':')
		b.WriteString(s)
	}
	return b.String()
}

func prepareTfIdf(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	g := grams{shortest: int(n.Int("min_gram_length", 1)), longest: int(n.Int("max_gram_length", 1)), skips: int(n.Int("max_skip_count", 0)),
		column: map[string]int{}, weights: n.Floats("weights")}
	mode := n.Str("mode", "")
	if mode != "TF" && mode != "IDF" && mode != "TFIDF" {
		return nil, fmt.Errorf("attribute mode is %q, expected TF, IDF or TFIDF", mode)
	}
	g.binary = mode == "IDF"
	if mode == "TF" {
		g.weights = nil
	}
	if g.shortest < 1 || g.longest < g.shortest || g.skips < 0 {
		return nil, fmt.Errorf("n-grams of %d to %d items with %d skips: expected lengths from 1 up", g.shortest, g.longest, g.skips)
	}
	pool := n.Strings("pool_strings")
	for _, v := range n.Ints("pool_int64s") {
		pool = append(pool, strconv.FormatInt(v, 10))
	}
	if err := g.fill(pool, asInts(n.Ints("ngram_counts")), asInts(n.Ints("ngram_indexes"))); err != nil {
		return nil, err
	}
	if g.weights != nil && len(g.weights) < g.width {
		return nil, fmt.Errorf("attribute weights has %d entries for %d columns", len(g.weights), g.width)
	}
	return g.run, nil
}

// fill reads the pool: all n-grams of one item, from starts[0] on, then those of two from starts[1], and so on.
func (g *grams) fill(pool []string, starts, columns []int) error {
	id := 0
	for k, from := range starts {
		to, n := len(pool), k+1
		if n < len(starts) {
			to = starts[n]
		}
		if from < 0 || to < from || to > len(pool) || (to-from)%n != 0 {
			return fmt.Errorf("attribute ngram_counts is %v for a pool of %d", starts, len(pool))
		}
		for at := from; at < to; at += n {
			if id >= len(columns) || columns[id] < 0 || columns[id] > 1<<28 {
				return fmt.Errorf("attribute ngram_indexes has no column for n-gram %d", id)
			}
			if n >= g.shortest && n <= g.longest {
				g.column[gramKey(pool, at, n, 1)] = columns[id]
			}
			id++
		}
	}
	for _, col := range columns {
		g.width = max(g.width, col+1)
	}
	return nil
}

// run counts the n-grams of each row of [C] or [B C].
func (g grams) run(c *exec.Call) error {
	if err := need(c, 1); err != nil {
		return err
	}
	x := c.In[0]
	if len(x.Shape) > 2 {
		return fmt.Errorf("input has shape %v, expected [C] or [B C]", x.Shape)
	}
	var items []string
	switch d := x.Data.(type) {
	case []string:
		items = d
	case []int32, []int64:
		l, err := ints(x)
		if err != nil {
			return err
		}
		for _, v := range l {
			items = append(items, strconv.Itoa(v))
		}
	default:
		return typeError(0, x)
	}
	shape, rows := []int{g.width}, 1
	if len(x.Shape) == 2 {
		rows = x.Shape[0]
		shape = []int{rows, g.width}
	}
	y := c.Zeros(onnxio.Float32, shape...)
	for r := range rows {
		n := len(items) / rows
		g.count(y.Float32s()[r*g.width:(r+1)*g.width], items[r*n:(r+1)*n])
	}
	c.Out[0] = y
	return nil
}

// count adds up one row. Items of an n-gram stand 1 to skips+1 apart; single items are counted once.
func (g grams) count(out []float32, items []string) {
	for step := 1; step <= min(g.skips+1, max(len(items), 1)); step++ {
		for n := g.shortest; n <= min(g.longest, len(items)); n++ {
			if n == 1 && step > 1 {
				continue
			}
			for at := 0; at+(n-1)*step < len(items); at++ {
				if col, ok := g.column[gramKey(items, at, n, step)]; ok {
					out[col]++
				}
			}
		}
	}
	for i, v := range out {
		if g.binary && v > 0 {
			out[i] = 1
		}
		if g.weights != nil {
			out[i] *= g.weights[i]
		}
	}
}

func inferTfIdf(n *graph.Node) error {
	n.SetOut(0, onnxio.Float32, nil)
	s, cols := shapeOf(n, 0), n.Ints("ngram_indexes")
	if s == nil || len(cols) == 0 {
		return nil
	}
	out := graph.Shape{graph.D(slices.Max(cols) + 1)}
	if len(s) == 2 {
		out = graph.Shape{s[0], out[0]}
	}
	n.SetOut(0, onnxio.Float32, out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "TfIdfVectorizer", Since: 9, Infer: inferTfIdf, Prepare: prepareTfIdf, Native: true})
}
