package ops_test

import (
	"context"
	"errors"
	"math"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/internal/exec"
	"github.com/obc-onnx/obc/onnxio"
)

// What a run of a small random graph may take.
const (
	fuzzLimit = 8 << 20   // bytes of activations
	fuzzHeap  = 256 << 20 // bytes allocated in all, garbage included
	fuzzTime  = 30 * time.Second
)

// FuzzGraph runs random small graphs of all operators, valid ones and others. Each must give a result or an error that names the
// node; what it takes is bounded; inferred types and shapes are those of the results; and where results do not jump, float32 agrees
// with float64.
func FuzzGraph(f *testing.F) {
	for seed := range int64(400) {
		f.Add(randomBytes(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2000 {
			runFuzz(t, data)
		}
	})
}

// TestRandomGraphs does the same for OBC_RANDOM_GRAPHS seeds, for long runs without the fuzzing engine.
func TestRandomGraphs(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("OBC_RANDOM_GRAPHS"))
	if n == 0 {
		t.Skip("set OBC_RANDOM_GRAPHS to the number of graphs")
	}
	ok, bad := 0, 0
	for seed := range int64(n) {
		t.Run(strconv.FormatInt(seed, 10), func(t *testing.T) {
			if runFuzz(t, randomBytes(1000+seed)) {
				ok++
			}
			if t.Failed() {
				bad++
			}
		})
		if bad == 10 {
			t.Fatal("ten graphs failed")
		}
	}
	t.Logf("%d of %d graphs ran to the end", ok, n)
}

func randomBytes(seed int64) []byte {
	r := rand.New(rand.NewSource(seed))
	b := make([]byte, 60+r.Intn(300))
	r.Read(b)
	return b
}

// runFuzz reports whether the graph ran to its end.
func runFuzz(t *testing.T, data []byte) bool {
	f := buildFuzz(data)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf(format, args...)
		t.Log(prototext.Format(f.b.Proto()))
	}
	g, err := graph.New(f.b.Model())
	if err != nil {
		return false
	}
	inferErr := exec.InferShapes(g)
	bug(fail, inferErr)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	out, peak, err := runGraph(g, f.feeds, exec.Options{Threads: 1 + len(data)%2, MemoryLimit: fuzzLimit, MaxRounds: 2000}, nil)
	runtime.ReadMemStats(&after)
	bug(fail, err)
	if d := time.Since(start); d > fuzzTime {
		fail("took %v", d)
	}
	if peak > fuzzLimit {
		fail("held %d bytes, the limit is %d", peak, fuzzLimit)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > fuzzHeap {
		fail("allocated %d bytes with a limit of %d", n, fuzzLimit)
	}
	if err != nil {
		return false
	}
	if inferErr == nil && f.likely {
		for _, v := range g.Outputs {
			if bad := asInferred(v, out[v.Name]); bad != "" {
				fail("output %q: %s", v.Name, bad)
			}
		}
	}
	if f.smooth {
		compareWide(fail, g, f.feeds, out)
	}
	return true
}

func bug(fail func(string, ...any), err error) {
	if err != nil && strings.Contains(err.Error(), "internal error") {
		fail("%v", err)
	}
	var node *exec.NodeError
	if err != nil && strings.Contains(err.Error(), "runtime error") || errors.As(err, &node) && node.Node == nil {
		fail("%v", err)
	}
}

func runGraph(g *graph.Graph, feeds map[string]*onnxio.Tensor, o exec.Options, h *exec.Hooks) (map[string]*onnxio.Tensor, int64, error) {
	e, err := exec.New(g, o)
	if err != nil {
		return nil, 0, err
	}
	out, err := e.Run(context.Background(), feeds, h)
	return out, e.Peak(), err
}

// asInferred tells where a result is not what inference said; "" if nowhere.
func asInferred(v *graph.Value, x *onnxio.Tensor) string {
	if x == nil || x.Type == onnxio.Undefined {
		return ""
	}
	if v.Type != onnxio.Undefined && v.Type != x.Type {
		return "is " + x.Type.String() + ", inferred was " + v.Type.String()
	}
	if v.Shape == nil {
		return ""
	}
	ok := len(v.Shape) == len(x.Shape)
	for i := 0; ok && i < len(x.Shape); i++ {
		ok = !v.Shape[i].Known() || v.Shape[i].N == int64(x.Shape[i])
	}
	if !ok {
		return "is " + x.String() + ", inferred was " + v.String()
	}
	return ""
}

// compareWide runs in float64 and compares, unless numbers on the way are so large that float32 loses the digits.
func compareWide(fail func(string, ...any), g *graph.Graph, feeds map[string]*onnxio.Tensor, got map[string]*onnxio.Tensor) {
	largest := 0.0
	h := &exec.Hooks{After: func(_ *graph.Node, in, out []*onnxio.Tensor) error {
		for _, x := range append(append([]*onnxio.Tensor{}, in...), out...) {
			if x == nil || !x.Type.IsFloat() {
				continue
			}
			y, err := x.ConvertTo(onnxio.Float64)
			if err != nil {
				return err
			}
			for _, v := range y.Float64s() {
				if v != v {
					v = math.Inf(1)
				}
				largest = math.Max(largest, math.Abs(v))
			}
		}
		return nil
	}}
	want, _, err := runGraph(g, feeds, exec.Options{Threads: 1, Float64: true, MemoryLimit: 4 * fuzzLimit, MaxRounds: 2000}, h)
	if err != nil {
		fail("float32 runs, float64 does not: %v", err)
		return
	}
	for name, x := range got {
		y := want[name]
		if y == nil || !x.Type.IsFloat() {
			continue
		}
		tol := 1e-4 * (1 + largest)
		if x.Type != onnxio.Float32 && x.Type != onnxio.Float64 {
			tol = 0.05 * (1 + largest)
		}
		if largest > 100 {
			continue
		}
		wide, err := x.ConvertTo(y.Type)
		if err != nil {
			fail("%v", err)
			return
		}
		if err := same(wide, y, 1e-3, tol); err != nil {
			fail("output %q differs from float64: %v", name, err)
		}
	}
}
