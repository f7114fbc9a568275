package ops

import (
	"fmt"
	"math"
	"slices"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// reduction folds the elements of a group: acc = step(acc, x), starting at init; then done(acc, count).
type reduction[T, A any] struct {
	init A
	step func(acc A, x T) A
	done func(acc A, n int) T
	run  func(acc A, x []T) A // folds elements that lie side by side; nil: one by one
}

// reduced splits the axes of x into those kept and those reduced.
type reduced struct {
	shape      []int // of the output
	kept, gone loop  // offsets into x
	count      int   // elements per group
}

func planReduce(shape, axes []int, keep bool) reduced {
	st := stridesOf(shape)
	var r reduced
	r.shape = []int{}
	var kd, ks, gd, gs []int
	for i, d := range shape {
		if slices.Contains(axes, i) {
			gd, gs = append(gd, d), append(gs, st[i])
			if keep {
				r.shape = append(r.shape, 1)
			}
			continue
		}
		kd, ks = append(kd, d), append(ks, st[i])
		r.shape = append(r.shape, d)
	}
	r.kept, r.gone, r.count = newLoop(kd, ks), newLoop(gd, gs), size(gd)
	return r
}

// run calls fn for each output with the offset of its group in x, output range [lo, hi).
func (r reduced) run(c *exec.Call, fn func(out, base int)) {
	rows, n := r.kept.rows()
	step := r.kept.inner(0)
	c.Parallel(rows*n, 2*r.count, func(lo, hi int) {
		if n == 0 {
			return
		}
		r.kept.each(lo/n, (hi+n-1)/n, func(row int, off []int) {
			for i := max(lo-row*n, 0); i < min(n, hi-row*n); i++ {
				fn(row*n+i, off[0]+i*step)
			}
		})
	})
}

// runs calls fn for each run of a group's elements.
func (r reduced) runs(base int, fn func(at, n, step int)) {
	rows, n := r.gone.rows()
	if rows == 1 {
		fn(base, n, r.gone.inner(0))
		return
	}
	r.gone.each(0, rows, func(_ int, off []int) { fn(base+off[0], n, r.gone.inner(0)) })
}

func reduceWith[T, A any](f reduction[T, A]) func(c *exec.Call, r reduced, y *tensor) {
	return func(c *exec.Call, r reduced, y *tensor) {
		x, d := data[T](c.In[0]), data[T](y)
		r.run(c, func(out, base int) {
			acc := f.init
			if r.count > 0 {
				r.runs(base, func(at, n, step int) {
					if f.run != nil && step == 1 {
						acc = f.run(acc, x[at:at+n])
						return
					}
					for range n {
						acc = f.step(acc, x[at])
						at += step
					}
				})
			}
			d[out] = f.done(acc, r.count)
		})
	}
}

// reducers is a reduction by element type.
type reducers map[onnxio.DataType]func(c *exec.Call, r reduced, y *tensor)

// prepareReduce: axes come as attribute, or as input 1 from version 18 on (13 for ReduceSum). single, if any, gives the identity
// of a group of one for noop_with_empty_axes.
func prepareReduce(forms reducers) func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	return func(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
		attr, keep, noop := asInts(n.Ints("axes")), n.Int("keepdims", 1) != 0, n.Int("noop_with_empty_axes", 0) != 0
		return func(c *exec.Call) error {
			if err := need(c, 1); err != nil {
				return err
			}
			x := c.In[0]
			axes, err := axesOf(c, attr)
			if err != nil {
				return err
			}
			if axes, err = axesIn(axes, len(x.Shape)); err != nil {
				return err
			}
			if len(axes) == 0 && !noop {
				for i := range x.Shape {
					axes = append(axes, i)
				}
			}
			f := forms[x.Type]
			if f == nil {
				return typeError(0, x)
			}
			r := planReduce(x.Shape, axes, keep)
			y := c.New(x.Type, r.shape...)
			f(c, r, y)
			c.Out[0] = y
			return nil
		}, nil
	}
}

func inferReduce(t onnxio.DataType) graph.InferRule {
	return func(n *graph.Node) error {
		out := t
		if out == onnxio.Undefined {
			out = typeOf(n, 0)
		}
		n.SetOut(0, out, nil)
		s := shapeOf(n, 0)
		axes, ok := attrOrConst(n)
		if s == nil || !ok {
			return nil
		}
		if n.Op() == "ArgMax" || n.Op() == "ArgMin" {
			axes = []int{int(n.Int("axis", 0))}
		}
		axes, err := axesIn(axes, len(s))
		if err != nil {
			return err
		}
		all := len(axes) == 0 && n.Int("noop_with_empty_axes", 0) == 0
		shape := graph.Shape{}
		for i, d := range s {
			if all || slices.Contains(axes, i) {
				if n.Int("keepdims", 1) != 0 {
					shape = append(shape, graph.D(1))
				}
				continue
			}
			shape = append(shape, d)
		}
		n.SetOut(0, out, shape)
		return nil
	}
}

func sumOf[T number]() func(c *exec.Call, r reduced, y *tensor) {
	return reduceWith(reduction[T, T]{0, func(a, x T) T { return a + x }, func(a T, _ int) T { return a }, nil})
}

// viaDoubles folds floats in float64.
func viaDoubles(step func(a, x float64) float64, done func(a float64, n int) float64) reducers {
	return reducers{
		onnxio.Float32: reduceWith(reduction[float32, float64]{0, func(a float64, x float32) float64 { return step(a, float64(x)) },
			func(a float64, n int) float32 { return float32(done(a, n)) }, nil}),
		onnxio.Float64: reduceWith(reduction[float64, float64]{0, step, done, nil}),
		onnxio.Int32: reduceWith(reduction[int32, float64]{0, func(a float64, x int32) float64 { return step(a, float64(x)) },
			func(a float64, n int) int32 { return int32(done(a, n)) }, nil}),
		onnxio.Int64: reduceWith(reduction[int64, float64]{0, func(a float64, x int64) float64 { return step(a, float64(x)) },
			func(a float64, n int) int64 { return int64(done(a, n)) }, nil}),
		onnxio.Uint32: reduceWith(reduction[uint32, float64]{0, func(a float64, x uint32) float64 { return step(a, float64(x)) },
			func(a float64, n int) uint32 { return uint32(done(a, n)) }, nil}),
		onnxio.Uint64: reduceWith(reduction[uint64, float64]{0, func(a float64, x uint64) float64 { return step(a, float64(x)) },
			func(a float64, n int) uint64 { return uint64(done(a, n)) }, nil}),
	}
}

func extreme[T number](worst T, f func(a, x T) T) func(c *exec.Call, r reduced, y *tensor) {
	return reduceWith(reduction[T, T]{worst, f, func(a T, _ int) T { return a }, nil})
}

func extremes(max bool) reducers {
	inf := math.Inf(-1)
	if !max {
		inf = math.Inf(1)
	}
	pick := func(lo, hi int64) int64 {
		if max {
			return lo
		}
		return hi
	}
	upick := func(hi uint64) uint64 {
		if max {
			return 0
		}
		return hi
	}
	f32, f64, i8, i32, i64, u8 := maxOf[float32], maxOf[float64], maxOf[int8], maxOf[int32], maxOf[int64], maxOf[uint8]
	i16, u16, u32, u64 := maxOf[int16], maxOf[uint16], maxOf[uint32], maxOf[uint64]
	if !max {
		f32, f64, i8, i32, i64, u8 = minOf[float32], minOf[float64], minOf[int8], minOf[int32], minOf[int64], minOf[uint8]
		i16, u16, u32, u64 = minOf[int16], minOf[uint16], minOf[uint32], minOf[uint64]
	}
	r := reducers{
		onnxio.Float32: extreme(float32(inf), f32), onnxio.Float64: extreme(inf, f64),
		onnxio.Int8: extreme(int8(pick(math.MinInt8, math.MaxInt8)), i8), onnxio.Int16: extreme(int16(pick(math.MinInt16, math.MaxInt16)), i16),
		onnxio.Int32: extreme(int32(pick(math.MinInt32, math.MaxInt32)), i32), onnxio.Int64: extreme(pick(math.MinInt64, math.MaxInt64), i64),
		onnxio.Uint8: extreme(uint8(upick(math.MaxUint8)), u8), onnxio.Uint16: extreme(uint16(upick(math.MaxUint16)), u16),
		onnxio.Uint32: extreme(uint32(upick(math.MaxUint32)), u32), onnxio.Uint64: extreme(upick(math.MaxUint64), u64),
	}
	run := maxRun
	if !max {
		run = minRun
	}
	r[onnxio.Float32] = reduceWith(reduction[float32, float32]{float32(inf), f32, func(a float32, _ int) float32 { return a }, run})
	r[onnxio.Bool] = reduceWith(reduction[bool, bool]{!max, func(a, x bool) bool { return max && (a || x) || !max && a && x },
		func(a bool, _ int) bool { return a }, nil})
	return r
}

func prodOf[T number]() func(c *exec.Call, r reduced, y *tensor) {
	return reduceWith(reduction[T, T]{1, func(a, x T) T { return a * x }, func(a T, _ int) T { return a }, nil})
}

// logSumExp is max + log(sum(exp(x - max))), so that nothing overflows.
func logSumExp[T float](c *exec.Call, r reduced, y *tensor) {
	x, d := data[T](c.In[0]), data[T](y)
	r.run(c, func(out, base int) {
		top, sum := math.Inf(-1), 0.0
		if r.count > 0 {
			r.runs(base, func(at, n, step int) {
				for range n {
					top = math.Max(top, float64(x[at]))
					at += step
				}
			})
			shift := top
			if math.IsInf(top, 0) {
				shift = 0
			}
			r.runs(base, func(at, n, step int) {
				for range n {
					sum += math.Exp(float64(x[at]) - shift)
					at += step
				}
			})
			top = shift
		} else {
			top = 0
		}
		d[out] = T(top + math.Log(sum))
	})
}

func prepareArg(n *graph.Node, _ *exec.Prep) (exec.Kernel, error) {
	attr, keep, last := int(n.Int("axis", 0)), n.Int("keepdims", 1) != 0, n.Int("select_last_index", 0) != 0
	max := n.Op() == "ArgMax"
	return func(c *exec.Call) error {
		if err := need(c, 1); err != nil {
			return err
		}
		x := c.In[0]
		axis, err := axisIn(attr, len(x.Shape))
		if err != nil {
			return err
		}
		if x.Shape[axis] == 0 {
			return fmt.Errorf("axis %d of shape %v has no elements to choose from", axis, x.Shape)
		}
		r := planReduce(x.Shape, []int{axis}, keep)
		y := c.New(onnxio.Int64, r.shape...)
		c.Out[0] = y
		return argBest(c, r, y, max, last)
	}, nil
}

func argBest(c *exec.Call, r reduced, y *tensor, max, last bool) error {
	switch x := c.In[0]; x.Type {
	case onnxio.Float32:
		argOf[float32](c, r, y, max, last)
	case onnxio.Float64:
		argOf[float64](c, r, y, max, last)
	case onnxio.Int8:
		argOf[int8](c, r, y, max, last)
	case onnxio.Int16:
		argOf[int16](c, r, y, max, last)
	case onnxio.Int32:
		argOf[int32](c, r, y, max, last)
	case onnxio.Int64:
		argOf[int64](c, r, y, max, last)
	case onnxio.Uint8:
		argOf[uint8](c, r, y, max, last)
	case onnxio.Uint16:
		argOf[uint16](c, r, y, max, last)
	case onnxio.Uint32:
		argOf[uint32](c, r, y, max, last)
	case onnxio.Uint64:
		argOf[uint64](c, r, y, max, last)
	default:
		return typeError(0, x)
	}
	return nil
}

func argOf[T number](c *exec.Call, r reduced, y *tensor, max, last bool) {
	x, d := data[T](c.In[0]), data[int64](y)
	r.run(c, func(out, base int) {
		best, at := 0, base
		r.runs(base, func(from, n, step int) {
			for i := range n {
				v := x[from+i*step]
				w := x[at]
				if max && v > w || !max && v < w || last && v == w || v != v && w == w {
					best, at = i, from+i*step
				}
			}
		})
		d[out] = int64(best)
	})
}

func init() {
	id := func(a float64, _ int) float64 { return a }
	square := func(a, x float64) float64 { return a + x*x }
	plus := func(a, x float64) float64 { return a + x }
	reg := func(name string, f reducers) {
		exec.Register(exec.Op{Name: name, Since: 1, Infer: inferReduce(0), Prepare: prepareReduce(f)})
	}
	sums := viaDoubles(plus, id)
	for t, f := range (reducers{onnxio.Int32: sumOf[int32](), onnxio.Int64: sumOf[int64](), onnxio.Uint32: sumOf[uint32](), onnxio.Uint64: sumOf[uint64]()}) {
		sums[t] = f
	}
	mean := func(a float64, n int) float64 { return a / float64(n) }
	means := viaDoubles(plus, mean)
	sums[onnxio.Float32] = sumRuns(id, sums[onnxio.Float32])
	means[onnxio.Float32] = sumRuns(mean, means[onnxio.Float32])
	reg("ReduceSum", sums)
	reg("ReduceMean", means)
	reg("ReduceSumSquare", viaDoubles(square, id))
	reg("ReduceL2", viaDoubles(square, func(a float64, _ int) float64 { return math.Sqrt(a) }))
	reg("ReduceL1", viaDoubles(func(a, x float64) float64 { return a + math.Abs(x) }, id))
	reg("ReduceLogSum", viaDoubles(plus, func(a float64, _ int) float64 { return math.Log(a) }))
	reg("ReduceLogSumExp", reducers{onnxio.Float32: logSumExp[float32], onnxio.Float64: logSumExp[float64]})
	reg("ReduceProd", reducers{onnxio.Float32: prodOf[float32](), onnxio.Float64: prodOf[float64](), onnxio.Int32: prodOf[int32](),
		onnxio.Int64: prodOf[int64](), onnxio.Uint32: prodOf[uint32](), onnxio.Uint64: prodOf[uint64]()})
	reg("ReduceMax", extremes(true))
	reg("ReduceMin", extremes(false))
	exec.Register(
		exec.Op{Name: "ArgMax", Since: 1, Infer: inferReduce(onnxio.Int64), Prepare: prepareArg},
		exec.Op{Name: "ArgMin", Since: 1, Infer: inferReduce(onnxio.Int64), Prepare: prepareArg},
	)
}
