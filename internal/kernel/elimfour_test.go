package kernel

import (
	"fmt"
	"math"
	"testing"
)

// TestElimGetFour holds four columns that are read at once to each of them, and what PutFour writes to the elements of a matrix.
func TestElimGetFour(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r, k := newRand(), ElimOf[float32]()
		if k.GetFour == nil {
			t.Skip("pure Go moves columns one by one")
		}
		for _, ld := range []int{16, 48} {
			for p := 0; p < ld; p += 4 {
				for n := Tile; n <= ld; n += Tile {
					a, ldd := random(r, TriangleSize(ld)), n+3
					got, want := make([]float32, 4*ldd), make([]float32, 4*ldd)
					k.GetFour(got, ldd, a, ld, p, n)
					for c := range 4 {
						triangleRows(want[c*ldd:c*ldd+n], a, ld, p+c, 0)
					}
					nearAll(t, fmt.Sprintf("get: ld=%d p=%d n=%d", ld, p, n), got, want, 0)
					if p < n {
						testPutFour(t, k, a, got, ld, ldd, p, n)
					}
				}
			}
		}
	})
}

// testPutFour puts the negative of the columns in a.
func testPutFour(t *testing.T, k Elim[float32], a, columns []float32, ld, ldd, p, n int) {
	t.Helper()
	for c := range 4 { // symmetric where columns meet rows
		for e := range 4 {
			columns[e*ldd+p+c] = columns[c*ldd+p+e]
		}
	}
	for i := range columns {
		columns[i] = -columns[i]
	}
	for from := range n / Tile {
		for to := from; to <= n/Tile; to++ {
			got, want := clone(a), clone(a)
			for q := from; q < to; q++ {
				for i := q * Tile; i < n; i++ {
					for j := q * Tile; j < (q+1)*Tile; j++ {
						x := &want[TriangleOrigin(ld, q)+i*Tile+j%Tile]
						if i >= p && i < p+4 {
							*x = columns[(i-p)*ldd+j]
						} else if j >= p && j < p+4 {
							*x = columns[(j-p)*ldd+i]
						}
					}
				}
			}
			k.PutFour(got, ld, p, n, columns, ldd, from, to)
			nearAll(t, fmt.Sprintf("put: ld=%d p=%d n=%d tile columns %d..%d", ld, p, n, from, to), got, want, 0)
		}
	}
}

// TestElimCheapestFour holds the choice among blocks of four to their scores; some blocks are gone, and some have no factorisation.
func TestElimCheapestFour(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r, k := newRand(), ElimOf[float32]()
		if k.CheapestFour == nil {
			t.Skip("this form rates blocks first")
		}
		for groups := 1; groups <= 3; groups++ {
			for round := range 30 {
				d, w, pen := random(r, groups*10*Tile), random(r, groups*4*Tile), make([]float32, groups*Tile)
				for b := range pen {
					if r.IntN(4) == 0 || round == 0 {
						pen[b] = float32(math.Inf(1))
					}
					for e, at := 0, 0; e < 4; e++ {
						at += e
						d[(b/Tile*10+at+e)*Tile+b%Tile] += 4 // mostly definite
					}
				}
				x, score, work := make([]float32, len(w)), make([]float32, len(pen)), make([]float32, 14*Tile)
				k.Split(x, w, 4)
				k.BlockScore(score, x, d, work, 4)
				best, at := float32(math.Inf(1)), -1
				for b, s := range score {
					if s += pen[b]; s < best {
						best, at = s, b
					}
				}
				got := k.CheapestFour(w, d, pen)
				if (got < 0) != (at < 0) || got >= 0 && !(score[got]+pen[got] <= best*(1+1e-5)) {
					t.Fatalf("groups=%d round %d: block %d, want %d of score %g", groups, round, got, at, best)
				}
			}
		}
	})
}
