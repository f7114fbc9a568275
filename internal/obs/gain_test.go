package obs

import (
	"context"
	"flag"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	full   = flag.Bool("full", false, "TestGain: all reference problems, and the means that must be reached")
	only   = flag.String("problems", "", "TestGain: only problems that this regular expression matches")
	gained = flag.String("methods", "", "TestGain: only methods that this regular expression matches")
)

// gains is what the refined methods must reach: the mean over the reference problems of our loss through the recorded one, the better of
// its two dampings, at the same bits, grids and patterns.
var gains = []struct {
	method string
	reach  float64
}{
	{"quant4", 0.93}, {"quant3", 0.93}, {"quant2", 0.90}, {"24", 0.88}, {"48", 0.88}, {"24+quant4", 0.85},
	{"unstr_0.5", 0.98}, {"unstr_0.7", 0.95}, {"unstr_0.9", 0.92}, {"block4_0.5", 0.98}, {"block4_0.7", 0.96}, {"block4_0.9", 0.95},
}

// TestGain compares the refined methods with the recorded losses: never above them, and with -full (all problems, a few minutes) within
// the means above. It prints the table of docs/ACCURACY.md: ratio, and processor time of refinement through that of the solve.
func TestGain(t *testing.T) {
	most := 120.0
	if *full {
		most = math.Inf(1)
	} else if testing.Short() {
		most = 30
	}
	best := map[string]map[string]float64{}
	var names []string
	columns := map[string]int{}
	for _, r := range readRecorded(t) {
		if float64(r.Columns) > most {
			continue
		}
		if best[r.Problem] == nil {
			best[r.Problem] = map[string]float64{}
			names = append(names, r.Problem)
			columns[r.Problem] = r.Columns
		}
		for m, l := range r.Loss {
			if old, ok := best[r.Problem][m]; !ok || l < old {
				best[r.Problem][m] = l
			}
		}
	}
	sum, worst, count := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, name := range names {
		if !regexp.MustCompile(*only).MatchString(name) {
			continue
		}
		line := fmt.Sprintf("%-21s", name)
		pr := readProblem(t, name)
		p, err := Prepare(pr.h, pr.w.Cols, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := &gainer{t: t, pr: pr, p: p, traces: map[int]*Trace{}, took: map[int]time.Duration{}}
		for _, m := range gains {
			ref, ok := best[name][m.method]
			if !ok || !regexp.MustCompile(*gained).MatchString(m.method) {
				line += fmt.Sprintf(" %13s", "-")
				continue
			}
			loss, solve, refine := g.run(m.method)
			ratio := loss / ref
			line += fmt.Sprintf(" %6.3f (%4.1f)", ratio, float64(refine)/float64(solve))
			sum[m.method], count[m.method] = sum[m.method]+ratio, count[m.method]+1
			worst[m.method] = max(worst[m.method], ratio)
			if ratio > 1.0001 {
				t.Errorf("%s, %s: loss %.6g, recorded %.6g", name, m.method, loss, ref)
			}
		}
		t.Log(line)
	}
	line, last := "mean                 ", "worst                "
	for _, m := range gains {
		mean := sum[m.method] / count[m.method]
		line += fmt.Sprintf(" %6.3f       ", mean)
		last += fmt.Sprintf(" %6.3f       ", worst[m.method])
		if *full && *only == "" && mean > m.reach {
			t.Errorf("%s: mean ratio %.4f, must reach %.2f", m.method, mean, m.reach)
		}
	}
	t.Log(line)
	t.Log(last)
}

// gainer runs refined methods on a problem.
type gainer struct {
	t      *testing.T
	pr     problem
	p      *Prepared
	traces map[int]*Trace
	took   map[int]time.Duration
}

// run is the loss of a refined method, the time of the plain method and that of all that is added to it.
func (g *gainer) run(method string) (loss float64, solve, refine time.Duration) {
	ctx, o, w, p := context.Background(), Options{}, g.pr.w, g.p
	ok := must2(g.t)
	now := clock()
	lap := func() time.Duration {
		d := clock() - now
		now += d
		return d
	}
	switch {
	case strings.HasPrefix(method, "quant"):
		bits, _ := strconv.Atoi(method[5:])
		spec := GridSpec{Bits: bits, Search: Shrink}
		grid, err := FitGrid(p.clean(w), spec)
		if err != nil {
			g.t.Fatal(err)
		}
		ok(Quantize(ctx, w, p, grid, nil, o))
		solve = lap()
		loss = ok(QuantizeBest(ctx, w, p, spec, nil, o)).TotalLoss()
		return loss, solve, lap() - solve
	case method == "24+quant4":
		s := ok(NM(ctx, w, p, 2, 4, o))
		grid, err := FitGrid(s.W, GridSpec{Bits: 4, Search: Shrink})
		if err != nil {
			g.t.Fatal(err)
		}
		ok(Quantize(ctx, w, p, grid, Zeros(s.W), o))
		solve = lap()
		loss = ok(QuantizeNM(ctx, w, p, 2, 4, grid.Spec, o)).TotalLoss()
		return loss, solve, lap() - solve
	case method == "24" || method == "48":
		n, m := int(method[0]-'0'), int(method[1]-'0')
		r := ok(NM(ctx, w, p, n, m, o))
		solve = lap()
		loss = ok(RefineNM(ctx, w, r, p, n, m, o)).TotalLoss()
		return loss, solve, lap()
	}
	c := 1
	if strings.HasPrefix(method, "block4") {
		c = 4
	}
	if g.traces[c] == nil {
		tr, err := NewTrace(ctx, w, p, c, o)
		if err != nil {
			g.t.Fatal(err)
		}
		g.traces[c], g.took[c] = tr, lap()
	}
	share, _ := strconv.ParseFloat(method[strings.IndexByte(method, '_')+1:], 64)
	x, err := g.traces[c].At(ctx, g.traces[c].Counts(share))
	if err != nil {
		g.t.Fatal(err)
	}
	lap()
	r := ok(RefineMask(ctx, w, &Result{W: x, LeftDense: w.Cols % c}, p, c, o))
	if a, b := removedUnits(x, c), removedUnits(r.W, c); a > b {
		g.t.Errorf("%s: %d blocks are removed, %d after refinement", method, a, b)
	}
	return r.TotalLoss(), g.took[c], lap()
}
