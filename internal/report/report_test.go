package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/passes"
)

// sample is a run with everything that a report can hold, and names that a page must escape.
func sample() *Run {
	return &Run{
		Input: "dir/model.onnx", Output: "out.onnx", Calibration: "calib.npz", Recipe: "nm: 2:4\n",
		Scores: []Score{NewScore("top-1", "%", 0.94, 0.9391), NewScore("time per sample", "ms", 3, 1.5), {Name: "SNR", Unit: "dB", Compressed: new(float64)}},
		Report: &passes.Report{
			Tool: "obc", Version: "1", Samples: 256, Seconds: 1.25,
			Layers: []passes.LayerReport{
				{Name: "stem <&\"'> " + strings.Repeat("x", 60), Op: "Conv", Rows: 16, Cols: 9, Groups: 2, Form: "float32", RelativeLoss: 0},
				{Name: "fc", Op: "Gemm", Rows: 10, Cols: 128, Groups: 1, Pattern: "2:4", Sparsity: 0.5, Bits: 4, ActBits: 8, RelativeLoss: 0.00321, Form: "int8", Seconds: 0.5},
			},
			Kept:       []passes.KeptLayer{{Name: "Gather_3", Op: "Gather", Reason: "its weight is not constant"}},
			Passes:     []passes.PassReport{{Name: "simplify", Changes: 3, Notes: []string{"folded 2 BatchNormalization nodes", "removed 1 Identity"}}},
			Dense:      passes.ModelCost{Bytes: 2832402, Weights: 700000, MACs: 32e6, BOPs: 32e6 * 1024},
			Compressed: passes.ModelCost{Bytes: 740000, Weights: 700000, Sparsity: 0.5, MACs: 16e6, BOPs: 16e6 * 64},
			Target:     "bops=10x", Reached: 10.5, Opset: [2]int{13, 21}, PeakRSS: 512 << 20,
			Warnings: []string{"random calibration data: figures mean nothing"},
		},
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Text(&b, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"top-1", "94.00%", "93.91%", "3.00 ms", "2.00x", "2.70 MiB", "722.66 KiB", "3.83x", "32.00 M", "1.02 G", "32.00x",
		"2 x 16 x 9", "3.2e-03", "4/8", "its weight is not constant", "removed 1 Identity", "target bops=10x", "10.50x", "operator set", "512.00 MiB", "warning: random calibration data",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := sample().Text(&b, 60); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 60 && !strings.HasPrefix(line, "warning") {
			t.Errorf("%d characters: %s", n, line)
		}
	}
}

func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := sample().HTML(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"model.onnx, compressed", "93.91%", "<svg", "2:4", "random calibration data", "calibrated on calib.npz (256 samples)", "stem &lt;&amp;"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if m := regexp.MustCompile(`(?i)(src|href)=|https?://|url\(|@import|<script`).FindString(text); m != "" {
		t.Errorf("the page needs something outside of itself: %q", m)
	}
	if strings.Contains(text, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
	svg := text[strings.Index(text, "<svg") : strings.Index(text, "</svg>")+len("</svg>")]
	if err := wellFormed(svg); err != nil {
		t.Errorf("the chart is not well-formed: %v\n%s", err, svg)
	}
	if n := strings.Count(svg, "<rect"); n != 6 {
		t.Errorf("%d bars for 2 layers", n)
	}
}

func wellFormed(text string) error {
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestEmptyRun(t *testing.T) {
	for name, r := range map[string]*Run{"nothing": {}, "no layers": {Report: &passes.Report{}}} {
		var b bytes.Buffer
		if err := r.HTML(&b); err != nil || strings.Contains(b.String(), "<svg") {
			t.Errorf("%s: %v, %s", name, err, b.String())
		}
		if err := r.Text(&b, 80); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChart(t *testing.T) {
	r := sample()
	c := newChart(r)
	if got := c.Panels[0].Bars; got[0].Width != 0 || got[1].Width <= 0 || got[1].Width > float64(c.Panels[0].Width) {
		t.Errorf("loss bars %+v", got)
	}
	if got, w := c.Panels[1].Bars[1].Width, float64(c.Panels[1].Width); got != w/2 {
		t.Errorf("half of the weights are zero, the bar is %v of %v", got, w)
	}
	if got, w := c.Panels[2].Bars, float64(c.Panels[2].Width); got[0].Width != w || got[1].Width != w/8 {
		t.Errorf("bits bars %+v", got)
	}
	if !strings.HasPrefix(c.Labels[0].Text, "…") || len([]rune(c.Labels[0].Text)) != labelLength {
		t.Errorf("label %q", c.Labels[0].Text)
	}
	for _, x := range []struct {
		losses    []float64
		low, high int
	}{{[]float64{0}, -1, 0}, {[]float64{0.5}, -1, 0}, {[]float64{0.05}, -2, -1}, {[]float64{0.003, 2}, -3, 1}} {
		r.Report.Layers = nil
		for _, l := range x.losses {
			r.Report.Layers = append(r.Report.Layers, passes.LayerReport{RelativeLoss: l})
		}
		if low, high := lossRange(r); low != x.low || high != x.high {
			t.Errorf("losses %v: decades %d to %d, want %d to %d", x.losses, low, high, x.low, x.high)
		}
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, sample()); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"input", "output", "calibration", "recipe", "scores", "layers", "kept", "dense", "compressed", "warnings"} {
		if _, ok := back[key]; !ok {
			t.Errorf("no %q in %v", key, back)
		}
	}
	if !bytes.Contains(b.Bytes(), []byte("stem <&")) {
		t.Error("names are escaped as in HTML")
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(0), "0 B"}, {Bytes(1023), "1023 B"}, {Bytes(1024), "1.00 KiB"}, {Bytes(3 << 30), "3.00 GiB"},
		{Count(0), "0"}, {Count(999), "999"}, {Count(1000), "1.00 k"}, {Count(2.5e9), "2.50 G"},
		{ratio(3, 0), ""}, {ratio(3, 2), "1.50x"}, {Quantity(0.5, ""), "0.5"}, {Quantity(12.345, "dB"), "12.35 dB"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestGathered(t *testing.T) {
	got := gathered([]string{`layer "a" (Conv): widened`, "x is kept", `layer "b" (Conv): widened`, `layer "c" (Gemm): damped`})
	want := []string{"2 layers: widened", "x is kept", `layer "c" (Gemm): damped`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
