package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// figure is one measured number with its unit, as benchstat reads it: "5310 ns/op".
type figure struct{ number, unit string }

// measured writes a number as format does.
func measured(format string, x any, unit string) figure { return figure{fmt.Sprintf(format, x), unit} }

// timing is a line of timings in JSON.
type timing struct {
	Name    string                 `json:"name"`
	Figures map[string]json.Number `json:"figures"` // by unit
}

// timed prints a line of timings at once, so that whoever takes turns with it reads it in time, or with --json keeps it for
// printTimings.
func (a *app) timed(name string, figures ...figure) {
	if a.json {
		t := timing{name, map[string]json.Number{}}
		for _, f := range figures {
			t.Figures[f.unit] = json.Number(f.number)
		}
		a.timings = append(a.timings, t)
		return
	}
	var b strings.Builder
	for _, f := range figures {
		fmt.Fprintf(&b, "\t%s %s", f.number, f.unit)
	}
	fmt.Fprintf(a.out, "%s\t1%s\n", name, b.String())
}

// remark prints a line that benchstat skips; figures alone go into JSON, from which all that remarks say can be worked out.
func (a *app) remark(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.out, format, args...)
	}
}

// printTimings prints what timed has kept.
func (a *app) printTimings() error {
	if !a.json {
		return nil
	}
	return a.print(append([]timing{}, a.timings...), func(io.Writer, int) error { return nil })
}
