// Package suggest finds words for error messages: the strings nearest to a mistyped one, the kind of value that was expected.
package suggest

import (
	"slices"
	"strings"
)

// Nearest returns up to n of the names, nearest first by edit distance without regard to case; names that contain the
// typed text or are contained in it count as nearer than one edit. Equals keep their order.
func Nearest(typed string, names []string, n int) []string {
	type scored struct {
		name string
		d    int
	}
	lower := strings.ToLower(typed)
	var all []scored
	for _, name := range names {
		l := strings.ToLower(name)
		d := 2 * distance(lower, l) // so that 1 is less than one edit
		if lower != "" && (strings.Contains(l, lower) || strings.Contains(lower, l)) {
			d = min(d, 1)
		}
		all = append(all, scored{name, d})
	}
	slices.SortStableFunc(all, func(a, b scored) int { return a.d - b.d })
	var out []string
	for _, s := range all[:min(n, len(all))] {
		out = append(out, s.name)
	}
	return out
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
