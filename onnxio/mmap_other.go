//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package onnxio

import (
	"errors"
	"os"
)

// mapFile says that this system has no maps: the file is read piece by piece.
func mapFile(*os.File, int64) ([]byte, func() error, error) { return nil, nil, errors.ErrUnsupported }

// forget has nothing to let go without maps.
func forget([]byte) {}
