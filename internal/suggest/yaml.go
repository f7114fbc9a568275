package suggest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// At is a place in YAML as messages have it: name:line:column.
func At(name string, t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", name, t.Position.Line, t.Position.Column)
}

// YAML adds to an error of the YAML library where it is in the text called name, in words of YAML what was expected, what unknown says of a
// key that is none, and the lines around.
func YAML(name string, err error, unknown func(key string) string) error {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	msg := y.GetMessage()
	var key *yaml.UnknownFieldError
	if errors.As(err, &key) {
		msg = unknown(y.GetToken().Value)
	}
	if plain := inWords(err); plain != "" {
		msg = plain
	}
	_, printed, _ := strings.Cut(strings.TrimRight(y.FormatError(false, true), "\n"), "\n")
	return fmt.Errorf("%s: %s\n%s", At(name, y.GetToken()), msg, printed)
}

// Key tells that a key is none, and which of keys is nearest.
func Key(key string, keys []string) string {
	if near := Nearest(key, keys, 1); len(near) > 0 {
		return fmt.Sprintf("unknown key %q; did you mean %q?", key, near[0])
	}
	return fmt.Sprintf("unknown key %q", key)
}

// Keys lists the keys of YAML that values of struct type t are read from.
func Keys(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// inWords tells in words of YAML what an error of the YAML library expected: its own message names Go types. Empty for other
// errors, whose messages read well.
func inWords(err error) string {
	var kind *yaml.TypeError
	var big *yaml.OverflowError
	var node *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("found %q, expected %s", kind.Token.Value, expected(kind.DstType))
	case errors.As(err, &big):
		return fmt.Sprintf("found %s, which is too large for %s", big.SrcNum, expected(big.DstType))
	case errors.As(err, &node) && node.Expected == ast.MappingType:
		return fmt.Sprintf("found %q, expected settings, as in {key: value}", node.Token.Value)
	case errors.As(err, &node) && node.Expected == ast.SequenceType:
		return fmt.Sprintf("found %q, expected a list, as in [a, b]", node.Token.Value)
	}
	return ""
}

// expected says how a value of type t is written.
func expected(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list, as in [a, b]"
	case reflect.Struct, reflect.Map:
		return "settings, as in {key: value}"
	case reflect.Pointer:
		return expected(t.Elem())
	}
	return "a whole number"
}

// Fraction finds a fraction where type t has a whole number in what YAML text holds: the YAML library cuts such numbers off. path is
// empty when there is none, else as in $.rules[0].block.
func Fraction(content any, t reflect.Type) (path string, x float64) {
	if path, x = fraction(content, t); path != "" {
		path = "$" + path
	}
	return path, x
}

func fraction(content any, t reflect.Type) (path string, x float64) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := content.(type) {
	case float64:
		if t.Kind() == reflect.Int && v != math.Trunc(v) {
			return ".", v
		}
	case []any:
		if t.Kind() != reflect.Slice {
			break
		}
		for i, e := range v {
			if path, x = fraction(e, t.Elem()); path != "" {
				return fmt.Sprintf("[%d]%s", i, strings.TrimSuffix(path, ".")), x
			}
		}
	case map[string]any:
		if t.Kind() != reflect.Struct {
			break
		}
		for _, f := range reflect.VisibleFields(t) {
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if e, ok := v[key]; ok && key != "" {
				if path, x = fraction(e, f.Type); path != "" {
					return "." + key + strings.TrimSuffix(path, "."), x
				}
			}
		}
	}
	return "", 0
}
