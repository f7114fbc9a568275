package exec_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/internal/testmodel"
	"github.com/obc-onnx/obc/onnxio"
)

const kib = 1 << 10

func vector(n int) map[string]*onnxio.Tensor {
	return map[string]*onnxio.Tensor{"x": onnxio.NewTensor(onnxio.Float32, n)}
}

// TestReuse holds two tensors of a long chain at a time, not all.
func TestReuse(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Node("Exp", "x -> v0")
	names := []string{"v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"}
	for i := 1; i < len(names); i++ {
		b.Node("ReduceSum", names[i-1]+" -> s"+names[i]).Node("Sub", names[i-1]+" s"+names[i]+" -> "+names[i])
	}
	b.Outputs("v7")
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 64 * kib})
	const n = 5 * kib // 20 KiB each
	if _, err := e.Run(context.Background(), vector(n), nil); err != nil {
		t.Fatal(err)
	}
	if peak := e.Peak(); peak < 20*kib || peak > 45*kib {
		t.Errorf("peak is %d bytes, expected one or two tensors of 20 KiB", peak)
	}
}

// TestLimit fails with an error that names node and shape, and leaves the executor as it was.
func TestLimit(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Int64s("shape", 1000, 1).
		Node("Exp", "x -> a").Node("Expand", "a shape -> b").Node("ReduceSum", "b -> y").Outputs("y")
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 64 * kib})
	for range 5 {
		_, err := e.Run(context.Background(), vector(4*kib), nil)
		var limit *exec.LimitError
		var node *exec.NodeError
		if !errors.As(err, &limit) || !errors.As(err, &node) || node.Node.Op() != "Expand" || !strings.Contains(err.Error(), "[1000 4096]") {
			t.Fatalf("error is %v", err)
		}
		if limit.Held > 17*kib {
			t.Fatalf("%d bytes are held: those of failed runs count on", limit.Held)
		}
		if _, err := e.Run(context.Background(), vector(4), nil); err != nil {
			t.Fatalf("a run that fits: %v", err)
		}
	}
}

// TestOutputsDoNotCount lets the caller keep outputs of many runs beyond the limit.
func TestOutputsDoNotCount(t *testing.T) {
	body := testmodel.New(18).Node("Exp", "x -> e").Outputs("e")
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Init("c", onnxio.TensorOf([]bool{true})).
		Node("If", "c -> y", "then_branch", body, "else_branch", body).Node("Exp", "x -> z").Outputs("y", "z")
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 64 * kib})
	var kept []map[string]*onnxio.Tensor
	for range 20 {
		out, err := e.Run(context.Background(), vector(4*kib), nil)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, out)
	}
	for _, out := range kept {
		if out["y"].Float32s()[0] != 1 || out["z"].Float32s()[4095] != 1 {
			t.Fatal("an output was overwritten")
		}
	}
}

// loop is a Loop over body with trip count m ("" for none) and one carried value that starts as input x.
func loop(body *testmodel.Builder, m string) *testmodel.Builder {
	return testmodel.New(18).Input("x", onnxio.Float32, "N").Init("m", onnxio.TensorOf([]int64{1 << 40})).
		Node("Loop", m+" _ x -> y s", "body", body).Outputs("y", "s")
}

func body() *testmodel.Builder {
	return testmodel.New(18).Input("i", onnxio.Int64).Input("cond", onnxio.Bool).Input("v", onnxio.Float32, "N").Output("cond", onnxio.Bool)
}

// TestEndlessLoop ends by the context, by the number of rounds, and by memory.
func TestEndlessLoop(t *testing.T) {
	quiet := func() *testmodel.Builder { return body().Output("v", onnxio.Float32, "N") }
	for _, m := range []string{"m", "_"} {
		b := loop(quiet(), m)
		b.Proto().Graph.Node[0].Output = b.Proto().Graph.Node[0].Output[:1]
		b.Proto().Graph.Output = b.Proto().Graph.Output[:1]
		_, e := newExecutor(t, b, exec.Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		if _, err := e.Run(ctx, vector(4), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("trip count %s: error is %v, want the context's", m, err)
		}
		cancel()
		_, e = newExecutor(t, b, exec.Options{MaxRounds: 1000})
		var rounds *exec.RoundsError
		if _, err := e.Run(context.Background(), vector(4), nil); !errors.As(err, &rounds) || !strings.Contains(err.Error(), "(Loop)") || !strings.Contains(err.Error(), "1000 rounds") {
			t.Errorf("trip count %s: error is %v, want one about the rounds", m, err)
		}
	}
	collects := body().Node("Exp", "v -> e").Output("v", onnxio.Float32, "N").Output("e", onnxio.Float32, "N")
	grows := body().Node("Concat", "v v -> w", "axis", 0).Output("w", onnxio.Float32, "N").Output("i", onnxio.Int64)
	counts := body().Output("v", onnxio.Float32, "N").Output("i", onnxio.Int64)
	for name, b := range map[string]*testmodel.Builder{"collects": collects, "grows": grows, "counts": counts} {
		_, e := newExecutor(t, loop(b, "_"), exec.Options{MemoryLimit: 256 * kib})
		_, err := e.Run(context.Background(), vector(2*kib), nil)
		var limit *exec.LimitError
		if !errors.As(err, &limit) {
			t.Errorf("%s: error is %v, want a LimitError", name, err)
		}
	}
}

// TestGrowingSequence collects in a sequence more than the limit allows, and once less.
func TestGrowingSequence(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Input("m", onnxio.Int64).Node("SequenceEmpty", "-> e")
	in := testmodel.New(18).Input("i", onnxio.Int64).Input("cond", onnxio.Bool).Input("s", onnxio.Float32).
		Node("Exp", "x -> v").Node("SequenceInsert", "s v -> t").Output("cond", onnxio.Bool).Output("t", onnxio.Float32)
	b.Node("Loop", "m _ e -> q", "body", in).Node("ConcatFromSequence", "q -> y", "axis", 0).Outputs("y")
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 256 * kib})
	run := func(rounds int64) error {
		f := vector(2 * kib) // 8 KiB each
		f["m"] = onnxio.TensorOf([]int64{rounds})
		_, err := e.Run(context.Background(), f, nil)
		return err
	}
	for range 10 { // garbage of earlier runs does not count
		if err := run(10); err != nil {
			t.Fatal(err)
		}
	}
	var limit *exec.LimitError
	if err := run(1000); !errors.As(err, &limit) {
		t.Errorf("error is %v, want a LimitError", err)
	}
}

// TestLongLoop takes many rounds within a small limit, as each round's values become garbage.
func TestLongLoop(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Init("m", onnxio.TensorOf([]int64{500})).
		Node("Loop", "m _ x -> y", "body", body().Floats("one", []float32{1}, 1).Node("Add", "v one -> w").Output("w", onnxio.Float32, "N")).Outputs("y")
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 256 * kib})
	out, err := e.Run(context.Background(), vector(4*kib), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := out["y"].Float32s()[17]; v != 500 {
		t.Errorf("y is %v, want 500", v)
	}
}

// TestHalf bounds float16 graphs too, whose tensors are widened and rounded on the way.
func TestHalf(t *testing.T) {
	b := testmodel.New(18).Input("x", onnxio.Float16, "N")
	names := "abcdefgh"
	prev := "x"
	for _, c := range names {
		b.Node("Exp", prev+" -> "+string(c))
		prev = string(c)
	}
	b.Node("Sum", "a b c d e f g h -> y").Output("y", onnxio.Float16, "N")
	x := map[string]*onnxio.Tensor{"x": onnxio.NewTensor(onnxio.Float16, 10*kib)} // 20 KiB
	_, e := newExecutor(t, b, exec.Options{MemoryLimit: 100 * kib})
	var limit *exec.LimitError
	if _, err := e.Run(context.Background(), x, nil); !errors.As(err, &limit) {
		t.Errorf("eight tensors of 20 KiB within 100 KiB: error is %v, want a LimitError", err)
	}
	_, e = newExecutor(t, b, exec.Options{MemoryLimit: 500 * kib})
	for range 20 {
		if _, err := e.Run(context.Background(), x, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeepNesting runs subgraphs within subgraphs.
func TestDeepNesting(t *testing.T) {
	leaf := func() *testmodel.Builder { return testmodel.New(18).Node("Exp", "x -> r").Outputs("r") }
	sub := leaf()
	for range 50 {
		sub = testmodel.New(18).Node("If", "c -> r", "then_branch", sub, "else_branch", leaf()).Outputs("r")
	}
	b := testmodel.New(18).Input("x", onnxio.Float32, "N").Input("c", onnxio.Bool).
		Node("If", "c -> y", "then_branch", sub, "else_branch", leaf()).Outputs("y")
	_, e := newExecutor(t, b, exec.Options{})
	f := vector(3)
	f["c"] = onnxio.TensorOf([]bool{true})
	if _, err := e.Run(context.Background(), f, nil); err != nil {
		t.Fatal(err)
	}
}
