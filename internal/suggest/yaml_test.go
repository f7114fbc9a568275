package suggest

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestInWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"share: abc", `found "abc", expected a number`},
		{"bits: int8", `found "int8", expected a whole number`},
		{"bits: 3000", `found 3000, which is too large for a whole number`},
		{"on: 3", `found "3", expected true or false`},
		{"list: 28", `found "28", expected a list, as in [a, b]`},
		{"list: [a]", `found "a", expected a whole number`},
		{"ends: 8", `found "8", expected settings, as in {key: value}`},
		{"typo: 8", ""},
		{"share: 0.5", ""},
	} {
		var v struct {
			Share float64
			Bits  int8
			On    *bool
			List  []int
			Ends  struct{ First bool }
		}
		err := yaml.UnmarshalWithOptions([]byte(c.text), &v, yaml.Strict())
		if got := inWords(err); got != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.text, got, c.want, err)
		}
		if strings.Contains(inWords(err), "Go ") {
			t.Errorf("%s: names Go's types: %v", c.text, inWords(err))
		}
	}
}
