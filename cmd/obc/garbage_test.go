package main

import "testing"

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 30}, {1 << 20, 30}, {200 << 20, 30}, {640 << 20, 10}, {100 << 30, 4}} {
		if got := percentFor(c.live); got != c.want {
			t.Errorf("%d bytes alive: %d%%, want %d%%", c.live, got, c.want)
		}
	}
}
