//go:build unix

package onnxio

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestExternalPipe: a named pipe in place of external data must not be waited for.
func TestExternalPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Skip("no named pipes here:", err)
	}
	if _, err := openInside(dir, "pipe"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("error %v", err)
	}
}
