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

// depthwise is the memory that one goroutine works in.
type depthwise struct {
	planes
	offs []int32
	out  []float32 // whole output rows of the phases' pitch
}

var depthwisePool = sync.Pool{New: func() any { return new(depthwise) }}

// depthwiseBlock is how many elements are computed before they are copied out: they stay in the first-level cache.
const depthwiseBlock = 2048

func (d *depthwise) set(s ConvShape) {
	d.planes.set(s, 1, s.StrideH, s.StrideW)
	d.taps(grow(&d.offs, s.KH*s.KW))
	d.offs = d.offs[:s.KH*s.KW]
	d.out = grow(&d.out, max(depthwiseBlock, d.pitch)+tapsSlack)
}

// channelOut computes output channel o of all images: the planes are one long run, of which each row's end is not wanted.
func (d *depthwise) channelOut(y, w []float32, e *Epilogue, o int) {
	s := d.s
	ch, ow, taps := o%s.OutC, s.OutW(), len(d.offs)
	var bias float32
	if e.Row != nil {
		bias = e.Row[ch]
	}
	step := max(1, depthwiseBlock/d.pitch)
	for i := 0; i < s.OutH(); i += step {
		rows := min(step, s.OutH()-i)
		out := y[i*ow : (i+rows)*ow]
		if e.Add != nil {
			active.taps(d.out, (rows-1)*d.pitch+ow, d.buf[i*d.pitch:], d.offs, w[ch*taps:], bias, negInf, posInf)
			add := e.Add[(o*s.OutH()+i)*ow:]
			for r := range rows {
				row := out[r*ow : (r+1)*ow]
				active.add(row, d.out[r*d.pitch:r*d.pitch+ow], add[r*ow:(r+1)*ow])
				active.clip(row, row, e.Lo, e.Hi)
			}
			continue
		}
		active.taps(d.out, (rows-1)*d.pitch+ow, d.buf[i*d.pitch:], d.offs, w[ch*taps:], bias, e.Lo, e.Hi)
		active.copyRows(out, ow, d.out, d.pitch, rows, ow)
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
