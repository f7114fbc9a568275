package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// LogPlot draws curves over two logarithmic axes as SVG.
type LogPlot struct {
	Title, X, Y string
	Curves      []Curve
}

// Curve is points joined by lines.
type Curve struct {
	Name   string
	Dashed bool
	Points [][2]float64
}

// Add appends a point.
func (c *Curve) Add(x, y float64) { c.Points = append(c.Points, [2]float64{x, y}) }

// Exponent is e of the least-squares fit y = a x^e in logarithms, over the points from x = from on; NaN for fewer than two.
func (c *Curve) Exponent(from float64) float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range c.Points {
		if p[0] >= from {
			x, y := math.Log(p[0]), math.Log(p[1])
			n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
		}
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// Add appends c, unless a curve of that name is there.
func (p *LogPlot) Add(c Curve) {
	for _, old := range p.Curves {
		if old.Name == c.Name {
			return
		}
	}
	p.Curves = append(p.Curves, c)
}

const (
	plotWidth, plotHeight                 = 860, 520
	plotLeft, plotRight, plotTop, plotLow = 80, 20, 46, 60
	legendLine                            = 18
)

var plotColours = []string{"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b"}

// SVG writes the drawing.
func (p *LogPlot) SVG(w io.Writer) error {
	x, y := newLogAxis(plotLeft, plotWidth-plotRight), newLogAxis(plotHeight-plotLow, plotTop)
	for _, c := range p.Curves {
		for _, q := range c.Points {
			x.see(q[0])
			y.see(q[1])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="16">%s</text>`+"\n", plotLeft, html.EscapeString(p.Title))
	for _, t := range x.ticks() {
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n",
			x.at(t), plotTop, plotHeight-plotLow, x.at(t), plotHeight-plotLow+18, t)
	}
	for _, t := range y.ticks() {
		fmt.Fprintf(&b, `<path d="M%d %.1f H%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			plotLeft, y.at(t), plotWidth-plotRight, plotLeft-8, y.at(t)+4, t)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (plotLeft+plotWidth)/2, plotHeight-18, html.EscapeString(p.X))
	fmt.Fprintf(&b, `<text transform="translate(22 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotHeight/2, html.EscapeString(p.Y))
	for i, c := range p.Curves {
		colour, dash := plotColours[i%len(plotColours)], ""
		if c.Dashed {
			dash = ` stroke-dasharray="6 4"`
		}
		var line strings.Builder
		for _, q := range c.Points {
			fmt.Fprintf(&line, "%.1f,%.1f ", x.at(q[0]), y.at(q[1]))
			if !c.Dashed {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.at(q[0]), y.at(q[1]), colour)
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.TrimSpace(line.String()), colour, dash)
		at := plotTop + 16 + i*legendLine
		fmt.Fprintf(&b, `<path d="M%d %d h28" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d">%s</text>`+"\n",
			plotLeft+14, at-4, colour, dash, plotLeft+50, at, html.EscapeString(c.Name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// logAxis maps lo..hi to pixels from..to, by logarithms.
type logAxis struct{ lo, hi, from, to float64 }

func newLogAxis(from, to int) *logAxis {
	return &logAxis{math.Inf(1), math.Inf(-1), float64(from), float64(to)}
}

func (a *logAxis) see(v float64) { a.lo, a.hi = min(a.lo, v), max(a.hi, v) }

func (a *logAxis) at(v float64) float64 {
	return a.from + (a.to-a.from)*math.Log(v/a.lo)/math.Log(a.hi/a.lo)
}

// ticks are 1, 2 and 5 times powers of ten, or only the powers where there are many.
func (a *logAxis) ticks() (t []float64) {
	steps := []float64{1, 2, 5}
	if a.hi/a.lo > 1e3 {
		steps = steps[:1]
	}
	for e := math.Floor(math.Log10(a.lo)); e <= math.Log10(a.hi); e++ {
		for _, s := range steps {
			if v := s * math.Pow(10, e); v >= a.lo && v <= a.hi {
				t = append(t, v)
			}
		}
	}
	return t
}
