package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/report"
)

// profile sums up what nodes took over all runs.
type profile struct {
	total time.Duration
	nodes map[string]*profileRow // by the names of the nodes that ran together
	ops   map[string]*profileRow
}

// profileRow is the time of one node (with those fused to it), or of all nodes of one kind.
type profileRow struct {
	Name         string  `json:"name"`
	Op           string  `json:"op"`
	Count        int     `json:"count"`
	Milliseconds float64 `json:"ms"`         // all runs together
	Fastest      float64 `json:"fastest_ms"` // of one call
	Share        float64 `json:"share"`
}

func newProfile() *profile {
	return &profile{nodes: map[string]*profileRow{}, ops: map[string]*profileRow{}}
}

// add is the executor's trace.
func (p *profile) add(nodes []*graph.Node, d time.Duration) {
	var names, kinds []string
	for _, n := range nodes {
		names, kinds = append(names, n.Name()), append(kinds, n.Op())
	}
	name, op := names[len(names)-1], strings.Join(kinds, "+")
	for i, m := range []map[string]*profileRow{p.nodes, p.ops} {
		key := []string{name, op}[i]
		r := m[key]
		if r == nil {
			r = &profileRow{Name: key, Op: op}
			m[key] = r
		}
		ms := d.Seconds() * 1e3
		if r.Count == 0 || ms < r.Fastest {
			r.Fastest = ms
		}
		r.Count++
		r.Milliseconds += ms
	}
	p.total += d
}

// rows lists a part of the profile, the longest first.
func (p *profile) rows(m map[string]*profileRow) []profileRow {
	var list []profileRow
	for _, r := range m {
		r.Share = r.Milliseconds / max(1e-9, p.total.Seconds()*1e3)
		list = append(list, *r)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Milliseconds != list[j].Milliseconds {
			return list[i].Milliseconds > list[j].Milliseconds
		}
		return list[i].Name < list[j].Name
	})
	return list
}

// profileNodes is how many nodes the table shows; --json has all.
const profileNodes = 20

// printProfile shows the time per operator and per node, and the most bytes of activations that were alive at one time.
func (a *app) printProfile(p *profile, peak int64) error {
	result := struct {
		Milliseconds float64      `json:"ms"`
		PeakBytes    int64        `json:"peak_activation_bytes"`
		Ops          []profileRow `json:"operators"`
		Nodes        []profileRow `json:"nodes"`
	}{p.total.Seconds() * 1e3, peak, p.rows(p.ops), p.rows(p.nodes)}
	return a.print(result, func(w io.Writer, width int) error {
		fmt.Fprintf(w, "time in nodes     %.3f ms\npeak activations  %.2f MB\n\n", result.Milliseconds, float64(peak)/1e6)
		number := func(r profileRow) []string {
			return []string{fmt.Sprint(r.Count), fmt.Sprintf("%.3f", r.Milliseconds), fmt.Sprintf("%.3f", r.Fastest), fmt.Sprintf("%.1f%%", 100*r.Share)}
		}
		ops := report.Table{Left: 1, Header: []string{"operator", "calls", "ms", "fastest", "share"}}
		for _, r := range result.Ops {
			ops.Rows = append(ops.Rows, append([]string{r.Name}, number(r)...))
		}
		if err := ops.Text(w, width); err != nil {
			return err
		}
		fmt.Fprintln(w)
		nodes := report.Table{Left: 2, Header: []string{"node", "operator", "calls", "ms", "fastest", "share"}}
		for _, r := range result.Nodes[:min(profileNodes, len(result.Nodes))] {
			nodes.Rows = append(nodes.Rows, append([]string{r.Name, r.Op}, number(r)...))
		}
		return nodes.Text(w, width)
	})
}
