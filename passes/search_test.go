package passes

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// bruteForce tries every combination.
func bruteForce(layers [][]Choice, budget float64) float64 {
	if len(layers) == 0 {
		return 0
	}
	best := math.Inf(1)
	for _, c := range layers[0] {
		if c.Cost <= budget {
			best = min(best, c.Loss+bruteForce(layers[1:], budget-c.Cost))
		}
	}
	return best
}

func total(layers [][]Choice, picked []int) (cost, loss float64) {
	for l, i := range picked {
		cost += layers[l][i].Cost
		loss += layers[l][i].Loss
	}
	return cost, loss
}

func TestSearchEqualsBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 60 {
		n := 1 + rng.IntN(5)
		layers := make([][]Choice, n)
		whole := 0.0
		for l := range layers {
			layers[l] = make([]Choice, 1+rng.IntN(6))
			top := 0.0
			for i := range layers[l] {
				layers[l][i] = Choice{float64(1 + rng.IntN(1000)), rng.Float64()}
				top = max(top, layers[l][i].Cost)
			}
			whole += top
		}
		budget := math.Floor(whole * (0.3 + 0.7*rng.Float64()))
		want := bruteForce(layers, budget)
		picked, err := Search(layers, budget)
		if math.IsInf(want, 1) {
			var over *BudgetError
			if !errors.As(err, &over) || over.Least <= budget {
				t.Fatalf("trial %d: nothing fits, but got %v, %v", trial, picked, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("trial %d: %v", trial, err)
		}
		cost, loss := total(layers, picked)
		if cost > budget {
			t.Errorf("trial %d: cost %v above budget %v", trial, cost, budget)
		}
		// Rounding up can hide a combination within n/10000 of the budget; anything cheaper than that must be found.
		if loss > bruteForce(layers, budget*(1-float64(n)/budgetSteps))+1e-12 {
			t.Errorf("trial %d: loss %v, brute force %v", trial, loss, want)
		}
	}
}

func TestSearchUsesWholeBudget(t *testing.T) {
	// Both choices fit exactly; rounding up alone would refuse the better one.
	layers := [][]Choice{{{1, 1}, {100.0 / 3, 0}}, {{1, 1}, {100.0 / 3, 0}}, {{1, 1}, {100.0 / 3, 0}}}
	picked, err := Search(layers, 100.0/3*3)
	if err != nil {
		t.Fatal(err)
	}
	if _, loss := total(layers, picked); loss != 0 {
		t.Errorf("loss %v, picked %v", loss, picked)
	}
}

func TestSearchEmptyLayer(t *testing.T) {
	if _, err := Search([][]Choice{{}}, 1); err == nil {
		t.Error("a layer without choices is no error")
	}
	if picked, err := Search(nil, 1); err != nil || len(picked) != 0 {
		t.Errorf("no layers: %v, %v", picked, err)
	}
}
