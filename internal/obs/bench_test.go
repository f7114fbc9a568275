package obs

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// benchProblems are reference problems over the widths that matter.
var benchProblems = []string{"fm_conv_288", "minilm_attn_384", "fm_conv_576", "eff_project_1152", "minilm_ffn_down_1536"}

// BenchmarkSolve times whole methods on all rows given, both threads, inverse and grid included as in the plain form's own timing.
// "fma/cycle"-independent figures: ms/row, and Gflop/s counting 2 flops for each of the d^3/6 multiply-adds of a whole trace.
func BenchmarkSolve(b *testing.B) {
	for _, name := range benchProblems {
		for _, method := range []string{"quant4", "unstr", "24", "block4"} {
			b.Run(fmt.Sprintf("%s/%s", name, method), func(b *testing.B) {
				pr := readProblem(b, name)
				b.ResetTimer()
				for range b.N {
					if err := solveMethod(pr, method); err != nil {
						b.Fatal(err)
					}
				}
				sec := b.Elapsed().Seconds() / float64(b.N)
				d := float64(pr.w.Cols)
				flops := d * d * d / 3
				if method == "24" {
					flops *= 7. / 8
				}
				b.ReportMetric(sec/float64(pr.w.Rows)*1e3, "ms/row")
				b.ReportMetric(flops*float64(pr.w.Rows)/sec/1e9, "Gflop/s")
			})
		}
	}
}

func solveMethod(pr problem, method string) error {
	ctx, o := context.Background(), Options{Threads: runtime.GOMAXPROCS(0)}
	p, err := Prepare(pr.h, pr.w.Cols, 0.01)
	if err != nil {
		return err
	}
	switch method {
	case "quant4":
		g, err := FitGrid(pr.w, GridSpec{Bits: 4, Search: Shrink})
		if err != nil {
			return err
		}
		_, err = Quantize(ctx, pr.w, p, g, nil, o)
		return err
	case "24":
		_, err = NM(ctx, pr.w, p, 2, 4, o)
		return err
	}
	c := 1
	if method == "block4" {
		c = 4
	}
	t, err := NewTrace(ctx, pr.w, p, c, o)
	if err != nil {
		return err
	}
	_, err = t.Levels(ctx, [][]int{t.Counts(0.5), t.Counts(0.7), t.Counts(0.9)})
	return err
}
