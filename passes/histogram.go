package passes

import (
	"fmt"
	"math"

	"github.com/obc-onnx/obc/calib"
)

// histBins is how finely the values of one activation tensor are counted between its least and its greatest value.
const histBins = 2048

// histogram counts one tensor's values over the calibration data: first its limits are found (see), then the counts (count).
type histogram struct {
	lo, hi float64
	bins   []float64
	bad    bool // NaN or Inf among the values

	norm, sum float64 // see power
}

func newHistogram() *histogram { return &histogram{lo: math.Inf(1), hi: math.Inf(-1)} }

// see widens the limits; rows of x where keep is false are left out. keep nil keeps all; else it divides x into equal rows.
func (h *histogram) see(x []float32, keep []bool) {
	calib.EachKept(x, keep, func(row []float32) {
		lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
		for _, v := range row {
			lo, hi = min(lo, v), max(hi, v) // NaN carries over
		}
		h.bad = h.bad || math.IsNaN(float64(lo)) || math.IsInf(float64(lo), -1) || math.IsInf(float64(hi), 1)
		h.lo, h.hi = min(h.lo, float64(lo)), max(h.hi, float64(hi))
	})
}

// count adds the values to the bins; the limits must be known.
func (h *histogram) count(x []float32, keep []bool) {
	if h.bins == nil {
		h.bins = make([]float64, histBins)
	}
	scale := 0.0
	if h.hi > h.lo {
		scale = histBins / (h.hi - h.lo)
	}
	calib.EachKept(x, keep, func(row []float32) {
		for _, v := range row {
			i := int((float64(v) - h.lo) * scale)
			h.bins[max(0, min(i, histBins-1))]++
		}
	})
}

// ActGrid is a quantizer of one activation tensor: x ~ Scale * (code - Zero), code 0 .. 2^Bits-1.
type ActGrid struct {
	Bits  int
	Scale float32
	Zero  int
}

func (g ActGrid) levels() float64 { return float64(int(1)<<g.Bits - 1) }

// limits is the range of values that codes stand for.
func (g ActGrid) limits() (lo, hi float32) {
	return float32(-g.Zero) * g.Scale, (float32(g.levels()) - float32(g.Zero)) * g.Scale
}

// spanGrid covers [lo, hi] widened to hold zero.
func spanGrid(bits int, lo, hi float64) ActGrid {
	lo, hi = min(lo, 0), max(hi, 0)
	g := ActGrid{Bits: bits, Scale: 1}
	if !(hi > lo) {
		return g
	}
	g.Scale = max(float32((hi-lo)/g.levels()), math.SmallestNonzeroFloat32)
	g.Zero = int(math.RoundToEven(-lo / float64(g.Scale)))
	g.Zero = max(0, min(g.Zero, int(g.levels())))
	return g
}

// noise is the sum of |error|^norm that the grid leaves on the counted values, over the sum of |value|^norm. Bins are taken as
// uniformly filled: a bin that is narrower than a step is its middle, rounded; a wider one has the error of a uniform spread.
func (h *histogram) noise(g ActGrid, norm float64) float64 {
	return h.noiseBelow(g, norm, math.Inf(1))
}

// noiseBelow is noise, or +Inf as soon as it is known to reach most.
func (h *histogram) noiseBelow(g ActGrid, norm, most float64) float64 {
	lo, hi := g.limits()
	width := (h.hi - h.lo) / histBins
	step := float64(g.Scale)
	inner := math.Pow(min(width, step)/2, norm) / (norm + 1)
	power := h.power(norm)
	if power == 0 {
		return 0
	}
	err := 0.0
	for i, n := range h.bins {
		if n == 0 {
			continue
		}
		x := h.lo + (float64(i)+0.5)*width
		if width >= step && x >= float64(lo) && x <= float64(hi) {
			err += n * inner
		} else {
			q := max(float64(lo), min(float64(hi), math.RoundToEven(x/step)*step))
			err += n * raised(math.Abs(x-q), norm)
		}
		if err >= most*power {
			return math.Inf(1)
		}
	}
	return err / power
}

// power is the sum of |value|^norm, kept for the norm it was asked for last.
func (h *histogram) power(norm float64) float64 {
	if h.norm != norm {
		h.norm, h.sum = norm, 0
		width := (h.hi - h.lo) / histBins
		for i, n := range h.bins {
			if n > 0 {
				h.sum += n * raised(math.Abs(h.lo+(float64(i)+0.5)*width), norm)
			}
		}
	}
	return h.sum
}

func raised(x, norm float64) float64 {
	if norm == 2 {
		return x * x
	}
	return math.Pow(x, norm)
}

// grid picks the quantizer of the counted values by the method of the recipe. top, when not NaN, is the upper limit of a Clip
// right before: the quantizer then stays within it, so that runtimes can drop the Clip.
func (h *histogram) grid(bits int, method string, top float64) (ActGrid, error) {
	if h.bad {
		return ActGrid{}, fmt.Errorf("the values have NaN or Inf among them: check the calibration data and the model")
	}
	if h.bins == nil {
		return ActGrid{}, fmt.Errorf("no calibration data reached it")
	}
	var g ActGrid
	switch method {
	case "minmax":
		g = spanGrid(bits, h.lo, h.hi)
	case "percentile":
		g = spanGrid(bits, h.quantile(1e-4), h.quantile(1-1e-4))
	case "entropy":
		g = h.entropyGrid(bits)
	case "mse":
		g = h.shrinkGrid(bits, 2)
	default: // "auto": the least error with large errors weighing more, which keeps outliers that matter
		g = h.shrinkGrid(bits, autoNorm)
	}
	if !math.IsNaN(top) {
		if _, hi := g.limits(); float64(hi) > top && g.Zero == 0 {
			g.Scale = float32(top / g.levels())
			for _, hi := g.limits(); float64(hi) > top; _, hi = g.limits() {
				g.Scale = math.Nextafter32(g.Scale, 0)
			}
		}
	}
	return g, nil
}

// autoNorm is the exponent of the error norm that "auto" minimizes; 2.4 is what the method's authors use.
const autoNorm = 2.4

// shrinkGrid tries ranges between the full one and a fifth of it, each side by itself, coarse then fine.
func (h *histogram) shrinkGrid(bits int, norm float64) ActGrid {
	best, bestErr := spanGrid(bits, h.lo, h.hi), math.Inf(1)
	a, b := 1.0, 1.0 // best shares of the lower and upper limit
	for k, step := range []float64{0.1, 0.02} {
		ca, cb, reach := a, b, 8-3*k
		for i := -reach; i <= reach; i++ {
			for j := -reach; j <= reach; j++ {
				sa, sb := ca+float64(i)*step, cb+float64(j)*step
				if sa > 1+1e-9 || sb > 1+1e-9 || sa < 0.1 || sb < 0.1 || (h.lo >= 0 && i != 0) || (h.hi <= 0 && j != 0) {
					continue
				}
				g := spanGrid(bits, sa*h.lo, sb*h.hi)
				if e := h.noiseBelow(g, norm, bestErr); e < bestErr {
					best, bestErr, a, b = g, e, sa, sb
				}
			}
		}
	}
	return best
}

// quantile is the value below which the share p of the counted values lies.
func (h *histogram) quantile(p float64) float64 {
	total := 0.0
	for _, n := range h.bins {
		total += n
	}
	below := 0.0
	for i, n := range h.bins {
		if below += n; below >= p*total && n > 0 {
			edge := i + 1
			if p < 0.5 {
				edge = i
			}
			return h.lo + (h.hi-h.lo)*float64(edge)/histBins
		}
	}
	return h.hi
}

// entropyGrid picks the range whose quantized distribution is nearest to the counted one by Kullback-Leibler divergence,
// clipped values being counted at the edges.
func (h *histogram) entropyGrid(bits int) ActGrid {
	best, bestKL := spanGrid(bits, h.lo, h.hi), math.Inf(1)
	for share := 1.0; share > 0.15; share -= 0.02 {
		g := spanGrid(bits, share*h.lo, share*h.hi)
		if kl := h.divergence(g); kl < bestKL {
			best, bestKL = g, kl
		}
	}
	return best
}

// divergence is KL(p || q): p the counts with clipped values moved to the edge bins, q the counts spread evenly over each code.
func (h *histogram) divergence(g ActGrid) float64 {
	lo, hi := g.limits()
	width := (h.hi - h.lo) / histBins
	codes := make([]int, histBins)
	mass, filled := map[int]float64{}, map[int]float64{}
	p := make([]float64, histBins)
	first, last := -1, 0
	for i, n := range h.bins {
		x := h.lo + (float64(i)+0.5)*width
		codes[i] = int(math.RoundToEven(max(float64(lo), min(float64(hi), x)) / float64(g.Scale)))
		if x >= float64(lo) && x <= float64(hi) {
			if first < 0 {
				first = i
			}
			last = i
			if n > 0 {
				mass[codes[i]] += n
				filled[codes[i]]++
			}
		}
	}
	if first < 0 {
		return math.Inf(1)
	}
	total := 0.0
	for i, n := range h.bins {
		p[max(first, min(last, i))] += n
		total += n
	}
	kl := 0.0
	for i := first; i <= last; i++ {
		if p[i] == 0 {
			continue
		}
		q := 1e-9
		if h.bins[i] > 0 {
			q = mass[codes[i]] / filled[codes[i]]
		}
		kl += p[i] / total * math.Log(p[i]/q)
	}
	return kl
}
