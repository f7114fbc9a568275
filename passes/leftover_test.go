package passes

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestLeftoverChannels prunes layers with kernels whose input channels the pattern does not divide: whole units follow the pattern, the last
// channels are all kept, and with the exact methods they take part in the compensation, so that the kept weights are the least squares of
// their mask.
func TestLeftoverChannels(t *testing.T) {
	const m = 4
	for _, method := range []string{"obs", "sparsegpt", "magnitude"} {
		for _, refine := range []bool{false, true} {
			for _, pattern := range []string{"nm: 2:4", "nm: 1:4", "block: 4, sparsity: 0.5"} {
				if refine && method != "obs" {
					continue
				}
				name := fmt.Sprintf("{%s, method: %s, refine: %v, correction: none}", pattern, method, refine)
				model, data := oddNet()
				res, err := Compress(t.Context(), model, data, recipeOf(t, name), Options{})
				if err != nil {
					t.Fatal(err)
				}
				dense, written, stats := layersOf(t, model), layersOf(t, res.Model), captured(t, model, data)
				if len(res.Report.Layers) != 3 {
					t.Fatalf("%s: %d layers are reported, expected 3: %+v", name, len(res.Report.Layers), res.Report.Kept)
				}
				for _, l := range res.Report.Layers {
					c := written[l.Name].ChannelsIn
					if l.LeftDense != l.Cols/c*(c%m) || !strings.Contains(notesOf(res), fmt.Sprintf("%s: pattern %s takes 4 input channels together: the last %d of its %d are left dense", l.Name, l.Pattern, c%m, c)) {
						t.Errorf("%s, %s: %d columns left dense; notes %s", name, l.Name, l.LeftDense, notesOf(res))
					}
					w, _ := written[l.Name].Matrix()
					gone, units := 0, unitsOf(w, c, m)
					for _, u := range units {
						n := nonZeros(u)
						if gone += m - n; strings.HasPrefix(pattern, "block") && n%m != 0 || pattern == "nm: 2:4" && n > 2 || pattern == "nm: 1:4" && n > 1 {
							t.Fatalf("%s, %s: a unit keeps %d of 4", name, l.Name, n)
						}
					}
					if share := float64(gone) / float64(m*len(units)); share < 0.5 || share > 0.5+2/float64(len(units)) && pattern != "nm: 1:4" {
						t.Errorf("%s, %s: share %v of the units is zero", name, l.Name, share)
					}
					for i, v := range w {
						if i%c >= c-c%m && v == 0 {
							t.Fatalf("%s, %s: weight %d of a channel that is left dense is zero", name, l.Name, i)
						}
					}
					if method == "obs" {
						d, _ := dense[l.Name].Matrix()
						if e := slope(d, w, stats[l.Name].Hessians, l.Cols, l.Damping); e > 1e-3 {
							t.Errorf("%s, %s: the kept weights are not the least squares of their mask: slope %v", name, l.Name, e)
						}
					}
				}
			}
		}
	}
}

func notesOf(r *Result) string {
	var all []string
	for _, p := range r.Report.Passes {
		all = append(all, p.Notes...)
	}
	return strings.Join(all, "\n")
}

// slope is the greatest slope of the damped loss along a kept weight, relative to that along a removed one.
func slope(dense, now []float32, hessians [][]float64, d int, damping float64) float64 {
	kept, removed := 0.0, 0.0
	for g, h := range hessians {
		n := len(dense) / len(hessians)
		a, b := dense[g*n:(g+1)*n], now[g*n:(g+1)*n]
		mean := 0.0
		for i := range d {
			mean += h[i*d+i] / float64(d)
		}
		for r := 0; r < n; r += d {
			for i := range d {
				sum := damping * mean * float64(b[r+i]-a[r+i])
				for j := range d {
					sum += h[i*d+j] * float64(b[r+j]-a[r+j])
				}
				if b[r+i] != 0 {
					kept = max(kept, math.Abs(sum))
				} else {
					removed = max(removed, math.Abs(sum))
				}
			}
		}
	}
	return kept / removed
}
