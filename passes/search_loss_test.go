package passes

import (
	"strings"
	"testing"
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
