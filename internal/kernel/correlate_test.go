package kernel

import (
	"fmt"
	"math"
	"testing"
)

func TestCorrelator(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		const n = 700
		for _, c := range []int{1, 3, 8, 16, 17, 48, 50, 100} {
			x, y := random(r, n*c), random(r, n*c)
			k := NewCorrelator(n, c, 2)
			k.Right(x, 2)
			k.Left(0, x, 1)
			k.Left(1, y, 3)
			sums := []Correlation{
				{Variant: 0, Upper: true, Runs: []Run{{0, 0, n}}},
				{Variant: 0, Runs: []Run{{0, 7, 1}, {5, 2, 30}, {100, 90, 0}, {1, 11, 520}}},
				{Variant: 1, Runs: []Run{{3, 0, 40}}},
				{Variant: 1, Set: true, Runs: []Run{{3, 0, 40}, {0, 9, 600}}},
				{Set: true, Runs: []Run{{3, 0, 0}}},
			}
			var want [][]float64
			for i := range sums {
				sums[i].Sum = make([]float64, c*c)
				for j := range sums[i].Sum {
					if sums[i].Set {
						sums[i].Sum[j] = math.NaN()
					}
				}
				w := make([]float64, c*c)
				left := [][]float32{x, y}[sums[i].Variant]
				for _, run := range sums[i].Runs {
					for s := range run.N {
						for a := range c {
							for b := range c {
								if a <= b || !sums[i].Upper {
									w[a*c+b] += float64(left[(run.Left+s)*c+a]) * float64(x[(run.Right+s)*c+b])
								}
							}
						}
					}
				}
				want = append(want, w)
			}
			k.Add(sums, 3)
			for i, s := range sums {
				for j, v := range s.Sum {
					near(t, fmt.Sprintf("c=%d sum %d", c, i), j, v, want[i][j], 1e-3)
				}
			}
		}
	})
}
