// Package testkit locates the optional data that tests may use beyond what the repository holds.
package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// Shared returns the folder with the model zoo and the reference layer problems: OBC_SHARED, else ../shared beside the
// module's root. The test is skipped with a plain message when there is none.
func Shared(t testing.TB) string {
	t.Helper()
	return folder(t, "OBC_SHARED", filepath.Join(Root(), "..", "shared"), "the model zoo")
}

// Vectors returns the folder with the unpacked official ONNX operator vectors (KIND/NAME/model.onnx): OBC_VECTORS, else
// ../vectors. The test is skipped with a plain message when there is none.
func Vectors(t testing.TB) string {
	t.Helper()
	return folder(t, "OBC_VECTORS", filepath.Join(Root(), "..", "vectors"), "the official operator vectors")
}

// Root is the folder of the module's go.mod: the nearest one above the package under test.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func folder(t testing.TB, env, fallback, what string) string {
	t.Helper()
	dir := os.Getenv(env)
	if dir == "" {
		dir = fallback
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Skipf("%s not found in %s: set %s", what, dir, env)
	}
	return dir
}
