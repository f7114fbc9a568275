package passes

import (
	"fmt"
	"math"
	"strings"
)

// Choice is one level of one layer: what it costs and what it loses.
type Choice struct {
	Cost float64 // in the budget's unit: MACs, BOPs or bits
	Loss float64 // relative, so that layers can be added up
}

// budgetSteps is the resolution of the search: costs are rounded up to 1/10000 of the budget, so a found choice never
// exceeds the budget; with 50 layers the slack is at most half a percent and is used up by refine.
const budgetSteps = 10000

// Search picks one choice for each layer such that the sum of costs is at most the budget and the sum of losses is the
// smallest, by dynamic programming over layers and rounded costs (a multiple-choice knapsack): O(layers x choices x
// budgetSteps). The error is a *BudgetError when even the cheapest levels cost too much.
func Search(layers [][]Choice, budget float64) ([]int, error) {
	least := 0.0
	for l, choices := range layers {
		if len(choices) == 0 {
			return nil, fmt.Errorf("layer %d has no level to choose from", l)
		}
		cheapest := math.Inf(1)
		for _, c := range choices {
			cheapest = min(cheapest, c.Cost)
		}
		least += cheapest
	}
	if least > budget {
		return nil, &BudgetError{Least: least, Budget: budget}
	}
	picked := searchRounded(layers, budget)
	if picked == nil { // only rounding stands in the way: begin at the cheapest
		picked = make([]int, len(layers))
		for l, choices := range layers {
			for i, c := range choices {
				if c.Cost < choices[picked[l]].Cost {
					picked[l] = i
				}
			}
		}
	}
	refine(layers, picked, budget)
	return picked, nil
}

// BudgetError tells that even the cheapest levels cost more than the budget, both in the budget's unit. What Search itself knows are Least
// and Budget.
type BudgetError struct {
	Least, Budget float64 // of all layers
	Target        string  // what was asked for, such as "size=5x"
	Total, Fixed  float64 // the cost of the model as it came in, and that of what stays as it is
	Factor        float64 // the largest of a target that can be reached, rounded down to hundredths
	Allow         string  // what settings would make cheaper levels, if any
}

func (e *BudgetError) Error() string {
	if e.Target == "" {
		return fmt.Sprintf("the cheapest levels cost %.3g, more than the budget %.3g: ask for less, or keep fewer layers dense", e.Least, e.Budget)
	}
	kind, _, _ := strings.Cut(e.Target, "=")
	share := func(x float64) string { return fmt.Sprintf("%.3g%%", 100*x/e.Total) }
	msg := fmt.Sprintf("target %s cannot be reached: it leaves %s of the %s, and the cheapest levels take %s", e.Target, share(e.Budget),
		map[string]string{"flops": "multiplications", "bops": "bit operations", "size": "bits that weights are stored in"}[kind], share(e.Least))
	if e.Fixed > 0 {
		msg += fmt.Sprintf(" (%s in layers that stay as they are)", share(e.Fixed))
	}
	var ways []string
	if e.Factor > 1 {
		ways = append(ways, fmt.Sprintf("ask for at most %s=%.2fx", kind, e.Factor))
	}
	if e.Allow != "" {
		ways = append(ways, e.Allow)
	}
	if e.Fixed > 0 {
		ways = append(ways, "keep fewer layers as they are")
	}
	if len(ways) == 0 {
		ways = append(ways, "nothing is left to gain here")
	}
	return msg + ": " + strings.Join(ways, ", or ")
}

// searchRounded solves the problem with costs rounded up; nil when nothing fits.
func searchRounded(layers [][]Choice, budget float64) []int {
	unit := budget / budgetSteps
	best := make([]float64, budgetSteps+1) // best[b]: smallest loss of the layers so far with rounded cost <= b
	next := make([]float64, budgetSteps+1)
	from := make([][]int16, len(layers))
	for l, choices := range layers {
		from[l] = make([]int16, budgetSteps+1)
		for b := range next {
			next[b], from[l][b] = math.Inf(1), -1
		}
		for i, c := range choices {
			steps := math.Ceil(c.Cost/unit - 1e-9)
			if !(steps <= budgetSteps) {
				continue
			}
			for b := int(steps); b <= budgetSteps; b++ {
				if loss := best[b-int(steps)] + c.Loss; loss < next[b] {
					next[b], from[l][b] = loss, int16(i)
				}
			}
		}
		best, next = next, best
	}
	if math.IsInf(best[budgetSteps], 1) {
		return nil
	}
	picked := make([]int, len(layers))
	b := budgetSteps
	for l := len(layers) - 1; l >= 0; l-- {
		picked[l] = int(from[l][b])
		b -= int(math.Ceil(layers[l][picked[l]].Cost/unit - 1e-9))
	}
	return picked
}

// refine spends what rounding left of the budget: as long as one layer's choice can be bettered within it, the change that
// saves the most loss is made.
func refine(layers [][]Choice, picked []int, budget float64) {
	spent := 0.0
	for l, i := range picked {
		spent += layers[l][i].Cost
	}
	for {
		bestLayer, bestChoice, gain := -1, 0, 0.0
		for l, choices := range layers {
			now := choices[picked[l]]
			for i, c := range choices {
				if spent-now.Cost+c.Cost <= budget && now.Loss-c.Loss > gain {
					bestLayer, bestChoice, gain = l, i, now.Loss-c.Loss
				}
			}
		}
		if bestLayer < 0 {
			return
		}
		spent += layers[bestLayer][bestChoice].Cost - layers[bestLayer][picked[bestLayer]].Cost
		picked[bestLayer] = bestChoice
	}
}
