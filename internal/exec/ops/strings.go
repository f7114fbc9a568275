package ops

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// text reads input i as strings.
func text(c *exec.Call, i int) ([]string, error) {
	x := c.Input(i)
	if x == nil {
		return nil, fmt.Errorf("input %d is missing", i)
	}
	s, ok := x.Data.([]string)
	if !ok {
		return nil, typeError(i, x)
	}
	return s, nil
}

// prepareStringNormalizer drops stop words and changes case.
func prepareStringNormalizer(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	change, sensitive, stops := n.Str("case_change_action", "NONE"), n.Int("is_case_sensitive", 0) != 0, n.Strings("stopwords")
	fold := func(s string) string { return s }
	switch change {
	case "NONE":
	case "LOWER":
		fold = strings.ToLower
	case "UPPER":
		fold = strings.ToUpper
	default:
		return nil, fmt.Errorf("attribute case_change_action is %q, expected NONE, LOWER or UPPER", change)
	}
	return func(c *exec.Call) error {
		in, err := text(c, 0)
		if err != nil {
			return err
		}
		shape := c.In[0].Shape
		if len(shape) != 1 && !(len(shape) == 2 && shape[0] == 1) {
			return fmt.Errorf("input has shape %v, expected [C] or [1 C]", shape)
		}
		out := []string{}
		for _, s := range in {
			stop := slices.ContainsFunc(stops, func(w string) bool { return w == s || !sensitive && strings.EqualFold(w, s) })
			if !stop {
				out = append(out, fold(s))
			}
		}
		if len(out) == 0 {
			out = []string{""}
		}
		c.Out[0] = onnxio.TensorOf(out, append(append([]int{}, shape[:len(shape)-1]...), len(out))...)
		return nil
	}, nil
}

// prepareStringSplit cuts each string at a delimiter, at white space without one; short rows are filled with "".
func prepareStringSplit(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	delim, most := n.Str("delimiter", ""), int(n.Int("maxsplit", -1))
	return func(c *exec.Call) error {
		in, err := text(c, 0)
		if err != nil {
			return err
		}
		rows := make([][]string, len(in))
		width := 0
		for i, s := range in {
			rows[i] = splitText(s, delim, most)
			width = max(width, len(rows[i]))
		}
		out, counts := make([]string, len(in)*width), make([]int64, len(in))
		for i, r := range rows {
			copy(out[i*width:], r)
			counts[i] = int64(len(r))
		}
		c.SetOut(0, onnxio.TensorOf(out, append(append([]int{}, c.In[0].Shape...), width)...))
		c.SetOut(1, onnxio.TensorOf(counts, c.In[0].Shape...))
		return nil
	}, nil
}

func splitText(s, delim string, most int) []string {
	if delim != "" {
		if s == "" {
			return nil
		}
		if most < 0 {
			return strings.Split(s, delim)
		}
		return strings.SplitN(s, delim, most+1)
	}
	if most < 0 {
		return strings.Fields(s)
	}
	var out []string
	s = strings.TrimLeft(s, " \t\n\r\v\f")
	for s != "" {
		end := strings.IndexAny(s, " \t\n\r\v\f")
		if len(out) == most || end < 0 {
			return append(out, strings.TrimRight(s, " \t\n\r\v\f"))
		}
		out = append(out, s[:end])
		s = strings.TrimLeft(s[end:], " \t\n\r\v\f")
	}
	return out
}

func prepareRegexFullMatch(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	re, err := regexp.Compile(`^(?:` + n.Str("pattern", "") + `)$`)
	if err != nil {
		return nil, fmt.Errorf("attribute pattern: %w", err)
	}
	return func(c *exec.Call) error {
		in, err := text(c, 0)
		if err != nil {
			return err
		}
		out := make([]bool, len(in))
		for i, s := range in {
			out[i] = re.MatchString(s)
		}
		c.Out[0] = onnxio.TensorOf(out, c.In[0].Shape...)
		return nil
	}, nil
}

func inferStringNormalizer(n *graph.Node) error {
	s := shapeOf(n, 0).Clone()
	if len(s) > 0 {
		s[len(s)-1] = graph.Unknown
	}
	n.SetOut(0, onnxio.String, s)
	return nil
}

func inferStringSplit(n *graph.Node) error {
	n.SetOut(0, onnxio.String, nil)
	if s := shapeOf(n, 0); s != nil {
		n.SetOut(0, onnxio.String, append(s.Clone(), graph.Unknown))
	}
	n.SetOut(1, onnxio.Int64, shapeOf(n, 0))
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "StringNormalizer", Since: 1, Infer: inferStringNormalizer, Prepare: prepareStringNormalizer, Native: true},
		exec.Op{Name: "StringSplit", Since: 20, Infer: inferStringSplit, Prepare: prepareStringSplit, Native: true},
		exec.Op{Name: "RegexFullMatch", Since: 20, Infer: unlike(0, onnxio.Bool), Prepare: prepareRegexFullMatch, Native: true},
		exec.Op{Name: "StringConcat", Since: 20, Infer: inferBroadcast(0, 0), Native: true,
			Prepare: binaryOp(typed{onnxio.String: binary(0, rowsOf(func(a, b string) string { return a + b }))})},
	)
}
