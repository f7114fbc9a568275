package calib

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// Blame finds the sample behind err, the failure of a node while e ran samples lo <= i < hi of ds, by running them one at a time: ids
// beyond a table, lengths that do not go together. The result is a *DataError that names the source, the sample, and the inputs that the node
// is computed from with what they hold there. Errors that are not a node's, or have another reason than the data (a limit,
// an interruption, a batch that fails only as a whole), come back as they are, with the range of samples before them.
func Blame(ctx context.Context, e *exec.Executor, ds Dataset, lo, hi int, err error) error {
	var data *DataError
	if err == nil || errors.As(err, &data) || ctx.Err() != nil {
		return err
	}
	plain := fmt.Errorf("samples %d to %d: %w", lo, hi-1, err)
	var node *exec.NodeError
	var limit *exec.LimitError
	var rounds *exec.RoundsError
	if !errors.As(err, &node) || errors.As(err, &limit) || errors.As(err, &rounds) {
		return plain
	}
	for i := lo; i < hi; i++ {
		feeds, rerr := ds.Batch(ctx, i, i+1)
		if rerr != nil {
			return plain
		}
		_, rerr = e.Run(ctx, feeds, nil)
		var again *exec.NodeError
		if errors.As(rerr, &again) && again.Node == node.Node {
			held := describeFeeds(node.Node, feeds)
			if held == "" {
				return plain // computed from constants alone
			}
			return &DataError{sourceOf(ds), fmt.Errorf("%s: %s: %w", sampleName(ds, i), held, rerr)}
		}
	}
	return plain
}

// sourceOf is the path of the data, where it has one.
func sourceOf(ds Dataset) string {
	if s, ok := ds.(*Set); ok {
		return s.Source
	}
	return "the data"
}

// sampleName is what messages call sample i: by its number in the file, from 0 on, and its own file where it has one.
func sampleName(ds Dataset, i int) string {
	s, ok := ds.(*Set)
	if !ok || i >= len(s.pick) {
		return fmt.Sprintf("sample %d", i)
	}
	rows := s.Rows()
	row := rows[i*(len(rows)/len(s.pick))]
	name := fmt.Sprintf("sample %d", row)
	if f, ok := s.file.(interface{ fileOf(row int) string }); ok {
		name += fmt.Sprintf(" (%s)", f.fileOf(row))
	}
	return name
}

// describeFeeds tells what the inputs that n is computed from hold; nothing when there are none.
func describeFeeds(n *graph.Node, feeds map[string]*onnxio.Tensor) string {
	roots := map[string]bool{}
	ancestors(n, map[*graph.Node]bool{}, roots)
	var list []string
	for name, t := range feeds {
		if roots[name] {
			list = append(list, fmt.Sprintf("input %q (%v%s)", name, t, rangeOf(t)))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// ancestors gathers the names of the main graph's inputs that n depends on.
func ancestors(n *graph.Node, seen map[*graph.Node]bool, roots map[string]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	for _, v := range append(slices.Clone(n.Inputs), n.Captures()...) {
		switch {
		case v == nil:
		case v.Producer != nil:
			ancestors(v.Producer, seen, roots)
		case v.IsInput && v.Graph.Owner == nil:
			roots[v.Name] = true
		case v.Graph.Owner != nil && !v.IsConst(): // what a Loop, Scan or If hands to its body
			ancestors(v.Graph.Owner, seen, roots)
		}
	}
}

// rangeOf is ", 0 to 30521" for integers; nothing for other types, of which shapes alone can be at fault.
func rangeOf(t *onnxio.Tensor) string {
	if !t.Type.IsInteger() || t.Len() == 0 {
		return ""
	}
	wide, err := t.ConvertTo(onnxio.Int64)
	if err != nil {
		return ""
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, x := range wide.Int64s() {
		lo, hi = min(lo, x), max(hi, x)
	}
	return fmt.Sprintf(", values %d to %d", lo, hi)
}
