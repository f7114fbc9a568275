package passes

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
)

// TestTargetsAreReached looks at what the written model costs.
func TestTargetsAreReached(t *testing.T) {
	for name, net := range testNets {
		for text, want := range map[string]float64{
			"{sparsity: 0.5, target: flops=2x}": 2, "{target: flops=1.5x, weights: {bits: 8}}": 1.5,
			"{nm: 2:4, target: bops=6x}": 6, "{target: size=5x}": 5,
		} {
			m, data := net()
			res, err := Compress(t.Context(), m, data, recipeOf(t, text), Options{})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, text, err)
			}
			r := res.Report
			if r.Reached < want || r.Reached > 1.4*want {
				t.Errorf("%s, %s: reached %v", name, text, r.Reached)
			}
			if want == 2 && math.Abs(r.Dense.MACs/r.Compressed.MACs/r.Reached-1) > 0.02 {
				t.Errorf("%s: MACs went from %v to %v, %v was told", name, r.Dense.MACs, r.Compressed.MACs, r.Reached)
			}
			if want == 6 && r.Dense.BOPs/r.Compressed.BOPs < 0.98*r.Reached { // rounding makes more zeros than the pattern
				t.Errorf("%s: BOPs went from %v to %v, %v was told", name, r.Dense.BOPs, r.Compressed.BOPs, r.Reached)
			}
		}
	}
}

func TestTargetOutOfReach(t *testing.T) {
	m, data := convNet()
	_, err := Compress(t.Context(), m, data, recipeOf(t, "{target: size=100x}"), Options{})
	var budget *BudgetError
	if !errors.As(err, &budget) || budget.Factor < 2 || budget.Factor >= 100 {
		t.Fatalf("error is %v", err)
	}
	ask := fmt.Sprintf("%.2fx", budget.Factor)
	if !strings.Contains(err.Error(), "cannot be reached") || !strings.Contains(err.Error(), "ask for at most size="+ask) {
		t.Errorf("message is %v", err)
	}
	m, data = convNet()
	if _, err := Compress(t.Context(), m, data, recipeOf(t, "{target: size="+ask+"}"), Options{}); err != nil {
		t.Errorf("what the error asks for: %v", err)
	}
}

// TestTargetNeedsZeros does what the message says: 4 bits are 8 times fewer bit operations, more takes zeros.
func TestTargetNeedsZeros(t *testing.T) {
	m, data := convNet()
	_, err := Compress(t.Context(), m, data, recipeOf(t, "{target: bops=9x}"), Options{})
	if err == nil || !strings.Contains(err.Error(), "ask for at most bops=8.00x, or allow zeros (sparsity, nm) or fewer bits") {
		t.Errorf("error is %v", err)
	}
	m, data = convNet()
	if _, err := Compress(t.Context(), m, data, recipeOf(t, "{target: bops=9x, sparsity: 0.5}"), Options{}); err != nil {
		t.Errorf("with zeros: %v", err)
	}
}

// TestScopeModel checks the share over all layers, and that layers give unequal shares at less loss than equal ones would.
func TestScopeModel(t *testing.T) {
	for name, net := range testNets {
		loss := map[string]float64{}
		for _, scope := range []string{"layer", "model"} {
			m, data := net()
			res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, "{sparsity: 0.6, scope: "+scope+"}")), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if s := res.Report.Compressed.Sparsity; s < 0.6 || s > 0.63 {
				t.Errorf("%s, scope %s: %v of the weights are zero", name, scope, s)
			}
			for _, l := range res.Report.Layers {
				loss[scope] += l.RelativeLoss
			}
		}
		if loss["model"] > loss["layer"] {
			t.Errorf("%s: relative losses %v", name, loss)
		}
	}
}

// TestTargetOfQuantized asks for what a model that is quantized already cannot give: its own bits count, not 32, in the budget and in the
// report, and the message has no negative shares, also when what is kept alone takes more than the budget.
func TestTargetOfQuantized(t *testing.T) {
	m, data := convNet()
	res, err := Compress(t.Context(), m, data, withoutCorrection(recipeOf(t, "{weights: {bits: 8}, activations: {bits: 8}}")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	eight := res.Model
	for recipe, want := range map[string]string{
		"{target: size=5x}":                        `target size=5x cannot be reached: it leaves 20% of the bits that weights are stored in, and the cheapest levels take [2-9][0-9.]+%: ask for at most size=[123]\.[0-9]+x$`,
		"{target: bops=5x}":                        `it leaves 20% of the bit operations, and the cheapest levels take 50%: ask for at most bops=2.00x, or allow zeros`,
		"{target: size=20x, keep: {first: true}}":  `it leaves 5% .* take [0-9.]+% \([0-9.]+% in layers that stay as they are\): ask for at most size=[0-9.]+x, or keep fewer layers as they are$`,
		"{target: bops=200x, keep: {first: true}}": `it leaves 0.5% .* in layers that stay as they are\): ask for at most bops=1.[0-9]+x, or allow zeros`,
	} {
		_, err := Compress(t.Context(), eight, data, recipeOf(t, recipe), Options{})
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%s: error is %v, want %s", recipe, err, want)
		}
	}
	again, err := Compress(t.Context(), eight, data, withoutCorrection(recipeOf(t, "{weights: {bits: 4}}")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if was, is := res.Report.Compressed.BOPs, again.Report.Dense.BOPs; math.Abs(is/was-1) > 1e-9 {
		t.Errorf("BOPs of the 8-bit model: %v as it was written, %v as it came in", was, is)
	}
	if d, c := again.Report.Dense.BOPs, again.Report.Compressed.BOPs; c > d {
		t.Errorf("4-bit weights beside inputs of 8 bits: %v BOPs, %v before", c, d)
	}
	float, err := Compress(t.Context(), eight, data, withoutCorrection(recipeOf(t, "{nm: 2:4}")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if notes := fmt.Sprint(float.Report.Passes); !strings.Contains(notes, "its weight came in 8 bits and is float now") {
		t.Errorf("no word of weights that became float: %s", notes)
	}
}
