// Package atomicfile writes files that are either whole or not there: the bytes go to a temporary file in the same folder,
// which takes the final name when everything is on disk. Until then an older file of that name stays as it is.
//
//	f, err := atomicfile.Create("out.onnx")
//	if err != nil {
//		return err
//	}
//	defer f.Abort() // does nothing after Commit
//	... write to f ...
//	return f.Commit()
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// File is a file on its way to its final name. It is an io.Writer and, by Seek and WriteAt, a random-access one.
type File struct {
	*os.File
	path   string // where it will go, links resolved
	closed bool   // finished: nothing but the name is left to do
	done   bool
}

// Create starts a new file that Commit will put at path, with the permissions of the file it replaces. A symbolic link at
// path stays and its target is replaced. Something that is no regular file, such as a folder or a device, is refused.
func Create(path string) (*File, error) {
	perm := fs.FileMode(0o666)
	old, err := os.Stat(path)
	switch {
	case err == nil && !old.Mode().IsRegular():
		return nil, fmt.Errorf("%s is a %s, not a regular file: choose another name for the output", path, kind(old.Mode()))
	case err == nil:
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, err
		}
		perm = old.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	f, err := createTemp(path)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := f.Chmod(perm); err != nil && perm != 0o666 {
			f.Close()
			os.Remove(f.Name())
			return nil, err
		}
	}
	return &File{File: f, path: path}, nil
}

// createTemp makes a new file beside path; unlike os.CreateTemp it leaves the permissions to the umask.
func createTemp(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	for try := 0; ; try++ {
		name := fmt.Sprintf("%s.%s.%08x.tmp", dir, base, rand.Uint32())
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) && try < 100 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot write %s: %w", path, err)
		}
		return f, nil
	}
}

// Finish brings all bytes to disk and closes the temporary file, which keeps its name. With several files, Finish all of
// them before the first Commit: what can fail then lies behind.
func (f *File) Finish() error {
	if f.closed {
		return nil
	}
	f.closed = true
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.path, err)
	}
	return nil
}

// Commit finishes the file and gives it its final name.
func (f *File) Commit() error {
	if err := f.Finish(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.path, err)
	}
	f.done = true
	return nil
}

// Abort removes the temporary file. It does nothing after a successful Commit.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	if !f.closed {
		f.closed = true
		f.Close()
	}
	os.Remove(f.Name())
}

// Write makes the file at path with what fn writes.
func Write(path string, fn func(io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := fn(f); err != nil {
		return err
	}
	return f.Commit()
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "folder"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
