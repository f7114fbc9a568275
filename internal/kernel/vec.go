package kernel

import "math"

// Dot returns the sum of x[i]*y[i] over len(x).
func Dot(x, y []float32) float32 { return active.dot(x, y[:len(x)]) }

// Axpy adds alpha*x to y, over len(x).
func Axpy(alpha float32, x, y []float32) { active.axpy(alpha, x, y[:len(x)]) }

// Affine sets dst = alpha*x + beta, over len(dst).
func Affine(dst, x []float32, alpha, beta float32) { active.scale(dst, x[:len(dst)], alpha, beta) }

// Scale multiplies x by alpha.
func Scale(alpha float32, x []float32) { active.scale(x, x, alpha, 0) }

// Add sets dst = x + y, over len(dst). dst may be x or y, here and below.
func Add(dst, x, y []float32) { active.add(dst, x[:len(dst)], y[:len(dst)]) }

// Sub sets dst = x - y.
func Sub(dst, x, y []float32) { active.sub(dst, x[:len(dst)], y[:len(dst)]) }

// Mul sets dst = x * y.
func Mul(dst, x, y []float32) { active.mul(dst, x[:len(dst)], y[:len(dst)]) }

// Div sets dst = x / y.
func Div(dst, x, y []float32) { active.div(dst, x[:len(dst)], y[:len(dst)]) }

// MulSub subtracts x * y from dst, rounding the product first: equal bits in every form.
func MulSub(dst, x, y []float32) { active.mulSub(dst, x[:len(dst)], y[:len(dst)]) }

// Clip sets dst = min(hi, max(lo, x)); NaN stays NaN.
func Clip(dst, x []float32, lo, hi float32) { active.clip(dst, x[:len(dst)], lo, hi) }

// Relu sets dst = max(0, x); NaN stays NaN.
func Relu(dst, x []float32) { active.clip(dst, x[:len(dst)], 0, float32(math.Inf(1))) }

// Sum returns the sum of x.
func Sum(x []float32) float32 { return active.sum(x) }

// Max returns the largest element of x, -Inf for none. NaN elements are passed over.
func Max(x []float32) float32 { return active.largest(x) }

func dotGeneric(x, y []float32) float32 {
	var s [4]float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b := x[i:i+4:i+4], y[i:i+4:i+4]
		s[0] += a[0] * b[0]
		s[1] += a[1] * b[1]
		s[2] += a[2] * b[2]
		s[3] += a[3] * b[3]
	}
	for ; i < len(x); i++ {
		s[0] += x[i] * y[i]
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func axpyGeneric(alpha float32, x, y []float32) {
	for i, v := range x {
		y[i] += alpha * v
	}
}

func scaleGeneric(dst, x []float32, alpha, beta float32) {
	for i, v := range x {
		dst[i] = alpha*v + beta
	}
}

func addGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func subGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v - y[i]
	}
}

func mulGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func divGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v / y[i]
	}
}

func mulSubGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] -= float32(v * y[i]) // the conversion forbids a fused multiply-add
	}
}

func clipGeneric(dst, x []float32, lo, hi float32) {
	for i, v := range x {
		if v < lo {
			v = lo
		}
		if v > hi {
			v = hi
		}
		dst[i] = v
	}
}

func sumGeneric(x []float32) float32 {
	var s [4]float32
	for i, v := range x {
		s[i&3] += v
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func largestGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func sumSquaresGeneric(x []float32, mean float32) float32 {
	var s [4]float32
	for i, v := range x {
		s[i&3] += (v - mean) * (v - mean)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

func addWideGeneric(h []float64, x []float32) {
	for i, v := range x {
		h[i] += float64(v)
	}
}

func widenGeneric(h []float64, x []float32) {
	for i, v := range x {
		h[i] = float64(v)
	}
}
