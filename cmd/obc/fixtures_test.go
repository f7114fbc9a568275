package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"sort"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"github.com/obc-onnx/obc/calib"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// writeFixture writes a named model or data set to files.
func writeFixture(ts *testscript.TestScript, neg bool, args []string) {
	make, ok := fixtures[args[0]]
	if neg || !ok || len(args) < 2 {
		var names []string
		for name := range fixtures {
			names = append(names, name)
		}
		sort.Strings(names)
		ts.Fatalf("usage: fixture NAME FILE..., with one of %s", strings.Join(names, " "))
	}
	data := make()
	for _, file := range args[1:] {
		ts.Check(os.WriteFile(ts.MkAbs(file), data, 0o666))
	}
}

// fixtures are the files of the sessions. The models read x float32[N 4 8 8]; the data has 32 samples of 3 classes.
var fixtures = map[string]func() []byte{
	"net":       func() []byte { return encode(net()) },
	"truncated": func() []byte { m := encode(net()); return m[:len(m)*2/3] },
	"no-layers": func() []byte { return encode(start().Node("Relu", "x -> z").Outputs("z")) },
	"unknown-ops": func() []byte {
		return encode(net().Import("acme", 1).Node("Wobble", "x -> a").Node("acme::Twist", "a -> b").Outputs("b"))
	},
	"cycle":     func() []byte { return encode(start().Node("Add", "x b -> a").Node("Relu", "a -> b").Outputs("b")) },
	"duplicate": func() []byte { return encode(start().Node("Relu", "x -> y").Node("Tanh", "x -> y").Outputs("y")) },
	"dangling":  func() []byte { return encode(start().Node("Add", "x nowhere -> y").Outputs("y")) },
	"hungry": func() []byte { // what it expands to is set by the file, not by the input
		return encode(start().Int64s("shape", 1<<20, 1, 1, 1, 1).Node("Expand", "x shape -> wide").Node("ReduceMax", "wide -> y").Outputs("y"))
	},
	"negative-dims":  func() []byte { return encode(edited(func(w *onnxpb.TensorProto) { w.Dims[0] = -8 })) },
	"huge-dims":      func() []byte { return encode(edited(func(w *onnxpb.TensorProto) { w.Dims[0] = 1 << 60 })) },
	"short-weight":   func() []byte { return encode(edited(func(w *onnxpb.TensorProto) { w.RawData = w.RawData[:40] })) },
	"opset-99":       func() []byte { m := net(); m.Proto().OpsetImport[0].Version = proto.Int64(99); return encode(m) },
	"external":       func() []byte { return encode(edited(external("weights.bin"))) },
	"escaping":       func() []byte { return encode(edited(external("../../etc/passwd"))) },
	"data":           func() []byte { return npz("x", samples(32), "label", labels(32)) },
	"data-renamed":   func() []byte { return npz("first", samples(32), "second", samples(32)) },
	"data-nhwc":      func() []byte { return npz("x", onnxio.NewTensor(onnxio.Float32, 32, 8, 8, 4)) },
	"data-flat":      func() []byte { return npz("x", onnxio.NewTensor(onnxio.Float32, 32, 256)) },
	"data-int":       func() []byte { return npz("x", onnxio.NewTensor(onnxio.Int64, 32, 4, 8, 8)) },
	"data-bytes":     func() []byte { return npz("x", onnxio.NewTensor(onnxio.Uint8, 32, 4, 8, 8)) },
	"data-none":      func() []byte { return npz("x", onnxio.NewTensor(onnxio.Float32, 0, 4, 8, 8)) },
	"data-nan":       func() []byte { x := samples(32); x.Float32s()[5000] = float32(math.NaN()); return npz("x", x) },
	"data-few-label": func() []byte { return npz("x", samples(32), "label", labels(20)) },
	"data-bad-label": func() []byte { return npz("x", samples(32), "label", onnxio.TensorOf([]int64{0, 1, 7, 0}, 4)) },
	"labels-column":  func() []byte { return []byte(strings.Repeat("0\n1\n2\n0\n", 8)) },
	"labels-4":       func() []byte { return npz("label", onnxio.TensorOf([]int64{0, 1, 2, 0}, 4)) },
	"labels-range":   func() []byte { l := labels(32); l.Int64s()[9] = 17; return npz("label", l) },
	"data-cut":       func() []byte { d := npz("x", samples(32)); return d[:len(d)/2] },
	"data-flipped":   func() []byte { d := npz("x", samples(32)); d[len(d)/2] ^= 0xff; return d },
	"sharp":          func() []byte { return encode(sharp()) },
	"attr-type":      func() []byte { return encode(start().Node("Transpose", "x -> y", "perm", "forth").Outputs("y")) },
	"wrong-shapes": func() []byte {
		return encode(start().Floats("w", noise(12, 1), 3, 4).Node("MatMul", "x w -> y").Outputs("y"))
	},
	"rgb-net":       func() []byte { return encode(rgb()) },
	"ids-net":       func() []byte { return encode(idsNet()) },
	"ids":           func() []byte { return npz("ids", ids(23, 42), "mask", ones(40, 6)) },
	"ids-short":     func() []byte { return npz("ids", ids(0, 0), "mask", ones(40, 5)) },
	"npz-empty":     func() []byte { return npz() },
	"picture":       picture,
	"many-hessians": func() []byte { return encode(manyHessians()) },
	"data-wide":     func() []byte { return npz("x", onnxio.TensorOf(noise(12*1024*16, 9), 12, 1024, 4, 4)) },
}

// manyHessians has 48 convolutions in 64 groups of 16 channels, each on an input of its own.
func manyHessians() *testmodel.Builder {
	const layers, groups, channels = 48, 64, 16
	m := testmodel.New(18).Input("x", onnxio.Float32, "N", groups*channels, 4, 4)
	sum := "x0"
	for i := range layers {
		n := fmt.Sprint(i)
		m.Floats("s"+n, noise(1, uint32(i)), 1).Floats("w"+n, noise(groups*channels*9, uint32(i)), groups, channels, 3, 3).
			Node("Add", "x s"+n+" -> a"+n).Node("Conv", "a"+n+" w"+n+" -> c"+n, "group", groups)
		if i == 0 {
			m.Node("Relu", "c0 -> x0")
			continue
		}
		m.Node("Add", sum+" c"+n+" -> x"+n)
		sum = "x" + n
	}
	return m.Outputs(sum)
}

func start() *testmodel.Builder { return testmodel.New(18).Input("x", onnxio.Float32, "N", 4, 8, 8) }

// net is a convolution and a fully connected layer, with weights that look random.
func net() *testmodel.Builder {
	return start().
		Floats("conv.weight", noise(16*4*9, 1), 16, 4, 3, 3).Floats("conv.bias", noise(16, 2), 16).
		Floats("fc.weight", noise(3*16, 3), 3, 16).Floats("fc.bias", noise(3, 4), 3).
		Node("Conv", "x conv.weight conv.bias -> c", "pads", []int64{1, 1, 1, 1}, "kernel_shape", []int64{3, 3}).
		Node("Relu", "c -> r").
		Node("GlobalAveragePool", "r -> p").
		Node("Flatten", "p -> f").
		Node("Gemm", "f fc.weight fc.bias -> y", "transB", 1).
		Output("y", onnxio.Float32, "N", 3)
}

// sharp is a network whose classes depend on the sample, other than those of net.
func sharp() *testmodel.Builder {
	return start().Floats("conv.weight", noise(16*4*9, 1), 16, 4, 3, 3).Floats("fc.weight", noise(3*16*36, 3), 3, 16*36).
		Node("Conv", "x conv.weight -> c", "kernel_shape", []int64{3, 3}).Node("Relu", "c -> r").Node("Flatten", "r -> f").
		Node("Gemm", "f fc.weight -> y", "transB", 1).Output("y", onnxio.Float32, "N", 3)
}

// rgb is a convolution over pictures of 8 x 8 pixels.
func rgb() *testmodel.Builder {
	return testmodel.New(18).Input("x", onnxio.Float32, "N", 3, 8, 8).Floats("w", noise(4*3*9, 1), 4, 3, 3, 3).
		Node("Conv", "x w -> y", "kernel_shape", []int64{3, 3}).Outputs("y")
}

// idsNet looks up ids in a table of 10 words and multiplies the sum over the sequence, padding left out, by a matrix.
func idsNet() *testmodel.Builder {
	return testmodel.New(18).Input("ids", onnxio.Int64, "N", "S").Input("mask", onnxio.Float32, "N", "S").
		Floats("table", noise(10*16, 5), 10, 16).Floats("w", noise(16*3, 6), 16, 3).Int64s("last", -1).Int64s("one", 1).
		Node("Gather", "table ids -> words").Node("Unsqueeze", "mask last -> wide").Node("Mul", "words wide -> kept").
		Node("ReduceSum", "kept one -> sum", "keepdims", 0).Node("MatMul", "sum w -> y").Output("y", onnxio.Float32, "N", 3)
}

// ids is 40 samples of 6 ids below 10, but for one, the first id of sample at.
func ids(at int, id int64) *onnxio.Tensor {
	x := make([]int64, 40*6)
	for i := range x {
		x[i] = int64(i * 7 % 10)
	}
	x[at*6] = id
	return onnxio.TensorOf(x, 40, 6)
}

func ones(rows, cols int) *onnxio.Tensor {
	x := onnxio.NewTensor(onnxio.Float32, rows, cols)
	for i := range x.Float32s() {
		x.Float32s()[i] = 1
	}
	return x
}

// edited is net with its first weight changed.
func edited(change func(*onnxpb.TensorProto)) *testmodel.Builder {
	m := net()
	change(m.Proto().Graph.Initializer[0])
	return m
}

// external moves a weight into a file.
func external(file string) func(*onnxpb.TensorProto) {
	return func(w *onnxpb.TensorProto) {
		w.RawData = nil
		w.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
		w.ExternalData = []*onnxpb.StringStringEntryProto{{Key: proto.String("location"), Value: proto.String(file)}}
	}
}

func encode(b *testmodel.Builder) []byte {
	data, err := b.Model().Encode()
	if err != nil {
		panic(err)
	}
	return data
}

// noise is n values between -1 and 1, a fixed sequence for each seed.
func noise(n int, seed uint32) []float32 {
	x := make([]float32, n)
	for i := range x {
		seed = seed*1664525 + 1013904223
		x[i] = float32(int32(seed)) / (1 << 31)
	}
	return x
}

func samples(n int) *onnxio.Tensor { return onnxio.TensorOf(noise(n*256, 9), n, 4, 8, 8) }

func labels(n int) *onnxio.Tensor {
	l := make([]int64, n)
	for i := range l {
		l[i] = int64(i % 3)
	}
	return onnxio.TensorOf(l, n)
}

// npz packs names and tensors in turn.
func npz(pairs ...any) []byte {
	arrays := map[string]*onnxio.Tensor{}
	for i := 0; i < len(pairs); i += 2 {
		arrays[pairs[i].(string)] = pairs[i+1].(*onnxio.Tensor)
	}
	var b bytes.Buffer
	if err := calib.WriteNPZ(&b, arrays); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// picture is a PNG file of 8 x 8 pixels.
func picture() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 8, 8))
	for i := range 64 {
		img.Set(i%8, i/8, color.RGBA{uint8(4 * i), uint8(255 - i), uint8(i * i), 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}
