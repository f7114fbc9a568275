package kernel

import "sync"

// Depthwise convolves n images channel by channel: output channel c*OutC/InC+i reads input channel c only (Groups = InC). w is
// OutC x KH x KW, bias in e.Row (OutC elements, or nil); e.Add is added and the sum limited to e.Lo..e.Hi. x and y are as in
// PackedConv.Run.
func Depthwise(s ConvShape, n int, x, w, y []float32, e *Epilogue, threads int) {
	s = s.normal()
	if e == nil {
		e = Bias(nil, nil)
	}
	plane, mult := s.OutH()*s.OutW(), s.OutC/s.InC
	if plane*n*s.OutC*s.KH*s.KW < smallProduct {
		threads = 1
	}
	if plane == 0 {
		return
	}
	Parallel(threads, n*s.InC, func(lo, hi int) {
		d := depthwisePool.Get().(*depthwise)
		defer depthwisePool.Put(d)
		d.set(s)
		for c := lo; c < hi; c++ {
			d.load(0, x[c*s.H*s.W:(c+1)*s.H*s.W])
			for o := c * mult; o < (c+1)*mult; o++ {
				d.channelOut(y[o*plane:(o+1)*plane], w, e, o)
			}
		}
	})
}

// depthwise is the memory that one goroutine works in, and the order of the kernel's elements.
type depthwise struct {
	planes
	offs    []int32 // place of each tap
	streams []int32 // pairs: place of the first tap of a column of taps in one phase, and how many lie below each other; nil: not this form
	order   []int   // taps in the order of the streams
	w       []float32
	out     []float32 // whole output rows of the phases' pitch
	image   []float32 // an image of codes as numbers
	sums    []float32 // what becomes codes
}

var depthwisePool = sync.Pool{New: func() any { return new(depthwise) }}

// depthwiseBlock is how many elements are computed before they are copied out: they stay in the first-level cache.
const depthwiseBlock = 2048

func (d *depthwise) set(s ConvShape) {
	d.planes.set(s, 1, s.StrideH, s.StrideW)
	d.taps(grow(&d.offs, s.KH*s.KW))
	d.offs = d.offs[:s.KH*s.KW]
	d.out = grow(&d.out, max(depthwiseBlock, d.pitch)+tapsSlack)
	d.streams, d.order = d.streams[:0], d.order[:0]
	if s.DilationH > 1 || s.OutW() < stripWidth {
		return
	}
	for ph := range min(s.StrideH, s.KH) {
		depth := (s.KH - ph + s.StrideH - 1) / s.StrideH
		if !stripDepth[min(depth, len(stripDepth)-1)] {
			d.streams = d.streams[:0]
			return
		}
		for j := range s.KW {
			d.streams = append(d.streams, d.offs[ph*s.KW+j], int32(depth))
			for i := ph; i < s.KH; i += s.StrideH {
				d.order = append(d.order, i*s.KW+j)
			}
		}
	}
}

// stripDepth tells which numbers of kernel rows in a phase the kernels take; stripWidth is the output width from which on strips beat
// one long run: narrower rows would leave most lanes unused.
var stripDepth = [...]bool{1: true, 2: true, 3: true, 4: true, 5: true, 7: true, 8: false}

const stripWidth = 12

// channelOut computes output channel o of all images.
func (d *depthwise) channelOut(y, w []float32, e *Epilogue, o int) {
	s := d.s
	ch, ow, taps := o%s.OutC, s.OutW(), len(d.offs)
	var bias float32
	if e.Row != nil {
		bias = e.Row[ch]
	}
	w = w[ch*taps : (ch+1)*taps]
	lo, hi := e.Lo, e.Hi
	if e.Add != nil {
		lo, hi = negInf, posInf
	}
	if len(d.streams) > 0 {
		d.w = grow(&d.w, taps)
		for i, t := range d.order {
			d.w[i] = w[t]
		}
		active.depthwise(y, ow, s.OutH(), ow, d.buf, d.pitch, d.streams, d.w, bias, lo, hi)
	} else {
		d.run(y, w, bias, lo, hi)
	}
	if e.Add != nil {
		active.add(y, y, e.Add[o*len(y):(o+1)*len(y)])
		active.clip(y, y, e.Lo, e.Hi)
	}
}

// run computes a channel as one long run over the planes, of which each row's end is not wanted.
func (d *depthwise) run(y, w []float32, bias, lo, hi float32) {
	oh, ow := d.s.OutH(), d.s.OutW()
	step := max(1, depthwiseBlock/d.pitch)
	for i := 0; i < oh; i += step {
		rows := min(step, oh-i)
		active.taps(d.out, (rows-1)*d.pitch+ow, d.buf[i*d.pitch:], d.offs, w, bias, lo, hi)
		active.copyRows(y[i*ow:(i+rows)*ow], ow, d.out, d.pitch, rows, ow)
	}
}

// depthwiseGeneric sets dst[i*ldd+j] = bias + sum w x[i*pitch+j+...], limited to lo..hi, for i < rows and j < cols: each stream of
// streams (place, depth) adds w[k] x[(i+k)*pitch+j+place], k < depth, and uses the next depth elements of w.
func depthwiseGeneric(dst []float32, ldd, rows, cols int, x []float32, pitch int, streams []int32, w []float32, bias, lo, hi float32) {
	for i := range rows {
		row := dst[i*ldd : i*ldd+cols]
		for j := range row {
			sum, t := bias, 0
			for s := 0; s < len(streams); s += 2 {
				for k := range int(streams[s+1]) {
					sum += w[t] * x[(i+k)*pitch+j+int(streams[s])]
					t++
				}
			}
			row[j] = sum
		}
		clipGeneric(row, row, lo, hi)
	}
}

// tapsSlack elements behind what is asked for may be overwritten.
const tapsSlack = 64

// tapsGeneric computes dst[j] = bias + sum w[t] x[j+offs[t]] for j < n, limited to lo..hi.
func tapsGeneric(dst []float32, n int, x []float32, offs []int32, w []float32, bias, lo, hi float32) {
	for j := range dst[:n] {
		sum := bias
		for t, o := range offs {
			sum += w[t] * x[j+int(o)]
		}
		dst[j] = sum
	}
	clipGeneric(dst[:n], dst[:n], lo, hi)
}
