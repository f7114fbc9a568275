package graph

import "fmt"

// Window is how a convolution or pooling moves over the spatial dimensions, read from a node's attributes: all slices have
// one entry per spatial dimension, but Pads, which lists the begins and then the ends, has two.
type Window struct {
	Kernel, Strides, Dilations, Pads []int
	AutoPad                          string // NOTSET, VALID, SAME_UPPER or SAME_LOWER
	CeilMode                         bool
	OutputPadding, OutputShape       []int // ConvTranspose only; nil when absent
}

// maxWindow bounds kernel sizes, strides, dilations and pads, so that arithmetic on them cannot overflow.
const maxWindow = 1 << 30

// ReadWindow reads the attributes that Conv, ConvTranspose and the pooling operators share, with their defaults. kernel is
// the kernel size where it is known from elsewhere (the weight's shape); nil takes the attribute kernel_shape.
func ReadWindow(n *Node, kernel []int) (Window, error) {
	w := Window{AutoPad: n.Str("auto_pad", "NOTSET"), CeilMode: n.Int("ceil_mode", 0) != 0}
	attr := n.Ints("kernel_shape")
	if kernel == nil {
		if attr == nil {
			return w, fmt.Errorf("has no attribute kernel_shape")
		}
		for _, k := range attr {
			if k < 1 || k > maxWindow {
				return w, fmt.Errorf("kernel_shape %v is impossible", attr)
			}
			kernel = append(kernel, int(k))
		}
	} else if attr != nil && !sameInts(attr, kernel) {
		return w, fmt.Errorf("kernel_shape %v differs from the weight's %v", attr, kernel)
	}
	w.Kernel = kernel
	d := len(kernel)
	switch w.AutoPad {
	case "", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER":
	default:
		return w, fmt.Errorf("auto_pad %q is none of NOTSET, VALID, SAME_UPPER, SAME_LOWER", w.AutoPad)
	}
	for _, a := range []struct {
		dst      *[]int
		name     string
		len, def int
		low      int64
	}{
		{&w.Strides, "strides", d, 1, 1}, {&w.Dilations, "dilations", d, 1, 1}, {&w.Pads, "pads", 2 * d, 0, -maxWindow},
		{&w.OutputPadding, "output_padding", d, 0, 0}, {&w.OutputShape, "output_shape", d, 0, 1},
	} {
		list := n.Ints(a.name)
		if list == nil {
			if a.name != "output_shape" {
				*a.dst = repeat(a.def, a.len)
			}
			continue
		}
		if len(list) != a.len {
			return w, fmt.Errorf("attribute %s has %d entries, expected %d for %d spatial dimensions", a.name, len(list), a.len, d)
		}
		for _, x := range list {
			if x < a.low || x > maxWindow {
				return w, fmt.Errorf("attribute %s is %v: %d is impossible", a.name, list, x)
			}
			*a.dst = append(*a.dst, int(x))
		}
	}
	return w, nil
}

// Extent is the size of the dilated kernel along spatial dimension i: (kernel-1)*dilation + 1.
func (w Window) Extent(i int) int { return (w.Kernel[i]-1)*w.Dilations[i] + 1 }

// same reports whether auto_pad chooses the padding, and whether the odd element goes to the begin.
func (w Window) same() (same, lower bool) {
	return w.AutoPad == "SAME_UPPER" || w.AutoPad == "SAME_LOWER", w.AutoPad == "SAME_LOWER"
}

// Resolve gives, for a convolution or pooling over spatial sizes in, the output sizes and the padding in force (begins, then
// ends). In ceil mode the last window may reach beyond the end padding but must begin inside the input or its begin padding.
func (w Window) Resolve(in []int) (out, pads []int, err error) {
	d := len(w.Kernel)
	if len(in) != d {
		return nil, nil, fmt.Errorf("%d spatial dimensions %v for a kernel of %d: %v", len(in), in, d, w.Kernel)
	}
	out, pads = make([]int, d), make([]int, 2*d)
	same, lower := w.same()
	for i, size := range in {
		ext, stride := w.Extent(i), w.Strides[i]
		if same {
			out[i] = (size + stride - 1) / stride
			pads[i], pads[i+d] = splitPad(max((out[i]-1)*stride+ext-size, 0), lower)
			continue
		}
		if w.AutoPad != "VALID" {
			pads[i], pads[i+d] = w.Pads[i], w.Pads[i+d]
		}
		room := size + pads[i] + pads[i+d] - ext
		if room < 0 {
			return nil, nil, fmt.Errorf("the kernel spans %d elements of spatial dimension %d, which has only %d with padding",
				ext, i, room+ext)
		}
		out[i] = room/stride + 1
		if w.CeilMode {
			if out[i] = (room+stride-1)/stride + 1; (out[i]-1)*stride >= size+pads[i] {
				out[i]--
			}
		}
	}
	return out, pads, nil
}

// ResolveTranspose is Resolve for ConvTranspose, where in is the size of the smaller, input side. The pads are those of the
// convolution that it transposes: they are cut from the output.
func (w Window) ResolveTranspose(in []int) (out, pads []int, err error) {
	d := len(w.Kernel)
	if len(in) != d {
		return nil, nil, fmt.Errorf("%d spatial dimensions %v for a kernel of %d: %v", len(in), in, d, w.Kernel)
	}
	out, pads = make([]int, d), make([]int, 2*d)
	same, _ := w.same()
	for i, size := range in {
		full := w.Strides[i]*(size-1) + w.OutputPadding[i] + w.Extent(i)
		switch {
		case w.OutputShape != nil || same:
			out[i] = size * w.Strides[i]
			if w.OutputShape != nil {
				out[i] = w.OutputShape[i]
			}
			pads[i], pads[i+d] = splitPad(max(full-out[i], 0), w.AutoPad != "SAME_UPPER")
		case w.AutoPad == "VALID":
			out[i] = full
		default:
			pads[i], pads[i+d] = w.Pads[i], w.Pads[i+d]
			out[i] = full - pads[i] - pads[i+d]
		}
		if out[i] < 0 {
			return nil, nil, fmt.Errorf("pads %v leave nothing of spatial dimension %d", w.Pads, i)
		}
	}
	return out, pads, nil
}

// splitPad splits a total padding into begin and end; the odd element goes to the begin when lower is set.
func splitPad(total int, lower bool) (begin, end int) {
	begin, end = total/2, total-total/2
	if lower {
		return end, begin
	}
	return begin, end
}

// OutShape is the output's spatial shape for a possibly symbolic input, of a convolution, a pooling or, with transpose, a
// ConvTranspose. Windows that keep the size keep its name.
func (w Window) OutShape(in Shape, transpose bool) (Shape, error) {
	if len(in) != len(w.Kernel) {
		return nil, fmt.Errorf("%d spatial dimensions %v for a kernel of %d: %v", len(in), in, len(w.Kernel), w.Kernel)
	}
	resolve := w.Resolve
	if transpose {
		resolve = w.ResolveTranspose
	}
	// Sizes do not depend on each other: unknown ones are tried with two lengths, to see whether the size is kept.
	const probe = 1 << 20
	size := make([]int, len(in))
	for i, d := range in {
		size[i] = probe
		if d.Known() {
			size[i] = int(d.N)
		}
	}
	out, _, err := resolve(size)
	if err != nil {
		return nil, err
	}
	s := ShapeOf(out...)
	for i, d := range in {
		if d.Known() {
			continue
		}
		s[i] = Unknown
		if w.Strides[i] == 1 && out[i] == probe && w.OutputShape == nil {
			s[i] = d
		} else if w.OutputShape != nil && transpose {
			s[i] = D(int64(out[i]))
		} else if same, _ := w.same(); same && transpose {
			s[i] = d.Mul(D(int64(w.Strides[i])))
		}
	}
	return s, nil
}

func sameInts(a []int64, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != int64(b[i]) {
			return false
		}
	}
	return true
}

func repeat(v, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = v
	}
	return s
}
