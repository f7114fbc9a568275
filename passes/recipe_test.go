package passes

import (
	"errors"
	"math"
	"strings"
	"testing"
)

const fullRecipe = `method: gptq
nm: 2:4
weights: {bits: 4, granularity: group, group: 32, symmetric: false, search: loss}
activations: {bits: 8, range: mse}
damping: 0.01
mode: sequential
correction: bias
keep: {first: true}
exclude: ["*.fc"]
min_size: 100
rules:
  - match: ["stages.0.*"]
    ops: [Conv]
    sparsity: 0.7
    weights: {bits: 8, granularity: channel}
  - ops: [Gemm]
    keep: true
`

func TestParseRecipe(t *testing.T) {
	r, err := ParseRecipe("r.yaml", []byte(fullRecipe))
	if err != nil {
		t.Fatal(err)
	}
	if r.NM != "2:4" || r.Weights.Bits != 4 || r.Weights.Group != 32 || *r.Weights.Symmetric || r.Mode != "sequential" || !r.Keep.First || r.Keep.Last {
		t.Errorf("read %+v", r)
	}
	if r.Form != "auto" || r.Scope != "layer" {
		t.Errorf("defaults are lost: form %q, scope %q", r.Form, r.Scope)
	}
	s := r.Rules[0].apply(r.Settings)
	if s.NM != "" || s.Sparsity != 0.7 || s.Weights.Bits != 8 || s.Weights.Group != 0 || s.Weights.Search != "loss" || s.Method != "gptq" {
		t.Errorf("rule gives %+v", s)
	}
}

func TestParseRecipeErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // parts of the message
	}{
		{"empty", "  \n", []string{"r.yaml", "empty"}},
		{"comments", "# nm: 2:4\n---\n", []string{"r.yaml", "empty"}},
		{"text for a number", "weights: {bits: int8}\n", []string{"r.yaml:1:17", `found "int8", expected a whole number`}},
		{"number for settings", "weights: 8\n", []string{"r.yaml:1:10", `found "8", expected settings`}},
		{"unknown key", "sparcity: 0.5\n", []string{"r.yaml:1:1", `"sparcity"`, `"sparsity"`, ">  1 |"}},
		{"unknown nested key", "weights:\n  bist: 4\n", []string{"r.yaml:2:3", `"bits"`, ">  2 |"}},
		{"unknown rule key", "rules:\n  - ops: [Conv]\n    matches: [x]\n", []string{"r.yaml:3:5", `"match"`}},
		{"key elsewhere", "rules:\n  - ops: [Conv]\n    activations: {bits: 8}\n", []string{"r.yaml:3:5", `key "activations" cannot stand here, but at the top of the recipe`}},
		{"bits at the top", "bits: 4\n", []string{"r.yaml:1:1", "under weights or under activations"}},
		{"fraction", "weights:\n  bits: 4.5\n", []string{"r.yaml:2:9", "weights.bits: is 4.5: give a whole number"}},
		{"fraction in a rule", "rules:\n  - ops: [Conv]\n    block: 2.5\n", []string{"r.yaml:3:12", "whole number"}},
		{"two documents", "nm: 2:4\n---\nnm: 1:4\n", []string{"r.yaml:3", "second YAML document"}},
		{"wrong type", "sparsity: much\n", []string{"r.yaml:1:11", "sparsity"}},
		{"syntax", "weights: {bits: 4\n", []string{"r.yaml:1"}},
		{"duplicate", "damping: 0\ndamping: 1\n", []string{"r.yaml:2:1"}},
		{"sparsity above 1", "damping: 0\nsparsity: 50\n", []string{"r.yaml:2:11", "sparsity", "is 50", ">  2 |"}},
		{"sparsity NaN", "sparsity: .nan\n", []string{"r.yaml:1", "NaN"}},
		{"N above M", "nm: 4:2\n", []string{"r.yaml:1:5", "did you mean 2:4"}},
		{"N zero", "nm: 0:4\n", []string{"N must be 1 or more"}},
		{"N equals M", "nm: 4:4\n", []string{"removes nothing"}},
		{"bits", "weights:\n  bits: 9\n", []string{"r.yaml:2:9", "2 to 8"}},
		{"group", "weights: {granularity: group}\n", []string{"32 and 128"}},
		{"rule bits", "rules:\n  - ops: [Conv]\n    weights: {bits: 1}\n", []string{"r.yaml:3:21", "rules[0].weights.bits"}},
		{"rule without match", "rules:\n  - sparsity: 0.5\n", []string{"r.yaml:2", "names no layers"}},
		{"enumeration", "mode: sequental\n", []string{"r.yaml:1:7", "independent, sequential"}},
		{"target", "target: flops=x\n", []string{"above 1"}},
		{"target kind", "target: joules=2x\n", []string{"flops=3x"}},
		{"nm and share", "nm: 2:4\nsparsity: 0.5\n", []string{"one of them"}},
		{"model scope with nm", "nm: 2:4\nscope: model\n", []string{"scope"}},
		{"batchnorm", "correction: batchnorm\n", []string{"keep_batchnorm"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseRecipe("r.yaml", []byte(c.text))
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in\n%v", part, err)
				}
			}
		})
	}
}

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"flops=3x", "flops=3", "flops=3.0x"} {
		if got, err := ParseTarget(s); err != nil || got != (Target{"flops", 3}) {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "flops", "flops=1x", "flops=-2", "flops=nan", "flops=inf", "FLOPS=2"} {
		if got, err := ParseTarget(s); err == nil {
			t.Errorf("%q gives %v", s, got)
		}
	}
}

func testLayers() []LayerInfo {
	return []LayerInfo{
		{Name: "stem", Names: []string{"stem.weight"}, Op: "Conv", Size: 10},
		{Name: "/stages/0/conv1", Names: []string{"stages.0.conv1.weight"}, Op: "Conv", Size: 1000},
		{Name: "/stages/1/conv1", Names: []string{"stages.1.conv1.weight"}, Op: "Conv", Size: 1000},
		{Name: "fc", Names: []string{"fc.weight"}, Op: "Gemm", Size: 1000},
	}
}

func TestPlan(t *testing.T) {
	ptr := func(v float64) *float64 { return &v }
	yes, no := true, false
	for _, c := range []struct {
		name  string
		edit  func(*Recipe)
		keep  []bool
		share []float64
	}{
		{"global", func(r *Recipe) {}, []bool{false, false, false, false}, []float64{.5, .5, .5, .5}},
		{"ends", func(r *Recipe) { r.Keep = Ends{true, true} }, []bool{true, false, false, true}, nil},
		{"include", func(r *Recipe) { r.Include = []string{"/stages/*", "fc.weight"}; r.Exclude = []string{"*1/conv1"} }, []bool{true, false, true, false}, nil},
		{"small", func(r *Recipe) { r.MinSize = 11 }, []bool{true, false, false, false}, nil},
		{"glob over slashes", func(r *Recipe) { r.Exclude = []string{"/stages/*"} }, []bool{false, true, true, false}, nil},
		{"weight name", func(r *Recipe) { r.Exclude = []string{"stages.?.conv1.weight"} }, []bool{false, true, true, false}, nil},
		{"rules in order", func(r *Recipe) {
			r.Rules = []Rule{{Ops: []string{"Conv"}, Sparsity: ptr(.7)}, {Match: []string{"*1/conv1"}, Sparsity: ptr(.9)}}
		}, []bool{false, false, false, false}, []float64{.7, .7, .9, .5}},
		{"keep and back", func(r *Recipe) {
			r.Rules = []Rule{{Ops: []string{"Conv"}, Keep: &yes}, {Match: []string{"stem"}, Keep: &no}}
		}, []bool{false, true, true, false}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := DefaultRecipe()
			r.Sparsity = 0.5
			c.edit(r)
			plans, err := r.Plan(testLayers())
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range plans {
				if (p.Keep != "") != c.keep[i] {
					t.Errorf("layer %d: keep %q", i, p.Keep)
				}
				if c.share != nil && p.Sparsity != c.share[i] {
					t.Errorf("layer %d: share %v, want %v", i, p.Sparsity, c.share[i])
				}
			}
		})
	}
}

func TestPlanNamesNearest(t *testing.T) {
	r := DefaultRecipe()
	r.Exclude = []string{"*stages.0.conv2*"}
	_, err := r.Plan(testLayers())
	if err == nil || !strings.Contains(err.Error(), `"stages.0.conv1.weight"`) {
		t.Errorf("glob: %v", err)
	}
	r = DefaultRecipe()
	r.Rules = []Rule{{Ops: []string{"MatMul"}}}
	var field *FieldError
	if _, err = r.Plan(testLayers()); !errors.As(err, &field) || !strings.Contains(err.Error(), "Conv, Gemm") {
		t.Errorf("op: %v", err)
	}
}

func TestPlanPlacesErrorsInFile(t *testing.T) {
	r, err := ParseRecipe("r.yaml", []byte("nm: 2:4\nexclude:\n  - stem\n  - head*\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = r.Plan(testLayers()); err == nil || !strings.HasPrefix(err.Error(), "r.yaml:4:5: ") {
		t.Errorf("got %v", err)
	}
}

func TestHash(t *testing.T) {
	a, b := DefaultRecipe(), DefaultRecipe()
	if a.Hash() != b.Hash() || len(a.Hash()) != 12 {
		t.Errorf("equal recipes: %s, %s", a.Hash(), b.Hash())
	}
	b.Damping = math.Nextafter(b.Damping, 1)
	if a.Hash() == b.Hash() {
		t.Error("different recipes have one hash")
	}
}

func TestSetBy(t *testing.T) {
	r, err := ParseRecipe("r.yaml", []byte("nm: 2:4\nexclude: [stem]\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.Exclude = []string{"head*"}
	r.SetBy("exclude", "--exclude")
	var field *FieldError
	if _, err = r.Plan(testLayers()); !errors.As(err, &field) || !strings.HasPrefix(err.Error(), `--exclude "head*" matches no layer`) {
		t.Errorf("glob: %v", err)
	}
	r.Weights.Bits = 17
	r.SetBy("weights.bits", "--weights")
	if err := r.Check(); !errors.As(err, &field) || err.Error() != "--weights is 17: give 2 to 8, or 0 for float" {
		t.Errorf("bits: %v", err)
	}
	r.Weights.Bits, r.NM = 4, "4:2"
	if err := r.Check(); err == nil || !strings.HasPrefix(err.Error(), "r.yaml:1:5: nm: is") {
		t.Errorf("from the file: %v", err)
	}
}
