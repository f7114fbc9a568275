package convert

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/obc-onnx/obc/onnxio"
)

// TestAgainstRuntime converts models of old operator sets, one for each rule, to several versions and has ONNX Runtime and
// onnx.checker compare them with what they were. It needs OBC_PYTHON: a Python with onnx and onnxruntime. Where the operator
// vectors (OBC_VECTORS) and the zoo (OBC_SHARED) are, they are converted too.
func TestAgainstRuntime(t *testing.T) {
	python := os.Getenv("OBC_PYTHON")
	if python == "" {
		t.Skip("OBC_PYTHON does not name a Python with onnx and onnxruntime")
	}
	script := filepath.Join("testdata", "crosscheck.py")
	made := t.TempDir()
	if out, err := exec.Command(python, script, "make", made).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	models, _ := filepath.Glob(filepath.Join(made, "*.onnx"))
	if len(models) < 90 {
		t.Fatalf("only %d models", len(models))
	}
	for _, env := range []string{"OBC_VECTORS", "OBC_SHARED"} {
		if dir := os.Getenv(env); dir != "" {
			_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if filepath.Ext(path) == ".onnx" {
					models = append(models, path)
				}
				return err
			})
		}
	}
	for _, target := range []int{13, 18, 21, 25} {
		var pairs strings.Builder
		dir, refused := t.TempDir(), 0
		for i, path := range models {
			m, err := onnxio.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			from := m.Opset("")
			if from < Oldest || from >= target {
				continue
			}
			if _, err := Opset(m, target); err != nil {
				if refused++; strings.HasPrefix(path, made) {
					t.Error(err)
				} else {
					t.Log(err)
				}
				continue
			}
			after := filepath.Join(dir, fmt.Sprint(i, ".onnx"))
			if err := m.Check(); err != nil {
				t.Error(err)
			}
			if err := m.Save(after, onnxio.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&pairs, "%s\t%s\n", path, after)
		}
		cmd := exec.Command(python, script, "compare")
		cmd.Stdin = strings.NewReader(pairs.String())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("opset %d: %v", target, err)
		}
		t.Logf("opset %d, %d refused: %s", target, refused, out)
	}
}
