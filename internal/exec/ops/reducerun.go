package ops

// Folds of float32 elements that lie side by side. Four partial results at a time keep the processor busy; their order depends on
// nothing but the length.

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
