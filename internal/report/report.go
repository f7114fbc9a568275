// Package report shows what a compression did: as JSON, as tables for a terminal, and as one HTML file that opens offline.
//
//	run := &report.Run{Input: "model.onnx", Output: "out.onnx", Report: result.Report}
//	err := run.Text(os.Stdout, width)
//	err = run.HTML(file)
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/obc-onnx/obc/passes"
)

// Run is one compression and what was measured on its result.
type Run struct {
	Title          string  `json:"-"`                // of the HTML page; "" = the input's name
	Input          string  `json:"input"`            // the dense model's file
	Output         string  `json:"output"`           // the file that was written
	Calibration    string  `json:"calibration"`      // the data as the user named it
	Recipe         string  `json:"recipe,omitempty"` // YAML, to repeat the run with
	Scores         []Score `json:"scores,omitempty"` // measured on the written model
	*passes.Report         // what was done
}

// Score is one figure of the dense and of the compressed model. A nil figure has no meaning there.
type Score struct {
	Name       string   `json:"name"`
	Unit       string   `json:"unit,omitempty"` // "%", "dB", "ms", ...; values with "%" are shares of 1
	Dense      *float64 `json:"dense,omitempty"`
	Compressed *float64 `json:"compressed,omitempty"`
}

// NewScore is a Score with both figures.
func NewScore(name, unit string, dense, compressed float64) Score {
	return Score{name, unit, &dense, &compressed}
}

// JSON writes v indented, with a newline at its end.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Table is what a terminal and an HTML page show alike. Columns from the Left'th on are numbers, shown to the right.
type Table struct {
	Title  string
	Left   int
	Header []string
	Rows   [][]string
}

// Tables are the run's tables that have rows: the summary, compressed layers, layers left dense, passes.
func (r *Run) Tables() []Table {
	var out []Table
	for _, t := range []Table{r.summary(), r.layers(), r.kept(), r.passes()} {
		if len(t.Rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (r *Run) summary() Table {
	t := Table{Title: "Dense and compressed", Left: 1, Header: []string{"", "dense", "compressed", "ratio"}}
	for _, s := range r.Scores {
		row := []string{s.Name, "", "", ""}
		for i, v := range []*float64{s.Dense, s.Compressed} {
			if v != nil {
				row[i+1] = Quantity(*v, s.Unit)
			}
		}
		if s.Unit == "ms" && s.Dense != nil && s.Compressed != nil {
			row[3] = ratio(*s.Dense, *s.Compressed)
		}
		t.Rows = append(t.Rows, row)
	}
	if r.Report == nil {
		return t
	}
	d, c := r.Dense, r.Compressed
	t.Rows = append(t.Rows,
		[]string{"file size", Bytes(d.Bytes), Bytes(c.Bytes), ratio(float64(d.Bytes), float64(c.Bytes))},
		[]string{"zeros in weights", Quantity(d.Sparsity, "%"), Quantity(c.Sparsity, "%"), ""},
		[]string{"MACs per sample", Count(d.MACs), Count(c.MACs), ratio(d.MACs, c.MACs)},
		[]string{"BOPs per sample", Count(d.BOPs), Count(c.BOPs), ratio(d.BOPs, c.BOPs)},
	)
	if r.Target != "" {
		t.Rows = append(t.Rows, []string{"target " + r.Target, "", "", strconv.FormatFloat(r.Reached, 'f', 2, 64) + "x"})
	}
	if r.Opset[0] != r.Opset[1] {
		t.Rows = append(t.Rows, []string{"operator set", strconv.Itoa(r.Opset[0]), strconv.Itoa(r.Opset[1]), ""})
	}
	if r.PeakRSS > 0 {
		t.Rows = append(t.Rows, []string{"peak memory of the run", "", Bytes(r.PeakRSS), ""})
	}
	return t
}

func (r *Run) layers() Table {
	t := Table{Title: "Compressed layers", Left: 4,
		Header: []string{"layer", "op", "pattern", "stored as", "rows x columns", "zeros", "bits", "relative loss", "seconds"}}
	if r.Report == nil {
		return t
	}
	for _, l := range r.Report.Layers {
		shape := fmt.Sprintf("%d x %d", l.Rows, l.Cols)
		if l.Groups > 1 {
			shape = fmt.Sprintf("%d x %s", l.Groups, shape)
		}
		t.Rows = append(t.Rows, []string{l.Name, l.Op, orDash(l.Pattern), l.Form, shape, Quantity(l.Sparsity, "%"), bits(l), loss(l.RelativeLoss), fmt.Sprintf("%.2f", l.Seconds)})
	}
	return t
}

func (r *Run) kept() Table {
	t := Table{Title: "Left dense", Left: 3, Header: []string{"layer", "op", "reason"}}
	if r.Report == nil {
		return t
	}
	for _, k := range r.Kept {
		t.Rows = append(t.Rows, []string{k.Name, k.Op, k.Reason})
	}
	return t
}

func (r *Run) passes() Table {
	t := Table{Title: "Passes", Left: 2, Header: []string{"pass", "notes", "changes", "seconds"}}
	if r.Report == nil {
		return t
	}
	for _, p := range r.Passes {
		t.Rows = append(t.Rows, []string{p.Name, strings.Join(gathered(p.Notes), "\n"), strconv.Itoa(p.Changes), fmt.Sprintf("%.2f", p.Seconds)})
	}
	return t
}

// gathered counts the layers of notes that say the same, for people to read; the JSON report has each.
func gathered(notes []string) []string {
	count, order := map[string]int{}, []string{}
	single := map[string]string{}
	for _, n := range notes {
		what := n
		if _, said, ok := strings.Cut(n, "): "); ok && strings.HasPrefix(n, "layer ") {
			what = said
		}
		if count[what]++; count[what] == 1 {
			single[what], order = n, append(order, what)
		}
	}
	for i, what := range order {
		order[i] = single[what]
		if count[what] > 1 {
			order[i] = fmt.Sprintf("%d layers: %s", count[what], what)
		}
	}
	return order
}

// bits shows the bits of weights and, after a slash, of activations: "8/8", "4", "32".
func bits(l passes.LayerReport) string {
	w := strconv.Itoa(weightBits(l))
	if l.ActBits > 0 {
		w += "/" + strconv.Itoa(l.ActBits)
	}
	return w
}

func weightBits(l passes.LayerReport) int {
	if l.Bits == 0 {
		return 32
	}
	return l.Bits
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func loss(x float64) string {
	if x == 0 {
		return "0"
	}
	return strconv.FormatFloat(x, 'e', 1, 64)
}

func ratio(dense, compressed float64) string {
	if dense <= 0 || compressed <= 0 {
		return ""
	}
	return strconv.FormatFloat(dense/compressed, 'f', 2, 64) + "x"
}

// Quantity shows a figure with its unit; with "%" it is a share of 1.
func Quantity(x float64, unit string) string {
	switch unit {
	case "%":
		return strconv.FormatFloat(100*x, 'f', 2, 64) + "%"
	case "":
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64) + " " + unit
}

// Bytes shows a size with two decimals in units of 1024: "2.70 MiB".
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	x, units := float64(n), "KMGTPE"
	at := -1
	for x >= 1024 && at+1 < len(units) {
		x /= 1024
		at++
	}
	return fmt.Sprintf("%.2f %ciB", x, units[at])
}

// Count shows a number with a decimal prefix: "1.23 G".
func Count(x float64) string {
	if math.Abs(x) < 1000 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	units := "kMGTPE"
	at := -1
	for math.Abs(x) >= 1000 && at+1 < len(units) {
		x /= 1000
		at++
	}
	return fmt.Sprintf("%.2f %c", x, units[at])
}

// Lost is how far the compressed figure is below the dense one; 0 without both.
func (s Score) Lost() float64 {
	if s.Dense == nil || s.Compressed == nil {
		return 0
	}
	return *s.Dense - *s.Compressed
}
