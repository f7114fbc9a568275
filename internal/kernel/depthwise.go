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
		room := d.set(s, hi-lo)
		for ; lo < hi; lo += room {
			part := min(room, hi-lo)
			for c := range part {
				d.load(c, x[(lo+c)*s.H*s.W:(lo+c+1)*s.H*s.W])
			}
			for c := range part {
				for o := (lo + c) * mult; o < (lo+c+1)*mult; o++ {
					d.channelOut(c, y[o*plane:(o+1)*plane:hi*mult*plane], w, e, o)
				}
			}
		}
	})
}

// depthwise is the memory that one goroutine works in, and the order of the kernel's elements.
type depthwise struct {
	planes
	oh, ow  int       // of the output
	offs    []int32   // place of each tap
	streams []int32   // see depthwiseFunc; empty: not this form
	out     []float32 // whole output rows of the phases' pitch, or a channel
	image   []float32 // an image of codes as numbers
	sums    []float32 // what becomes codes
}

var depthwisePool = sync.Pool{New: func() any { return new(depthwise) }}

// depthwiseBlock is how many elements are computed before they are copied out: they stay in the first-level cache.
const depthwiseBlock = 2048

// set prepares for s and returns how many channels, at most of those wanted, there is room for.
func (d *depthwise) set(s ConvShape, channels int) int {
	d.oh, d.ow = s.OutH(), s.OutW()
	room := d.setSome(s, channels, s.StrideH, s.StrideW)
	d.offs = grow(&d.offs, s.KH*s.KW)
	d.taps(d.offs)
	d.out = grow(&d.out, max(depthwiseBlock, d.pitch)+tapsSlack)
	d.streams = d.streams[:0]
	if s.DilationH > 1 || d.ow < stripWidth && (active.narrowDepth == nil || d.ow > narrowWidth || d.ow < narrowWidth/2) {
		return room
	}
	for ph := range min(s.StrideH, s.KH) {
		depth := (s.KH - ph + s.StrideH - 1) / s.StrideH
		if !stripDepth[min(depth, len(stripDepth)-1)] {
			d.streams = d.streams[:0]
			return room
		}
		for j := range s.KW {
			t := ph*s.KW + j
			d.streams = append(d.streams, d.offs[t], int32(depth), int32(t))
		}
	}
	return room
}

// stripDepth tells which numbers of kernel rows in a phase the kernels take; stripWidth is the output width from which on strips beat
// one long run: narrower rows would leave most lanes unused.
var stripDepth = [...]bool{1: true, 2: true, 3: true, 4: true, 5: true, 7: true, 8: false}

const stripWidth = 12

// narrowWidth is the number of lanes of depthwiseNarrow, which half of that fill well enough.
const narrowWidth = 8

// channelOut computes output channel o of all images, whose input is channel c of the planes. What lies behind y, up to its capacity, may
// be overwritten.
func (d *depthwise) channelOut(c int, y, w []float32, e *Epilogue, o int) {
	ch, ow, taps := o%d.s.OutC, d.ow, len(d.offs)
	var bias float32
	if e.Row != nil {
		bias = e.Row[ch]
	}
	w = w[ch*taps : (ch+1)*taps]
	lo, hi := e.Lo, e.Hi
	if e.Add != nil {
		lo, hi = negInf, posInf
	}
	x, ldw := d.buf[c*d.channel():], d.s.KW*d.s.StrideH
	switch {
	case len(d.streams) == 0:
		d.run(x, y, w, bias, lo, hi)
	case ow > narrowWidth || active.narrowDepth == nil:
		active.depthwise(y, ow, d.oh, ow, x, d.pitch, d.streams, w, ldw, bias, lo, hi)
	case cap(y)-len(y) >= narrowWidth:
		// Whole vectors: what a row has too much of, the next one overwrites.
		active.narrowDepth(y[:len(y)+narrowWidth], ow, d.oh, narrowWidth, x, d.pitch, d.streams, w, ldw, bias, lo, hi)
	default:
		out := grow(&d.out, len(y)+narrowWidth)
		active.narrowDepth(out, ow, d.oh, narrowWidth, x, d.pitch, d.streams, w, ldw, bias, lo, hi)
		copy(y, out)
	}
	if e.Add != nil {
		active.add(y, y, e.Add[o*len(y):(o+1)*len(y)])
		active.clip(y, y, e.Lo, e.Hi)
	}
}

// run computes a channel as one long run over the planes, of which each row's end is not wanted.
func (d *depthwise) run(x, y, w []float32, bias, lo, hi float32) {
	oh, ow := d.oh, d.ow
	step := max(1, depthwiseBlock/d.pitch)
	for i := 0; i < oh; i += step {
		rows := min(step, oh-i)
		active.taps(d.out, (rows-1)*d.pitch+ow, x[i*d.pitch:], d.offs, w, bias, lo, hi)
		active.copyRows(y[i*ow:(i+rows)*ow], ow, d.out, d.pitch, rows, ow)
	}
}

// depthwiseFunc sets dst[i*ldd+j] = bias + sum w x[i*pitch+j+...], limited to lo..hi, for i < rows and j < cols, from the first row to the
// last. streams are triples (place, depth, first): taps below each other in one phase, which add w[first+k*ldw] x[(i+k)*pitch+j+place],
// k < depth.
type depthwiseFunc func(dst []float32, ldd, rows, cols int, x []float32, pitch int, streams []int32, w []float32, ldw int, bias, lo, hi float32)

func depthwiseGeneric(dst []float32, ldd, rows, cols int, x []float32, pitch int, streams []int32, w []float32, ldw int, bias, lo, hi float32) {
	for i := range rows {
		row := dst[i*ldd : i*ldd+cols]
		for j := range row {
			sum := bias
			for s := 0; s < len(streams); s += 3 {
				place, depth, first := int(streams[s]), int(streams[s+1]), int(streams[s+2])
				for k := range depth {
					sum += w[first+k*ldw] * x[(i+k)*pitch+j+place]
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
