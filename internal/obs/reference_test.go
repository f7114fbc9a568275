package obs

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/internal/testkit"
)

// problem is one layer problem of the reference: W and H as recorded there.
type problem struct {
	name string
	w    Matrix
	h    []float64
}

func readProblem(t testing.TB, name string) problem {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(testkit.Shared(t), "reference", "problems", name+".npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	pr := problem{name: name}
	for _, f := range z.File {
		switch f.Name {
		case "W.npy":
			pr.w = readNpy(t, f)
		case "H.npy":
			for _, v := range readNpy(t, f).Data {
				pr.h = append(pr.h, float64(v))
			}
		}
	}
	return pr
}

var npyShape = regexp.MustCompile(`'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\)`)

func readNpy(t testing.TB, f *zip.File) Matrix {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	head := 10 + int(binary.LittleEndian.Uint16(raw[8:]))
	dims := npyShape.FindSubmatch(raw[:head])
	if dims == nil {
		t.Fatalf("%s is not a C-ordered float32 matrix", f.Name)
	}
	rows, _ := strconv.Atoi(string(dims[1]))
	cols, _ := strconv.Atoi(string(dims[2]))
	m := NewMatrix(rows, cols)
	for i := range m.Data {
		m.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[head+4*i:]))
	}
	return m
}

// recorded is one line of losses.jsonl.
type recorded struct {
	Problem string
	Columns int
	Damp    float64
	Base    float64
	Loss    map[string]float64
}

func readRecorded(t testing.TB) []recorded {
	t.Helper()
	f, err := os.Open(filepath.Join(testkit.Shared(t), "reference", "losses.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []recorded
	for s := bufio.NewScanner(f); s.Scan(); {
		var r recorded
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// greedy marks losses of OBQ alone, without the descent that follows it by default.
const greedy = ", greedy rule only"

// solveAll is our layer loss for every method recorded in rec.
func solveAll(t testing.TB, pr problem, p *Prepared, rec recorded) map[string]float64 {
	t.Helper()
	ctx, o := context.Background(), Options{}
	must := func(r *Result, err error) *Result {
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	traces := map[int]*Trace{}
	at := func(c int, method string) float64 {
		if traces[c] == nil {
			tr, err := NewTrace(ctx, pr.w, p, c, o)
			if err != nil {
				t.Fatal(err)
			}
			traces[c] = tr
		}
		share, _ := strconv.ParseFloat(method[strings.IndexByte(method, '_')+1:], 64)
		m, err := traces[c].At(ctx, traces[c].Counts(share))
		if err != nil {
			t.Fatal(err)
		}
		return total(Loss(pr.w, m, p.H))
	}
	grid := func(w Matrix, bits string) *Grid {
		b, _ := strconv.Atoi(bits)
		g, err := FitGrid(w, GridSpec{Bits: b, Search: Shrink})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	fit := pr.w // the reference saw no dead columns once damping was added: their weights widened its grids
	if rec.Damp == 0 {
		fit = p.clean(pr.w)
	}
	out := map[string]float64{}
	for m := range rec.Loss {
		switch {
		case strings.HasPrefix(m, "quant"):
			g, start := grid(fit, m[5:]), clock()
			q := must(Quantize(ctx, pr.w, p, g, nil, o))
			solved := clock()
			out[m+greedy] = q.TotalLoss()
			out[m] = must(RefineCodes(ctx, pr.w, q, p, nil, Quick, o)).TotalLoss()
			t.Logf("%s: %.4f of the recorded loss, %.4f by the greedy rule alone; %.2f of its time on top",
				m, out[m]/rec.Loss[m], out[m+greedy]/rec.Loss[m], float64(clock()-solved)/float64(max(1, solved-start)))
		case strings.HasPrefix(m, "rtn"):
			out[m] = must(RTN(pr.w, p, grid(fit, m[3:]), nil)).TotalLoss()
		case m == "24+quant4":
			s := must(NM(ctx, pr.w, p, 2, 4, o)).W
			q := must(Quantize(ctx, s, p, grid(s, "4"), Zeros(s), o))
			out[m+greedy] = total(Loss(pr.w, q.W, p.H))
			out[m] = must(RefineCodes(ctx, pr.w, q, p, Zeros(s), Quick, o)).TotalLoss()
		case m == "24" || m == "48":
			out[m] = must(NM(ctx, pr.w, p, int(m[0]-'0'), int(m[1]-'0'), o)).TotalLoss()
		case strings.HasPrefix(m, "unstr_"):
			out[m] = at(1, m)
		case strings.HasPrefix(m, "block4_"):
			out[m] = at(4, m)
		default:
			t.Fatalf("no rule for the recorded method %q", m)
		}
	}
	return out
}

func total(x []float64) float64 {
	return (&Result{Loss: x}).TotalLoss()
}

// chaotic is what OBQ alone may differ by where the Hessian magnifies rounding (Inflate above steep): there two exact solvers that differ
// in the last digit take different columns early on, and their losses end up to 5% apart, either way. The published code itself
// gives 1.054 times the recorded loss for quant3 of minilm_attn_384 at damping 0.01, and 0.996 times for quant8 at damping 0.
const (
	chaotic = 1.04
	steep   = 100
)

// TestReference holds every method on every recorded layer problem, as it is used by default, to 1.005 of the recorded loss, at both
// dampings; OBQ alone on steep Hessians to that on average. OBC_REFERENCE_COLUMNS sets the widest problem: 1536 takes minutes.
func TestReference(t *testing.T) {
	most := 400.0
	if testing.Short() {
		most = 120
	}
	if s := os.Getenv("OBC_REFERENCE_COLUMNS"); s != "" {
		most, _ = strconv.ParseFloat(s, 64)
	}
	for _, rec := range readRecorded(t) {
		if float64(rec.Columns) > most {
			continue
		}
		t.Run(fmt.Sprintf("%s/damp=%v", rec.Problem, rec.Damp), func(t *testing.T) {
			pr := readProblem(t, rec.Problem)
			p, err := Prepare(pr.h, pr.w.Cols, rec.Damp)
			if err != nil {
				t.Fatal(err)
			}
			worst, sum, count := 0.0, 0.0, 0.0
			for m, ours := range solveAll(t, pr, p, rec) {
				name, alone := strings.CutSuffix(m, greedy)
				ratio, most := ours/rec.Loss[name], 1.005
				if alone && p.Inflate > steep {
					most = chaotic
				}
				if alone || !strings.Contains(m, "quant") { // what the published method does
					worst, sum, count = max(worst, ratio), sum+ratio, count+1
				}
				if !(ratio <= most) {
					t.Errorf("%s: layer loss %.6g, recorded %.6g: ratio %.4f", m, ours, rec.Loss[m], ratio)
				}
			}
			mean := sum / count
			if mean > 1.005 {
				t.Errorf("mean ratio %.4f", mean)
			}
			t.Logf("damping %v, raised %d, inflation %.3g: worst ratio %.4f, mean %.4f", p.Damping, p.Raised, p.Inflate, worst, mean)
		})
	}
}
