package passes

import (
	"math"
	"math/rand/v2"
	"testing"
)

func counted(x []float32, keep []bool) *histogram {
	h := newHistogram()
	h.see(x, keep)
	h.count(x, keep)
	return h
}

func normal(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// quantError is the mean squared error of the grid on the values themselves, over their mean square.
func quantError(g ActGrid, x []float32) float64 {
	err, power := 0.0, 0.0
	for _, v := range x {
		c := math.RoundToEven(float64(v/g.Scale)) + float64(g.Zero)
		q := float64(g.Scale) * (max(0, min(c, g.levels())) - float64(g.Zero))
		err += (q - float64(v)) * (q - float64(v))
		power += float64(v) * float64(v)
	}
	return err / power
}

func TestNoiseEqualsErrorOnValues(t *testing.T) {
	x := normal(200000, 1)
	h := counted(x, nil)
	for _, bits := range []int{3, 4, 8} {
		for _, share := range []float64{1, 0.7, 0.4} {
			g := spanGrid(bits, share*h.lo, share*h.hi)
			if got, want := h.noise(g, 2), quantError(g, x); math.Abs(got-want) > 0.03*want {
				t.Errorf("%d bits, share %v: %v, on the values %v", bits, share, got, want)
			}
		}
	}
}

func TestGridMethods(t *testing.T) {
	x := normal(100000, 2)
	x = append(x, 40) // an outlier
	h := counted(x, nil)
	nan := math.NaN()
	bulk, err := map[string]float64{}, map[string]float64{}
	for _, m := range Choices("range") {
		g, e := h.grid(8, m, nan)
		if e != nil {
			t.Fatal(e)
		}
		bulk[m], err[m] = quantError(g, x[:len(x)-1]), quantError(g, x)
		if m == "minmax" {
			if _, hi := g.limits(); hi < 39.8 {
				t.Errorf("minmax ends at %v", hi)
			}
		}
	}
	for _, m := range []string{"percentile", "entropy", "mse"} {
		if bulk[m] >= bulk["minmax"] {
			t.Errorf("%s: error %v on the bulk, minmax %v", m, bulk[m], bulk["minmax"])
		}
		if err["mse"] > err[m]*1.01 {
			t.Errorf("mse has error %v, %s %v", err["mse"], m, err[m])
		}
	}
}

func TestGridKeepsZeroAndClip(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float32
		top    float64
	}{
		{"relu6", []float32{0, 1, 2, 6, 6, 6}, 6},
		{"relu", []float32{0, 0, 0.5, 3}, math.NaN()},
		{"negative", []float32{-3, -1}, math.NaN()},
		{"positive", []float32{5, 6}, math.NaN()},
		{"constant", []float32{2, 2}, math.NaN()},
		{"zero", []float32{0, 0}, math.NaN()},
		{"tiny", []float32{0, 1e-42}, math.NaN()},
	} {
		for _, m := range Choices("range") {
			g, err := counted(c.values, nil).grid(8, m, c.top)
			if err != nil {
				t.Fatal(err)
			}
			lo, hi := g.limits()
			if !(g.Scale > 0) || g.Zero < 0 || g.Zero > 255 || lo > 0 || hi < 0 {
				t.Errorf("%s, %s: %+v does not hold zero", c.name, m, g)
			}
			if float64(hi) > c.top {
				t.Errorf("%s, %s: ends at %v, above the clip", c.name, m, hi)
			}
			if c.values[0] >= 0 && g.Zero != 0 {
				t.Errorf("%s, %s: zero point %d for values that are never negative", c.name, m, g.Zero)
			}
		}
	}
}

func TestHistogramMask(t *testing.T) {
	h := counted([]float32{1, 2, 100, 200, 3, 4}, []bool{true, false, true})
	if h.lo != 1 || h.hi != 4 {
		t.Errorf("limits %v, %v", h.lo, h.hi)
	}
}

func TestHistogramErrors(t *testing.T) {
	for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		if g, err := counted([]float32{1, v}, nil).grid(8, "auto", math.NaN()); err == nil {
			t.Errorf("%v gives %+v", v, g)
		}
	}
	if g, err := newHistogram().grid(8, "auto", math.NaN()); err == nil {
		t.Errorf("no data gives %+v", g)
	}
}
