package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func write(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// only checks that the folder holds exactly one file with the given name and content: no temporary file stays behind.
func only(t *testing.T, dir, name, want string) {
	t.Helper()
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("folder holds %v, want %s alone", entries, name)
	}
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
	}
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	for _, s := range []string{"one", "two, longer", ""} {
		if err := Write(path, write(s)); err != nil {
			t.Fatal(err)
		}
		only(t, dir, "a.bin", s)
	}
}

func TestFailureKeepsOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	if err := Write(path, write("old")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := Write(path, func(w io.Writer) error { io.WriteString(w, "half"); return boom })
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	only(t, dir, "a.bin", "old")
}

func TestPermissionsStay(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits on Windows")
	}
	path := filepath.Join(t.TempDir(), "a.bin")
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, write("x")); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("permissions %v, want 0640", info.Mode())
	}
}

func TestLinkTargetIsReplaced(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	target, link := filepath.Join(other, "real"), filepath.Join(dir, "link")
	os.WriteFile(target, []byte("old"), 0o666)
	if err := os.Symlink(target, link); err != nil {
		t.Skip("no links here:", err)
	}
	if err := Write(link, write("new")); err != nil {
		t.Fatal(err)
	}
	only(t, other, "real", "new")
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced by a file")
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, write("x")); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("folder as output: %v", err)
	}
	if err := Write(filepath.Join(dir, "missing", "x"), write("x")); err == nil {
		t.Error("missing folder: no error")
	}
}
