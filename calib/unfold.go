package calib

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
)

// unfolding turns an image into the rows that a convolution's weight matrix is multiplied with: one row for each output
// position, columns ordered (kernel position, input channel) as graph.Layer.Matrix orders them. Convolutions and their
// transposes of one to three spatial dimensions are the same thing here: along each axis, output o sees input src[o][k] through
// kernel position k, or nothing.
type unfolding struct {
	channels    int    // of one group
	in, out, k  [3]int // sizes by axis, 1 for axes that are not there
	src         [3][][]int32
	first, from []int32 // last axis, by output: where the run of consecutive inputs begins, and at which kernel position
	count       []int32 // its length; nil when inputs are not consecutive (dilated, transposed)
	shifts      *shifts // of stride 1 and up to two axes; nil for others
}

// newUnfolding prepares for inputs of the given spatial sizes.
func newUnfolding(l *graph.Layer, n *graph.Node, spatial []int) (*unfolding, error) {
	if len(l.Kernel) > 3 || len(spatial) != len(l.Kernel) {
		return nil, fmt.Errorf("%v: input with %d spatial dimensions for a kernel %v; 1 to 3 are supported", n, len(spatial), l.Kernel)
	}
	w, err := l.Window(n)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	transposed := l.Kind == graph.ConvTranspose
	resolve := w.Resolve
	if transposed {
		resolve = w.ResolveTranspose
	}
	out, pads, err := resolve(spatial)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	axes := [3]shiftAxis{{1, 1, 1, 1, 0}, {1, 1, 1, 1, 0}, {1, 1, 1, 1, 0}}
	u := &unfolding{channels: l.ChannelsIn, in: [3]int{1, 1, 1}, out: [3]int{1, 1, 1}, k: [3]int{1, 1, 1}}
	skip := 3 - len(spatial)
	for a := range 3 {
		if a < skip {
			u.src[a] = [][]int32{{0}}
			continue
		}
		i := a - skip
		u.in[a], u.out[a], u.k[a] = spatial[i], out[i], w.Kernel[i]
		axes[a] = shiftAxis{spatial[i], out[i], w.Kernel[i], w.Dilations[i], pads[i]}
		u.src[a] = axisSources(spatial[i], out[i], w.Kernel[i], w.Strides[i], w.Dilations[i], pads[i], transposed)
	}
	if !transposed && w.Dilations[len(spatial)-1] == 1 {
		u.findRuns()
	}
	if !transposed && len(spatial) <= 2 && !slices.ContainsFunc(w.Strides, func(s int) bool { return s != 1 }) && !u.identity() {
		u.shifts = newShifts(axes[1], axes[2])
	}
	return u, nil
}

// axisSources says for each output position and kernel position of one axis which input it sees, -1 for padding.
//
//	convolution: input = output*stride + k*dilation - pad
//	transpose:   output = input*stride + k*dilation - pad
func axisSources(in, out, k, stride, dilation, pad int, transposed bool) [][]int32 {
	src := make([][]int32, out)
	for o := range src {
		src[o] = make([]int32, k)
		for j := range k {
			i := o*stride + j*dilation - pad
			if transposed {
				at := o - j*dilation + pad
				i = at / stride
				if at%stride != 0 {
					i = -1
				}
			}
			if i < 0 || i >= in {
				i = -1
			}
			src[o][j] = int32(i)
		}
	}
	return src
}

// findRuns notes, for the last axis, the run of inputs that each output sees through consecutive kernel positions.
func (u *unfolding) findRuns() {
	n := u.out[2]
	u.first, u.from, u.count = make([]int32, n), make([]int32, n), make([]int32, n)
	for o, row := range u.src[2] {
		for j, i := range row {
			if i < 0 {
				continue
			}
			if u.count[o] == 0 {
				u.first[o], u.from[o] = i, int32(j)
			}
			u.count[o]++
		}
	}
}

func (u *unfolding) positions() int { return u.out[0] * u.out[1] * u.out[2] }
func (u *unfolding) pixels() int    { return u.in[0] * u.in[1] * u.in[2] }

// identity reports whether the rows are the image's pixels themselves, as for a 1x1 convolution of stride 1.
func (u *unfolding) identity() bool {
	return u.k == [3]int{1, 1, 1} && u.in == u.out && u.src[0][0][0] == 0 && u.src[1][0][0] == 0 && u.src[2][0][0] == 0
}

// fill writes rows lo <= r < hi to dst, one after the other. img holds the pixels, each with its channels side by side.
func (u *unfolding) fill(dst, img []float32, lo, hi int) {
	c, line := u.channels, u.channels*u.k[2]
	perPlane := u.out[1] * u.out[2]
	for r := lo; r < hi; r++ {
		od, oh, ow := r/perPlane, r%perPlane/u.out[2], r%u.out[2]
		for _, d := range u.src[0][od] {
			for _, h := range u.src[1][oh] {
				part := dst[:line]
				dst = dst[line:]
				if d < 0 || h < 0 {
					clear(part)
					continue
				}
				u.fillLine(part, img[(int(d)*u.in[1]+int(h))*u.in[2]*c:], ow)
			}
		}
	}
}

// fillLine writes what output ow of the last axis sees of one line of pixels.
func (u *unfolding) fillLine(dst, line []float32, ow int) {
	c := u.channels
	if u.count != nil {
		a := int(u.from[ow]) * c
		b := a + int(u.count[ow])*c
		clear(dst[:a])
		copy(dst[a:b], line[int(u.first[ow])*c:])
		clear(dst[b:])
		return
	}
	for j, i := range u.src[2][ow] {
		if i < 0 {
			clear(dst[j*c : (j+1)*c])
		} else {
			copy(dst[j*c:(j+1)*c], line[int(i)*c:])
		}
	}
}
