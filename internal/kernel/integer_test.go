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

// everyIntForm is everyForm, with VNNI, where there is, and without.
func everyIntForm(t *testing.T, f func(t *testing.T)) {
	everyForm(t, f)
	if quadForm() == nil && !withVNNI(true) {
		return
	}
	withVNNI(false)
	defer withVNNI(true)
	everyForm(t, f)
}

func TestIntMatrix(t *testing.T) {
	everyIntForm(t, func(t *testing.T) {
		r := newRand()
		for _, m := range []int{1, 5, 8, 17} {
			for _, n := range []int{1, 4, 15, 48, 65, 150} {
				for _, k := range []int{0, 1, 2, 4, 7, 66} {
					for zeros := range 3 {
						checkIntMatrix(t, r, m, n, k, zeros)
					}
				}
			}
		}
	})
}

// checkIntMatrix multiplies each combination of signed and unsigned codes; zeros: none, one of both sides, or one for each row and column.
func checkIntMatrix(t *testing.T, r *rand.Rand, m, n, k, zeros int) {
	a, b := bytes8(r, m*k), bytes8(r, k*n)
	za, zb := make([]int32, [...]int{0, 1, m}[zeros]), make([]int32, [...]int{0, 1, n}[zeros])
	for i := range za {
		za[i] = int32(r.IntN(128))
	}
	for i := range zb {
		zb[i] = int32(r.IntN(128))
	}
	check := func(name string, w *IntMatrix, x Codes, av, bv func(i int) int32) {
		c, y := make([]int32, m*n), make([]float32, m*n)
		w.Sums(m, x, za, c, 2)
		add, scale, bias := make([]int32, n), random(r, n), random(r, n)
		for i := range add {
			add[i] = int32(r.IntN(2000) - 1000)
		}
		e := &Epilogue{Add: random(r, m*n), Lo: -1000, Hi: 1e30, Then: func(row []float32) { Scale(2, row) }}
		w.Floats(m, x, za, add, scale, bias, e, y, 2)
		for i := range c {
			var want int32
			for p := range k {
				want += (av(i/n*k+p) - zeroAt(za, i/n)) * (bv(p*n+i%n) - zeroAt(zb, i%n))
			}
			if c[i] != want {
				t.Fatalf("%s %d x %d x %d: element %d is %d, want %d", name, m, n, k, i, c[i], want)
			}
			f := float32(float32(want+add[i%n])*scale[i%n]) + bias[i%n] + e.Add[i]
			near(t, name, i, float64(y[i]), float64(2*max(f, -1000)), 0)
		}
	}
	at := func(x []uint8) func(i int) int32 { return func(i int) int32 { return int32(x[i]) } }
	signed := func(x []uint8) func(i int) int32 { return func(i int) int32 { return int32(int8(x[i])) } }
	check("u8 u8", PackIntMatrix(k, n, b, zb), CodesOf(a, 0), at(a), at(b))
	check("u8 s8", PackIntMatrix(k, n, signed8(b), zb), CodesOf(a, 0), at(a), signed(b))
	check("s8 u8", PackIntMatrix(k, n, b, zb), CodesOf(signed8(a), 0), signed(a), at(b))
	check("s8 s8", PackIntMatrix(k, n, signed8(b), zb), CodesOf(signed8(a), 0), signed(a), signed(b))
}

func TestIntConv(t *testing.T) {
	everyIntForm(t, func(t *testing.T) {
		r := newRand()
		for i, s := range convCases {
			s := s.normal()
			const images = 2
			in, k := s.InC*s.H*s.W, s.InC/s.Groups*s.KH*s.KW
			x, w, zw := bytes8(r, images*in), bytes8(r, s.OutC*k), make([]int32, s.OutC*(i%2))
			for i := range zw {
				zw[i] = int32(r.IntN(5) - 2)
			}
			at := func(x []uint8) func(i int) float32 { return func(i int) float32 { return float32(x[i]) } }
			signed := func(x []uint8) func(i int) float32 { return func(i int) float32 { return float32(int8(x[i])) } }
			checkIntConv(t, r, s, images, PackIntConv(s, signed8(w), zw), CodesOf(x, 7), at(x), signed(w), zw)
			checkIntConv(t, r, s, images, PackIntConv(s, w, zw), CodesOf(signed8(x), -7), signed(x), at(w), zw)
			checkIntConv(t, r, s, images, PackIntConv(s, w, []int32{128}), CodesOf(x, 130), at(x), at(w), []int32{128})
		}
	})
}

func checkIntConv(t *testing.T, r *rand.Rand, s ConvShape, images int, c *IntConv, x Codes, xv, wv func(i int) float32, zw []int32) {
	t.Helper()
	in, out, k := s.InC*s.H*s.W, s.OutC*s.OutH()*s.OutW(), s.InC/s.Groups*s.KH*s.KW
	fx, fw := make([]float32, images*in), make([]float32, s.OutC*k)
	for i := range fx {
		fx[i] = xv(i) - float32(x.Zero)
	}
	for i := range fw {
		fw[i] = wv(i) - float32(zeroAt(zw, i/k))
	}
	y, u, v := make([]int32, images*out), make([]uint8, images*out), make([]int8, images*out)
	c.Sums(s, images, x, y, 2)
	round := &Rounding{Bias: make([]int32, s.OutC), Factor: make([]float32, s.OutC)}
	for i := range round.Bias {
		round.Bias[i], round.Factor[i] = int32(r.IntN(1000)), 1/float32(int(1)<<(6+r.IntN(4))) // halves occur
	}
	c.Codes(s, images, x, CodesOf(u, 9), round, 2)
	c.Codes(s, images, x, CodesOf(v, -3), &Rounding{Factor: round.Factor}, 2)
	for i := range images {
		want, _ := naiveConv(s, fx[i*in:(i+1)*in], fw, make([]float32, s.OutC))
		for j, sum := range want {
			ch := j / (s.OutH() * s.OutW())
			f := float64(round.Factor[ch])
			near(t, fmt.Sprintf("%+v", s), j, float64(y[i*out+j]), sum, 0)
			near(t, "uint8", j, float64(u[i*out+j]), min(255, max(0, math.RoundToEven((sum+float64(round.Bias[ch]))*f)+9)), 0)
			near(t, "int8", j, float64(v[i*out+j]), min(127, max(-128, math.RoundToEven(sum*f)-3)), 0)
		}
	}
}

// TestQuadsInGo holds the Go forms of the quads against the pairs.
func TestQuadsInGo(t *testing.T) {
	r := newRand()
	for _, k := range []int{1, 3, 9} {
		a, b := bytes8(r, 8*4*k), bytes8(r, 4*k*48)
		for _, tiling := range quadForms() {
			panel, want, got := make([]int32, k*48), make([]int32, 8*48), make([]int32, 8*48)
			genericQuads.packRowsOfBytes(panel, 48, b, 48, 4*k, 48, flipBits)
			packed := make([]int32, len(panel))
			tiling.packRowsOfBytes(packed, 48, b, 48, 4*k, 48, flipBits)
			for i, v := range panel {
				near(t, "packed", i, float64(packed[i]), float64(v), 0)
			}
			for cols := 16; cols <= 48; cols += 16 {
				for rows := 1; rows <= 8; rows++ {
					for i, f := range []quadMicro{tiling.sums, tiling.swapped} {
						[]quadMicro{genericQuads.sums, genericQuads.swapped}[i](rows, cols, k, a, 4*k, 4, byteWords(panel), 4*48, want, 48)
						f(rows, cols, k, a, 4*k, 4, byteWords(panel), 4*48, got, 48)
						for j := range rows * 48 {
							if j%48 < cols {
								near(t, "sum", j, float64(got[j]), float64(want[j]), 0)
							}
						}
					}
					for part := cols - 15; part <= cols; part++ {
						to := Codes{Signed: part%2 == 1, Zero: 20}
						e := new(rounding).to(to, []int32{0, 1, -2, 3, 1 << 30, 5, 6, 7}, []float32{1, .5, .25, .125, 1e30, nan, 3, 1e-3}, 0)
						cw, cg := make([]byte, 8*48), make([]byte, 8*48)
						quadCodesGeneric(rows, part, k, a, 4*k, 4, byteWords(panel), 4*48, cw, 48, e)
						tiling.codes(rows, part, k, a, 4*k, 4, byteWords(panel), 4*48, cg, 48, e)
						for j := range cw {
							near(t, "code", j, float64(cg[j]), float64(cw[j]), 0)
						}
					}
				}
			}
		}
	}
}

func TestScaleSums(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range sizes {
			x, f, u := random(r, n), make([]float32, n), make([]uint8, n)
			for i := range x {
				x[i] = float32(math.Round(float64(40 * x[i])))
			}
			active.round(u, x, 0.25, -7, 248, 7)
			for i, v := range x {
				near(t, "round", i, float64(u[i]), min(255, max(0, math.RoundToEven(float64(v)/4)+7)), 0)
			}
			less, scale, bias := make([]int32, n), random(r, n), random(r, n)
			for i := range f {
				f[i], less[i] = math.Float32frombits(uint32(r.Int32()-1<<30)), r.Int32N(1000)
			}
			want := make([]float32, n)
			scaleSumsGeneric(want, intWords(f), less, scale, bias)
			active.scaleSums(f, intWords(f), less, scale, bias)
			for i, v := range f {
				near(t, "scale", i, float64(v), float64(want[i]), 0)
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

func TestIntDepthwise(t *testing.T) {
	everyIntForm(t, func(t *testing.T) {
		r := newRand()
		for i, k := range []int{1, 3, 5, 7} {
			for _, size := range []int{k, 7, 14, 17, 35} {
				for stride := 1; stride <= 3; stride++ {
					s := square(3, 6, 3, size, k, stride, 1+(size+i)%2, k/2).normal()
					x, w := bytes8(r, 2*s.InC*s.H*s.W), bytes8(r, s.OutC*k*k)
					checkIntDepthwise(t, s, CodesOf(x, 7), signed8(w), []int32{-3, 0, 1, 2, 5, -9})
					checkIntDepthwise(t, s, CodesOf(x, 7), signed8(w), nil)
					checkIntDepthwise(t, s, CodesOf(signed8(x), -7), w, []int32{128})
				}
			}
		}
	})
}

// checkIntDepthwise convolves two images.
func checkIntDepthwise[T Byte](t *testing.T, s ConvShape, x Codes, w []T, zw []int32) {
	d, k := PackIntDepthwise(s, w, zw), s.KH*s.KW
	out := s.OutC * s.OutH() * s.OutW()
	y, u, v := make([]int32, 2*out), make([]uint8, 2*out), make([]int8, 2*out)
	round := &Rounding{Bias: []int32{5, 1<<30 + 1, -7, 0, 1 << 26, -1 << 29}, Factor: []float32{.125, 1e-7, .5, .25, 1e-6, 1e-7}}
	d.Sums(s, 2, x, y, 2)
	d.Codes(s, 2, x, CodesOf(u, 9), round, 2)
	d.Codes(s, 2, x, CodesOf(v, -9), round, 2)
	fx, fw := make([]float32, len(x.Bytes)), make([]float32, len(w))
	for i, v := range x.Bytes {
		if fx[i] = float32(int32(v) - x.Zero); x.Signed {
			fx[i] = float32(int32(int8(v)) - x.Zero)
		}
	}
	for i, v := range w {
		fw[i] = float32(int32(v) - zeroAt(zw, i/k))
	}
	for i := range 2 {
		want, _ := naiveConv(s, fx[i*len(fx)/2:(i+1)*len(fx)/2], fw, make([]float32, s.OutC))
		for j, sum := range want {
			ch := j / (s.OutH() * s.OutW())
			what := fmt.Sprintf("%+v", s)
			near(t, what, j, float64(y[i*out+j]), sum, 0)
			code := math.RoundToEven(float64(float32(int32(sum)+round.Bias[ch]) * round.Factor[ch]))
			near(t, what, j, float64(u[i*out+j]), min(255, max(0, code+9)), 0)
			near(t, what, j, float64(v[i*out+j]), min(127, max(-128, code-9)), 0)
		}
	}
}

// TestDepthQuadsInGo holds the forms of the depthwise kernels against the one in Go.
func TestDepthQuadsInGo(t *testing.T) {
	r := newRand()
	for _, s := range []ConvShape{square(1, 1, 1, 35, 3, 1, 1, 1), square(1, 1, 1, 14, 5, 2, 1, 2), square(1, 1, 1, 7, 7, 1, 1, 3), square(1, 1, 1, 20, 3, 2, 3, 0)} {
		s = s.normal()
		w, _ := packDepthQuads(s, bytes8(r, s.KH*s.KW), 0)
		for _, tiling := range quadForms() {
			var d depthImage
			d.set(s, 1, 3)
			copy(d.buf, bytes8(r, d.channel()))
			e := new(rounding).to(Codes{Signed: true, Zero: 4}, []int32{77}, []float32{0.125}, 0)
			want, got := make([]byte, s.OutH()*s.OutW()), make([]byte, s.OutH()*s.OutW())
			d.depthwise(&genericQuads, want, 0, w, e)
			d.depthwise(tiling, got, 0, w, e)
			for i, v := range got {
				near(t, fmt.Sprintf("%+v", s), i, float64(v), float64(want[i]), 0)
			}
		}
	}
}

func TestAddCodes(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, n := range sizes {
			a, b, u, s := bytes8(r, n), bytes8(r, n), make([]uint8, n), make([]int8, n)
			const ra, rb, fixed = 0.5, 0.75, -20 // exact: halves occur
			AddCodes(CodesOf(u, 0), CodesOf(a, 0), CodesOf(b, 0), ra, rb, fixed)
			AddCodes(CodesOf(s, 0), CodesOf(signed8(a), 0), CodesOf(signed8(b), 0), ra, rb, fixed)
			for i := range u {
				near(t, "uint8", i, float64(u[i]), min(255, max(0, math.RoundToEven(ra*float64(a[i])+rb*float64(b[i])+fixed))), 0)
				near(t, "int8", i, float64(s[i]), min(127, max(-128, math.RoundToEven(ra*float64(int8(a[i]))+rb*float64(int8(b[i]))+fixed))), 0)
			}
		}
	})
}

func BenchmarkIntMatrix(b *testing.B) {
	const n = 512
	x, y := make([]uint8, n*n), make([]int32, n*n)
	w := PackIntMatrix(n, n, make([]int8, n*n), nil)
	fastest(b, 2*n*n*n, func() { w.Sums(n, CodesOf(x, 0), nil, y, 1) })
}

func BenchmarkIntConv(b *testing.B) {
	for name, s := range map[string]ConvShape{"1x1": square(96, 24, 1, 56, 1, 1, 1, 0), "expand": square(24, 144, 1, 56, 1, 1, 1, 0), "3x3": square(64, 64, 1, 28, 3, 1, 1, 1), "small": square(192, 1152, 1, 7, 1, 1, 1, 0)} {
		s = s.normal()
		x, y := make([]uint8, s.InC*s.H*s.W), make([]uint8, s.OutC*s.OutH()*s.OutW())
		c := PackIntConv(s, make([]int8, s.OutC*s.InC*s.KH*s.KW), nil)
		r := &Rounding{Factor: make([]float32, s.OutC)}
		b.Run(name, func(b *testing.B) {
			fastest(b, 2*s.OutC*s.InC*s.KH*s.KW*s.OutH()*s.OutW(), func() { c.Codes(s, 1, CodesOf(x, 0), CodesOf(y, 0), r, 1) })
		})
	}
}

func BenchmarkIntDepthwise(b *testing.B) {
	for name, s := range map[string]ConvShape{"3x3": square(32, 32, 32, 112, 3, 1, 1, 1), "5x5": square(672, 672, 672, 14, 5, 1, 1, 2), "small": square(1152, 1152, 1152, 7, 5, 1, 1, 2)} {
		s = s.normal()
		x, y := make([]uint8, s.InC*s.H*s.W), make([]uint8, s.OutC*s.OutH()*s.OutW())
		d := PackIntDepthwise(s, make([]int8, s.OutC*s.KH*s.KW), nil)
		r := &Rounding{Factor: make([]float32, s.OutC)}
		b.Run(name, func(b *testing.B) {
			fastest(b, 2*s.KH*s.KW*len(y), func() { d.Codes(s, 1, CodesOf(x, 0), CodesOf(y, 0), r, 1) })
		})
	}
}
