package ops_test

import (
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

var (
	smoothUnary = []string{"Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Erf", "Softplus", "Softsign", "Elu", "LeakyRelu", "HardSigmoid", "Selu", "Identity",
		"Sin", "Cos", "Atan", "Sinh", "Asinh"}
	otherUnary   = []string{"Sqrt", "Log", "Reciprocal", "Floor", "Ceil", "Sign", "Round", "Not", "IsNaN", "Shape", "Size", "NonZero", "Tan", "Acos", "Acosh", "Atanh", "Hardmax"}
	smoothBinary = []string{"Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "PRelu"}
	otherBinary  = []string{"Div", "Pow", "Equal", "Less", "Greater", "And", "Or", "Xor", "Mod", "BitShift"}
	reductions   = []string{"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare", "ReduceLogSumExp", "ReduceL2", "ReduceProd"}
)

// likelyNode adds a node whose inputs and attributes have a chance to fit.
func (f *fuzzBuilder) likelyNode() {
	x := f.pick()
	one := func(op, wires string, attrs ...any) { f.b.Node(op, wires+" -> "+f.result(), attrs...) }
	rough := func() { f.smooth = false }
	weight := func(shape ...int) string { return f.add(onnxio.Float32, shape, true).name }
	switch k := f.upTo(40); k {
	case 0, 1, 2:
		one(smoothUnary[f.upTo(len(smoothUnary))], x)
	case 3:
		rough()
		one(otherUnary[f.upTo(len(otherUnary))], x)
	case 4, 5, 6:
		one(smoothBinary[f.upTo(len(smoothBinary))], x+" "+f.pick())
	case 7:
		rough()
		one(otherBinary[f.upTo(len(otherBinary))], x+" "+f.pick())
	case 8:
		op := reductions[f.upTo(len(reductions))]
		one(op, x, "axes", f.sizes(2), "keepdims", f.upTo(2))
	case 9:
		one(reductions[f.upTo(len(reductions))], x+" "+f.ints(f.sizes(2)...), "keepdims", f.upTo(2))
	case 10:
		one("MatMul", x+" "+f.pick())
	case 11:
		one("MatMul", x+" "+weight(1+f.upTo(5), 1+f.upTo(5)))
	case 12:
		one("Gemm", x+" "+weight(1+f.upTo(5), 1+f.upTo(5))+" "+f.pick(), "transA", f.upTo(2), "transB", f.upTo(2), "alpha", 0.5)
	case 13, 14:
		group := 1 + f.upTo(2)
		one("Conv", x+" "+weight(group*(1+f.upTo(2)), 1+f.upTo(3), 1+f.upTo(3), 1+f.upTo(3)), "group", group, "pads", f.smalls(4), "strides", f.positives(2), "dilations", f.positives(2))
	case 15:
		one("ConvTranspose", x+" "+weight(1+f.upTo(4), 1+f.upTo(2), 1+f.upTo(3), 1+f.upTo(3)), "pads", f.smalls(4), "strides", f.positives(2))
	case 16:
		one([]string{"AveragePool", "MaxPool", "LpPool"}[f.upTo(3)], x, "kernel_shape", f.positives(2), "pads", f.smalls(4), "strides", f.positives(2), "ceil_mode", f.upTo(2))
	case 17:
		one([]string{"GlobalAveragePool", "GlobalMaxPool", "Flatten", "Softmax", "LogSoftmax"}[f.upTo(5)], x)
	case 18:
		one([]string{"Softmax", "LogSoftmax", "Flatten"}[f.upTo(3)], x, "axis", f.size())
	case 19:
		one("Concat", x+" "+f.pick(), "axis", f.size())
	case 20:
		one("Transpose", x, "perm", [][]int64{{0}, {1, 0}, {0, 2, 1}, {2, 0, 1}, {0, 3, 1, 2}, {3, 2, 1, 0}}[f.upTo(6)])
	case 21, 22:
		one([]string{"Reshape", "Expand", "Tile", "ConstantOfShape"}[f.upTo(4)], x+" "+f.ints(f.sizes(4)...))
	case 23:
		one("ConstantOfShape", f.ints(f.sizes(4)...))
	case 24:
		one("Slice", x+" "+f.ints(f.size())+" "+f.ints(f.size())+" "+f.ints(f.size())+" "+f.ints(f.size()))
	case 25:
		one([]string{"Squeeze", "Unsqueeze", "CumSum"}[f.upTo(3)], x+" "+f.ints(f.sizes(2)...))
	case 26:
		rough()
		one([]string{"Gather", "GatherElements", "GatherND"}[f.upTo(3)], x+" "+f.ints(f.sizes(3)...), "axis", f.size())
	case 27:
		one("Pad", x+" "+f.ints(f.sizes(8)...), "mode", []string{"constant", "reflect", "edge", "wrap"}[f.upTo(4)])
	case 28:
		rough()
		one("Resize", x+" _ "+weight(f.upTo(5)), "mode", []string{"nearest", "linear", "cubic"}[f.upTo(3)])
	case 29:
		rough()
		one("Resize", x+" _ _ "+f.ints(f.sizes(4)...), "mode", []string{"nearest", "linear", "cubic"}[f.upTo(3)])
	case 30:
		rough()
		one("Cast", x, "to", 1+f.upTo(16))
	case 31:
		rough()
		f.b.Node("TopK", x+" "+f.ints(f.size())+" -> "+f.result()+" "+f.result(), "axis", f.size())
	case 32:
		rough()
		one("Where", f.add(onnxio.Bool, f.shape(0, 3), true).name+" "+x+" "+f.pick())
	case 33:
		rough()
		one("Range", weightless(f)+" "+weightless(f)+" "+weightless(f))
	case 34:
		c := 1 + f.upTo(4)
		one("BatchNormalization", x+" "+weight(c)+" "+weight(c)+" "+weight(c)+" "+f.positive(c))
	case 35:
		c := 1 + f.upTo(5)
		one([]string{"LayerNormalization", "InstanceNormalization", "com.microsoft::SkipLayerNormalization"}[f.upTo(3)], x+" "+weight(c)+" "+weight(c))
	case 36:
		h, in := 1+f.upTo(3), 1+f.upTo(4)
		op, gates := "LSTM", 4
		if f.upTo(2) == 0 {
			op, gates = "GRU", 3
		}
		f.b.Node(op, x+" "+weight(1, gates*h, in)+" "+weight(1, gates*h, h)+" -> "+f.result()+" "+f.result(), "hidden_size", h)
	case 37:
		rough()
		f.branches(x)
	case 38:
		rough()
		f.loop(x)
	case 39:
		f.b.Node("Split", x+" -> "+f.result()+" "+f.result(), "axis", f.size())
	}
}

// weightless is a constant scalar int64.
func weightless(f *fuzzBuilder) string {
	name := f.name()
	f.b.Init(name, onnxio.TensorOf([]int64{f.size()}))
	return name
}

func (f *fuzzBuilder) positive(n int) string {
	x := onnxio.NewTensor(onnxio.Float32, n)
	for i := range n {
		x.Float32s()[i] = 0.5 + float32(f.byte())/128
	}
	name := f.name()
	f.b.Init(name, x)
	return name
}

func (f *fuzzBuilder) smalls(n int) []int64 {
	l := make([]int64, n)
	for i := range l {
		l[i] = int64(f.upTo(3))
		if f.byte() > 250 {
			l[i] = f.size()
		}
	}
	return l
}

func (f *fuzzBuilder) positives(n int) []int64 {
	l := f.smalls(n)
	for i := range l {
		l[i]++
	}
	return l
}

// branches adds an If whose branches read x from outside.
func (f *fuzzBuilder) branches(x string) {
	cond := f.name()
	f.b.Init(cond, onnxio.TensorOf([]bool{f.upTo(2) == 1}))
	branch := func(op string) *testmodel.Builder {
		r := f.name()
		return testmodel.New(18).Node(op, x+" -> "+r).Outputs(r)
	}
	f.b.Node("If", cond+" -> "+f.result(), "then_branch", branch(smoothUnary[f.upTo(len(smoothUnary))]), "else_branch", branch("ReduceSum"))
}

// loop adds a Loop that carries x and collects slices, with a number of rounds that may be hostile.
func (f *fuzzBuilder) loop(x string) {
	i, cond, v, w, out := f.name(), f.name(), f.name(), f.name(), f.name()
	body := testmodel.New(18).Input(i, onnxio.Int64).Input(cond, onnxio.Bool).Input(v, onnxio.Float32).
		Node([]string{"Exp", "Neg", "Identity", "NonZero", "Shape"}[f.upTo(5)], v+" -> "+w).
		Node([]string{"Add", "Concat", "MatMul", "Sub"}[f.upTo(4)], v+" "+w+" -> "+out, "axis", 0)
	body.Outputs(cond, out, []string{w, out, i}[f.upTo(3)])
	for _, v := range append(body.Proto().Graph.Input[2:], body.Proto().Graph.Output...) {
		v.Type = nil
	}
	f.b.Node("Loop", weightless(f)+" _ "+x+" -> "+f.result()+" "+f.result(), "body", body)
}
