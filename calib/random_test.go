package calib

import (
	"errors"
	"testing"
)

// TestRandomKind: files whose names begin alike are files.
func TestRandomKind(t *testing.T) {
	for spec, want := range map[string]string{"random": "", "random:": "", "random:uniform": "uniform"} {
		if kind, ok := randomKind(spec); !ok || kind != want {
			t.Errorf("%s: %q %v", spec, kind, ok)
		}
	}
	for _, spec := range []string{"random.npz", "random_eval", "data", "./random"} {
		if kind, ok := randomKind(spec); ok {
			t.Errorf("%s is random data of kind %q", spec, kind)
		}
	}
	if _, err := (&Set{Source: "random:uniform"}).Labels(); !errors.Is(err, ErrNoLabels) {
		t.Errorf("labels of random data: %v", err)
	}
}
