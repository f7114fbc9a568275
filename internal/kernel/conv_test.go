package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// naiveConv convolves one image in float64; size is the sum of absolute products.
func naiveConv(s ConvShape, x, w, bias []float32) (y, size []float64) {
	s = s.normal()
	oh, ow := s.OutH(), s.OutW()
	y, size = make([]float64, s.OutC*oh*ow), make([]float64, s.OutC*oh*ow)
	ic := s.InC / s.Groups
	for o := range y {
		oc, i, j := o/(oh*ow), o/ow%oh, o%ow
		y[o], size[o] = float64(bias[oc]), math.Abs(float64(bias[oc]))
		for c := range ic {
			for p := range s.KH {
				for q := range s.KW {
					h, v := i*s.StrideH+p*s.DilationH-s.PadTop, j*s.StrideW+q*s.DilationW-s.PadLeft
					if h < 0 || h >= s.H || v < 0 || v >= s.W {
						continue
					}
					in := x[((oc/(s.OutC/s.Groups)*ic+c)*s.H+h)*s.W+v]
					f := w[((oc*ic+c)*s.KH+p)*s.KW+q]
					y[o] += float64(in) * float64(f)
					size[o] += math.Abs(float64(in) * float64(f))
				}
			}
		}
	}
	return y, size
}

func square(inC, outC, groups, size, k, stride, dilation, pad int) ConvShape {
	return ConvShape{inC, outC, groups, size, size + 3, k, k, stride, stride, dilation, dilation, pad, pad, pad, pad}
}

var convCases = []ConvShape{
	square(1, 1, 1, 1, 1, 1, 1, 0),
	square(3, 5, 1, 9, 3, 1, 1, 1),
	square(3, 20, 1, 20, 3, 2, 1, 1),
	square(8, 7, 1, 7, 1, 1, 1, 0),
	square(8, 7, 1, 7, 1, 2, 1, 0),
	square(24, 140, 1, 14, 1, 1, 1, 0), // widens: threads share the channels
	square(8, 12, 4, 6, 3, 1, 2, 2),
	square(40, 16, 1, 5, 3, 1, 1, 1),
	square(6, 6, 2, 33, 5, 3, 1, 2),
	square(2, 2, 1, 4, 3, 1, 1, -1),
	square(2, 2, 1, 2, 3, 1, 1, 0),   // does not fit: empty
	square(12, 13, 1, 7, 3, 1, 1, 1), // from here on Winograd's form
	square(16, 12, 1, 12, 3, 1, 1, 0),
	square(24, 26, 2, 30, 3, 1, 1, 2),
	square(33, 20, 1, 3, 3, 1, 1, 1),
	square(12, 12, 1, 1, 3, 1, 1, 1),
	{InC: 12, OutC: 14, H: 70, W: 34, KH: 3, KW: 3, PadTop: 2, PadRight: 1},
	{InC: 32, OutC: 40, H: 14, W: 14, KH: 3, KW: 3, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1}, // 49 tiles: threads share the channels
	square(32, 64, 1, 28, 1, 2, 1, 0), // from here on threads share the columns, and each unfolds its rows
	square(16, 40, 1, 40, 1, 3, 1, 0),
	{InC: 32, OutC: 20, H: 40, W: 21, KH: 1, KW: 1, StrideH: 2},
	{InC: 32, OutC: 60, H: 91, W: 1, KH: 1, KW: 1, StrideW: 2},
	square(32, 32, 1, 28, 3, 2, 1, 1),
	square(20, 24, 1, 30, 5, 2, 1, -1),
	square(8, 24, 1, 30, 3, 1, 2, 2),
	{InC: 16, OutC: 32, H: 2, W: 40, KH: 3, KW: 3, StrideH: 2, PadTop: 31, PadBottom: 30, PadLeft: 1},
	{InC: 4, OutC: 6, H: 1, W: 50, KH: 1, KW: 7, PadLeft: 3, PadRight: 3},
	{InC: 20, OutC: 37, H: 7, W: 7, KH: 3, KW: 3, PadTop: 1, PadLeft: 1, PadBottom: 1, PadRight: 1}, // one column beyond whole vectors
	{InC: 9, OutC: 25, H: 5, W: 7, KH: 1, KW: 1},                                                    // three
	{InC: 2, OutC: 3, H: 30, W: 1, KH: 3, KW: 1, PadTop: 2, StrideH: 2},
	{InC: 2, OutC: 3, H: 8, W: 8, KH: 2, KW: 3, PadTop: 1, PadRight: 2},
}

func TestConv(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, s := range convCases {
			checkConv(t, r, s, func(s ConvShape, n int, x, w, y []float32, e *Epilogue, threads int) {
				PackConv(s, w).Run(s, n, x, y, e, threads)
			})
		}
	})
}

func TestDepthwise(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, k := range []int{1, 3, 5, 7} {
			for _, stride := range []int{1, 2, 3} {
				for _, size := range []int{k, 7, 14, 17, 30} {
					for _, mult := range []int{1, 2} {
						checkConv(t, r, square(3, 3*mult, 3, size, k, stride, 1+size%2, k/2), Depthwise)
					}
				}
			}
		}
	})
}

// TestRunDepthwise compares the pair with its members one after the other, whose sums at the ends of bands run in another order.
func TestRunDepthwise(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, q := range []struct{ in, mid, size, k, stride, dilation, pad int }{
			{16, 35, 125, 3, 2, 1, 1}, {5, 130, 64, 3, 1, 1, 1}, {40, 53, 100, 5, 2, 1, 0}, {30, 75, 84, 3, 1, 3, 5}, {9, 130, 65, 1, 3, 1, 0}, {12, 2000, 16, 5, 1, 1, 2}, {3, 10000, 6, 3, 1, 1, 1},
		} {
			s, d := square(q.in, q.mid, 1, q.size, 1, 1, 1, 0), square(q.mid, q.mid, q.mid, q.size, q.k, q.stride, q.dilation, q.pad)
			name := fmt.Sprintf("%+v", q)
			x, w, dw := random(r, s.InC*s.H*s.W), random(r, s.InC*s.OutC), random(r, d.OutC*d.KH*d.KW)
			c := PackConv(s, w)
			if !c.Pairs(s, d) {
				t.Fatalf("%s: not a pair", name)
			}
			e, de := &Epilogue{Row: random(r, s.OutC), Lo: 0, Hi: 6}, &Epilogue{Row: random(r, d.OutC), Lo: -2, Hi: posInf}
			mid, want := make([]float32, s.OutC*s.H*s.W), make([]float32, d.OutC*d.OutH()*d.OutW())
			c.Run(s, 1, x, mid, e, 2)
			Depthwise(d, 1, mid, dw, want, de, 2)
			y, one := make([]float32, len(want)), make([]float32, len(want))
			c.RunDepthwise(s, d, x, dw, y, e, de, 2)
			c.RunDepthwise(s, d, x, dw, one, e, de, 1)
			sameBits(t, name, y, one)
			for i, v := range want {
				near(t, name, i, float64(y[i]), float64(v), 1e-5*(1+math.Abs(float64(v))))
			}
		}
	})
}

// TestConvRunDepthwise: first convolutions that are unfolded band by band.
func TestConvRunDepthwise(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for _, q := range []struct {
			s    ConvShape
			k    int
			step int
		}{
			{square(3, 37, 1, 190, 3, 2, 1, 1), 3, 1}, {square(2, 24, 1, 110, 5, 1, 1, 0), 5, 2}, {square(1, 30, 1, 100, 3, 1, 3, 4), 3, 1},
			{ConvShape{InC: 4, OutC: 100, H: 130, W: 41, KH: 4, KW: 1, StrideH: 2, StrideW: 1, PadTop: 3, PadBottom: 1, PadLeft: 2}, 3, 3},
			{square(50, 70, 1, 64, 3, 1, 2, 2), 7, 1}, // several blocks of the inner dimension
		} {
			s := q.s.normal()
			d := ConvShape{InC: s.OutC, OutC: s.OutC, Groups: s.OutC, H: s.OutH(), W: s.OutW(), KH: q.k, KW: q.k, StrideH: q.step, StrideW: q.step, PadTop: q.k / 2, PadLeft: q.k / 2, PadBottom: 1, PadRight: 1}
			name := fmt.Sprintf("%+v", q)
			x, w, dw := random(r, s.InC*s.H*s.W), random(r, s.InC*s.OutC*s.KH*s.KW), random(r, d.OutC*d.KH*d.KW)
			c := PackConv(s, w)
			if !c.Pairs(s, d) {
				t.Fatalf("%s: not a pair", name)
			}
			e, de := &Epilogue{Row: random(r, s.OutC), Lo: 0, Hi: 6}, &Epilogue{Row: random(r, d.OutC), Lo: -2, Hi: posInf}
			mid, want := make([]float32, s.OutC*d.H*d.W), make([]float32, d.OutC*d.OutH()*d.OutW())
			c.Run(s, 1, x, mid, e, 2)
			Depthwise(d, 1, mid, dw, want, de, 2)
			for threads := 1; threads <= 5; threads += 2 {
				y := make([]float32, len(want))
				c.RunDepthwise(s, d, x, dw, y, e, de, threads)
				for i, v := range want {
					near(t, name, i, float64(y[i]), float64(v), 1e-5*(1+math.Abs(float64(v))))
				}
				if threads == 1 {
					want = y
				}
				sameBits(t, name, y, want)
			}
		}
	})
}

// checkConv compares run with the definition on three images, with bias and limits, and one thread with two.
func checkConv(t *testing.T, r *rand.Rand, s ConvShape, run func(ConvShape, int, []float32, []float32, []float32, *Epilogue, int)) {
	t.Helper()
	const images = 3
	in, out := s.InC*s.H*s.W, s.OutC*s.OutH()*s.OutW()
	x, bias := random(r, images*in), random(r, s.OutC)
	w := random(r, s.OutC*s.InC/s.normal().Groups*s.KH*s.KW)
	y, one := make([]float32, images*out), make([]float32, images*out)
	e := &Epilogue{Row: bias, Add: random(r, images*out), Lo: -1, Hi: 6}
	run(s, images, x, w, y, e, 2)
	run(s, images, x, w, one, e, 1)
	name := fmt.Sprintf("%+v", s)
	sameBits(t, name, y, one)
	for i := range images {
		want, size := naiveConv(s, x[i*in:(i+1)*in], w, bias)
		for j, v := range want {
			near(t, name, j, float64(y[i*out+j]), min(6, max(-1, v+float64(e.Add[i*out+j]))), 2e-6*(size[j]+1))
		}
	}
}

func BenchmarkConv(b *testing.B) {
	r := newRand()
	for _, s := range []ConvShape{
		square(32, 32, 1, 28, 3, 1, 1, 1), square(64, 64, 1, 14, 3, 1, 1, 1), square(128, 128, 1, 7, 3, 1, 1, 1), square(64, 64, 1, 56, 3, 1, 1, 1),
		square(64, 128, 1, 56, 3, 2, 1, 1), square(3, 32, 1, 224, 3, 2, 1, 1),
		square(16, 96, 1, 112, 1, 1, 1, 0), square(192, 32, 1, 28, 1, 1, 1, 0), square(80, 480, 1, 14, 1, 1, 1, 0), square(480, 112, 1, 14, 1, 1, 1, 0), square(192, 1152, 1, 7, 1, 1, 1, 0),
	} {
		s.W = s.H
		k := s.InC * s.KH * s.KW
		c := PackConv(s, random(r, s.OutC*k))
		out := s.OutC * s.OutH() * s.OutW()
		x, y := random(r, s.InC*s.H*s.W), make([]float32, out)
		b.Run(fmt.Sprintf("%dx%dx%d-k%d-s%d-to%d", s.InC, s.H, s.W, s.KH, s.StrideH, s.OutC), func(b *testing.B) {
			fastest(b, 2*out*k, func() { c.Run(s, 1, x, y, nil, 1) })
		})
	}
}

func BenchmarkDepthwise(b *testing.B) {
	r := newRand()
	for _, s := range []ConvShape{square(96, 96, 96, 112, 3, 2, 1, 1), square(144, 144, 144, 56, 3, 1, 1, 1), square(240, 240, 240, 28, 5, 1, 1, 2), square(672, 672, 672, 14, 5, 1, 1, 2)} {
		s.W = s.H
		out := s.OutC * s.OutH() * s.OutW()
		x, w, y := random(r, s.InC*s.H*s.W), random(r, s.InC*s.KH*s.KW), make([]float32, out)
		b.Run(fmt.Sprintf("%dx%dx%d-k%d-s%d-dw", s.InC, s.H, s.W, s.KH, s.StrideH), func(b *testing.B) {
			fastest(b, 2*out*s.KH*s.KW, func() { Depthwise(s, 1, x, w, y, nil, 1) })
		})
	}
}

// TestCopyRows: each width moves its own columns and touches nothing beside them.
func TestCopyRows(t *testing.T) {
	everyForm(t, func(t *testing.T) {
		r := newRand()
		for cols := range 70 {
			for _, rows := range []int{0, 1, 3} {
				lds, ldd := cols+2, cols+3
				src, want := random(r, 3*lds), random(r, 3*ldd)
				got := slices.Clone(want)
				copyRowsGeneric(want, ldd, src, lds, rows, cols)
				active.copyRows(got, ldd, src[:max(0, (rows-1)*lds+cols)], lds, rows, cols)
				if !slices.Equal(got, want) {
					t.Fatalf("%d x %d: %v, want %v", rows, cols, got, want)
				}
			}
		}
	})
}
