package report

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Text writes the run's warnings and tables for people. Lines are cut at width characters; 0 = never.
func (r *Run) Text(w io.Writer, width int) error {
	for _, t := range r.Tables() {
		if err := t.Text(w, width); err != nil {
			return err
		}
	}
	if r.Report == nil {
		return nil
	}
	for _, warning := range r.Warnings {
		if _, err := fmt.Fprintf(w, "warning: %s\n", warning); err != nil {
			return err
		}
	}
	return nil
}

// noteWidth is where sentences in a table go on in the next line.
const noteWidth = 80

// Text writes the table for people, with its title above and an empty line below.
func (t Table) Text(w io.Writer, width int) error {
	tw := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatDefault
	tw.SetStyle(style)
	if width > 0 {
		tw.SetAllowedRowLength(width)
	}
	tw.AppendHeader(row(t.Header))
	for _, r := range t.Rows {
		tw.AppendRow(row(r))
	}
	var columns []table.ColumnConfig
	for i := range t.Header {
		c := table.ColumnConfig{Number: i + 1, AlignHeader: text.AlignLeft}
		if t.Header[i] == "notes" {
			c.WidthMax, c.WidthMaxEnforcer = noteWidth, text.WrapSoft
		}
		if i >= t.Left {
			c.Align, c.AlignHeader = text.AlignRight, text.AlignRight
		}
		columns = append(columns, c)
	}
	tw.SetColumnConfigs(columns)
	if t.Title != "" {
		if _, err := fmt.Fprintln(w, t.Title); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s\n\n", tw.Render())
	return err
}

func row(cells []string) table.Row {
	r := make(table.Row, len(cells))
	for i, c := range cells {
		r[i] = c
	}
	return r
}
