package kernel

// forms is one implementation of every vector kernel. Slices have equal lengths unless a comment at the exported
// function says otherwise; those functions check.
type forms struct {
	dot           func(x, y []float32) float32
	axpy          func(alpha float32, x, y []float32)
	scale         func(dst, x []float32, alpha, beta float32)
	add, sub      func(dst, x, y []float32)
	mul, div      func(dst, x, y []float32)
	mulSub        func(dst, x, y []float32)
	clip          func(dst, x []float32, lo, hi float32)
	sum           func(x []float32) float32
	largest       func(x []float32) float32
	sumSquares    func(x []float32, mean float32) float32
	exp, tanh     func(dst, x []float32)
	erf, gelu     func(dst, x []float32)
	sigmoid, silu func(dst, x []float32)
	expSum        func(dst, x []float32, shift float32) float32
	normalize     func(dst, x, gamma, beta []float32, mean, inv float32)
	addWide       func(h []float64, x []float32)
	widen         func(h []float64, x []float32)
	transpose     func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	gather        func(dst []float32, ld, vec int, src []float32, rows []int32, c *columns)
	taps          func(dst []float32, n int, x []float32, offs []int32, w []float32, bias, lo, hi float32)
	depthwise     depthwiseFunc
	narrowDepth   depthwiseFunc // for up to 8 columns; nil: none
	requant       func(dst []byte, sums []int32, factor, lo, hi float32, zero int32)
	quant         func(dst []byte, x []float32, scale, lo, hi float32, zero int32)
	round         func(dst []byte, x []float32, factor, lo, hi float32, zero int32)
	scaleSums     func(dst []float32, sums, less []int32, scale, bias []float32)
	addCodesU     func(dst, a, b []byte, ra, rb, fixed, lo, hi float32)
	addCodesS     func(dst, a, b []byte, ra, rb, fixed, lo, hi float32)
	dequantU      func(dst []float32, x []byte, scale, zero float32)
	dequantS      func(dst []float32, x []byte, scale, zero float32)
	copyRows      func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	deinterleave  func(even, odd []float32, ldd int, src []float32, lds, rows, cols int)
	sumMirrored   func(rows, columns []float64, ld int, parts [][]float64, lds, m, n int, scale float64)
	winogradIn    func(dst []float32, ldd, next int, x []float32, pitch, phase, n, rows int)
	winogradOut   func(dst []float32, ldd int, m []float32, ldm, next, cols, rows int, add []float32, bias, lo, hi float32)
}

var generic = forms{
	dot: dotGeneric, axpy: axpyGeneric, scale: scaleGeneric, add: addGeneric, sub: subGeneric, mul: mulGeneric, div: divGeneric,
	mulSub: mulSubGeneric, clip: clipGeneric, sum: sumGeneric, largest: largestGeneric, sumSquares: sumSquaresGeneric,
	exp: expGeneric, tanh: tanhGeneric, erf: erfGeneric, gelu: geluGeneric, sigmoid: sigmoidGeneric, silu: siluGeneric,
	expSum: expSumGeneric, normalize: normalizeGeneric, addWide: addWideGeneric, widen: widenGeneric, transpose: transposeGeneric,

	gather: gatherGeneric, requant: requantGeneric, quant: quantGeneric, round: roundGeneric, scaleSums: scaleSumsGeneric, addCodesU: addCodesGeneric[uint8], addCodesS: addCodesGeneric[int8], dequantU: dequantUGeneric, dequantS: dequantSGeneric, taps: tapsGeneric, depthwise: depthwiseGeneric, copyRows: copyRowsGeneric, deinterleave: deinterleaveGeneric,
	winogradIn: winogradInGeneric, winogradOut: winogradOutGeneric, sumMirrored: sumMirroredGeneric,
}

// active is the form in use.
var active = formsOf(level)
