package kernel

import "math"

// Exp sets dst = e^x over len(dst), with a relative error below 2e-6 (as all functions here); overflow gives +Inf, arguments
// below -87.3 give 0, NaN stays NaN. dst may be x.
func Exp(dst, x []float32) { active.exp(dst, x[:len(dst)]) }

// Tanh sets dst = tanh(x).
func Tanh(dst, x []float32) { active.tanh(dst, x[:len(dst)]) }

// Erf sets dst = 2/sqrt(pi) * integral of e^(-t^2) from 0 to x.
func Erf(dst, x []float32) { active.erf(dst, x[:len(dst)]) }

// Gelu sets dst = x/2 * (1 + erf(x/sqrt 2)). At -Inf it is -0, the limit; below about -13 it underflows to -0.
func Gelu(dst, x []float32) { active.gelu(dst, x[:len(dst)]) }

// Sigmoid sets dst = 1/(1 + e^-x).
func Sigmoid(dst, x []float32) { active.sigmoid(dst, x[:len(dst)]) }

// Silu sets dst = x/(1 + e^-x), also called Swish.
func Silu(dst, x []float32) { active.silu(dst, x[:len(dst)]) }

// Softmax sets each row of dst (rows x cols, contiguous) to e^(x-max)/sum of the same row of x. A row of -Inf only gives NaN.
func Softmax(dst, x []float32, rows, cols int) {
	for r := range rows {
		d, s := dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols]
		sum := active.expSum(d, s, active.largest(s))
		active.scale(d, d, 1/sum, 0)
	}
}

// LayerNorm sets each row of dst (rows x cols, contiguous) to (x-mean)/sqrt(variance+eps) * gamma + beta; the variance is that of the
// population. gamma and beta have cols elements; beta may be nil.
func LayerNorm(dst, x, gamma, beta []float32, rows, cols int, eps float32) {
	if beta == nil {
		beta = make([]float32, cols)
	}
	for r := range rows {
		d, s := dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols]
		mean := active.sum(s) / float32(cols)
		variance := active.sumSquares(s, mean) / float32(cols)
		inv := float32(1 / math.Sqrt(float64(variance)+float64(eps)))
		active.normalize(d, s, gamma[:cols], beta[:cols], mean, inv)
	}
}

// RMSNorm sets each row of dst to x/sqrt(mean of x^2 + eps) * gamma.
func RMSNorm(dst, x, gamma []float32, rows, cols int, eps float32) {
	zero := make([]float32, cols)
	for r := range rows {
		d, s := dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols]
		square := active.sumSquares(s, 0) / float32(cols)
		inv := float32(1 / math.Sqrt(float64(square)+float64(eps)))
		active.normalize(d, s, gamma[:cols], zero, 0, inv)
	}
}

func apply(dst, x []float32, f func(float64) float64) {
	for i, v := range x {
		dst[i] = float32(f(float64(v)))
	}
}

func logistic(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func expGeneric(dst, x []float32) {
	apply(dst, x, func(v float64) float64 {
		if v < minExp {
			return 0
		}
		return math.Exp(v)
	})
}

// minExp is the argument below which Exp gives 0: e^minExp is the smallest normal float32.
const minExp = -87.33654

func tanhGeneric(dst, x []float32)    { apply(dst, x, math.Tanh) }
func erfGeneric(dst, x []float32)     { apply(dst, x, math.Erf) }
func sigmoidGeneric(dst, x []float32) { apply(dst, x, logistic) }

func geluGeneric(dst, x []float32) {
	apply(dst, x, func(v float64) float64 {
		h := -0.5 * min(math.Abs(v), 14.5) * math.Erfc(math.Abs(v)/math.Sqrt2)
		if v > 0 {
			return v + h
		}
		return h
	})
}

func siluGeneric(dst, x []float32) {
	apply(dst, x, func(v float64) float64 { return v * logistic(v) })
}

func expSumGeneric(dst, x []float32, shift float32) float32 {
	for i, v := range x {
		dst[i] = v - shift
	}
	expGeneric(dst, dst)
	return sumGeneric(dst)
}

func normalizeGeneric(dst, x, gamma, beta []float32, mean, inv float32) {
	for i, v := range x {
		dst[i] = (v-mean)*inv*gamma[i] + beta[i]
	}
}
