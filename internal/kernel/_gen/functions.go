package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// functions emits exp, tanh, erf and what is made of them. Coefficients are weighted minimax fits of this project, rounded to float32;
// the error stated with each includes that rounding.
func functions(g *gen) {
	g.unary("exp", func(x reg.VecVirtual) reg.VecVirtual { return g.exp(x) })
	g.unary("sigmoid", func(x reg.VecVirtual) reg.VecVirtual { return g.sigmoid(x) })
	g.unary("silu", func(x reg.VecVirtual) reg.VecVirtual {
		s := g.sigmoid(x)
		g.VMULPS(x, s, s)
		return s
	})
	g.unary("tanh", g.tanh)
	g.unary("erf", g.erf)
	g.unary("gelu", g.gelu)
	g.expSum()
}

func (g *gen) unary(name string, f func(x reg.VecVirtual) reg.VecVirtual) {
	g.begin(name, "(dst, x []float32)", "is "+name+"Generic.")
	dst, x := g.param("dst"), g.param("x")
	g.each(g.length("dst"), 1, func(c chunk) {
		g.store(f(g.load(c.of(x), c.tail)), c.of(dst), c.tail)
	})
	g.end()
}

// poly returns c[0] + c[1]*x + c[2]*x^2 + ...
func (g *gen) poly(x reg.VecVirtual, c ...float32) reg.VecVirtual {
	p := g.constant(c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		g.VFMADD213PS(g.constant(c[i]), x, p)
	}
	return p
}

// exp returns e^x = 2^n e^r with n = round(x log2 e) and |r| <= ln(2)/2; the polynomial is good to 2e-8. 2^n is applied in two
// halves, so that results next to the limits of float32 are right; x < minExp gives 0.
func (g *gen) exp(x reg.VecVirtual) reg.VecVirtual {
	const minExp = -87.33654
	low := g.constant(minExp)
	y := g.vec()
	g.VMAXPS(x, low, y)
	g.VMINPS(y, g.constant(89), y)
	n, f := g.vec(), g.vec()
	g.VMULPS(g.constant(math.Log2E), y, f)
	g.VCVTPS2DQ(f, n)
	g.VCVTDQ2PS(n, f)
	const hi = 0.693359375 // 9 bits of ln 2: n*hi is exact
	g.VFNMADD231PS(g.constant(hi), f, y)
	g.VFNMADD231PS(g.constant(math.Ln2-hi), f, y)
	p := g.poly(y, 1, 1, 0.49999991, 0.1666642, 0.041668225, 0.008374822, 0.0013836834)
	half, bias := g.vec(), g.constant(math.Float32frombits(127))
	g.VPSRAD(operand.U8(1), n, half)
	g.VPSUBD(half, n, n)
	for _, e := range []reg.VecVirtual{half, n} {
		g.VPADDD(bias, e, e)
		g.VPSLLD(operand.U8(23), e, e)
		g.VMULPS(e, p, p)
	}
	g.keep(g.compareNot(x, low), p)
	return p
}

// compareNot returns !(x < y).
func (g *gen) compareNot(x, y reg.VecVirtual) pred { return g.compare(notLess, x, y) }

// negated returns -x, absolute |x|, signOf x's sign bit alone.
func (g *gen) negated(x reg.VecVirtual) reg.VecVirtual {
	y := g.vec()
	g.VXORPS(g.fill(g.word(1<<31)), x, y)
	return y
}

func (g *gen) absolute(x reg.VecVirtual) reg.VecVirtual {
	y := g.vec()
	g.VANDPS(g.fill(g.word(1<<31-1)), x, y)
	return y
}

func (g *gen) signOf(x reg.VecVirtual) reg.VecVirtual {
	y := g.vec()
	g.VANDPS(g.fill(g.word(1<<31)), x, y)
	return y
}

// sigmoid returns 1/(1 + e^-x).
func (g *gen) sigmoid(x reg.VecVirtual) reg.VecVirtual {
	e, one := g.exp(g.negated(x)), g.constant(1)
	g.VADDPS(one, e, e)
	g.VDIVPS(e, one, e)
	return e
}

// tanh returns x P(x^2) for |x| < 0.7 (3e-8), else 1 - 2/(e^2|x| + 1) with the sign of x.
func (g *gen) tanh(x reg.VecVirtual) reg.VecVirtual {
	a, one := g.absolute(x), g.constant(1)
	d, s := g.vec(), g.vec()
	g.VADDPS(a, a, d)
	e := g.exp(d)
	g.VADDPS(one, e, e)
	g.VDIVPS(e, g.constant(2), e)
	g.VSUBPS(e, one, e)
	g.VORPS(g.signOf(x), e, e)
	g.VMULPS(x, x, s)
	p := g.poly(s, 1, -0.33333132, 0.13328417, -0.05352611, 0.020024667, -0.005088491)
	g.VMULPS(x, p, p)
	g.move(g.compare(lessThan, a, g.constant(0.7)), p, e)
	return e
}

// erfSmall returns erf(x) = x P(x^2) for |x| < 1 (7e-8).
func (g *gen) erfSmall(x reg.VecVirtual) reg.VecVirtual {
	s := g.vec()
	g.VMULPS(x, x, s)
	p := g.poly(s, 1.1283791, -0.37612626, 0.112835854, -0.026853815, 0.0051883338, -0.000801024, 7.8540084e-05)
	g.VMULPS(x, p, p)
	return p
}

// erfcLarge returns erfc(x) = e^-x^2 t P(t), t = 1/(1 + x/2), for x >= 0.95 (4e-8). The caller gives the square in two parts,
// square + rest, because an error of it counts x^2-fold.
func (g *gen) erfcLarge(x, square, rest reg.VecVirtual) reg.VecVirtual {
	one, t := g.constant(1), g.vec()
	g.VMOVAPS(one, t)
	g.VFMADD231PS(g.constant(0.5), x, t)
	g.VDIVPS(t, one, t)
	p := g.poly(t, 0.2821008, 0.28198907, 0.24740599, 0.17670871, 0.066621795, 0.073622763, -0.2187801, 0.09085427)
	g.VMULPS(t, p, p)
	e := g.exp(g.negated(square))
	g.VFNMADD231PS(rest, e, e)
	g.VMULPS(e, p, p)
	return p
}

// erf returns erf(x).
func (g *gen) erf(x reg.VecVirtual) reg.VecVirtual {
	a, one := g.absolute(x), g.constant(1)
	square := g.vec()
	g.VMULPS(a, a, square)
	big := g.erfcLarge(a, square, g.zero())
	g.VSUBPS(big, one, big)
	g.VORPS(g.signOf(x), big, big)
	g.move(g.compare(lessThan, a, one), g.erfSmall(x), big)
	return big
}

// gelu returns x - h for x > 0 and -h otherwise, h = a/2 erfc(a/sqrt 2) with a = |x|: without cancellation. From a = 14.5 on h is 0.
func (g *gen) gelu(x reg.VecVirtual) reg.VecVirtual {
	a := g.absolute(x)
	g.VMINPS(a, g.constant(14.5), a)
	z, square, rest := g.vec(), g.vec(), g.vec()
	g.VMULPS(g.constant(math.Sqrt2/2), a, z)
	g.VMULPS(a, a, square)
	g.VMOVAPS(square, rest)
	g.VFMSUB231PS(a, a, rest) // a*a - square, exact
	half := g.constant(0.5)
	g.VMULPS(half, square, square)
	g.VMULPS(half, rest, rest)
	h, one := g.erfcLarge(z, square, rest), g.constant(1)
	small := g.erfSmall(z)
	g.VSUBPS(small, one, small)
	g.move(g.compare(lessThan, z, one), small, h)
	g.VMULPS(a, h, h)
	g.VMULPS(half, h, h)
	d := g.vec()
	g.VSUBPS(h, x, d)
	h = g.negated(h)
	g.move(g.compare(lessThan, g.zero(), x), d, h)
	return h
}

// expSum emits dst = e^(x-shift) and its sum.
func (g *gen) expSum() {
	g.begin("expSum", "(dst, x []float32, shift float32) float32", "is expSumGeneric.")
	dst, x := g.param("dst"), g.param("x")
	shift, s := g.parameter("shift"), g.zero()
	g.each(g.length("dst"), 1, func(c chunk) {
		v := g.load(c.of(x), c.tail)
		g.VSUBPS(shift, v, v)
		e := g.exp(v)
		if c.tail != nil {
			g.keep(*c.tail, e)
		}
		g.VADDPS(e, s, s)
		g.store(e, c.of(dst), c.tail)
	})
	g.reduce(s, g.VADDPS)
	g.finish(s)
}
