package suggest

import (
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	keys := []string{"sparsity", "scope", "weights", "activations"}
	for _, c := range []struct {
		typed string
		names []string
		n     int
		want  []string
	}{
		{"sparcity", keys, 1, []string{"sparsity"}},
		{"WEIGHT", keys, 1, []string{"weights"}},
		{"conv1", []string{"fc", "/stage1/conv1/Conv", "cone"}, 2, []string{"/stage1/conv1/Conv", "cone"}},
		{"x", nil, 3, nil},
	} {
		if got := Nearest(c.typed, c.names, c.n); !slices.Equal(got, c.want) {
			t.Errorf("Nearest(%q) = %q, want %q", c.typed, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
