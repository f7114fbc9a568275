package obs

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/obc-onnx/obc/internal/kernel"
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
	if err := checkFinite(w); err != nil {
		return nil, err
	}
	g := &Grid{Spec: s, Cols: w.Cols, Groups: 1}
	rows, width := w.Rows, w.Cols
	switch s.Granularity {
	case PerTensor:
		rows, width = 1, len(w.Data)
	case PerGroup:
		g.Groups, width = (w.Cols+s.Group-1)/s.Group, s.Group
	}
	g.Scale, g.Zero = make([]float32, rows*g.Groups), make([]int16, rows*g.Groups)
	kernel.Parallel(runtime.GOMAXPROCS(0), rows, func(lo, hi int) {
		search := s.newShrinkSearch()
		for r := lo; r < hi; r++ {
			row := w.Data[r*len(w.Data)/rows : (r+1)*len(w.Data)/rows]
			for k := range g.Groups {
				x := row[k*width : min((k+1)*width, len(row))]
				g.Scale[r*g.Groups+k], g.Zero[r*g.Groups+k] = search.fit(x)
			}
		}
	})
	return g, nil
}

const (
	shrinkSteps = 100
	shrinkLeast = 0.2
	shrinkNorm  = 2.4
	shrinkTried = 80 // steps 0 .. 79: shares 1 .. 0.21
)

// shrinkSearch is the search of scales with room to do it in.
type shrinkSearch struct {
	GridSpec
	x              [kernel.GridErrorsMost]float32 // weights times a power of 2
	scale, inv     [shrinkTried]float32           // by step, scale times that power
	lo, hi, errors [shrinkTried]float32
	sum            [shrinkTried]float64
}

func (s GridSpec) newShrinkSearch() *shrinkSearch { return &shrinkSearch{GridSpec: s} }

// fit is the scale and zero point for the weights x, of the first of the steps that are equally good. The error of every step is estimated;
// those that may be the best by that are then compared digit for digit.
func (s *shrinkSearch) fit(x []float32) (scale float32, zero int16) {
	lo, hi := float32(0), float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	if max(hi, -lo) < leastRange {
		lo, hi = -1, 1
	}
	if s.Search != Shrink {
		return s.span(lo, hi, 1)
	}
	limit := s.estimate(x, lo, hi) * (1 + 2*kernel.GridErrorsWithin)
	best := math.Inf(1)
	for i, e := range s.sum {
		if e > limit {
			continue
		}
		sc, z := s.span(lo, hi, 1-float32(i)/shrinkSteps)
		if e := s.shrinkError(x, sc, z, best); e < best {
			best, scale, zero = e, sc, z
		}
	}
	return scale, zero
}

// estimate sets sum to about the error of each step for weights from lo to hi, in a unit of its own, and returns the least.
func (s *shrinkSearch) estimate(x []float32, lo, hi float32) (least float64) {
	_, e := math.Frexp(float64(max(hi, -lo)))
	unit := float32(math.Ldexp(1, -e)) // brings the largest magnitude below 1, so that no power leaves float32
	cl, ch := s.Range()
	for i := range s.sum {
		sc, z := s.span(lo, hi, 1-float32(i)/shrinkSteps)
		s.scale[i], s.lo[i], s.hi[i] = sc*unit, float32(cl-int(z)), float32(ch-int(z))
		s.inv[i], s.sum[i] = 1/s.scale[i], 0
	}
	for len(x) > 0 {
		n := min(len(x), len(s.x))
		for i, v := range x[:n] {
			s.x[i] = v * unit
		}
		whole := (n + tile - 1) / tile * tile
		clear(s.x[n:whole])
		kernel.GridErrors(s.errors[:], s.x[:whole], s.scale[:], s.inv[:], s.lo[:], s.hi[:])
		for i, e := range s.errors {
			s.sum[i] += float64(e)
		}
		x = x[n:]
	}
	return slices.Min(s.sum[:])
}

// leastRange is the largest magnitude below which weights count as zero: far from where float32 scales lose digits.
const leastRange = 1e-30

// shrinkError is sum |w - q(w)|^2.4, or something above most once the sum is.
func (s GridSpec) shrinkError(x []float32, scale float32, zero int16, most float64) float64 {
	lo, hi := s.Range()
	cl, ch, z := float32(lo), float32(hi), float32(zero)
	sum := 0.0
	for len(x) > 0 && sum <= most {
		n := min(len(x), 64)
		for _, v := range x[:n] {
			c := min(max(float32(math.RoundToEven(float64(v/scale)))+z, cl), ch)
			sum += pow24(scale*(c-z) - v)
		}
		x = x[n:]
	}
	return sum
}

// pow24 is |x|^2.4 to 12 digits: x^2 (m c)^0.4 (1+d)^0.4 with x = m (1+d), m and its power from a table of the upper bits.
func pow24(x float32) float64 {
	b := math.Float32bits(x) &^ (1 << 31)
	if b < 1<<23 { // zero or denormal
		return 0
	}
	m := &powMantissa[b>>15&0xff]
	y := float64(math.Float32frombits(b))
	d := float64(math.Float32frombits(b&0x7fffff|0x3f800000))*m.inverse - 1
	return y * y * powExponent[b>>23] * m.power * (1 + d*(0.4+d*(-0.12+d*(0.064-0.0416*d))))
}

var (
	powExponent [256]float64 // 2^(0.4 e)
	powMantissa [256]struct{ power, inverse float64 }
)

func init() {
	for i := range 256 {
		powExponent[i] = math.Exp2((shrinkNorm - 2) * float64(i-127))
		c := 1 + (float64(i)+0.5)/256
		powMantissa[i].power, powMantissa[i].inverse = math.Pow(c, shrinkNorm-2), 1/c
	}
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
