package obs

import (
	"context"
	"fmt"
)

// mostRounds bounds the rounds of a row's descent.
const mostRounds = 12

// RefineCodes lowers the loss of a quantized result by coordinate descent: single codes, then pairs of codes, then the scales in closed form,
// again and again until nothing is won. Weights of mask (nil = none) stay zero. A scale that all rows share stays as it is. Each
// round costs a few d^2 operations a row. Rows whose undamped loss would not fall stay as they are.
func RefineCodes(ctx context.Context, w Matrix, res *Result, p *Prepared, mask []bool, o Options) (*Result, error) {
	return refineCodes(ctx, w, res, p, mask, 0, 0, o)
}

// refineCodes is RefineCodes in which, if m > 0, columns may also change places within an n:m pattern.
func refineCodes(ctx context.Context, w Matrix, res *Result, p *Prepared, mask []bool, n, m int, o Options) (*Result, error) {
	if err := checkCodes(w, res, p, mask); err != nil {
		return nil, err
	}
	h := p.damped()
	h32 := narrow(h)
	out := copyCodes(w, res, p)
	err := eachRow(ctx, w.Rows, o, func() *descent { return newDescent(p, h, h32, out.Grid) }, func(s *descent, r int) error {
		s.n, s.m = n, m
		s.start(p, w, out.Codes, out.Grid, mask, r)
		s.run(mostRounds)
		s.keep(w, out, p, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkCodes(w Matrix, res *Result, p *Prepared, mask []bool) error {
	if err := checkRefine(w, res, p); err != nil {
		return err
	}
	if res.Grid == nil || len(res.Codes) != len(w.Data) {
		return fmt.Errorf("result to refine has %d codes, expected %d: it must come from a quantizing method", len(res.Codes), len(w.Data))
	}
	return checkGrid(w, res.Grid, mask)
}

// copyCodes is a copy of res to change, with its losses against w.
func copyCodes(w Matrix, res *Result, p *Prepared) *Result {
	g := *res.Grid
	g.Scale, g.Zero = append([]float32(nil), g.Scale...), append([]int16(nil), g.Zero...)
	return &Result{W: res.W.Clone(), Loss: Loss(w, res.W, p.H), LeftDense: res.LeftDense, Codes: append([]int16(nil), res.Codes...), Grid: &g}
}

// keep gives row r of out the state of s if that lowers its undamped loss.
func (s *descent) keep(w Matrix, out *Result, p *Prepared, r int) {
	d := s.d
	x := NewMatrix(1, d)
	for c := range d {
		x.Data[c] = s.value(c)
	}
	l := Loss(Matrix{1, d, w.Row(r)}, x, p.H)[0]
	if !(l < out.Loss[r]) {
		return
	}
	out.Loss[r] = l
	copy(out.W.Row(r), x.Data)
	for c, v := range s.code {
		out.Codes[r*d+c] = int16(v)
	}
	if s.spec.Granularity != PerTensor {
		copy(out.Grid.Scale[r*len(s.scale):], s.scale)
		copy(out.Grid.Zero[r*len(s.zero):], s.zero)
	}
}

// narrow is x in float32.
func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
