package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/obc-onnx/obc/internal/testkit"
	"github.com/obc-onnx/obc/passes"
)

// fromFlags is the recipe of a command line.
func fromFlags(t *testing.T, args ...string) (*passes.Recipe, error) {
	t.Helper()
	var rf recipeFlags
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	rf.add(f)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	return rf.recipe(f)
}

// TestRecipeFlags gives every flag beside the YAML that means the same.
func TestRecipeFlags(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range []struct{ flags, yaml string }{
		{"--nm 2:4", "nm: 2:4"},
		{"--sparsity 0.5 --block 4", "sparsity: 0.5\nblock: 4"},
		{"--weights int4", "weights: {bits: 4}"},
		{"--weights 3 --symmetric", "weights: {bits: 3, symmetric: true}"},
		{"--weights int8 --symmetric=false", "weights: {bits: 8, symmetric: false}"},
		{"--weights int4 --group 32", "weights: {bits: 4, granularity: group, group: 32}"},
		{"--weights int4 --group 32 --granularity group", "weights: {bits: 4, granularity: group, group: 32}"},
		{"--weights int4 --granularity tensor --search loss", "weights: {bits: 4, granularity: tensor, search: loss}"},
		{"--weights float --nm 2:4", "nm: 2:4"},
		{"--activations int8 --range mse", "activations: {bits: 8, range: mse}"},
		{"--refine --nm 2:4", "nm: 2:4\nrefine: true"},
		{"--method gptq --damping 0.01", "method: gptq\ndamping: 0.01"},
		{"--scope model --mode sequential --correction bias", "scope: model\nmode: sequential\ncorrection: bias"},
		{"--target flops=3x --equalize 0.5", "target: flops=3x\nequalize: 0.5"},
		{"--weights int8 --embeddings float", "weights: {bits: 8}\nembeddings: float"},
		{"--keep-first --keep-last", "keep: {first: true, last: true}"},
		{"--exclude a*,b --exclude c --include d", "exclude: [a*, b, c]\ninclude: [d]"},
		{"--min-size 7 --form qdq --container exact", "min_size: 7\nform: qdq\ncontainer: exact"},
		{"--reduce-range --sparse-initializer --keep-batchnorm", "reduce_range: true\nsparse_initializer: true\nkeep_batchnorm: true"},
	} {
		got, err := fromFlags(t, strings.Fields(c.flags)...)
		if err != nil {
			t.Errorf("%s: %v", c.flags, err)
			continue
		}
		want, err := passes.ParseRecipe("r.yaml", []byte(c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(passes.Recipe{})); d != "" {
			t.Errorf("%s is not %q:\n%s", c.flags, c.yaml, d)
		}
		for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(c.flags, -1) {
			seen[m[1]] = true
		}
	}
	var rf recipeFlags
	rf.add(pflag.NewFlagSet("test", pflag.ContinueOnError))
	for _, f := range rf.flags {
		if !seen[f.name] {
			t.Errorf("--%s has no test here", f.name)
		}
	}
}

// TestFlagsWin puts flags over a recipe file.
func TestFlagsWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.yaml")
	text := "sparsity: 0.7\nblock: 4\nweights: {bits: 4, granularity: group, group: 64}\nactivations: {bits: 8}\nexclude: [stem]\n"
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags string
		ok    func(*passes.Recipe) bool
	}{
		{"", func(r *passes.Recipe) bool { return r.Sparsity == 0.7 && r.Block == 4 && r.Weights.Group == 64 }},
		{"--sparsity 0.5", func(r *passes.Recipe) bool { return r.Sparsity == 0.5 && r.Block == 4 }},
		{"--nm 2:4", func(r *passes.Recipe) bool { return r.NM == "2:4" && r.Sparsity == 0 && r.Block == 0 }},
		{"--weights int8", func(r *passes.Recipe) bool { return r.Weights.Bits == 8 && r.Weights.Group == 64 }},
		{"--granularity channel", func(r *passes.Recipe) bool { return r.Weights.Granularity == "channel" && r.Weights.Group == 0 }},
		{"--activations float", func(r *passes.Recipe) bool { return r.Activations.Bits == 0 && r.Activations.Range == "auto" }},
		{"--exclude=", func(r *passes.Recipe) bool { return len(r.Exclude) == 0 }},
	} {
		r, err := fromFlags(t, append([]string{"--recipe", file}, strings.Fields(c.flags)...)...)
		if err != nil || !c.ok(r) {
			t.Errorf("%q: %v, %+v", c.flags, err, r)
		}
	}
}

func TestRecipeFlagErrors(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"--nm 4:2", `--nm is "4:2": N of M weights stay, so N must not exceed M; did you mean 2:4?`},
		{"--nm 2", `--nm is "2": give N:M, such as 2:4`},
		{"--nm 2:4 --sparsity 0.5", "--nm is 2:4 beside sparsity 0.5"},
		{"--sparsity 50", "--sparsity is 50: give a share from 0 to 1"},
		{"--sparsity nan", "--sparsity is NaN"},
		{"--weights int1", `--weights: is "int1": give int2 to int8, or float`},
		{"--weights int16", `--weights: is "int16"`},
		{"--weights int4 --group 1", "--group is 1"},
		{"--weights int4 --granularity tensor --group 32", "--group is 32, but granularity is tensor"},
		{"--method obd", `--method is "obd": give one of obs`},
		{"--target 3x", `--target is "3x": give flops=3x`},
		{"--damping -1", "--damping is -1"},
		{"--equalize 2", `--equalize is "2"`},
		{"--min-size -1", "--min-size is -1"},
		{"--correction batchnorm", "--correction is batchnorm, which needs"},
		{"--recipe missing.yaml", "missing.yaml"},
	} {
		_, err := fromFlags(t, strings.Fields(c.flags)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.flags, err, c.want)
		} else if !isInput(err) {
			t.Errorf("%s: exit code 1", c.flags)
		}
	}
	if !isInput(errors.Join(&passes.FieldError{})) {
		t.Error("a field error is the user's")
	}
}

// TestRecipePage holds docs/RECIPE.md against the flags and the recipe: every flag has a row with its default, every flag and
// key that the page names exists.
func TestRecipePage(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(testkit.Root(), "docs", "RECIPE.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	var rf recipeFlags
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	rf.add(f)
	for _, x := range rf.flags {
		row := regexp.MustCompile(`(?m)^\|.*\b` + regexp.QuoteMeta(x.path) + `\b.*\|.*` + "--" + x.name + `\b.*$`).FindString(page)
		if row == "" {
			t.Errorf("no row with %s and --%s", x.path, x.name)
			continue
		}
		d := f.Lookup(x.name).DefValue
		cells := strings.Split(row, "|")
		if shown := strings.TrimSpace(cells[3]); !strings.Contains(shown, d) && d != "[]" && x.name != "symmetric" {
			t.Errorf("--%s: the page's default is %q, the flag's %q", x.name, shown, d)
		}
	}
	for _, m := range regexp.MustCompile(`--([a-z]+[a-z-]*)`).FindAllStringSubmatch(page, -1) {
		if f.Lookup(m[1]) == nil {
			t.Errorf("the page has --%s, which is no flag", m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1) {
		if _, err := passes.ParseRecipe("docs/RECIPE.md", []byte(m[1])); err != nil {
			t.Errorf("an example does not parse: %v", err)
		}
	}
	var keys map[string]any
	text, err := yaml.Marshal(passes.DefaultRecipe())
	if err == nil {
		err = yaml.Unmarshal(text, &keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if !strings.Contains(page, key) {
			t.Errorf("the page has nothing on %s", key)
		}
	}
}
