package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestSyrkAdd(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, d := range append(sizes, 130) {
			for _, n := range []int{0, 1, 3, 255, 256, 257, 600} {
				ldx := d + 2
				x := padded(r, n, d, ldx)
				h := make([]float64, d*d)
				for i := range h {
					h[i] = float64(i)
				}
				one := slices.Clone(h)
				SyrkAdd(h, d, x, n, ldx, 1)
				SyrkAdd(one, d, x, n, ldx, 3)
				if !slices.Equal(h, one) {
					t.Fatalf("d=%d n=%d: threads change the sum", d, n)
				}
				Mirror(h, d)
				for i := range d {
					for j := range d {
						p, q := min(i, j), max(i, j)
						want, size := float64(p*d+q), float64(p*d+q)
						for k := range n {
							v := float64(x[k*ldx+i]) * float64(x[k*ldx+j])
							want += v
							size += math.Abs(v)
						}
						near(t, fmt.Sprintf("d=%d n=%d", d, n), i*d+j, h[i*d+j], want, 1e-6*(size+1e-30))
					}
				}
			}
		}
	})
}

func TestCholInverse64(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range append(sizes, 96, 127, 128, 129, 200, 300) {
			h := make([]float64, n*n)
			SyrkAdd(h, n, random(r, 2*n*n), 2*n, max(1, n), 2)
			Mirror(h, n)
			for i := range n {
				h[i*n+i]++
			}
			factor, inv := slices.Clone(h), slices.Clone(h)
			for i := range n {
				for j := i + 1; j < n; j++ {
					factor[i*n+j], inv[i*n+j] = math.NaN(), math.NaN()
				}
			}
			if err := Cholesky64(factor, n, 2); err != nil {
				t.Fatal(err)
			}
			if err := CholInverse64(inv, n, 2); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				for j := range n {
					var llt, unit float64
					for k := range n {
						if k <= min(i, j) {
							llt += factor[i*n+k] * factor[j*n+k]
						}
						unit += h[i*n+k] * inv[k*n+j]
					}
					near(t, fmt.Sprint("L L^T, n=", n), i*n+j, llt, h[i*n+j], 1e-9*float64(n))
					near(t, fmt.Sprint("H Hinv, n=", n), i*n+j, unit, btof(i == j), 1e-8)
				}
			}
		}
	})
}

func btof(b bool) float64 { return float64(btoi(b)) }

func TestCholeskyRefuses(t *testing.T) {
	for _, n := range []int{1, 40, 100} {
		for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
			a := make([]float64, n*n)
			for i := range n {
				a[i*n+i] = 1
			}
			a[n*n-1] = bad
			err := CholInverse64(a, n, 2)
			want := fmt.Sprintf("matrix is not positive definite: pivot %d is %g", n-1, bad)
			if err == nil || err.Error() != want {
				t.Errorf("n=%d: error %v, want %s", n, err, want)
			}
		}
	}
}

func BenchmarkSyrkAdd(b *testing.B) {
	for _, d := range []int{288, 1152, 2304} {
		const n = 1024
		x, h := random(newRand(), n*d), make([]float64, d*d)
		for threads := 1; threads <= 2; threads++ {
			b.Run(fmt.Sprintf("d=%d/threads=%d", d, threads), func(b *testing.B) {
				for b.Loop() {
					SyrkAdd(h, d, x, n, d, threads)
				}
				b.ReportMetric(float64(d)*float64(d)*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkCholInverse64(b *testing.B) {
	for _, d := range []int{576, 1152} {
		h := make([]float64, d*d)
		SyrkAdd(h, d, random(newRand(), 2*d*d), 2*d, d, 2)
		Mirror(h, d)
		work := make([]float64, d*d)
		b.Run(fmt.Sprint("d=", d), func(b *testing.B) {
			for b.Loop() {
				copy(work, h)
				if err := CholInverse64(work, d, 2); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(d)
			b.ReportMetric(n*n*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
