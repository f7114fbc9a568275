package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func bytes8(r *rand.Rand, n int) []uint8 {
	x := make([]uint8, n)
	for i := range x {
		x[i] = uint8(r.IntN(256))
		if r.IntN(8) == 0 {
			x[i] = uint8(255 * r.IntN(2)) // the ends, where a narrower sum would saturate
		}
	}
	return x
}

func signed8(x []uint8) []int8 {
	y := make([]int8, len(x))
	for i, v := range x {
		y[i] = int8(v)
	}
	return y
}

func TestIntProduct(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, m := range []int{1, 5, 8, 13, 70} {
			for _, n := range []int{1, 4, 15, 48, 65, 530} {
				for _, k := range []int{1, 2, 7, 300} {
					a, b := bytes8(r, m*k), signed8(bytes8(r, k*n))
					za, zb := []int32{3}, make([]int32, n)
					for i := range zb {
						zb[i] = int32(r.IntN(256) - 128)
					}
					h := PairLen(k)
					pa, pb, c := make([]int32, m*h), make([]int32, h*n), make([]int32, m*n)
					PairRows(pa, a, m, k, za)
					PairCols(pb, b, k, n, zb)
					IntProduct(m, n, h, pa, pb, c, 2)
					for i := range c {
						var want int32
						for p := range k {
							want += (int32(a[i/n*k+p]) - 3) * (int32(b[p*n+i%n]) - zb[i%n])
						}
						if c[i] != want {
							t.Fatalf("%d x %d x %d: element %d is %d, want %d", m, n, k, i, c[i], want)
						}
					}
				}
			}
		}
	})
}

func TestIntConv(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, s := range convCases {
			s := s.normal()
			const images = 2
			in, out, ic := s.InC*s.H*s.W, s.OutC*s.OutH()*s.OutW(), s.InC/s.Groups
			x, w, zw := bytes8(r, images*in), signed8(bytes8(r, s.OutC*ic*s.KH*s.KW)), make([]int32, s.OutC)
			for i := range zw {
				zw[i] = int32(r.IntN(5) - 2)
			}
			pairs, y := make([]int32, images*s.Groups*PairLen(ic)*s.H*s.W), make([]int32, images*out)
			PairChannels(pairs, s, images, x, 7, 2)
			PackIntConv(s, w, zw).Run(s, images, pairs, y, 2)
			fx, fw := make([]float32, len(x)), make([]float32, len(w))
			for i, v := range x {
				fx[i] = float32(v) - 7
			}
			for i, v := range w {
				fw[i] = float32(int32(v) - zw[i/(ic*s.KH*s.KW)])
			}
			for i := range images {
				want, _ := naiveConv(s, fx[i*in:(i+1)*in], fw, make([]float32, s.OutC))
				for j, v := range want {
					near(t, fmt.Sprintf("%+v", s), j, float64(y[i*out+j]), v, 0)
				}
			}
		}
	})
}

func TestRequant(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range sizes {
			sums := make([]int32, n)
			for i := range sums {
				sums[i] = int32(r.IntN(4001) - 2000)
				if i%9 == 0 {
					sums[i] = math.MinInt32 + int32(i%2)*math.MaxInt32
				}
			}
			const f, z = 0.125, 5 // halves occur
			u, s := make([]uint8, n), make([]int8, n)
			Requant(u, sums, f, z)
			Requant(s, sums, f, z)
			for i, v := range sums {
				want := math.RoundToEven(float64(v)*f) + z
				near(t, "uint8", i, float64(u[i]), min(255, max(0, want)), 0)
				near(t, "int8", i, float64(s[i]), min(127, max(-128, want)), 0)
			}
		}
	})
}

func TestQuantize(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range sizes {
			x, back := random(r, n), make([]float32, n)
			for i := range x {
				x[i] = float32(math.Round(float64(40*x[i]))) / 2 // halves occur
				if i%11 == 3 {
					x[i] = []float32{nan, posInf, negInf, 1e30}[i%4]
				}
			}
			const s, z = 0.25, 7
			u, c := make([]uint8, n), make([]int8, n)
			Quantize(u, x, s, z)
			Quantize(c, x, s, -z)
			for i, v := range x {
				want := func(lo, hi, zero float64) float64 {
					if v != v {
						return lo
					}
					return min(hi, max(lo, math.RoundToEven(float64(v)/s)+zero))
				}
				near(t, "uint8", i, float64(u[i]), want(0, 255, z), 0)
				near(t, "int8", i, float64(c[i]), want(-128, 127, -z), 0)
			}
			Dequantize(back, u, s, z)
			for i, v := range back {
				near(t, "from uint8", i, float64(v), (float64(u[i])-z)*s, 0)
			}
			Dequantize(back, c, s, -z)
			for i, v := range back {
				near(t, "from int8", i, float64(v), (float64(c[i])+z)*s, 0)
			}
		}
	})
}

func BenchmarkIntProduct(b *testing.B) {
	const n = 512
	x, y := make([]int32, n*n/2), make([]int32, n*n)
	fastest(b, 2*n*n*n, func() { IntProduct(n, n, n/2, x, x, y, 1) })
}
