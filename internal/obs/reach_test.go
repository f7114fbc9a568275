package obs

import (
	"math"
	"testing"
)

// TestReach takes groups and blocks among the first columns only, while as many more than a unit follow: those are kept, and take part in
// the compensation. The oracle is the plain form.
func TestReach(t *testing.T) {
	for _, d := range []int{21, 40, 90} {
		pr := randomProblem(5, d, 4*d, 3)
		p := mustPrepare(t, pr, 0.01)
		p.Reach = d / 2
		whole := func(c int) int { return p.Reach / c * c }
		nm, err := NM(t.Context(), pr.w, p, 2, 4, Options{})
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := Blocks(t.Context(), pr.w, p, 4, 1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for r := range pr.w.Rows {
			e := newPlain(pr.w.Row(r), p)
			gone := make([]int, whole(4)/4)
			for range 2 * len(gone) {
				j := e.cheapest(func(j int) bool { return j < whole(4) && gone[j/4] < 2 })
				e.eliminate(j, 0)
				gone[j/4]++
			}
			near(t, "2:4", nm.W.Row(r), e.w)
			e = newPlain(pr.w.Row(r), p)
			for j := range whole(4) {
				e.eliminate(j, 0)
			}
			near(t, "all blocks", blocks.W.Row(r), e.w)
		}
		if nm.LeftDense != d-whole(4) || blocks.LeftDense != d-whole(4) {
			t.Errorf("%d columns: %d and %d left dense", d, nm.LeftDense, blocks.LeftDense)
		}
		for name, solve := range map[string]func() (*Result, error){
			"refined 2:4":    func() (*Result, error) { return RefineNM(t.Context(), pr.w, nm, p, 2, 4, Options{}) },
			"refined blocks": func() (*Result, error) { return refinedBlocks(t, pr.w, p) },
			"sparsegpt":      func() (*Result, error) { return SparseGPTNM(t.Context(), pr.w, p, 2, 4, Options{}) },
			"magnitude":      func() (*Result, error) { return MagnitudeBlocks(pr.w, p, 4, 1) },
			"joint": func() (*Result, error) {
				return QuantizeNM(t.Context(), pr.w, p, 2, 4, GridSpec{Bits: 8, Search: Shrink}, Options{})
			},
		} {
			res, err := solve()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for i, v := range res.W.Data {
				if v == 0 && i%d < whole(4) {
					n++
				} else if v == 0 && name != "joint" { // codes may be zero
					t.Fatalf("%s, %d columns: column %d is zero", name, d, i%d)
				}
			}
			if want := pr.w.Rows * whole(4); n < want/2 {
				t.Errorf("%s, %d columns: %d of the %d weights that the pattern may take are zero", name, d, n, want)
			}
		}
	}
}

func refinedBlocks(t *testing.T, w Matrix, p *Prepared) (*Result, error) {
	r, err := Blocks(t.Context(), w, p, 4, 0.5, Options{})
	if err != nil {
		return nil, err
	}
	return RefineMask(t.Context(), w, r, p, 4, Options{})
}

func near(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	for i, v := range want {
		if math.Abs(float64(got[i])-v) > 2e-3 {
			t.Fatalf("%s: column %d is %v, the plain form has %v", what, i, got[i], v)
		}
	}
}

// TestSparseGPTBlocks checks the fixed order with blocks of weights and several Hessians: the cost of a block against the inverse of the
// columns that are left, the share over all matrices, and that blocks go whole.
func TestSparseGPTBlocks(t *testing.T) {
	const d, c = 40, 4
	a, b := randomProblem(6, d, 120, 1), randomProblem(6, d, 120, 2)
	for i := range b.w.Data {
		b.w.Data[i] *= 0.3 // so that one loses more than the other
	}
	pa, pb := mustPrepare(t, a, 0.01), mustPrepare(t, b, 0.01)
	f, err := newFixed(pa, false)
	if err != nil {
		t.Fatal(err)
	}
	e := newPlain(a.w.Row(0), pa)
	x := append([]float32(nil), a.w.Row(0)...)
	for lo := 0; lo < d; lo += c {
		if got, want := f.blockScore(x, lo, c)/2, e.blockCost(lo, c); math.Abs(got-want) > 1e-4*want {
			t.Errorf("block at %d costs %v, the inverse says %v", lo, got, want)
		}
		for j := lo; j < lo+c; j++ {
			e.eliminate(j, float64(x[j]))
		}
	}
	rs, err := SparseGPTBlocks(t.Context(), []Matrix{a.w, b.w}, []*Prepared{pa, pb}, c, 0.5, Options{})
	if err != nil {
		t.Fatal(err)
	}
	gone := [2]int{}
	for k, r := range rs {
		for i := 0; i < len(r.W.Data); i += c {
			n := 0
			for _, v := range r.W.Data[i : i+c] {
				if v == 0 {
					n++
				}
			}
			if n != 0 && n != c {
				t.Fatalf("matrix %d: %d of a block of %d are zero", k, n, c)
			}
			gone[k] += n / c
		}
	}
	if gone[0]+gone[1] != 6*d/c || gone[0] >= gone[1] {
		t.Errorf("%d and %d blocks of %d are gone, expected half of all, more of the second", gone[0], gone[1], 6*d/c)
	}
}
