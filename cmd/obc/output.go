package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/obc-onnx/obc/internal/atomicfile"
)

// checkOutput finds out before the work begins whether a file can be written at path, and that it is none of the files that are read.
func checkOutput(flag, path string, read ...string) error {
	if path == "" {
		return badUsage("--%s is missing: say which file to write", flag)
	}
	if a, err := os.Stat(path); err == nil {
		for _, in := range read {
			if b, err := os.Stat(in); err == nil && os.SameFile(a, b) {
				return badUsage("--%s is the input %s itself: choose another name, inputs are never overwritten", flag, in)
			}
		}
	}
	if path == "-" {
		return badUsage("--%s is -, but files are written whole or not at all, never to standard output: give a name", flag)
	}
	f, err := atomicfile.Create(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, serr := os.Stat(filepath.Dir(path)); serr != nil {
			return badUsage("--%s: the folder %s does not exist: create it first", flag, filepath.Dir(path))
		}
	}
	if err != nil {
		return badUsage("--%s: %s cannot be written: %w", flag, path, err)
	}
	f.Abort()
	return nil
}

// writeFile writes a whole file or none.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := atomicfile.Create(path)
	if err == nil {
		defer f.Abort()
		if err = write(f); err == nil {
			err = f.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
