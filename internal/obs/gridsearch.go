package obs

import (
	"context"
	"math"
	"slices"

	"github.com/obc-onnx/obc/internal/kernel"
)

// QuantizeSearched chooses scale and zero point of each row (and group) by the layer loss and quantizes by OBQ on that grid. Of each row it
// tries candidates around the grid that spec asks for, rated by the loss of a fast quantizer with one column order for all rows (that of GPTQ
// with falling diagonal; d^2/2 multiply-adds a candidate), and solves the best of them and the grid of spec exactly: so no row's loss is above that of Quantize on FitGrid. A grid that all rows share is that of spec.
func QuantizeSearched(ctx context.Context, w Matrix, p *Prepared, spec GridSpec, mask []bool, o Options) (*Result, error) {
	return quantizeOn(ctx, w, w, p, spec, mask, o)
}

// QuantizeBest is QuantizeSearched, refined by coordinate descent.
func QuantizeBest(ctx context.Context, w Matrix, p *Prepared, spec GridSpec, mask []bool, o Options) (*Result, error) {
	res, err := QuantizeSearched(ctx, w, p, spec, mask, o)
	if err != nil {
		return nil, err
	}
	return RefineCodes(ctx, w, res, p, mask, Effort{}, o)
}

// quantizeOn is OBQ of w on a grid fitted to the weights like and chosen by loss.
func quantizeOn(ctx context.Context, w, like Matrix, p *Prepared, spec GridSpec, mask []bool, o Options) (*Result, error) {
	if err := checkShapes(w, p); err != nil {
		return nil, err
	}
	g, err := FitGrid(p.clean(like), spec)
	if err != nil {
		return nil, err
	}
	if err := checkQuantize(w, p, g, mask); err != nil {
		return nil, err
	}
	res, err := Quantize(ctx, w, p, g, mask, o)
	if err != nil || spec.Granularity == PerTensor {
		return res, err
	}
	found := *g
	found.Scale, found.Zero = append([]float32(nil), g.Scale...), append([]int16(nil), g.Zero...)
	if err := searchGrid(ctx, w, p, &found, mask, o); err != nil {
		return nil, err
	}
	other, err := Quantize(ctx, w, p, &found, mask, o)
	if err != nil {
		return nil, err
	}
	return other.keepBetter(w, res, p), nil
}

// searchGrid improves the scales and zero points of g by the loss of a fast quantizer.
func searchGrid(ctx context.Context, w Matrix, p *Prepared, g *Grid, mask []bool, o Options) error {
	f, err := newFixed(p, true)
	if err != nil {
		return err
	}
	u := f.permuted()
	return eachRow(ctx, w.Rows, o, func() *gridSearch { return newGridSearch(p, f.order, u, g) }, func(s *gridSearch, r int) error {
		s.row(w, mask, r)
		return nil
	})
}

// permuted is the factor with its columns in order of elimination: element [t*d+s] is that of step s >= t.
func (f *fixed) permuted() []float32 {
	d := len(f.order)
	u := make([]float32, d*d)
	for t := range d {
		for s := t; s < d; s++ {
			u[t*d+s] = f.u[t*d+f.order[s]]
		}
	}
	return u
}

// gridSearch rates grids of a row.
type gridSearch struct {
	p     *Prepared
	order []int
	u     []float32
	g     *Grid
	start []float32 // the row in order, after its masked columns have been removed
	x     []float32
	place []int32 // by step: place of its scale in the row
	fixed []bool  // by step
	scale []float32
	zero  []int16
}

func newGridSearch(p *Prepared, order []int, u []float32, g *Grid) *gridSearch {
	d := p.D
	s := &gridSearch{p: p, order: order, u: u, g: g, start: make([]float32, d), x: make([]float32, d), place: make([]int32, d), fixed: make([]bool, d),
		scale: make([]float32, g.Groups), zero: make([]int16, g.Groups)}
	for t, c := range order {
		s.place[t] = int32(g.Index(0, c))
	}
	return s
}

// loss is what quantizing the row on scale and zero costs in the fixed order, +Inf as soon as it exceeds most.
func (s *gridSearch) loss(most float64) float64 {
	d := len(s.order)
	lo, hi := s.g.Spec.Range()
	copy(s.x, s.start)
	sum := 0.0
	for t := range d {
		v := float32(0)
		if !s.fixed[t] {
			k := s.place[t]
			_, v = nearest(s.x[t], s.scale[k], s.zero[k], float32(lo), float32(hi))
		}
		u := s.u[t*d+t : (t+1)*d]
		e := (s.x[t] - v) / u[0]
		sum += float64(e) * float64(e) / 2
		if sum > most {
			return math.Inf(1)
		}
		kernel.Axpy(-e, u, s.x[t:])
	}
	return sum
}

// row replaces the scales and zero points of row r by the best found.
func (s *gridSearch) row(w Matrix, mask []bool, r int) {
	x := make([]float32, len(s.order))
	s.p.start(w, r, x)
	for t, c := range s.order {
		s.start[t] = x[c]
		s.fixed[t] = s.p.Dead[c] || mask != nil && mask[r*len(x)+c]
	}
	n := s.g.Groups
	lo, hi := s.g.Spec.Range()
	scale, zero := s.g.Scale[r*n:(r+1)*n], s.g.Zero[r*n:(r+1)*n]
	bs, bz := slices.Clone(scale), slices.Clone(zero)
	best := math.Inf(1)
	for _, f := range gridFactors {
		for dz := int16(-1); dz <= 1; dz++ {
			if dz != 0 && s.g.Spec.Symmetric {
				continue
			}
			for k := range n {
				s.scale[k], s.zero[k] = scale[k]*f, min(max(zero[k]+dz, int16(lo)), int16(hi)) // zero is a code
			}
			if l := s.loss(best); l < best {
				best = l
				copy(bs, s.scale)
				copy(bz, s.zero)
			}
		}
	}
	copy(scale, bs)
	copy(zero, bz)
}

// gridFactors is what scales are multiplied by.
var gridFactors = []float32{0.7, 0.75, 0.8, 0.84, 0.88, 0.92, 0.96, 1, 1.04, 1.08, 1.12, 1.16, 1.2, 1.25, 1.3, 1.4, 1.5}
