package ops

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// dftAttrs say what a Fourier transform takes and gives. Complex numbers are pairs along the last dimension.
type dftAttrs struct {
	inverse  bool
	onesided bool // only the half of the spectrum that a real signal needs
}

// prepareDFT: the axis is an attribute (default 1) in version 17, and input 2 (default -2) from version 20 on.
func prepareDFT(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := dftAttrs{n.Int("inverse", 0) != 0, n.Int("onesided", 0) != 0}
	def, asInput := int(n.Int("axis", 1)), n.Opset() >= 20
	if asInput {
		def = -2
	}
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		axis := def
		if x := c.Input(2); x != nil && asInput {
			var err error
			if axis, err = scalarInt(x); err != nil {
				return fmt.Errorf("axis: %w", err)
			}
		}
		return a.run(c, axis)
	}, nil
}

// run transforms input 0, [... 1] or [... 2], along an axis.
func (a dftAttrs) run(c *exec.Call, axis int) error {
	x := c.In[0]
	rank := len(x.Shape)
	if rank < 2 || x.Shape[rank-1] != 1 && x.Shape[rank-1] != 2 {
		return fmt.Errorf("input has shape %v, expected a last dimension of 1 (real) or 2 (real and imaginary)", x.Shape)
	}
	axis, err := axisIn(axis, rank)
	if err != nil {
		return err
	}
	if axis == rank-1 {
		return fmt.Errorf("axis %d of shape %v holds the real and imaginary parts", axis, x.Shape)
	}
	width := x.Shape[rank-1]
	if a.onesided && !a.inverse && width == 2 {
		return fmt.Errorf("onesided with a complex input of shape %v: only the spectrum of a real signal can be halved", x.Shape)
	}
	def := x.Shape[axis]
	if a.inverse && a.onesided {
		def = 2 * (def - 1)
	}
	length, err := scalarInput(c, 1, float64(def))
	if err != nil {
		return err
	}
	if !(length >= 1 && length < 1<<31) {
		return fmt.Errorf("the transform has length %v, expected a positive number", length)
	}
	n := int(length)
	shape := append([]int{}, x.Shape...)
	shape[axis], shape[rank-1] = n, 2
	switch {
	case a.onesided && a.inverse:
		shape[rank-1] = 1
	case a.onesided:
		shape[axis] = n/2 + 1
	}
	in, err := floats(x)
	if err != nil {
		return err
	}
	y := c.New(x.Type, shape...)
	c.Out[0] = y
	out := make([]float64, y.Len())
	outer, have, inner := around(x.Shape[:rank-1], axis)
	c.Parallel(outer*inner, 64*n, func(lo, hi int) {
		t := newTransform(n, a)
		for u := lo; u < hi; u++ {
			o, i := u/inner, u%inner
			t.load(in[(o*have*inner+i)*width:], have, inner, width)
			t.save(out[(o*shape[axis]*inner+i)*shape[rank-1]:], shape[axis], inner, shape[rank-1])
		}
	})
	return store(y, out)
}

// transform is a Fourier transform of one length with its buffers.
type transform struct {
	dftAttrs
	fft     *fourier.CmplxFFT
	in, out []complex128
}

func newTransform(n int, a dftAttrs) *transform {
	return &transform{a, fourier.NewCmplxFFT(n), make([]complex128, n), make([]complex128, n)}
}

// load reads up to have elements, step apart and of width numbers each; what is missing is zero, what is too much is cut.
func (t *transform) load(x []float64, have, step, width int) {
	clear(t.in)
	n := len(t.in)
	use := min(have, n)
	if t.inverse && t.onesided {
		use = min(have, n/2+1)
	}
	for k := range use {
		at := k * step * width
		im := 0.0
		if width == 2 {
			im = x[at+1]
		}
		t.in[k] = complex(x[at], im)
	}
	if t.inverse && t.onesided { // the other half is the mirror image
		for k := 1; k < (n+1)/2; k++ {
			t.in[n-k] = complex(real(t.in[k]), -imag(t.in[k]))
		}
	}
}

// save transforms and writes count elements: sum x exp(-2 pi i k n/N), and the inverse is divided by N.
func (t *transform) save(y []float64, count, step, width int) {
	scale := 1.0
	if t.inverse {
		t.fft.Sequence(t.out, t.in)
		scale = 1 / float64(len(t.in))
	} else {
		t.fft.Coefficients(t.out, t.in)
	}
	for k := range count {
		y[k*step*width] = real(t.out[k]) * scale
		if width == 2 {
			y[k*step*width+1] = imag(t.out[k]) * scale
		}
	}
}

func inferDFT(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), nil)
	s := shapeOf(n, 0).Clone()
	if len(s) < 2 {
		return nil
	}
	a := dftAttrs{n.Int("inverse", 0) != 0, n.Int("onesided", 0) != 0}
	axis, known := int(n.Int("axis", 1)), true
	whole := n.In(1) == nil && !a.onesided // the length stays, whichever axis it is
	if n.Opset() >= 20 {
		axis = -2
		if n.In(2) != nil {
			l, ok := constInts(n, 2)
			if known = ok && len(l) == 1; known {
				axis = l[0]
			}
		}
	}
	s[len(s)-1] = graph.D(2)
	if a.inverse && a.onesided {
		s[len(s)-1] = graph.D(1)
	}
	if whole {
		n.SetOut(0, typeOf(n, 0), s)
		return nil
	}
	if !known {
		for i := range s[:len(s)-1] {
			s[i] = graph.Unknown
		}
		n.SetOut(0, typeOf(n, 0), s)
		return nil
	}
	axis, err := axisIn(axis, len(s))
	if err != nil {
		return err
	}
	d := s[axis]
	if n.In(1) != nil {
		d = graph.Unknown
		if l, ok := constInts(n, 1); ok && len(l) == 1 {
			d = graph.D(int64(l[0]))
		}
	} else if a.inverse && a.onesided {
		d = graph.Unknown
		if s[axis].Known() {
			d = graph.D(2 * (s[axis].N - 1))
		}
	}
	if a.onesided && !a.inverse {
		if d.Known() {
			d = graph.D(d.N/2 + 1)
		} else {
			d = graph.Unknown
		}
	}
	s[axis] = d
	n.SetOut(0, typeOf(n, 0), s)
	return nil
}

// prepareSTFT: the spectra of frames of a signal [batch length 1 or 2], each multiplied by a window.
func prepareSTFT(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	a := dftAttrs{onesided: n.Int("onesided", 1) != 0}
	return func(c *exec.Call) error {
		if err := need(c, 2); err != nil {
			return err
		}
		x := c.In[0]
		if len(x.Shape) == 2 { // what PyTorch's exporter writes, and ONNX Runtime takes
			x = c.View(x, x.Shape[0], x.Shape[1], 1)
		}
		if len(x.Shape) != 3 || x.Shape[2] != 1 && x.Shape[2] != 2 {
			return fmt.Errorf("signal has shape %v, expected [batch length], [batch length 1] or [batch length 2]", x.Shape)
		}
		if a.onesided && x.Shape[2] == 2 {
			return fmt.Errorf("onesided with a complex signal of shape %v: only the spectrum of a real signal can be halved", x.Shape)
		}
		window, err := floats(c.Input(2))
		if err != nil {
			return err
		}
		def := x.Shape[1]
		if window != nil {
			def = len(window)
		}
		length, err := scalarInput(c, 3, float64(def))
		if err != nil {
			return err
		}
		step, err := scalarInput(c, 1, 0)
		if err != nil {
			return err
		}
		if !(length >= 1 && length <= float64(x.Shape[1])) || !(step >= 1 && step < 1<<31) || len(window) > int(length) {
			return fmt.Errorf("frames of %v, %v apart, with a window of %d, for a signal of length %d", length, step, len(window), x.Shape[1])
		}
		return a.frames(c, x, int(length), int(step), window)
	}, nil
}

// frames transforms a frame of n elements every step elements.
func (a dftAttrs) frames(c *exec.Call, x *tensor, n, step int, window []float64) error {
	in, err := floats(x)
	if err != nil {
		return err
	}
	count, bins := 1+(x.Shape[1]-n)/step, n
	if a.onesided {
		bins = n/2 + 1
	}
	y := c.New(x.Type, x.Shape[0], count, bins, 2)
	c.Out[0] = y
	out := make([]float64, y.Len())
	width := x.Shape[2]
	c.Parallel(x.Shape[0]*count, 64*n, func(lo, hi int) {
		t := newTransform(n, a)
		for u := lo; u < hi; u++ {
			t.load(in[(u/count*x.Shape[1]+u%count*step)*width:], n, 1, width)
			if window != nil {
				clear(t.in[len(window):])
				for k, v := range window {
					t.in[k] *= complex(v, 0)
				}
			}
			t.save(out[u*bins*2:], bins, 1, 2)
		}
	})
	return store(y, out)
}

func inferSTFT(n *graph.Node) error {
	n.SetOut(0, typeOf(n, 0), graph.UnknownShape(4))
	s := shapeOf(n, 0)
	if len(s) != 2 && len(s) != 3 {
		return nil
	}
	out := graph.Shape{s[0], graph.Unknown, graph.Unknown, graph.D(2)}
	frame := s[1]
	if w := shapeOf(n, 2); n.In(2) != nil {
		frame = graph.Unknown
		if len(w) == 1 {
			frame = w[0]
		}
	}
	if n.In(3) != nil {
		frame = graph.Unknown
		if l, ok := constInts(n, 3); ok && len(l) == 1 {
			frame = graph.D(int64(l[0]))
		}
	}
	if frame.Known() {
		out[2] = frame
		if n.Int("onesided", 1) != 0 {
			out[2] = graph.D(frame.N/2 + 1)
		}
		if l, ok := constInts(n, 1); ok && len(l) == 1 && l[0] > 0 && s[1].Known() && s[1].N >= frame.N {
			out[1] = graph.D(1 + (s[1].N-frame.N)/int64(l[0]))
		}
	}
	n.SetOut(0, typeOf(n, 0), out)
	return nil
}

// prepareWindow: the values f(2 pi i/N) of a window of a given size; N is the size, or one less for a symmetric window.
func prepareWindow(f func(phase float64) float64) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		to, periodic := onnxio.DataType(n.Int("output_datatype", int64(onnxio.Float32))), n.Int("periodic", 1) != 0
		if !to.Valid() || to == onnxio.String {
			return nil, fmt.Errorf("attribute output_datatype is %v, expected a number type", to)
		}
		return func(c *exec.Call) error {
			if err := need(c, 1); err != nil {
				return err
			}
			count, err := scalarInt(c.In[0])
			if err != nil {
				return err
			}
			y := c.New(to, count)
			c.Out[0] = y
			c.KeepType(0)
			span := float64(count)
			if !periodic {
				span--
			}
			v := make([]float64, count)
			for i := range v {
				v[i] = 1
				if span > 0 {
					v[i] = f(2 * math.Pi * float64(i) / span)
				}
			}
			return store(y, v)
		}, nil
	}
}

func hann(p float64) float64     { return 0.5 - 0.5*math.Cos(p) }
func hamming(p float64) float64  { return 25.0/46 - 21.0/46*math.Cos(p) }
func blackman(p float64) float64 { return 0.42 - 0.5*math.Cos(p) + 0.08*math.Cos(2*p) }

// inferWindowSize: a vector whose length input 0 states.
func inferWindowSize(n *graph.Node) error {
	out := graph.UnknownShape(1)
	if l, ok := constInts(n, 0); ok && len(l) == 1 {
		out[0] = graph.D(int64(l[0]))
	}
	n.SetOut(0, onnxio.DataType(n.Int("output_datatype", int64(onnxio.Float32))), out)
	return nil
}

// prepareMel: triangular filters, evenly spaced on the mel scale 2595 log10(1 + f/700), over the bins of a spectrum: [bins filters].
func prepareMel(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	to := onnxio.DataType(n.Int("output_datatype", int64(onnxio.Float32)))
	if !to.Valid() || to == onnxio.String {
		return nil, fmt.Errorf("attribute output_datatype is %v, expected a number type", to)
	}
	return func(c *exec.Call) error {
		if err := need(c, 5); err != nil {
			return err
		}
		var p [5]float64
		for i := range p {
			var err error
			if p[i], err = scalarInput(c, i, 0); err != nil {
				return err
			}
		}
		filters, length, rate, low, high := p[0], p[1], p[2], p[3], p[4]
		if !(filters >= 0 && filters < 1<<31 && length >= 1 && length < 1<<31 && rate > 0 && low >= 0 && high >= low) {
			return fmt.Errorf("%v filters for a transform of length %v, sample rate %v, from %v to %v Hz", filters, length, rate, low, high)
		}
		y := c.New(to, int(length)/2+1, int(filters))
		c.Out[0] = y
		out := make([]float64, y.Len())
		if err := mel(out, int(filters), int(length), rate, low, high); err != nil {
			return err
		}
		return store(y, out)
	}, nil
}

func mel(out []float64, filters, length int, rate, low, high float64) error {
	toMel := func(f float64) float64 { return 2595 * math.Log10(1+f/700) }
	bins := length/2 + 1
	edges := make([]int, filters+2)
	step := (toMel(high) - toMel(low)) / float64(len(edges))
	for i := range edges {
		f := 700 * (math.Pow(10, (toMel(low)+float64(i)*step)/2595) - 1)
		edges[i] = int(math.Floor(float64(length+1) * f / rate))
		if edges[i] >= bins {
			return fmt.Errorf("upper_edge_hertz is %v, beyond half of the sample rate %v", high, rate)
		}
	}
	for i := range filters {
		from, mid, to := edges[i], edges[i+1], edges[i+2]
		if from == mid {
			out[mid*filters+i] = 1
		}
		for k := from; k <= mid && from < mid; k++ {
			out[k*filters+i] = float64(k-from) / float64(mid-from)
		}
		for k := mid; k < to; k++ {
			out[k*filters+i] = float64(to-k) / float64(to-mid)
		}
	}
	return nil
}

func inferMel(n *graph.Node) error {
	out := graph.UnknownShape(2)
	if l, ok := constInts(n, 1); ok && len(l) == 1 {
		out[0] = graph.D(int64(l[0]/2 + 1))
	}
	if l, ok := constInts(n, 0); ok && len(l) == 1 {
		out[1] = graph.D(int64(l[0]))
	}
	n.SetOut(0, onnxio.DataType(n.Int("output_datatype", int64(onnxio.Float32))), out)
	return nil
}

func init() {
	exec.Register(
		exec.Op{Name: "DFT", Since: 17, Infer: inferDFT, Prepare: prepareDFT},
		exec.Op{Name: "STFT", Since: 17, Infer: inferSTFT, Prepare: prepareSTFT},
		exec.Op{Name: "HannWindow", Since: 17, Infer: inferWindowSize, Prepare: prepareWindow(hann)},
		exec.Op{Name: "HammingWindow", Since: 17, Infer: inferWindowSize, Prepare: prepareWindow(hamming)},
		exec.Op{Name: "BlackmanWindow", Since: 17, Infer: inferWindowSize, Prepare: prepareWindow(blackman)},
		exec.Op{Name: "MelWeightMatrix", Since: 17, Infer: inferMel, Prepare: prepareMel},
	)
}
