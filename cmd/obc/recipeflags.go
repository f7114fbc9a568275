package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/obc-onnx/obc/passes"
)

// recipeFlags are the flags that stand for settings of a recipe. A flag that is given wins over the recipe file.
type recipeFlags struct {
	file  string
	flags []recipeFlag
}

// recipeFlag writes one flag's value into a recipe, at the place that path names in errors.
type recipeFlag struct {
	name, path string
	apply      func(*passes.Recipe) error
}

// add registers the flags; what is in them is used by recipe.
func (rf *recipeFlags) add(f *pflag.FlagSet) {
	d := passes.DefaultRecipe()
	f.StringVar(&rf.file, "recipe", "", "YAML file with the settings and with rules for single layers; flags win over it")

	one := func(setting string) string { return ": " + strings.Join(passes.Choices(setting), ", ") }
	rf.text(f, "nm", "nm", "", "N:M sparsity, such as 2:4: at most N non-zeros in each M weights along the input channels", func(r *passes.Recipe) *string { return &r.NM })
	rf.number(f, "sparsity", "sparsity", 0, "share of weights set to zero, 0 to 1", func(r *passes.Recipe) *float64 { return &r.Sparsity })
	rf.whole(f, "block", "block", 0, "so many consecutive weights along the input channels are zero together", func(r *passes.Recipe) *int { return &r.Block })
	rf.bits(f, "weights", "weights.bits", "bits of a weight: int2 to int8, or float", func(r *passes.Recipe) *int { return &r.Weights.Bits })
	rf.bits(f, "activations", "activations.bits", "bits of the layers' inputs: int2 to int8, or float", func(r *passes.Recipe) *int { return &r.Activations.Bits })
	rf.whole(f, "group", "weights.group", 0, "so many columns of a row share a scale (sets --granularity group)", func(r *passes.Recipe) *int { return &r.Weights.Group })
	rf.text(f, "granularity", "weights.granularity", d.Weights.Granularity, "what shares a scale"+one("granularity"), func(r *passes.Recipe) *string { return &r.Weights.Granularity })
	rf.symmetric(f)
	rf.text(f, "search", "weights.search", d.Weights.Search, "how scales are found"+one("search"), func(r *passes.Recipe) *string { return &r.Weights.Search })
	rf.text(f, "method", "method", d.Method, "how layers are solved"+one("method"), func(r *passes.Recipe) *string { return &r.Method })
	rf.yes(f, "refine", "refine", "better masks, codes and scales after solving; takes several times as long", func(r *passes.Recipe) *bool { return &r.Refine })
	rf.number(f, "damping", "damping", d.Damping, "share of the Hessian's mean diagonal that is added to its diagonal", func(r *passes.Recipe) *float64 { return &r.Damping })
	rf.text(f, "scope", "scope", d.Scope, "what --sparsity is a share of"+one("scope"), func(r *passes.Recipe) *string { return &r.Scope })
	rf.text(f, "range", "activations.range", d.Activations.Range, "how ranges of activations are found"+one("range"), func(r *passes.Recipe) *string { return &r.Activations.Range })
	rf.text(f, "mode", "mode", d.Mode, "what layers are calibrated on, the dense model's activations or those behind compressed layers"+one("mode"), func(r *passes.Recipe) *string { return &r.Mode })
	rf.text(f, "correction", "correction", d.Correction, "what is repaired after solving"+one("correction"), func(r *passes.Recipe) *string { return &r.Correction })
	rf.text(f, "target", "target", "", "search a level for each layer under a budget: flops=3x, bops=10x or size=4x", func(r *passes.Recipe) *string { return &r.Target })
	rf.text(f, "equalize", "equalize", d.Equalize, "how much of the activations' spread over channels moves into the weights: 0 to 1, or auto for each tensor its best", func(r *passes.Recipe) *string { return &r.Equalize })
	rf.text(f, "embeddings", "embeddings", d.Embeddings, "how tables of embeddings are stored, int8 where weights are quantized"+one("embeddings"), func(r *passes.Recipe) *string { return &r.Embeddings })
	rf.yes(f, "keep-first", "keep.first", "leave the first layer dense", func(r *passes.Recipe) *bool { return &r.Keep.First })
	rf.yes(f, "keep-last", "keep.last", "leave the last layer dense", func(r *passes.Recipe) *bool { return &r.Keep.Last })
	rf.list(f, "exclude", "exclude", "leave layers dense whose name, node or weight matches: globs, comma-separated", func(r *passes.Recipe) *[]string { return &r.Exclude })
	rf.list(f, "include", "include", "leave all layers dense but those that match: globs, comma-separated", func(r *passes.Recipe) *[]string { return &r.Include })
	rf.whole(f, "min-size", "min_size", 0, "leave layers with fewer weights dense", func(r *passes.Recipe) *int { return &r.MinSize })
	rf.text(f, "form", "form", d.Form, "how the result is written"+one("form"), func(r *passes.Recipe) *string { return &r.Form })
	rf.text(f, "container", "container", d.Container, "element type of weights below 8 bits"+one("container"), func(r *passes.Recipe) *string { return &r.Container })
	rf.yes(f, "reduce-range", "reduce_range", "7-bit weights, for CPUs whose 8-bit products saturate (AVX2 without VNNI)", func(r *passes.Recipe) *bool { return &r.ReduceRange })
	rf.yes(f, "sparse-initializer", "sparse_initializer", "store pruned float weights sparsely; some runtimes refuse such files", func(r *passes.Recipe) *bool { return &r.Sparse })
	rf.yes(f, "keep-batchnorm", "keep_batchnorm", "leave BatchNormalization nodes unfolded", func(r *passes.Recipe) *bool { return &r.KeepBN })
}

// recipe reads the file, if one is named, and puts the flags that were given over it.
func (rf *recipeFlags) recipe(f *pflag.FlagSet) (*passes.Recipe, error) {
	r := passes.DefaultRecipe()
	if rf.file != "" {
		var err error
		if r, err = passes.LoadRecipe(rf.file); err != nil {
			return nil, input(err)
		}
	}
	// A pattern given by flags takes the place of the file's: N:M and a share exclude each other.
	if f.Changed("nm") {
		r.Sparsity, r.Block = 0, 0
	} else if f.Changed("sparsity") || f.Changed("block") {
		r.NM = ""
	}
	if f.Changed("granularity") && !f.Changed("group") {
		r.Weights.Group = 0
	}
	for _, x := range rf.flags {
		if !f.Changed(x.name) {
			continue
		}
		if err := x.apply(r); err != nil {
			return nil, badUsage("--%s: %w", x.name, err)
		}
		r.SetBy(x.path, "--"+x.name)
	}
	if f.Changed("group") && !f.Changed("granularity") {
		r.Weights.Granularity = "group"
	}
	return r, r.Check()
}

// flag remembers how a flag's value gets into a recipe.
func (rf *recipeFlags) flag(name, path string, apply func(*passes.Recipe) error) {
	rf.flags = append(rf.flags, recipeFlag{name, path, apply})
}

func (rf *recipeFlags) text(f *pflag.FlagSet, name, path, value, usage string, field func(*passes.Recipe) *string) {
	v := f.String(name, value, usage)
	rf.flag(name, path, func(r *passes.Recipe) error { *field(r) = *v; return nil })
}

func (rf *recipeFlags) number(f *pflag.FlagSet, name, path string, value float64, usage string, field func(*passes.Recipe) *float64) {
	v := f.Float64(name, value, usage)
	rf.flag(name, path, func(r *passes.Recipe) error { *field(r) = *v; return nil })
}

func (rf *recipeFlags) whole(f *pflag.FlagSet, name, path string, value int, usage string, field func(*passes.Recipe) *int) {
	v := f.Int(name, value, usage)
	rf.flag(name, path, func(r *passes.Recipe) error { *field(r) = *v; return nil })
}

func (rf *recipeFlags) yes(f *pflag.FlagSet, name, path, usage string, field func(*passes.Recipe) *bool) {
	v := f.Bool(name, false, usage)
	rf.flag(name, path, func(r *passes.Recipe) error { *field(r) = *v; return nil })
}

func (rf *recipeFlags) list(f *pflag.FlagSet, name, path, usage string, field func(*passes.Recipe) *[]string) {
	v := f.StringSlice(name, nil, usage)
	rf.flag(name, path, func(r *passes.Recipe) error { *field(r) = *v; return nil })
}

func (rf *recipeFlags) bits(f *pflag.FlagSet, name, path, usage string, field func(*passes.Recipe) *int) {
	v := f.String(name, "float", usage)
	rf.flag(name, path, func(r *passes.Recipe) (err error) { *field(r), err = parseBits(*v); return err })
}

func (rf *recipeFlags) symmetric(f *pflag.FlagSet) {
	v := f.Bool("symmetric", false, "zero point 0 (default: at 8 bits beside quantized activations)")
	rf.flag("symmetric", "weights.symmetric", func(r *passes.Recipe) error { r.Weights.Symmetric = v; return nil })
}

// parseBits reads "int4", "4" or "float"; 0 is float.
func parseBits(s string) (int, error) {
	if s == "float" || s == "float32" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(s, "int"))
	if err != nil || n < 2 || n > 8 {
		return 0, fmt.Errorf("is %q: give int2 to int8, or float", s)
	}
	return n, nil
}
