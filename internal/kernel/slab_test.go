package kernel

import (
	"runtime/debug"
	"testing"
)

func TestSlabClasses(t *testing.T) {
	last, most := -1, 0
	for n := 1; n < 1<<16; n++ {
		class, size := slabClass(n)
		if size < n || size > n+n/slabSteps+1 {
			t.Fatalf("%d numbers get %d", n, size)
		}
		if c, s := slabClass(size); c != class || s != size {
			t.Fatalf("class %d of %d numbers holds %d, which is of class %d with %d", class, n, size, c, s)
		}
		if (class == last) != (size == most) || class < last {
			t.Fatalf("%d numbers: class %d of size %d after class %d of size %d", n, class, size, last, most)
		}
		last, most = class, size
	}
	if class, _ := slabClass(mostSlab / 4); class >= len(slabs[0]) {
		t.Fatalf("class %d", class)
	}
}

func TestSlab(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection may empty the pools
	for _, n := range []int{0, 1, 1023, 1024, 5000, 3 << 20} {
		a, b := Slab[float32](n), Slab[float32](n)
		if len(a) != n || len(b) != n {
			t.Fatalf("%d numbers asked for, got %d and %d", n, len(a), len(b))
		}
		for i := range a {
			a[i], b[i] = 1, 2
		}
		for i := range a {
			if a[i] != 1 || b[i] != 2 {
				t.Fatalf("%d numbers: two slabs share memory", n)
			}
		}
		ReleaseSlab(a)
		ReleaseSlab(b)
		if c := Slab[float64](n); len(c) != n {
			t.Fatalf("%d numbers asked for, got %d", n, len(c))
		}
	}
	ReleaseSlab(make([]float32, 1500)[:7:1100]) // not of a class's size: dropped
	if s := Slab[float32](1100); len(s) != 1100 {
		t.Fatalf("1100 numbers asked for, got %d", len(s))
	}
}
