//go:build !noasm

package kernel

import (
	"math"
	"os"

	"golang.org/x/sys/cpu"
)

//go:generate sh -c "cd _elim && go run . -out ../eliminate_amd64.s -stubs ../eliminate_stubs_amd64.go -pkg kernel"

func init() {
	if os.Getenv("OBC_KERNEL") != "generic" {
		useElimAVX2()
	}
}

// useElimAVX2 switches to the AVX2 forms where the processor has them.
func useElimAVX2() bool {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		return false
	}
	elimStep, elimUpdate = elimStepFast, elimUpdateFast
	cheapestColumn, cheapestRounding = cheapestColumnFast, cheapestRoundingFast
	return true
}

func elimStepFast(u []float32, depth, t int, col, coef []float32, inv, c float32, diag, w []float32) {
	elimStepAVX2(&u[0], depth, t, &col[0], &coef[0], inv, c, &diag[0], &w[0], len(col)/Tile)
}

func elimUpdateFast(dst, src, u []float32, depth, t, tiles int) {
	elimUpdateAVX2(&dst[0], &src[0], &u[0], depth, t, tiles)
}

func cheapestColumnFast(w, diag, pen []float32) int {
	var score [8]float32
	var at [8]int32
	cheapestColumnAVX2(&w[0], &diag[0], &pen[0], len(w), &score, &at)
	return leastLane(&score, &at)
}

func cheapestRoundingFast(w, diag, pen, scale, inv, lo, hi []float32) (cheapest, farthest int, steps float32) {
	var score, far [8]float32
	var at, out [8]int32
	cheapestRoundingAVX2(&w[0], &diag[0], &pen[0], &scale[0], &inv[0], &lo[0], &hi[0], len(w), &score, &at, &far, &out)
	steps = float32(math.Inf(-1))
	for i := range far {
		far[i] = -far[i]
	}
	farthest = leastLane(&far, &out)
	for i, p := range out {
		if int(p) == farthest && p >= 0 {
			steps = -far[i]
		}
	}
	return leastLane(&score, &at), farthest, steps
}

// leastLane is the index of the least score, the lowest of equals; -1 if no lane has one.
func leastLane(score *[8]float32, at *[8]int32) int {
	best, found := float32(math.Inf(1)), int32(-1)
	for i, s := range score {
		if p := at[i]; p >= 0 && (s < best || s == best && p < found) {
			best, found = s, p
		}
	}
	return int(found)
}
