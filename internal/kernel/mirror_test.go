package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// aligned is n numbers that begin at a line of the cache, all NaN.
func aligned(n int) []float64 {
	x := make([]float64, n+8)
	for i := range x {
		x[i] = math.NaN()
	}
	skip := int(-uintptr(unsafe.Pointer(&x[0]))&63) / 8
	return x[skip : skip+n]
}

// SumMirrored writes what it is asked for, the same bits in every form, and nothing beside.
func TestSumMirrored(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, m := range []int{0, 1, 7, 8} {
			for _, n := range []int{0, 1, 3, 4, 5, 7, 8, 9, 16, 17, 24, 31, 40} {
				for _, ld := range []int{48, 49} {
					for _, shift := range []int{0, 4} {
						for parts := range 4 {
							testSumMirrored(t, r, m, n, ld, shift, parts)
						}
					}
				}
			}
		}
	})
}

func testSumMirrored(t *testing.T, r *rand.Rand, m, n, ld, shift, parts int) {
	t.Helper()
	const lds, scale = 41, 0.375
	var src [][]float64
	for range parts {
		p := make([]float64, 8*lds)
		for i := range p {
			p[i] = r.NormFloat64()
		}
		src = append(src, p)
	}
	rows, columns := aligned(8*ld + 8)[shift:], aligned(48*ld + 8)[shift:]
	what := fmt.Sprintf("m=%d n=%d ld=%d shift=%d parts=%d: ", m, n, ld, shift, parts)
	SumMirrored(rows, columns, ld, src, lds, m, n, scale)
	for i := range rows {
		want := math.NaN()
		if i/ld < m && i%ld < n {
			want = 0
			for _, p := range src {
				want += p[i/ld*lds+i%ld]
			}
			want *= scale
		}
		near(t, what+"rows", i, rows[i], want, 0)
	}
	for i := range columns {
		want := math.NaN()
		if i/ld < n && i%ld < m {
			want = rows[i%ld*ld+i/ld]
		}
		near(t, what+"columns", i, columns[i], want, 0)
	}
}
