package passes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// TestSearchByLoss compares the layer losses of both ways to find scales, with and without refinement after them.
func TestSearchByLoss(t *testing.T) {
	for name, net := range testNets {
		for _, more := range []string{"", ", nm: 2:4", ", refine: true", ", refine: true, sparsity: 0.3"} {
			m, data := net()
			loss := map[string]float64{}
			for _, search := range []string{"shrink", "loss"} {
				res, err := Compress(t.Context(), m, data, recipeOf(t, "{weights: {bits: 3, search: "+search+"}"+more+"}"), Options{})
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range res.Report.Layers {
					loss[search] += l.RelativeLoss
				}
			}
			if loss["loss"] > loss["shrink"] || loss["loss"] == loss["shrink"] && !strings.Contains(more, "refine") {
				t.Errorf("%s%s: relative losses %v", name, more, loss)
			}
		}
	}
}

// TestKeptRanges: with a correction that does not restore deviations, convolutions keep the scales of their weights' whole range, whatever betters
// their codes afterwards, and other layers do not.
func TestKeptRanges(t *testing.T) {
	scales := func(net func() (*onnxio.Model, arrays), recipe string) map[string]string {
		m, data := net()
		res, err := Compress(t.Context(), m, data, recipeOf(t, recipe), Options{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := graph.New(res.Model)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, n := range g.Nodes {
			if n.Op() == "DequantizeLinear" && len(n.Outputs[0].Uses) == 1 {
				s, err := n.Inputs[1].Tensor()
				if err != nil {
					t.Fatal(err)
				}
				out[n.Outputs[0].Uses[0].Node.Op()] += fmt.Sprint(s.Data)
			}
		}
		return out
	}
	kinds := map[bool]int{}
	for name, net := range testNets {
		plain := scales(net, "{weights: {bits: 3, search: minmax}, method: rtn, correction: none}")
		for _, recipe := range []string{"{weights: {bits: 3}, correction: none}", "{weights: {bits: 3}, correction: bias}"} {
			for op, s := range scales(net, recipe) {
				if kept := s == plain[op]; kept != strings.HasPrefix(op, "Conv") {
					t.Errorf("%s %s %s: the scales are those of the whole range: %v", name, recipe, op, kept)
				}
				kinds[strings.HasPrefix(op, "Conv")]++
			}
		}
	}
	if kinds[true] == 0 || kinds[false] == 0 {
		t.Errorf("convolutions and others seen: %v", kinds)
	}
}
