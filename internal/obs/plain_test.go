package obs

import "math"

// plain is the published form of the elimination in float64: the whole inverse Hessian of one row is updated after every
// removed column. The oracle that the engine is tested against.
type plain struct {
	d    int
	w    []float64
	inv  []float64 // d x d
	done []bool
}

func newPlain(w []float32, p *Prepared) *plain {
	e := &plain{d: p.D, inv: append([]float64(nil), p.Hinv...), done: make([]bool, p.D)}
	for i, v := range w {
		if p.Dead[i] {
			v = 0
		}
		e.w = append(e.w, float64(v))
	}
	return e
}

// eliminate gives column j the value target, moves the other weights of the row and takes j out of the inverse.
// It returns the rise of the loss.
func (e *plain) eliminate(j int, target float64) float64 {
	d := e.d
	row := append([]float64(nil), e.inv[j*d:(j+1)*d]...)
	diff := e.w[j] - target
	for i, v := range row {
		f := v / row[j]
		if !e.done[i] && i != j {
			e.w[i] -= f * diff
			for k, u := range row {
				e.inv[i*d+k] -= f * u
			}
		}
	}
	for i := range d {
		e.inv[i*d+j], e.inv[j*d+i] = 0, 0
	}
	e.w[j], e.done[j] = target, true
	return diff * diff / row[j] / 2
}

// cheapest is the open column of least w^2/diag among those that ok allows, -1 if there is none.
func (e *plain) cheapest(ok func(j int) bool) int {
	best, at := math.Inf(1), -1
	for j, w := range e.w {
		if e.done[j] || !ok(j) {
			continue
		}
		if s := w * w / e.inv[j*e.d+j]; s < best || at < 0 {
			best, at = s, j
		}
	}
	return at
}

func (e *plain) nm(n, m int) {
	gone := make([]int, e.d/m)
	for range len(gone) * (m - n) {
		j := e.cheapest(func(j int) bool { return j/m < len(gone) && gone[j/m] < m-n })
		e.eliminate(j, 0)
		gone[j/m]++
	}
}

// blockCost is 1/2 w_B^T ([Hinv]_BB)^-1 w_B for columns lo..lo+c-1.
func (e *plain) blockCost(lo, c int) float64 {
	s := &plain{d: c, done: make([]bool, c)}
	for i := lo; i < lo+c; i++ {
		s.w = append(s.w, e.w[i])
		s.inv = append(s.inv, e.inv[i*e.d+lo:i*e.d+lo+c]...)
	}
	sum := 0.0
	for i := range c {
		sum += s.eliminate(i, 0)
	}
	return sum
}

// trace removes blocks of c columns, cheapest first, until none is left; step gets the cost of each and sees the state after it.
func (e *plain) trace(c int, step func(block int, cost float64)) {
	gone := make([]bool, e.d/c)
	for range gone {
		best, at := math.Inf(1), -1
		for b, g := range gone {
			if !g {
				if s := e.blockCost(b*c, c); s < best || at < 0 {
					best, at = s, b
				}
			}
		}
		cost := 0.0
		for j := at * c; j < (at+1)*c; j++ {
			cost += e.eliminate(j, 0)
		}
		gone[at] = true
		step(at, cost)
	}
}

// obq quantizes every column: columns of mask first, to zero, then the cheapest one each time, unless some rounding error
// exceeds half a step: then the largest error first.
func (e *plain) obq(g *Grid, row int, mask []bool) {
	for j, m := range mask {
		if m {
			e.eliminate(j, 0)
		}
	}
	for {
		best, at, worst, out := math.Inf(1), -1, 0.0, -1
		for j, w := range e.w {
			if e.done[j] {
				continue
			}
			_, q := g.Quant(row, j, float32(w))
			err := (w - float64(q)) * (w - float64(q))
			if s := err / e.inv[j*e.d+j]; s < best || at < 0 {
				best, at = s, j
			}
			half := float64(g.Scale[g.Index(row, j)]) / 2
			if err > half*half && err > worst {
				worst, out = err, j
			}
		}
		if at < 0 {
			return
		}
		if out >= 0 {
			at = out
		}
		_, q := g.Quant(row, at, float32(e.w[at]))
		e.eliminate(at, float64(q))
	}
}
