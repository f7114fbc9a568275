package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// HTML writes the run as one page that needs no other file and no network.
func (r *Run) HTML(w io.Writer) error {
	title := r.Title
	if title == "" {
		title = filepath.Base(r.Input) + ", compressed"
	}
	data := struct {
		Title, Lead, Recipe string
		Warnings            []string
		Summary             *Table
		Chart               *chart
		Tables              []Table
	}{Title: title, Recipe: r.Recipe, Chart: newChart(r)}
	data.Lead = fmt.Sprintf("%s to %s, calibrated on %s", filepath.Base(r.Input), filepath.Base(r.Output), r.Calibration)
	if r.Report != nil {
		data.Lead += fmt.Sprintf(" (%d samples), in %.1f s with %s %s", r.Samples, r.Seconds, r.Tool, r.Version)
		data.Warnings = r.Warnings
	}
	if tables := r.Tables(); len(tables) > 0 {
		data.Summary, data.Tables = &tables[0], tables[1:]
	}
	return page.Execute(w, data)
}
