package passes

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/obc-onnx/obc/internal/suggest"
)

// LoadRecipe reads a YAML recipe over DefaultRecipe. Unknown keys and values that cannot be are errors that name the file,
// line and column and show the lines around it.
func LoadRecipe(path string) (*Recipe, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	return ParseRecipe(path, data)
}

// ParseRecipe reads YAML text as LoadRecipe does; name stands for the file in errors.
func ParseRecipe(name string, data []byte) (*Recipe, error) {
	r := DefaultRecipe()
	var content any
	if err := yaml.Unmarshal(data, &content); err == nil && content == nil { // also when it holds but comments
		return nil, fmt.Errorf("%s: the recipe is empty: give at least one of sparsity, nm, weights, activations, target", name)
	}
	if err := yaml.UnmarshalWithOptions(data, r, yaml.Strict()); err != nil {
		return nil, suggest.YAML(name, err, unknownKey)
	}
	r.file, r.source = name, data
	if file, err := parser.ParseBytes(data, 0); err == nil && len(file.Docs) > 1 {
		return nil, fmt.Errorf("%s:%d: the recipe ends where a second YAML document begins: put all in one", name, file.Docs[1].GetToken().Position.Line)
	}
	if path, x := suggest.Fraction(content, reflect.TypeFor[Recipe]()); path != "" {
		return nil, r.place(&FieldError{path, fmt.Sprintf("is %v: give a whole number", x)})
	}
	if err := r.Validate(); err != nil {
		return nil, r.place(err)
	}
	return r, nil
}

// SetBy tells what set the field at path, such as "weights.bits" or "exclude", after the recipe was read: errors about it then
// name source, such as a flag, in place of a line in the file.
func (r *Recipe) SetBy(path, source string) {
	if r.setBy == nil {
		r.setBy = map[string]string{}
	}
	r.setBy[path] = source
}

// Check is Validate, with the place of the value in the recipe's file, or what set it, in the error.
func (r *Recipe) Check() error { return r.place(r.Validate()) }

// place adds to a *FieldError what set the field, or file, line, column and excerpt when the recipe's file holds it.
func (r *Recipe) place(err error) error {
	var field *FieldError
	if !errors.As(err, &field) {
		return err
	}
	whole, _, _ := strings.Cut(strings.TrimPrefix(field.Path, "$."), "[")
	if source := r.setBy[whole]; source != "" {
		return sourceError{source + " " + field.Msg, field}
	}
	if r.file == "" {
		return err
	}
	name := r.file
	file, perr := parser.ParseBytes(r.source, 0)
	path, terr := yaml.PathString(field.Path)
	if perr != nil || terr != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	node, ferr := path.FilterFile(file)
	if ferr != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	excerpt, _ := path.AnnotateSource(r.source, false)
	return fmt.Errorf("%s: %w\n%s", suggest.At(name, node.GetToken()), err, excerpt)
}

// sourceError is a *FieldError told by what set the field.
type sourceError struct {
	msg   string
	field *FieldError
}

func (e sourceError) Error() string { return e.msg }

func (e sourceError) Unwrap() error { return e.field }

// unknownKey says where a key that cannot stand where it does belongs, or what it may be meant for.
func unknownKey(key string) string {
	places := map[string]string{}
	var keys []string
	for _, p := range []struct {
		place string
		of    reflect.Type
	}{
		{"at the top of the recipe", reflect.TypeFor[Recipe]()}, {"at the top of the recipe and in rules", reflect.TypeFor[Settings]()},
		{"under weights", reflect.TypeFor[Weights]()}, {"under activations", reflect.TypeFor[Activations]()}, {"under keep", reflect.TypeFor[Ends]()},
		{"in rules", reflect.TypeFor[Rule]()},
	} {
		for _, k := range suggest.Keys(p.of) {
			switch {
			case places[k] == "":
				keys = append(keys, k)
				places[k] = p.place
			case p.place != "in rules": // most of a rule's keys are settings
				places[k] += " or " + p.place
			}
		}
	}
	if place := places[key]; place != "" {
		return fmt.Sprintf("key %q cannot stand here, but %s", key, place)
	}
	return suggest.Key(key, keys)
}
