package main

import "testing"

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		live    uint64
		solving bool
		want    int
	}{{0, false, 30}, {1 << 20, false, 30}, {200 << 20, false, 30}, {640 << 20, false, 10}, {100 << 30, false, 4},
		{0, true, 400}, {1 << 20, true, 400}, {16 << 20, true, 100}, {200 << 20, true, 30}, {640 << 20, true, 10}} {
		if got := percentFor(c.live, c.solving); got != c.want {
			t.Errorf("%d bytes alive: %d%%, want %d%%", c.live, got, c.want)
		}
	}
}
