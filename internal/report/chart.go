package report

import (
	"fmt"
	"math"
)

// chart draws three bars a layer side by side: relative loss on a logarithmic axis, share of zeros, bits of a weight. The
// template page.html turns it into SVG; all numbers here are in its user units.
type chart struct {
	Width, Height int
	LabelWidth    int
	Panels        []panel
	Labels        []label
}

type label struct {
	Y          float64
	Text, Full string
}

type panel struct {
	X, Width int
	Title    string
	Class    string // colour class of the bars
	Ticks    []tick
	Bars     []bar
}

type tick struct {
	X    float64
	Text string
}

type bar struct {
	Y, Width float64
	Value    string
}

const (
	chartWidth  = 1000
	chartLabel  = 280
	chartTop    = 44 // title and tick labels
	rowHeight   = 18
	barHeight   = 12
	panelGap    = 40
	labelLength = 38 // characters
)

// newChart lays out the run's compressed layers; nil when there are none.
func newChart(r *Run) *chart {
	if r.Report == nil || len(r.Report.Layers) == 0 {
		return nil
	}
	layers := r.Report.Layers
	c := &chart{Width: chartWidth, Height: chartTop + rowHeight*len(layers) + 8, LabelWidth: chartLabel}
	low, high := lossRange(r)
	width := (chartWidth - chartLabel - 3*panelGap) / 3
	var panels [3]panel
	for i, title := range []string{"relative loss", "zeros", "bits per weight"} {
		panels[i] = panel{X: chartLabel + i*(width+panelGap), Width: width, Title: title, Class: []string{"loss", "zeros", "bits"}[i]}
	}
	decades := high - low
	for d := 0; d <= decades; d += max(1, (decades+4)/5) {
		panels[0].Ticks = append(panels[0].Ticks, tick{float64(width*d) / float64(decades), fmt.Sprintf("1e%d", low+d)})
	}
	for _, p := range []int{0, 50, 100} {
		panels[1].Ticks = append(panels[1].Ticks, tick{float64(width*p) / 100, fmt.Sprintf("%d%%", p)})
	}
	for _, b := range []int{0, 8, 16, 32} {
		panels[2].Ticks = append(panels[2].Ticks, tick{float64(width*b) / 32, fmt.Sprint(b)})
	}
	for i, l := range layers {
		y := float64(chartTop + rowHeight*i)
		c.Labels = append(c.Labels, label{y + barHeight - 2, shorten(l.Name), l.Name})
		share := 0.0
		if l.RelativeLoss > 0 {
			share = (math.Log10(l.RelativeLoss) - float64(low)) / float64(decades)
		}
		for j, b := range []bar{{y, share, loss(l.RelativeLoss)}, {y, l.Sparsity, Quantity(l.Sparsity, "%")}, {y, float64(weightBits(l)) / 32, bits(l)}} {
			b.Width = math.Max(0, math.Min(1, b.Width)) * float64(width)
			panels[j].Bars = append(panels[j].Bars, b)
		}
	}
	c.Panels = panels[:]
	return c
}

// lossRange is the decades that hold all relative losses above zero; at least one.
func lossRange(r *Run) (low, high int) {
	smallest, largest := math.Inf(1), 0.0
	for _, l := range r.Report.Layers {
		if l.RelativeLoss > 0 && !math.IsInf(l.RelativeLoss, 0) {
			smallest, largest = min(smallest, l.RelativeLoss), max(largest, l.RelativeLoss)
		}
	}
	if largest == 0 {
		return -1, 0
	}
	low, high = int(math.Ceil(math.Log10(smallest)))-1, int(math.Ceil(math.Log10(largest)))
	return low, max(high, low+1)
}

// shorten keeps the end of a long name, which tells layers apart.
func shorten(name string) string {
	if r := []rune(name); len(r) > labelLength {
		return "…" + string(r[len(r)-labelLength+1:])
	}
	return name
}
