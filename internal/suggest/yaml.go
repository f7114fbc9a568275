package suggest

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// YAML tells in words of YAML what an error of the YAML library expected: its own message names Go types. Empty for other
// errors, whose messages read well.
func YAML(err error) string {
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
