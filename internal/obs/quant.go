package obs

import (
	"context"
	"fmt"
)

// Quantize is OBQ: each row is quantized onto g column by column, the cheapest first, except that columns whose rounding
// error exceeds half a step go at once, largest error first. Where mask (rows*cols, nil = none) is true the weight is
// removed first and stays zero: its code is the zero point.
func Quantize(ctx context.Context, w Matrix, p *Prepared, g *Grid, mask []bool, o Options) (*Result, error) {
	if err := checkQuantize(w, p, g, mask); err != nil {
		return nil, err
	}
	out, err := round32or64(ctx, w, p, g, mask, o)
	if err != nil {
		return nil, err
	}
	return quantized(w, out, p, g), nil
}

func round32or64(ctx context.Context, w Matrix, p *Prepared, g *Grid, mask []bool, o Options) (Matrix, error) {
	return inPrecision(p,
		func() (Matrix, error) {
			return solveRows(ctx, w, p, o, func() rule[float32] { return &rounding[float32]{g: g, mask: mask} })
		},
		func() (Matrix, error) {
			return solveRows(ctx, w, p, o, func() rule[float64] { return &rounding[float64]{g: g, mask: mask} })
		})
}

func checkQuantize(w Matrix, p *Prepared, g *Grid, mask []bool) error {
	if err := checkShapes(w, p); err != nil {
		return err
	}
	return checkGrid(w, g, mask)
}

func checkGrid(w Matrix, g *Grid, mask []bool) error {
	if mask != nil && len(mask) != len(w.Data) {
		return fmt.Errorf("mask has %d elements, the weight matrix %d", len(mask), len(w.Data))
	}
	if w.Rows == 0 || w.Cols == 0 {
		return nil
	}
	if want := g.Index(w.Rows-1, w.Cols-1) + 1; g.Cols != w.Cols || len(g.Scale) < want || len(g.Zero) < want {
		return fmt.Errorf("grid was fitted to another matrix: it has %d columns and %d scales, the weight matrix is %d x %d", g.Cols, len(g.Scale), w.Rows, w.Cols)
	}
	return nil
}

// quantized completes the result of a quantizing method: out holds grid values, their codes follow.
func quantized(w, out Matrix, p *Prepared, g *Grid) *Result {
	res := &Result{W: out, Loss: Loss(w, out, p.H), Codes: make([]int16, len(out.Data)), Grid: g}
	for r := range out.Rows {
		for c, v := range out.Row(r) {
			res.Codes[r*out.Cols+c], _ = g.Quant(r, c, v)
		}
	}
	return res
}
