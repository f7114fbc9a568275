package kernel

import "sync"

// Depthwise convolves n images channel by channel: output channel c*OutC/InC+i reads input channel c only (Groups = InC). w is
// OutC x KH x KW, bias in e.Row (OutC elements, or nil); results are limited to e.Lo..e.Hi. x and y are as in PackedConv.Run.
func Depthwise(s ConvShape, n int, x, w, y []float32, e *Epilogue, threads int) {
	s = s.normal()
	if e == nil {
		e = Bias(nil, nil)
	}
	oh, ow, mult := s.OutH(), s.OutW(), s.OutC/s.InC
	if oh*ow*n*s.OutC*s.KH*s.KW < smallProduct {
		threads = 1
	}
	Parallel(threads, n*s.InC, func(lo, hi int) {
		buf := planePool.Get().(*[]float32)
		defer planePool.Put(buf)
		for c := lo; c < hi; c++ {
			plane, _, pw := padImage(buf, s, 1, x[c*s.H*s.W:(c+1)*s.H*s.W])
			for o := c * mult; o < (c+1)*mult; o++ {
				ch := o % s.OutC
				depthwisePlane(s, plane, pw, w[ch*s.KH*s.KW:(ch+1)*s.KH*s.KW], y[o*oh*ow:(o+1)*oh*ow], e, ch)
			}
		}
	})
}

var planePool = sync.Pool{New: func() any { return new([]float32) }}

// depthwisePlane computes one output channel from a padded plane of width pw.
func depthwisePlane(s ConvShape, plane []float32, pw int, w, y []float32, e *Epilogue, ch int) {
	var bias float32
	if e.Row != nil {
		bias = e.Row[ch]
	}
	ow := s.OutW()
	for i := range s.OutH() {
		active.depthwiseRow(y[i*ow:(i+1)*ow], plane[i*s.StrideH*pw:], s.DilationH*pw, w, s.KW, s.StrideW, s.DilationW, bias, e.Lo, e.Hi)
	}
}

// depthwiseRowGeneric computes dst[j] = bias + sum w[r*kw+c] x[r*ldx+j*stride+c*dilation], limited to lo..hi.
func depthwiseRowGeneric(dst, x []float32, ldx int, w []float32, kw, stride, dilation int, bias, lo, hi float32) {
	for j := range dst {
		sum := bias
		for t, f := range w {
			sum += f * x[t/kw*ldx+j*stride+t%kw*dilation]
		}
		dst[j] = sum
	}
	clipGeneric(dst, dst, lo, hi)
}
