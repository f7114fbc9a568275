package ops

import "github.com/obc-onnx/obc/onnxio"

// Folds of float32 elements that lie side by side. Four partial results at a time keep the processor busy; their order depends on
// nothing but the length.

func sumRun(acc float64, x []float32) float64 {
	var a, b, c, d float64
	for len(x) >= 4 {
		a, b, c, d = a+float64(x[0]), b+float64(x[1]), c+float64(x[2]), d+float64(x[3])
		x = x[4:]
	}
	for _, v := range x {
		a += float64(v)
	}
	return acc + (a + b) + (c + d)
}

func squareRun(acc float64, x []float32) float64 {
	var a, b, c, d float64
	for len(x) >= 4 {
		p, q, r, s := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		a, b, c, d = a+p*p, b+q*q, c+r*r, d+s*s
		x = x[4:]
	}
	for _, v := range x {
		a += float64(v) * float64(v)
	}
	return acc + (a + b) + (c + d)
}

func maxRun(acc float32, x []float32) float32 {
	a, b, c, d := acc, acc, acc, acc
	for len(x) >= 4 {
		a, b, c, d = max(a, x[0]), max(b, x[1]), max(c, x[2]), max(d, x[3])
		x = x[4:]
	}
	for _, v := range x {
		a = max(a, v)
	}
	return max(a, b, c, d)
}

func minRun(acc float32, x []float32) float32 {
	a, b, c, d := acc, acc, acc, acc
	for len(x) >= 4 {
		a, b, c, d = min(a, x[0]), min(b, x[1]), min(c, x[2]), min(d, x[3])
		x = x[4:]
	}
	for _, v := range x {
		a = min(a, v)
	}
	return min(a, b, c, d)
}

// withRun replaces the float32 form of a fold in float64 by one that takes runs at once.
func withRun(forms reducers, step func(a, x float64) float64, done func(a float64, n int) float64, run func(acc float64, x []float32) float64) reducers {
	forms[onnxio.Float32] = reduceWith(reduction[float32, float64]{0, func(a float64, x float32) float64 { return step(a, float64(x)) },
		func(a float64, n int) float32 { return float32(done(a, n)) }, run})
	return forms
}
