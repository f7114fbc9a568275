package ops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/onnxio"
)

// updateVar is the environment variable that makes TestConformance write docs/CONFORMANCE.md instead of comparing it.
const updateVar = "OBC_UPDATE"

// checkTable compares docs/CONFORMANCE.md with what the results give.
func checkTable(t *testing.T, root string, results map[string]bool, reasons map[string]string) {
	rival := rivalResults(t)
	path := filepath.Join(testkit.Root(), "docs", "CONFORMANCE.md")
	want := conformanceTable(t, root, results, rival, reasons)
	if os.Getenv(updateVar) != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != want {
		t.Errorf("docs/CONFORMANCE.md is not what the vectors give (%v): run %s=1 go test -run TestConformance ./internal/exec/ops", err, updateVar)
	}
}

// rivalResults reads what ONNX Runtime makes of the vectors: lines of name and pass, fail or unsupported.
func rivalResults(t *testing.T) map[string]string {
	text, err := os.ReadFile(filepath.Join(testkit.Shared(t), "onnx-node-tests.ort-1.32.txt"))
	if err != nil {
		t.Skipf("no results of ONNX Runtime: %v", err)
	}
	list := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, result, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			list[name] = result
		}
	}
	return list
}

// opVersion is an operator as it is from one version of its domain on.
type opVersion struct {
	domain, name string
	since        int
}

// score counts vectors.
type score struct{ total, ours, rival int }

// standardOperators reads operators.txt: the versions of each operator, ascending, and those that are deprecated.
func standardOperators(t *testing.T) (versions map[[2]string][]int, deprecated map[opVersion]bool) {
	text, err := os.ReadFile("testdata/conformance/operators.txt")
	if err != nil {
		t.Fatal(err)
	}
	versions, deprecated = map[[2]string][]int{}, map[opVersion]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		since, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		key := [2]string{f[0], f[1]}
		versions[key] = append(versions[key], since)
		if f[4] == "deprecated" {
			deprecated[opVersion{f[0], f[1], since}] = true
		}
	}
	for _, l := range versions {
		sort.Ints(l)
	}
	return versions, deprecated
}

// subject tells which operator, in which version, a vector is about: the only one in its model, or the one that its name begins with.
// The expanded form of a vector, with the operator's function body in its place, counts for the operator too.
func subject(root, name string, versions map[[2]string][]int) (opVersion, error) {
	base := regexp.MustCompile(`_expanded(_ver\d+)?$`).ReplaceAllString(name, "")
	path := filepath.Join(root, "node", base, "model.onnx")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(root, "node", name, "model.onnx")
	}
	m, err := onnxio.Load(path)
	if err != nil {
		return opVersion{}, err
	}
	plain := strings.ReplaceAll(strings.TrimPrefix(base, "test_"), "_", "")
	var best opVersion
	longest := -1
	for _, n := range m.Proto.Graph.Node {
		fit := 0
		if op := strings.ToLower(n.GetOpType()); strings.Contains(plain, op) {
			fit = len(op)
		}
		if fit <= longest {
			continue
		}
		longest = fit
		best = opVersion{domain: n.GetDomain(), name: n.GetOpType()}
	}
	if best.domain == "" {
		best.domain = "ai.onnx"
	}
	for _, since := range versions[[2]string{best.domain, best.name}] {
		if since <= m.Opset(strings.TrimSuffix(best.domain, "ai.onnx")) || best.domain != "ai.onnx" && since <= m.Opset(best.domain) {
			best.since = since
		}
	}
	return best, nil
}

// conformanceTable writes the document.
func conformanceTable(t *testing.T, root string, results map[string]bool, rival map[string]string, reasons map[string]string) string {
	versions, deprecated := standardOperators(t)
	scores := map[opVersion]*score{}
	byKind := map[string]*score{}
	for _, kind := range kinds {
		byKind[kind] = &score{}
	}
	for key, ok := range results {
		kind, name, _ := strings.Cut(key, "/")
		list := []*score{byKind[kind]}
		if kind == "node" {
			op, err := subject(root, name, versions)
			if err != nil {
				t.Fatal(err)
			}
			if scores[op] == nil {
				scores[op] = &score{}
			}
			list = append(list, scores[op])
		}
		for _, s := range list {
			s.total++
			if ok {
				s.ours++
			}
			if rival[key] == "pass" {
				s.rival++
			}
		}
	}
	var b strings.Builder
	writeSummary(&b, byKind)
	writeFailures(&b, results, reasons)
	writeOperators(&b, versions, deprecated, scores)
	return b.String()
}

func writeSummary(b *strings.Builder, byKind map[string]*score) {
	node := byKind["node"]
	fmt.Fprintf(b, `# Conformance

Written by a test; do not edit. Where the official vectors are unpacked (see CONTRIBUTING.md), this writes it anew, and without
the variable the test fails when it is stale:

    %s=1 go test -run TestConformance ./internal/exec/ops

obc passes **%d of %d** operator vectors of onnx 1.23.2; ONNX Runtime 1.32 passes %d.

| vectors | number | obc | ONNX Runtime 1.32 |
| --- | --- | --- | --- |
`, updateVar, node.ours, node.total, node.rival)
	for _, kind := range kinds {
		s := byKind[kind]
		r := strconv.Itoa(s.rival)
		if kind == "light" {
			r = "not measured"
		}
		fmt.Fprintf(b, "| %s | %d | %d | %s |\n", kind, s.total, s.ours, r)
	}
	b.WriteString(`
A vector passes when each output has the expected type and shape, and each number is within the vector's own tolerance (1e-3
relative and 1e-7 absolute unless it says otherwise; two steps for bfloat16, as in the standard's runner).
`)
}

func writeFailures(b *strings.Builder, results map[string]bool, reasons map[string]string) {
	b.WriteString("\n## What does not pass\n\n| vector | reason |\n| --- | --- |\n")
	var names []string
	for name, ok := range results {
		if !ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(b, "| %s | %s |\n", name, reasons[name])
	}
}

// oldest is the oldest version of the default operator set that models are expected in.
const oldest = 7

func writeOperators(b *strings.Builder, versions map[[2]string][]int, deprecated map[opVersion]bool, scores map[opVersion]*score) {
	fmt.Fprintf(b, `
## Operators

Each operator in each version that the operator sets %d to %d of ai.onnx, and all sets of the other domains, hold. A vector counts for
the operator that it is about, also in its expanded form. "runs" has no vector of its own: it is tested by this project's tests, by
the vectors of its other versions, or by whole models.

| operator | since | vectors | obc | ONNX Runtime 1.32 | status |
| --- | --- | --- | --- | --- | --- |
`, oldest, exec.NewestOpset)
	keys := make([][2]string, 0, len(versions))
	for k := range versions {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		list := versions[k]
		for i, since := range list {
			if k[0] == "ai.onnx" && i+1 < len(list) && list[i+1] <= oldest {
				continue
			}
			op := opVersion{k[0], k[1], since}
			s := scores[op]
			if s == nil {
				s = &score{}
			}
			name := k[1]
			if k[0] != "ai.onnx" {
				name = k[0] + "." + name
			}
			ours, theirs := "-", "-"
			if s.total > 0 {
				ours, theirs = strconv.Itoa(s.ours), strconv.Itoa(s.rival)
			}
			fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %s |\n", name, since, s.total, ours, theirs, op.status(s, deprecated[op]))
		}
	}
}

func (op opVersion) status(s *score, deprecated bool) string {
	_, known := exec.Lookup(op.domain, op.name, op.since)
	if op.name == "Constant" && op.domain == "ai.onnx" { // a value, not a computation
		known = true
	}
	switch {
	case !known && deprecated:
		return "deprecated, missing"
	case !known:
		return "missing"
	case s.total == 0:
		return "runs"
	case s.ours == s.total:
		return "passes"
	}
	return fmt.Sprintf("passes %d of %d", s.ours, s.total)
}
