package kernel

import "math"

// IntDepthwise is the constant weight of a depthwise convolution of 8-bit integers. Where the processor multiplies quads of bytes and has
// a form for the shape, codes come from those; else it computes in float32, whose sums are exact as long as they stay below 2^24.
type IntDepthwise struct {
	w     []float32 // OutC x KH x KW, without zero points
	reach []float64 // by output channel: the largest sum

	quads       *quadTiling // nil: none
	words, sums []int32     // see packDepthQuads
}

// PackIntDepthwise takes w, OutC x KH x KW, less its zero points: one for each output channel, one for all, or none.
func PackIntDepthwise[T Byte](s ConvShape, w []T, zero []int32) *IntDepthwise {
	s = s.normal()
	taps := s.KH * s.KW
	d := &IntDepthwise{w: make([]float32, s.OutC*taps), reach: make([]float64, s.OutC)}
	for i := range d.w {
		v := int32(w[i]) - zeroAt(zero, i/taps)
		d.w[i] = float32(v)
		d.reach[i/taps] += 255 * math.Abs(float64(v))
	}
	if from, flip := rawCodes(w, true); quadForm() != nil && allEqual(zero, flipped(0, flip, 128)) {
		d.quads = quadForm()
		d.words, d.sums = packDepthQuads(s, from, flip)
	}
	return d
}

// exactSum is where float32 stops holding every integer.
const exactSum = 1 << 24

// Exact reports whether all sums are exact.
func (d *IntDepthwise) Exact() bool {
	for _, r := range d.reach {
		if r >= exactSum {
			return false
		}
	}
	return true
}

// depthThreads is threads, or 1 where n images are too little work to share.
func depthThreads(s ConvShape, n, threads int) int {
	if s.OutH()*s.OutW()*n*s.OutC*s.KH*s.KW < smallProduct {
		return 1
	}
	return threads
}

// Sums convolves as IntConv.Sums does.
func (d *IntDepthwise) Sums(s ConvShape, n int, x Codes, y []int32, threads int) {
	s = s.normal()
	d.run(s, n, x, nil, depthThreads(s, n, threads), func(o int, sums []float32) {
		for i, v := range sums {
			y[o*len(sums)+i] = int32(v)
		}
	})
}

// Codes convolves as IntConv.Codes does. Biases that make sums inexact are added to integers.
func (d *IntDepthwise) Codes(s ConvShape, n int, x, y Codes, r *Rounding, threads int) {
	s = s.normal()
	threads = depthThreads(s, n, threads)
	if d.quads != nil && depthInQuads(s) {
		d.codesInQuads(s, n, x, y, r, threads)
		return
	}
	bias := make([]float32, s.OutC)
	late := make([]int32, s.OutC)
	for i, b := range r.Bias {
		if d.reach[i]+math.Abs(float64(b)) < exactSum {
			bias[i] = float32(b)
		} else {
			late[i] = b
		}
	}
	lo, hi := y.limits()
	d.run(s, n, x, bias, threads, func(o int, sums []float32) {
		dst, ch := y.Bytes[o*len(sums):(o+1)*len(sums)], o%s.OutC
		if late[ch] == 0 {
			active.round(dst, sums, r.Factor[ch], lo, hi, y.Zero)
			return
		}
		whole := intWords(sums)
		for i, v := range sums {
			whole[i] = int32(v) + late[ch]
		}
		active.requant(dst, whole, r.Factor[ch], lo, hi, y.Zero)
	})
}

// run calls done with the sums of output channel o of all images.
func (d *IntDepthwise) run(s ConvShape, n int, x Codes, bias []float32, threads int, done func(o int, sums []float32)) {
	pix, plane, mult := s.OutH()*s.OutW(), s.H*s.W, s.OutC/s.InC
	if pix == 0 {
		return
	}
	e := Bias(bias, nil)
	Parallel(threads, n*s.InC, func(lo, hi int) {
		k := depthwisePool.Get().(*depthwise)
		defer depthwisePool.Put(k)
		room := k.set(s, hi-lo)
		k.image, k.sums = grow(&k.image, plane), grow(&k.sums, pix+narrowWidth)
		for ; lo < hi; lo += room {
			part := min(room, hi-lo)
			for c := range part {
				if from := x.Bytes[(lo+c)*plane : (lo+c+1)*plane]; x.Signed {
					active.dequantS(k.image, from, 1, float32(x.Zero))
				} else {
					active.dequantU(k.image, from, 1, float32(x.Zero))
				}
				k.load(c, k.image)
			}
			for c := range part {
				for o := (lo + c) * mult; o < (lo+c+1)*mult; o++ {
					// The channel is given by its weights and bias: it has no addend.
					k.channelOut(c, k.sums[:pix], d.w, e, o)
					done(o, k.sums[:pix])
				}
			}
		}
	})
}
