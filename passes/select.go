package passes

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/internal/suggest"
)

// LayerInfo is what rules look at.
type LayerInfo struct {
	Name  string   // the layer's name
	Names []string // other names that globs may match: nodes, weight
	Op    string
	Size  int // number of weights
}

// Plan is what the recipe says about one layer. Keep tells why it is left dense, or is empty.
type Plan struct {
	Settings
	Keep  string
	Asked bool // the layer is included by a name of its own, or kept in by a rule that says keep: false
}

// Plan resolves the recipe for the model's layers, given in topological order. A glob that matches no layer, or an operator
// type that no layer has, is an error that names the nearest.
func (r *Recipe) Plan(layers []LayerInfo) ([]Plan, error) {
	plans := make([]Plan, len(layers))
	for i := range plans {
		plans[i].Settings = r.Settings
		if layers[i].Size < r.MinSize {
			plans[i].Keep = fmt.Sprintf("%d weights, fewer than min_size %d", layers[i].Size, r.MinSize)
		}
	}
	for i := range r.Rules {
		u := &r.Rules[i]
		hit, err := u.matches(layers, fmt.Sprintf("rules[%d]", i))
		if err != nil {
			return nil, r.place(err)
		}
		for j := range layers {
			if !hit[j] {
				continue
			}
			plans[j].Settings = u.apply(plans[j].Settings)
			if u.Keep != nil {
				plans[j].Keep, plans[j].Asked = "", !*u.Keep
				if *u.Keep {
					plans[j].Keep = fmt.Sprintf("kept by rule %d of the recipe", i+1)
				}
			}
		}
	}
	if err := r.include(layers, plans); err != nil {
		return nil, r.place(err)
	}
	for i, glob := range r.Exclude {
		hit, err := matchGlob(glob, layers, fmt.Sprintf("exclude[%d]", i))
		if err != nil {
			return nil, r.place(err)
		}
		for j := range layers {
			if hit[j] {
				plans[j].Keep = fmt.Sprintf("excluded by %q", glob)
			}
		}
	}
	if n := len(plans); n > 0 && r.Keep.First {
		plans[0].Keep = "first layer, kept by the recipe"
	}
	if n := len(plans); n > 0 && r.Keep.Last {
		plans[n-1].Keep = "last layer, kept by the recipe"
	}
	return plans, nil
}

// include leaves dense what none of the globs matches.
func (r *Recipe) include(layers []LayerInfo, plans []Plan) error {
	if len(r.Include) == 0 {
		return nil
	}
	wanted := make([]bool, len(layers))
	for i, glob := range r.Include {
		hit, err := matchGlob(glob, layers, fmt.Sprintf("include[%d]", i))
		if err != nil {
			return err
		}
		for j := range hit {
			wanted[j] = wanted[j] || hit[j]
		}
	}
	for j := range plans {
		if !wanted[j] {
			plans[j].Keep = "not among the layers to include"
		} else if plans[j].Keep == "" {
			plans[j].Asked = true
		}
	}
	return nil
}

func (u *Rule) matches(layers []LayerInfo, where string) ([]bool, error) {
	byName := make([]bool, len(layers))
	for i, glob := range u.Match {
		hit, err := matchGlob(glob, layers, fmt.Sprintf("%s.match[%d]", where, i))
		if err != nil {
			return nil, err
		}
		for j := range hit {
			byName[j] = byName[j] || hit[j]
		}
	}
	for i, op := range u.Ops {
		if !slices.ContainsFunc(layers, func(l LayerInfo) bool { return l.Op == op }) {
			return nil, &FieldError{fmt.Sprintf("$.%s.ops[%d]", where, i), fmt.Sprintf("no layer is a %q; the model's layers are of type %s", op, strings.Join(opsOf(layers), ", "))}
		}
	}
	hit := make([]bool, len(layers))
	for j, l := range layers {
		hit[j] = (len(u.Match) == 0 || byName[j]) && (len(u.Ops) == 0 || slices.Contains(u.Ops, l.Op))
	}
	return hit, nil
}

func opsOf(layers []LayerInfo) []string {
	var ops []string
	for _, l := range layers {
		if !slices.Contains(ops, l.Op) {
			ops = append(ops, l.Op)
		}
	}
	slices.Sort(ops)
	return ops
}

// matchGlob tells which layers have a name that the glob matches; none at all is an error.
func matchGlob(glob string, layers []LayerInfo, where string) ([]bool, error) {
	re := globPattern(glob)
	hit, any := make([]bool, len(layers)), false
	var names []string
	for j, l := range layers {
		hit[j] = slices.ContainsFunc(append([]string{l.Name}, l.Names...), re.MatchString)
		any = any || hit[j]
		names = append(names, l.Name)
		names = append(names, l.Names...)
	}
	if any {
		return hit, nil
	}
	slices.Sort(names)
	near := suggest.Nearest(strings.ReplaceAll(glob, "*", ""), slices.Compact(names), 3)
	return nil, &FieldError{"$." + where, fmt.Sprintf("%q matches no layer; the nearest names are %q", glob, near)}
}

// globPattern turns a glob into a regular expression: * is any text (slashes too), ? one character, the rest stands for itself.
func globPattern(glob string) *regexp.Regexp {
	q := regexp.QuoteMeta(glob)
	q = strings.ReplaceAll(q, `\*`, `.*`)
	q = strings.ReplaceAll(q, `\?`, `.`)
	return regexp.MustCompile(`(?s)^` + q + `$`)
}
