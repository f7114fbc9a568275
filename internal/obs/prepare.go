package obs

import (
	"fmt"
	"math"
	"runtime"

	"github.com/obc-onnx/obc/internal/kernel"
)

// Prepared is a Hessian made ready for solving.
type Prepared struct {
	D       int
	H       []float64 // D x D, as given: without damping
	Hinv    []float64 // D x D, inverse of H with dead columns replaced and damping added; full, symmetric
	Dead    []bool    // columns whose input is always zero (H_pp = 0): their weights become 0
	Damping float64   // share of the mean diagonal in force, after raising
	Inflate float64   // largest Hinv_pp * H_pp (damped), the loss of digits that elimination meets; 1 for a diagonal H
	Raised  int       // how many times the damping had to be raised; report it when not 0
	Reach   int       // columns, from the first on, that groups and blocks may take; 0 = all

	fixed *fixedFactors // what the fixed-order methods have factorised so far
}

const (
	// firstDamping is what a damping of 0 is raised to when H cannot be inverted.
	firstDamping = 1e-6
	// worstCondition is the condition (1-norm) above which an inverse is not trusted in float64.
	worstCondition = 1e13
	// mostInflation is the Inflate up to which float32 serves.
	mostInflation = 1e4
	// mostRaised bounds the number of tenfold raises.
	mostRaised = 12
)

// Prepare replaces dead columns (H_pp = 0 becomes 1), adds damping * mean(diag H) to the diagonal and inverts through
// Cholesky. A matrix that is not positive definite, or too badly conditioned, has its damping raised tenfold (0 is raised to 1e-6) until
// it can be inverted; Damping and Raised tell. h is d x d, row-major, symmetric; it is kept, not changed.
func Prepare(h []float64, d int, damping float64) (*Prepared, error) {
	if d <= 0 || len(h) != d*d {
		return nil, fmt.Errorf("Hessian has %d numbers, expected %d x %d", len(h), d, d)
	}
	if damping < 0 || math.IsNaN(damping) || math.IsInf(damping, 0) {
		return nil, fmt.Errorf("damping is %v, expected a number >= 0", damping)
	}
	p := &Prepared{D: d, H: h, Dead: make([]bool, d), Damping: damping, fixed: &fixedFactors{}}
	mean := 0.0
	for i := range d {
		v := h[i*d+i]
		if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("Hessian diagonal %d is %v, expected a finite number >= 0: inputs of the layer are NaN, infinite or too large", i, v)
		}
		mean += v / float64(d)
	}
	for ; ; p.Raised++ {
		if p.Raised > mostRaised {
			return nil, fmt.Errorf("Hessian (%d x %d) cannot be inverted even with damping %v of its mean diagonal: check the calibration data", d, d, p.Damping)
		}
		if p.invert(mean) {
			return p, nil
		}
		p.Damping = max(p.Damping*10, firstDamping)
	}
}

// invert sets Hinv = (H + dead + damping*mean*I)^-1 and tells whether it worked.
func (p *Prepared) invert(mean float64) bool {
	d := p.D
	a := kernel.Slab[float64](d * d)
	p.dampInto(a, mean)
	diag := make([]float64, d)
	for i := range diag {
		diag[i] = a[i*d+i]
	}
	if kernel.CholInverse64(a, d, runtime.GOMAXPROCS(0)) != nil || !p.trusted(diag, a, mean) {
		return false
	}
	p.Hinv = a
	p.Inflate = 1
	for i, h := range diag {
		p.Inflate = max(p.Inflate, h*p.Hinv[i*d+i])
	}
	return true
}

// dampInto sets a = H + dead + damping*mean*I.
func (p *Prepared) dampInto(a []float64, mean float64) {
	d := p.D
	for i := range d {
		p.Dead[i] = p.H[i*d+i] == 0
	}
	kernel.Parallel(runtime.GOMAXPROCS(0), d, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := a[i*d : (i+1)*d]
			if p.Dead[i] {
				clear(row)
				row[i] = 1
			} else {
				copy(row, p.H[i*d:])
			}
			row[i] += p.Damping * mean
		}
	})
	for j, dead := range p.Dead {
		for i := 0; dead && i < d; i++ {
			if i != j {
				a[i*d+j] = 0
			}
		}
	}
}

// trusted tells whether the condition of the damped matrix, of that diagonal and inverse, is below worstCondition. For positive definite
// matrices the traces bound it, which nearly always suffices.
func (p *Prepared) trusted(diag, inverse []float64, mean float64) bool {
	d := p.D
	trace, traceInverse := 0.0, 0.0
	for i, h := range diag {
		trace += h
		traceInverse += inverse[i*d+i]
	}
	if trace*traceInverse*float64(d) < worstCondition { // the norms are at most sqrt(d) times the largest eigenvalues
		return true
	}
	a := kernel.Slab[float64](d * d)
	defer kernel.ReleaseSlab(a)
	p.dampInto(a, mean)
	return norm1(a, d)*norm1(inverse, d) < worstCondition
}

// norm1 is the greatest sum of magnitudes of a row of a d x d matrix.
func norm1(a []float64, d int) float64 {
	const part = 64 // rows
	most := make([]float64, (d+part-1)/part)
	kernel.Parallel(runtime.GOMAXPROCS(0), len(most), func(lo, hi int) {
		for k := lo; k < hi; k++ {
			for i := k * part; i < min(k*part+part, d); i++ {
				if sum := magnitude(a[i*d : (i+1)*d]); !(sum <= most[k]) { // NaN is the greatest
					most[k] = sum
				}
			}
		}
	})
	out := 0.0
	for _, m := range most {
		if !(m <= out) {
			out = m
		}
	}
	return out
}

// magnitude is sum |x|.
func magnitude(x []float64) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		s[0] += math.Abs(x[0])
		s[1] += math.Abs(x[1])
		s[2] += math.Abs(x[2])
		s[3] += math.Abs(x[3])
	}
	for _, v := range x {
		s[0] += math.Abs(v)
	}
	return s[0] + s[1] + (s[2] + s[3])
}

// whole is how many columns, from the first on, units of c columns take. Single columns are taken all.
func (p *Prepared) whole(c int) int {
	if p.Reach == 0 || c == 1 {
		return p.D - p.D%c
	}
	return p.Reach - p.Reach%c
}

// Reordered is p with column i where column order[i] was.
func (p *Prepared) Reordered(order []int) *Prepared {
	r := *p
	r.H = gather(nil, p.H, p.D, order, order)
	if p.Hinv != nil {
		r.Hinv = gather(nil, p.Hinv, p.D, order, order)
	}
	r.Dead, r.fixed = make([]bool, p.D), &fixedFactors{}
	for i, c := range order {
		r.Dead[i] = p.Dead[c]
	}
	return &r
}

// double tells whether elimination needs float64.
func (p *Prepared) double() bool { return p.Inflate > mostInflation }

// start is row r of w with dead columns at zero: where every method begins.
func (p *Prepared) start(w Matrix, r int, dst []float32) {
	copy(dst, w.Row(r))
	for i, dead := range p.Dead {
		if dead {
			dst[i] = 0
		}
	}
}

// clean is w with the weights of dead columns at zero.
func (p *Prepared) clean(w Matrix) Matrix {
	out := NewMatrix(w.Rows, w.Cols)
	for r := range w.Rows {
		p.start(w, r, out.Row(r))
	}
	return out
}
