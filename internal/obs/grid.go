package obs

import (
	"fmt"
	"math"
)

// Granularity is what shares one scale and zero point.
type Granularity int

const (
	PerChannel Granularity = iota // one per row
	PerTensor                     // one for the matrix
	PerGroup                      // one per row and group of GridSpec.Group consecutive columns
)

// Search is how a scale is found.
type Search int

const (
	// MinMax covers the whole range of the weights.
	MinMax Search = iota
	// Shrink tries the range times 1.00, 0.99, ... 0.21 and keeps the one with the least sum of |w - q(w)|^2.4.
	Shrink
)

// GridSpec describes a grid of codes. The zero value of everything but Bits is per channel, asymmetric, unsigned, min/max.
type GridSpec struct {
	Bits        int  // 2..8
	Symmetric   bool // zero point fixed: 0 when signed, 2^(Bits-1) when unsigned
	Signed      bool // codes -2^(Bits-1) .. 2^(Bits-1)-1 instead of 0 .. 2^Bits-1
	Narrow      bool // without the lowest code: -127..127 for 8 bits signed
	Granularity Granularity
	Group       int // columns a group, PerGroup only; the last group may be shorter
	Search      Search
}

// Range is the lowest and highest code.
func (s GridSpec) Range() (lo, hi int) {
	lo, hi = 0, 1<<s.Bits-1
	if s.Signed {
		lo, hi = -1<<(s.Bits-1), 1<<(s.Bits-1)-1
	}
	if s.Narrow {
		lo++
	}
	return lo, hi
}

func (s GridSpec) check() error {
	if s.Bits < 2 || s.Bits > 8 {
		return fmt.Errorf("grid has %d bits, expected 2 to 8", s.Bits)
	}
	if s.Granularity == PerGroup && s.Group < 1 {
		return fmt.Errorf("grid per group has group size %d, expected at least 1", s.Group)
	}
	return nil
}

// Grid is weight = Scale * (code - Zero), code within Spec.Range(). Scale and Zero have one entry a row (PerChannel), one
// in all (PerTensor), or rows x Groups (PerGroup, row-major).
type Grid struct {
	Spec   GridSpec
	Cols   int
	Groups int // scales a row: 1 unless PerGroup
	Scale  []float32
	Zero   []int16
}

// Index is the place in Scale and Zero that serves (row, col).
func (g *Grid) Index(row, col int) int {
	switch g.Spec.Granularity {
	case PerTensor:
		return 0
	case PerGroup:
		return row*g.Groups + col/g.Spec.Group
	}
	return row
}

// Quant is the code nearest to x at (row, col), halves to even, and its value.
func (g *Grid) Quant(row, col int, x float32) (code int16, value float32) {
	i := g.Index(row, col)
	lo, hi := g.Spec.Range()
	return nearest(x, g.Scale[i], g.Zero[i], float32(lo), float32(hi))
}

// Value is the weight that a code stands for.
func (g *Grid) Value(row, col int, code int16) float32 {
	i := g.Index(row, col)
	return g.Scale[i] * float32(code-g.Zero[i])
}

func nearest(x, scale float32, zero int16, lo, hi float32) (int16, float32) {
	z := float32(zero)
	c := min(max(float32(math.RoundToEven(float64(x/scale)))+z, lo), hi)
	return int16(c), scale * (c - z)
}

// FitGrid finds scales and zero points for w by Spec.Search. Zero is always on the grid.
func FitGrid(w Matrix, s GridSpec) (*Grid, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	g := &Grid{Spec: s, Cols: w.Cols, Groups: 1}
	switch s.Granularity {
	case PerTensor:
		g.add(w.Data)
	case PerGroup:
		g.Groups = (w.Cols + s.Group - 1) / s.Group
		for r := range w.Rows {
			row := w.Row(r)
			for c := 0; c < w.Cols; c += s.Group {
				g.add(row[c:min(c+s.Group, w.Cols)])
			}
		}
	default:
		for r := range w.Rows {
			g.add(w.Row(r))
		}
	}
	return g, nil
}

const (
	shrinkSteps = 100
	shrinkLeast = 0.2
	shrinkNorm  = 2.4
)

// add appends the scale and zero point of the weights x.
func (g *Grid) add(x []float32) {
	lo, hi := float32(0), float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	if lo == 0 && hi == 0 {
		lo, hi = -1, 1
	}
	scale, zero := g.Spec.span(lo, hi, 1)
	if g.Spec.Search == Shrink {
		cl, ch := g.Spec.Range()
		best := math.Inf(1)
		for i := range int((1 - shrinkLeast) * shrinkSteps) {
			s, z := g.Spec.span(lo, hi, 1-float32(i)/shrinkSteps)
			e := 0.0
			for _, v := range x {
				_, q := nearest(v, s, z, float32(cl), float32(ch))
				e += powNorm(math.Abs(float64(q - v)))
			}
			if e < best {
				best, scale, zero = e, s, z
			}
		}
	}
	g.Scale, g.Zero = append(g.Scale, scale), append(g.Zero, zero)
}

func powNorm(x float64) float64 {
	if x == 0 {
		return 0
	}
	return math.Exp(shrinkNorm * math.Log(x))
}

// span is the scale and zero point that cover [lo, hi] shrunk by share.
func (s GridSpec) span(lo, hi, share float32) (scale float32, zero int16) {
	cl, ch := s.Range()
	if s.Symmetric {
		if !s.Signed {
			zero = 1 << (s.Bits - 1)
		}
		return max(hi/float32(ch-int(zero)), lo/float32(cl-int(zero))) * share, zero
	}
	scale = (hi - lo) * share / float32(ch-cl)
	return scale, int16(cl) + int16(math.RoundToEven(float64(-lo*share/scale)))
}
