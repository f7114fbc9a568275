package ops

import (
	"fmt"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
)

// transposeAttrs are what ConvTranspose has beyond the window.
type transposeAttrs struct {
	win               windowAttrs
	group             int
	extra, outputSize []int // output_padding, output_shape
}

// at gives the window seen from the output: the convolution whose gradient this is has the output as its input.
func (a transposeAttrs) at(in, kernel []int) (window, error) {
	rank := len(in)
	g := window{out: in, kernel: kernel, strides: orOnes(a.win.strides, rank), dilations: orOnes(a.win.dilations, rank)}
	extra := a.extra
	if extra == nil {
		extra = make([]int, rank)
	}
	want := a.outputSize
	if len(want) == rank+2 {
		want = want[2:]
	}
	if len(g.strides) != rank || len(g.dilations) != rank || len(extra) != rank || want != nil && len(want) != rank ||
		a.win.pads != nil && len(a.win.pads) != 2*rank {
		return g, fmt.Errorf("strides %v, dilations %v, pads %v, output_padding %v and output_shape %v do not fit %d spatial dimensions",
			g.strides, g.dilations, a.win.pads, extra, want, rank)
	}
	g.in, g.begin, g.end = make([]int, rank), make([]int, rank), make([]int, rank)
	for i := range in {
		full := (in[i]-1)*g.strides[i] + extra[i] + (kernel[i]-1)*g.dilations[i] + 1
		same := a.win.auto == "SAME_UPPER" || a.win.auto == "SAME_LOWER"
		switch {
		case want != nil:
			g.in[i] = want[i]
		case same:
			g.in[i] = in[i] * g.strides[i]
		default:
			if a.win.pads != nil {
				g.begin[i], g.end[i] = a.win.pads[i], a.win.pads[i+rank]
			}
			g.in[i] = full - g.begin[i] - g.end[i]
		}
		if want != nil || same {
			total := full - g.in[i]
			g.begin[i] = total >> 1
			if a.win.auto != "SAME_UPPER" {
				g.begin[i] = total - total>>1
			}
			g.end[i] = total - g.begin[i]
		}
		if g.in[i] < 0 {
			return g, fmt.Errorf("the output would have size %v", g.in)
		}
	}
	return g, nil
}

func prepareConvTranspose(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	w, err := windowOf(n)
	if err != nil {
		return nil, err
	}
	a := transposeAttrs{w, int(n.Int("group", 1)), asInts(n.Ints("output_padding")), asInts(n.Ints("output_shape"))}
	k := floatForms(
		func(c *exec.Call) error { return convTranspose[float32](c, a) },
		func(c *exec.Call) error { return convTranspose[float64](c, a) })
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		if err := sameType(c, 0, 3); err != nil {
			return err
		}
		return k(c)
	}, nil
}

// convTranspose: per image and group, columns = W^T X, and each column is added where its kernel position lies.
func convTranspose[T float](c *exec.Call, a transposeAttrs) error {
	x, w, b := c.In[0], c.In[1], c.Input(2)
	if len(x.Shape) < 3 || len(w.Shape) != len(x.Shape) || a.group < 1 || w.Shape[0] != x.Shape[1] || x.Shape[1]%a.group != 0 {
		return fmt.Errorf("input of shape %v, weight of shape %v and group %d do not fit: expected [N C spatial...] and [C M/group kernel...]",
			x.Shape, w.Shape, a.group)
	}
	g, err := a.at(x.Shape[2:], w.Shape[2:])
	if err != nil {
		return err
	}
	cin, cout := x.Shape[1]/a.group, w.Shape[1]
	if b != nil && b.Len() != cout*a.group {
		return fmt.Errorf("bias has shape %v, expected [%d]", b.Shape, cout*a.group)
	}
	var bias []T
	if b != nil {
		bias = data[T](b)
	}
	taps, inPix, outPix := size(g.kernel), size(g.out), size(g.in)
	y := c.New(x.Type, append([]int{x.Shape[0], cout * a.group}, g.in...)...)
	c.Out[0] = y
	xd, wd, yd := data[T](x), data[T](w), data[T](y)
	col := data[T](c.New(x.Type, cout*taps, inPix))
	for u := range x.Shape[0] * a.group {
		if err := c.Ctx.Err(); err != nil {
			return err
		}
		gr := u % a.group
		if cin > 0 && len(col) > 0 {
			product(true, false, cout*taps, inPix, cin, 1, wd[gr*cin*cout*taps:], cout*taps, xd[u*cin*inPix:], inPix, 0, col, inPix, c.Threads)
		}
		c.Parallel(cout, taps*inPix, func(lo, hi int) {
			tap := make([]int, len(g.kernel))
			for m := lo; m < hi; m++ {
				out := yd[(u*cout+m)*outPix:][:outPix]
				fill(out, bias, gr*cout+m)
				for t := range taps {
					setTap(tap, t, g.kernel)
					scatterTap(out, col[(m*taps+t)*inPix:][:inPix], g, tap)
				}
			}
		})
	}
	return nil
}

// scatterTap adds an input-shaped plane where one kernel position puts it in the output.
func scatterTap[T float](out, col []T, g window, tap []int) {
	step := g.strides[len(g.strides)-1]
	g.tapRows(tap, func(row, lo, hi, at int) {
		for _, v := range col[row+lo : row+hi] {
			out[at] += v
			at += step
		}
	})
}

func inferConvTranspose(n *graph.Node) error {
	x, w := shapeOf(n, 0), shapeOf(n, 1)
	n.SetOut(0, typeOf(n, 0), nil)
	if x == nil || len(w) != len(x) || len(x) < 3 {
		return nil
	}
	win, err := windowOf(n)
	if err != nil {
		return err
	}
	group := n.Int("group", 1)
	a := transposeAttrs{win, int(group), asInts(n.Ints("output_padding")), asInts(n.Ints("output_shape"))}
	out := append(graph.Shape{x[0], w[1].Mul(graph.D(group))}, graph.UnknownShape(len(x)-2)...)
	kernel, ok1 := w[2:].Ints()
	in, ok2 := x[2:].Ints()
	if ok1 && ok2 {
		g, err := a.at(in, kernel)
		if err != nil {
			return err
		}
		copy(out[2:], graph.ShapeOf(g.in...))
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

func init() {
	exec.Register(exec.Op{Name: "ConvTranspose", Since: 1, Infer: inferConvTranspose, Prepare: prepareConvTranspose})
}
