package kernel

import (
	"fmt"
	"math"
	"testing"
)

func TestElementwise(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range append(sizes, 100, 1000) {
			x, y, z := random(r, n), random(r, n), random(r, n)
			check := func(name string, got []float32, want func(i int) float64) {
				t.Helper()
				for i := range got[:n] {
					w := want(i)
					near(t, fmt.Sprintf("%s n=%d", name, n), i, float64(got[i]), w, 1e-6*(math.Abs(w)+1))
				}
				for i, v := range got[n:] {
					if v == v {
						t.Fatalf("%s n=%d: element %d behind the end overwritten", name, n, i)
					}
				}
			}
			out := func(from []float32) []float32 {
				o := append(append([]float32(nil), from...), nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan)
				return o
			}
			f := func(v []float32, i int) float64 { return float64(v[i]) }
			o := out(x)
			Add(o[:n], x, y)
			check("Add", o, func(i int) float64 { return f(x, i) + f(y, i) })
			Sub(o[:n], x, y)
			check("Sub", o, func(i int) float64 { return f(x, i) - f(y, i) })
			Mul(o[:n], x, y)
			check("Mul", o, func(i int) float64 { return f(x, i) * f(y, i) })
			Div(o[:n], x, y)
			check("Div", o, func(i int) float64 { return float64(x[i] / y[i]) })
			o = out(z)
			MulSub(o[:n], x, y)
			check("MulSub", o, func(i int) float64 { return f(z, i) - f(x, i)*f(y, i) })
			o = out(y)
			Axpy(-1.5, x, o[:n])
			check("Axpy", o, func(i int) float64 { return f(y, i) - 1.5*f(x, i) })
			Affine(o[:n], x, 2, -3)
			check("Affine", o, func(i int) float64 { return 2*f(x, i) - 3 })
			Clip(o[:n], x, -0.5, 0.25)
			check("Clip", o, func(i int) float64 { return min(0.25, max(-0.5, f(x, i))) })
			Relu(o[:n], x)
			check("Relu", o, func(i int) float64 { return max(0, f(x, i)) })
			var dot, sum float64
			largest := math.Inf(-1)
			for i := range n {
				dot += f(x, i) * f(y, i)
				sum += f(x, i)
				largest = max(largest, f(x, i))
			}
			near(t, fmt.Sprint("Dot ", n), 0, float64(Dot(x, y)), dot, 1e-5*math.Sqrt(float64(n+1)))
			near(t, fmt.Sprint("Sum ", n), 0, float64(Sum(x)), sum, 1e-5*math.Sqrt(float64(n+1)))
			near(t, fmt.Sprint("Max ", n), 0, float64(Max(x)), largest, 0)
		}
	})
}

func TestClipKeepsNaN(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		x := make([]float32, 19)
		for i := range x {
			x[i] = nan
		}
		Clip(x, x, -1, 1)
		for i, v := range x {
			if v == v {
				t.Fatalf("element %d is %g", i, v)
			}
		}
	})
}

func TestFunctions(t *testing.T) {
	inf := math.Inf(1)
	cases := []struct {
		name string
		f    func(dst, x []float32)
		want func(float64) float64
		abs  float64
	}{
		{"Exp", Exp, math.Exp, 0},
		{"Tanh", Tanh, math.Tanh, 0},
		{"Erf", Erf, math.Erf, 0},
		{"Sigmoid", Sigmoid, logistic, 0},
		{"Silu", Silu, func(x float64) float64 {
			if x == -inf {
				return math.NaN()
			}
			return x * logistic(x)
		}, 0},
		{"Gelu", Gelu, func(x float64) float64 {
			if x == -inf {
				return 0
			}
			return 0.5 * x * math.Erfc(-x/math.Sqrt2)
		}, 1e-37}, // next to underflow
	}
	var xs []float32
	for x := -87.0; x <= 88.5; x += 0.0137 {
		xs = append(xs, float32(x))
	}
	for x := 1e-30; x < 20; x *= 1.03 {
		xs = append(xs, float32(x), float32(-x))
	}
	xs = append(xs, 0, float32(math.Copysign(0, -1)), -100, -1000, 100, 1000, float32(inf), nan)
	everyForm(t, func(t *testing.T) {
		for _, c := range cases {
			got := make([]float32, len(xs))
			c.f(got, xs)
			for i, x := range xs {
				w := c.want(float64(x))
				tol := 2e-6*math.Abs(w) + c.abs + 1.2e-38
				if math.Abs(w) > math.MaxFloat32 {
					w = math.Copysign(inf, w)
				}
				near(t, fmt.Sprintf("%s(%g)", c.name, x), i, float64(got[i]), w, tol)
			}
			for n := range 40 { // every tail, in place
				part := append([]float32(nil), xs[100:100+n]...)
				c.f(part, part)
				sameBits(t, fmt.Sprint(c.name, " tail ", n), part, got[100:100+n])
			}
		}
	})
}

func TestRows(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range []int{1, 2, 7, 8, 9, 16, 31, 40, 100, 384} {
			const rows = 3
			x, gamma, beta := random(r, rows*n), random(r, n), random(r, n)
			soft, norm, rms := make([]float32, rows*n), make([]float32, rows*n), make([]float32, rows*n)
			Softmax(soft, x, rows, n)
			LayerNorm(norm, x, gamma, beta, rows, n, 1e-5)
			RMSNorm(rms, x, gamma, rows, n, 1e-5)
			for q := range rows {
				var sum, mean, variance, square float64
				row := widen(x[q*n : (q+1)*n])
				for _, v := range row {
					sum += math.Exp(v)
					mean += v / float64(n)
					square += v * v / float64(n)
				}
				for _, v := range row {
					variance += (v - mean) * (v - mean) / float64(n)
				}
				for i, v := range row {
					near(t, fmt.Sprint("softmax ", n), i, float64(soft[q*n+i]), math.Exp(v)/sum, 3e-6)
					near(t, fmt.Sprint("layernorm ", n), i, float64(norm[q*n+i]), (v-mean)/math.Sqrt(variance+1e-5)*float64(gamma[i])+float64(beta[i]), 2e-5)
					near(t, fmt.Sprint("rmsnorm ", n), i, float64(rms[q*n+i]), v/math.Sqrt(square+1e-5)*float64(gamma[i]), 2e-5)
				}
			}
		}
	})
}

func TestTranspose(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, rows := range sizes {
			for _, cols := range []int{0, 1, 3, 8, 9, 16, 17, 40} {
				lds, ldd := cols+2, rows+3
				src, dst := padded(r, rows, cols, lds), padded(r, cols, 0, ldd)
				Transpose(dst, ldd, src, lds, rows, cols)
				for i := range cols {
					for j := range ldd {
						if j < rows && dst[i*ldd+j] != src[j*lds+i] || j >= rows && dst[i*ldd+j] == dst[i*ldd+j] {
							t.Fatalf("%d x %d: element %d,%d is %g", rows, cols, i, j, dst[i*ldd+j])
						}
					}
				}
			}
		}
	})
}

func BenchmarkFunctions(b *testing.B) {
	x, y := random(newRand(), 4096), make([]float32, 4096)
	for name, f := range map[string]func(dst, x []float32){"exp": Exp, "tanh": Tanh, "erf": Erf, "gelu": Gelu, "sigmoid": Sigmoid, "relu": Relu} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * 4096)
			for b.Loop() {
				f(y, x)
			}
		})
	}
}
