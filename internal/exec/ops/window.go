package ops

import (
	"fmt"
	"slices"

	"github.com/obc-onnx/obc/graph"
)

// windowAttrs are the attributes that convolutions and poolings share, as the node states them. Nil lists are defaults.
type windowAttrs struct {
	kernel, strides, dilations, pads []int
	auto                             string
	ceil                             bool
}

func windowOf(n *graph.Node) (windowAttrs, error) {
	w := windowAttrs{
		kernel: asInts(n.Ints("kernel_shape")), strides: asInts(n.Ints("strides")), dilations: asInts(n.Ints("dilations")),
		pads: asInts(n.Ints("pads")), auto: n.Str("auto_pad", "NOTSET"), ceil: n.Int("ceil_mode", 0) != 0,
	}
	if !slices.Contains([]string{"", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}, w.auto) {
		return w, fmt.Errorf("attribute auto_pad is %q, expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", w.auto)
	}
	for name, list := range map[string][]int{"kernel_shape": w.kernel, "strides": w.strides, "dilations": w.dilations} {
		for _, d := range list {
			if d <= 0 {
				return w, fmt.Errorf("attribute %s is %v: every entry must be positive", name, list)
			}
		}
	}
	return w, nil
}

// window is where a kernel of n spatial dimensions sits on an input.
type window struct {
	in, kernel, strides, dilations []int
	begin, end                     []int // padding
	out                            []int
}

// at resolves the attributes for an input with the given spatial shape; kernel is the weight's, or nil to take the attribute's.
func (w windowAttrs) at(in, kernel []int) (window, error) {
	rank := len(in)
	if kernel == nil {
		kernel = w.kernel
	}
	g := window{in: in, kernel: kernel, strides: orOnes(w.strides, rank), dilations: orOnes(w.dilations, rank)}
	g.begin, g.end, g.out = make([]int, rank), make([]int, rank), make([]int, rank)
	if len(kernel) != rank || len(g.strides) != rank || len(g.dilations) != rank || w.pads != nil && len(w.pads) != 2*rank {
		return g, fmt.Errorf("kernel_shape %v, strides %v, dilations %v and pads %v do not fit %d spatial dimensions",
			kernel, w.strides, w.dilations, w.pads, rank)
	}
	if w.kernel != nil && !slices.Equal(w.kernel, kernel) {
		return g, fmt.Errorf("attribute kernel_shape is %v, but the weight's kernel is %v", w.kernel, kernel)
	}
	for i := range in {
		g.place(i, w)
		if g.out[i] < 0 {
			return g, fmt.Errorf("a kernel of %d with dilation %d does not fit spatial dimension %d, %d long and padded by %d and %d", kernel[i], g.dilations[i], i, in[i], g.begin[i], g.end[i])
		}
	}
	return g, nil
}

func orOnes(l []int, n int) []int {
	if l == nil {
		return slices.Repeat([]int{1}, n)
	}
	return l
}

// place computes padding and output size of dimension i.
func (g *window) place(i int, w windowAttrs) {
	span := (g.kernel[i]-1)*g.dilations[i] + 1
	s := g.strides[i]
	switch w.auto {
	case "SAME_UPPER", "SAME_LOWER":
		g.out[i] = (g.in[i] + s - 1) / s
		total := max((g.out[i]-1)*s+span-g.in[i], 0)
		g.begin[i] = total / 2
		if w.auto == "SAME_LOWER" {
			g.begin[i] = total - total/2
		}
		g.end[i] = total - g.begin[i]
		return
	case "VALID":
	default:
		if w.pads != nil {
			g.begin[i], g.end[i] = w.pads[i], w.pads[i+len(g.in)]
		}
	}
	room := g.in[i] + g.begin[i] + g.end[i] - span
	if room < 0 {
		g.out[i] = -1
		if room >= -s+1 && w.ceil || g.in[i] == 0 {
			g.out[i] = 0
		}
		return
	}
	g.out[i] = room/s + 1
	if w.ceil && room%s != 0 && (room/s+1)*s < g.in[i]+g.begin[i] { // no window starts in the padding after the input
		g.out[i]++
	}
}

// trivial reports whether the window is one element that steps one by one: the output is the input.
func (g window) trivial() bool {
	for i := range g.in {
		if g.kernel[i] != 1 || g.strides[i] != 1 || g.begin[i] != 0 || g.end[i] != 0 {
			return false
		}
	}
	return true
}

// span of output positions [lo, hi) in dimension i whose input position out*stride + offset - begin is inside, for one tap.
func (g window) inside(i, tap int) (lo, hi int) {
	first := tap*g.dilations[i] - g.begin[i] // input position for output 0
	s := g.strides[i]
	if first < 0 {
		lo = (-first + s - 1) / s
	}
	hi = g.out[i]
	if last := g.in[i] - 1 - first; last < 0 {
		hi = 0
	} else {
		hi = min(hi, last/s+1)
	}
	return min(lo, hi), hi
}

// inferWindow gives the output's spatial dimensions for an input shape [N C spatial...].
func inferWindow(n *graph.Node, x graph.Shape, kernel []int) (graph.Shape, error) {
	w, err := windowOf(n)
	if err != nil || len(x) < 3 {
		return nil, err
	}
	if kernel == nil {
		kernel = w.kernel
	}
	out := graph.UnknownShape(len(x) - 2)
	for i, d := range x[2:] {
		if !d.Known() || kernel == nil {
			continue
		}
		in := slices.Repeat([]int{1 << 20}, len(x)-2) // the others do not matter
		in[i] = int(d.N)
		g, err := w.at(in, kernel)
		if err != nil {
			return nil, err
		}
		out[i] = graph.D(int64(g.out[i]))
	}
	return out, nil
}
