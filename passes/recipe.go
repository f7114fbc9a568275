package passes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Recipe says what is done to which layer. The zero value is not valid: start from DefaultRecipe. A recipe read from YAML
// and one put together from flags are the same struct.
type Recipe struct {
	Settings `yaml:",inline"`

	Scope       string      `yaml:"scope" json:"scope"`             // "layer": each layer gives up Sparsity of its weights; "model": the model as a whole does
	Activations Activations `yaml:"activations" json:"activations"` // quantization of the layers' inputs
	Mode        string      `yaml:"mode" json:"mode"`               // "independent": Hessians of the dense model; "sequential": of the compressed prefix
	Correction  string      `yaml:"correction" json:"correction"`   // "none", "bias", "statistics" or "batchnorm"; "auto" picks statistics when anything is compressed
	Target      string      `yaml:"target" json:"target"`           // "flops=3x", "bops=10x" or "size=4x": a level per layer is searched; "" for none
	Keep        Ends        `yaml:"keep" json:"keep"`               // leave the first or last layer dense
	Exclude     []string    `yaml:"exclude" json:"exclude"`         // globs of layers left dense
	Include     []string    `yaml:"include" json:"include"`         // globs of the layers that are worked on; none: all
	MinSize     int         `yaml:"min_size" json:"min_size"`       // layers with fewer weights are left dense
	Equalize    string      `yaml:"equalize" json:"equalize"`       // "0".."1": how much of the activations' channel spread moves into the weights before activations are quantized; "auto": chosen for each tensor
	Embeddings  string      `yaml:"embeddings" json:"embeddings"`   // "int8" or "float" tables of embeddings; "auto": int8 where the model's weights are quantized
	Form        string      `yaml:"form" json:"form"`               // "auto", "float", "qdq" or "matmulnbits"
	Container   string      `yaml:"container" json:"container"`     // "auto", "int8" or "exact": the element type that codes below 8 bits are stored in
	ReduceRange bool        `yaml:"reduce_range" json:"reduce_range"`
	Sparse      bool        `yaml:"sparse_initializer" json:"sparse_initializer"` // store pruned weights as sparse_initializer
	KeepBN      bool        `yaml:"keep_batchnorm" json:"keep_batchnorm"`         // leave BatchNormalization nodes unfolded
	Rules       []Rule      `yaml:"rules" json:"rules"`

	file   string // where the recipe was read from, for errors; "" when made from flags
	source []byte
	setBy  map[string]string // path below the root -> what set it in place of the file
}

// Settings are what a rule can change for the layers that it matches.
type Settings struct {
	Method   string  `yaml:"method" json:"method"`     // "obs" (exact OBS, OBQ), "rtn" (magnitude, round to nearest) or "gptq" (fixed column order: GPTQ, SparseGPT)
	Sparsity float64 `yaml:"sparsity" json:"sparsity"` // share of weights set to zero; 0 = none
	NM       string  `yaml:"nm" json:"nm"`             // "2:4": at most 2 non-zeros in each 4 along the input channels
	Block    int     `yaml:"block" json:"block"`       // c consecutive weights along the input channels are zero together; 0 or 1 = single weights
	Weights  Weights `yaml:"weights" json:"weights"`
	Refine   bool    `yaml:"refine" json:"refine"`   // method obs: better masks, codes and scales after solving, as far as the layer loss falls
	Damping  float64 `yaml:"damping" json:"damping"` // share of the Hessian's mean diagonal that is added to its diagonal
}

// Weights says how weights are quantized.
type Weights struct {
	Bits        int    `yaml:"bits" json:"bits"`               // 2..8; 0 = float
	Granularity string `yaml:"granularity" json:"granularity"` // "channel", "tensor" or "group"
	Group       int    `yaml:"group" json:"group"`             // columns per scale, for granularity "group"
	Symmetric   *bool  `yaml:"symmetric" json:"symmetric"`     // nil: symmetric at 8 bits beside quantized activations, else asymmetric
	Search      string `yaml:"search" json:"search"`           // scale: "minmax", "shrink" (100-step search) or "loss" (by the layer loss); "auto": see LayerState.search
}

// Activations says how the inputs of layers are quantized: one scale a tensor, unsigned, asymmetric.
type Activations struct {
	Bits  int    `yaml:"bits" json:"bits"`   // 4..8; 0 = float
	Range string `yaml:"range" json:"range"` // "auto", "minmax", "percentile", "mse" or "entropy"
}

// Ends marks layers at the ends of the model, in topological order.
type Ends struct {
	First bool `yaml:"first" json:"first"`
	Last  bool `yaml:"last" json:"last"`
}

// Rule changes settings for the layers that match both lists; an empty list matches all. Later rules win. Fields that are
// not given stay. Sparsity, NM and Block are one pattern: giving one of them resets the other two.
type Rule struct {
	Match    []string     `yaml:"match" json:"match"` // globs over layer, node and weight names: * any text, ? one character
	Ops      []string     `yaml:"ops" json:"ops"`     // operator types: Conv, Gemm, ...
	Keep     *bool        `yaml:"keep" json:"keep"`   // true: leave these layers dense
	Method   *string      `yaml:"method" json:"method"`
	Sparsity *float64     `yaml:"sparsity" json:"sparsity"`
	NM       *string      `yaml:"nm" json:"nm"`
	Block    *int         `yaml:"block" json:"block"`
	Weights  *RuleWeights `yaml:"weights" json:"weights"`
	Refine   *bool        `yaml:"refine" json:"refine"`
	Damping  *float64     `yaml:"damping" json:"damping"`
}

// RuleWeights are the parts of Weights that a rule changes.
type RuleWeights struct {
	Bits        *int    `yaml:"bits" json:"bits"`
	Granularity *string `yaml:"granularity" json:"granularity"`
	Group       *int    `yaml:"group" json:"group"`
	Symmetric   *bool   `yaml:"symmetric" json:"symmetric"`
	Search      *string `yaml:"search" json:"search"`
}

// DefaultRecipe changes nothing yet: exact OBS, a trace of damping, per-channel grids with searched scales, automatic choices.
func DefaultRecipe() *Recipe {
	return &Recipe{
		Settings: Settings{Method: "obs", Damping: 0.001, Weights: Weights{Granularity: "channel", Search: "auto"}},
		Scope:    "layer", Mode: "independent", Correction: "auto", Embeddings: "auto", Form: "auto", Container: "auto",
		Activations: Activations{Range: "auto"}, Equalize: "auto",
	}
}

// FieldError is a value of a recipe that cannot be. Path is its place in the recipe, as in "$.rules[1].weights.bits".
type FieldError struct{ Path, Msg string }

func (e *FieldError) Error() string {
	return strings.TrimPrefix(e.Path, "$.") + ": " + e.Msg
}

var choices = map[string][]string{
	"method":      {"obs", "rtn", "magnitude", "gptq", "sparsegpt"},
	"scope":       {"layer", "model"},
	"mode":        {"independent", "sequential"},
	"correction":  {"auto", "none", "bias", "statistics", "batchnorm"},
	"embeddings":  {"auto", "int8", "float"},
	"form":        {"auto", "float", "qdq", "matmulnbits"},
	"container":   {"auto", "int8", "exact"},
	"granularity": {"channel", "tensor", "group"},
	"search":      {"auto", "minmax", "shrink", "loss"},
	"range":       {"auto", "minmax", "percentile", "mse", "entropy"},
}

// Choices returns the values that the named setting can have, or nil when it is not an enumeration.
func Choices(setting string) []string { return slices.Clone(choices[setting]) }

// Validate checks every value; the error is a *FieldError.
func (r *Recipe) Validate() error {
	if err := r.Settings.validate("$"); err != nil {
		return err
	}
	for _, c := range []struct{ key, value string }{
		{"scope", r.Scope}, {"mode", r.Mode}, {"correction", r.Correction}, {"embeddings", r.Embeddings}, {"form", r.Form}, {"container", r.Container},
	} {
		if err := oneOf("$."+c.key, c.key, c.value); err != nil {
			return err
		}
	}
	if b := r.Activations.Bits; b != 0 && (b < 2 || b > 8) {
		return &FieldError{"$.activations.bits", fmt.Sprintf("is %d: give 2 to 8, or 0 for float", b)}
	}
	if err := oneOf("$.activations.range", "range", r.Activations.Range); err != nil {
		return err
	}
	if r.MinSize < 0 {
		return &FieldError{"$.min_size", fmt.Sprintf("is %d: give 0 or more", r.MinSize)}
	}
	if s := r.equalizer().strength; !(s >= 0 && s <= 1) {
		return &FieldError{"$.equalize", fmt.Sprintf("is %q: give auto, or a strength from 0 (off) to 1", r.Equalize)}
	}
	if err := r.validateTogether(); err != nil {
		return err
	}
	for i := range r.Rules {
		if err := r.Rules[i].validate(fmt.Sprintf("$.rules[%d]", i), r.Settings); err != nil {
			return err
		}
	}
	return nil
}

func (r *Recipe) validateTogether() error {
	if r.Target != "" {
		t, err := ParseTarget(r.Target)
		if err != nil {
			return &FieldError{"$.target", err.Error()}
		}
		if t.Kind == "bops" && r.Form == "matmulnbits" {
			return &FieldError{"$.form", "is matmulnbits: a bops target needs quantized activations; use qdq"}
		}
	}
	if r.Scope == "model" && r.NM != "" {
		return &FieldError{"$.scope", "is model, but nm takes the same share of every layer: use sparsity, or scope: layer"}
	}
	if r.Form == "matmulnbits" && r.Activations.Bits != 0 {
		return &FieldError{"$.form", "is matmulnbits, which keeps activations float: set activations.bits to 0, or form to qdq"}
	}
	if r.Correction == "batchnorm" && !r.KeepBN {
		return &FieldError{"$.correction", "is batchnorm, which needs the BatchNormalization nodes: set keep_batchnorm to true"}
	}
	return nil
}

func (s Settings) validate(path string) error {
	if err := oneOf(path+".method", "method", s.Method); err != nil {
		return err
	}
	if s.Sparsity == 1 {
		return &FieldError{path + ".sparsity", "is 1, which removes every weight: give a share below 1, such as 0.5"}
	}
	if !(s.Sparsity >= 0 && s.Sparsity <= 1) {
		return &FieldError{path + ".sparsity", fmt.Sprintf("is %v: give a share from 0 to 1", s.Sparsity)}
	}
	if s.NM != "" {
		if _, _, err := ParseNM(s.NM); err != nil {
			return &FieldError{path + ".nm", err.Error()}
		}
		if s.Sparsity != 0 {
			return &FieldError{path + ".nm", fmt.Sprintf("is %s beside sparsity %v: give one of them", s.NM, s.Sparsity)}
		}
		if s.Block > 1 {
			return &FieldError{path + ".nm", fmt.Sprintf("is %s beside block %d: give one of them", s.NM, s.Block)}
		}
	}
	if s.Block < 0 || s.Block > 64 {
		return &FieldError{path + ".block", fmt.Sprintf("is %d: give 1 to 64 weights", s.Block)}
	}
	if !(s.Damping >= 0 && s.Damping <= 1) {
		return &FieldError{path + ".damping", fmt.Sprintf("is %v: give a share of the mean diagonal, 0 to 1", s.Damping)}
	}
	return s.Weights.validate(path + ".weights")
}

func (w Weights) validate(path string) error {
	if w.Bits != 0 && (w.Bits < 2 || w.Bits > 8) {
		return &FieldError{path + ".bits", fmt.Sprintf("is %d: give 2 to 8, or 0 for float", w.Bits)}
	}
	if err := oneOf(path+".granularity", "granularity", w.Granularity); err != nil {
		return err
	}
	if w.Granularity == "group" && w.Group < 2 {
		return &FieldError{path + ".group", fmt.Sprintf("is %d: granularity group needs 2 or more columns (32 and 128 are usual)", w.Group)}
	}
	if w.Granularity != "group" && w.Group != 0 {
		return &FieldError{path + ".group", fmt.Sprintf("is %d, but granularity is %s: set granularity to group", w.Group, w.Granularity)}
	}
	return oneOf(path+".search", "search", w.Search)
}

func (u *Rule) validate(path string, base Settings) error {
	if len(u.Match) == 0 && len(u.Ops) == 0 {
		return &FieldError{path, "names no layers: give match (globs over names) or ops (operator types)"}
	}
	return u.apply(base).validate(path)
}

// apply returns the settings with the rule's fields in place of base's.
func (u *Rule) apply(base Settings) Settings {
	if u.Sparsity != nil || u.NM != nil || u.Block != nil {
		base.Sparsity, base.NM, base.Block = 0, "", 0
	}
	set(&base.Method, u.Method)
	set(&base.Sparsity, u.Sparsity)
	set(&base.NM, u.NM)
	set(&base.Block, u.Block)
	set(&base.Refine, u.Refine)
	set(&base.Damping, u.Damping)
	if w := u.Weights; w != nil {
		set(&base.Weights.Bits, w.Bits)
		if w.Granularity != nil && *w.Granularity != "group" {
			base.Weights.Group = 0
		}
		set(&base.Weights.Granularity, w.Granularity)
		set(&base.Weights.Group, w.Group)
		set(&base.Weights.Search, w.Search)
		if w.Symmetric != nil {
			base.Weights.Symmetric = w.Symmetric
		}
	}
	return base
}

func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

func oneOf(path, setting, value string) error {
	if slices.Contains(choices[setting], value) {
		return nil
	}
	return &FieldError{path, fmt.Sprintf("is %q: give one of %s", value, strings.Join(choices[setting], ", "))}
}

// ParseNM reads an N:M pattern such as "2:4": n of each m consecutive weights along the input channels stay, 0 < n < m <= 64.
func ParseNM(s string) (n, m int, err error) {
	a, b, ok := strings.Cut(s, ":")
	n, err1 := strconv.Atoi(a)
	m, err2 := strconv.Atoi(b)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return 0, 0, fmt.Errorf("is %q: give N:M, such as 2:4", s)
	case n <= 0:
		return 0, 0, fmt.Errorf("is %q: N must be 1 or more", s)
	case m > 64:
		return 0, 0, fmt.Errorf("is %q: M must be 64 or less", s)
	case n > m:
		return 0, 0, fmt.Errorf("is %q: N of M weights stay, so N must not exceed M; did you mean %d:%d?", s, m, n)
	case n == m:
		return 0, 0, fmt.Errorf("is %q: this removes nothing; N must be less than M", s)
	}
	return n, m, nil
}

// Target is a budget that the level search keeps: dense cost / Factor.
type Target struct {
	Kind   string // "flops", "bops" or "size"
	Factor float64
}

// ParseTarget reads "flops=3x", "bops=10x" or "size=4x"; the x may be left out.
func ParseTarget(s string) (Target, error) {
	kind, factor, ok := strings.Cut(s, "=")
	if !ok || !slices.Contains([]string{"flops", "bops", "size"}, kind) {
		return Target{}, fmt.Errorf("is %q: give flops=3x, bops=10x or size=4x", s)
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(factor, "x"), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f <= 1 {
		return Target{}, fmt.Errorf("is %q: the factor must be a number above 1, such as 3x", s)
	}
	return Target{kind, f}, nil
}

// Hash is a short fingerprint of the recipe's values, for annotations: equal recipes have equal hashes.
func (r *Recipe) Hash() string {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // a Recipe holds only strings, numbers and booleans; Validate has refused NaN
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}
