//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package onnxio

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// mapFile maps the first size bytes of f read-only; the map outlives f.
func mapFile(f *os.File, size int64) ([]byte, func() error, error) {
	if size == 0 || size > math.MaxInt {
		return nil, nil, errors.ErrUnsupported
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	return b, func() error { return syscall.Munmap(b) }, err
}

// forget lets the pages that lie wholly in b, the beginning of a map, go: they are read from the file again when needed.
func forget(b []byte) {
	if n := len(b) &^ (os.Getpagesize() - 1); n > 0 {
		_ = syscall.Madvise(b[:n], syscall.MADV_DONTNEED)
	}
}
