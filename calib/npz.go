package calib

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/obc-onnx/obc/graph"
	"github.com/obc-onnx/obc/onnxio"
)

// arrays is the reader for NumPy files. Arrays that lie uncompressed in the file are read from there piece by piece; compressed
// ones are unpacked at opening, into memory when small and into a temporary file otherwise.
type arrays struct {
	f     *os.File
	cols  []column
	data  map[string]*array
	temps []*os.File
}

func (a *arrays) columns() []column { return a.cols }

func (a *arrays) read(_ context.Context, name string, idx []int) (*onnxio.Tensor, error) {
	x := a.data[name]
	if len(x.h.Shape) == 0 {
		return x.whole()
	}
	return x.rows(idx)
}

func (a *arrays) close() error {
	var errs []error
	for _, t := range a.temps {
		errs = append(errs, t.Close(), removeIfThere(t.Name()))
	}
	a.temps = nil
	return errors.Join(append(errs, a.f.Close())...)
}

func (a *arrays) add(name string, x *array) {
	a.data[name] = x
	a.cols = append(a.cols, column{Name: name, Type: x.h.Type, Shape: x.h.Shape})
}

func openArrays(path string, fill func(a *arrays, size int64) error) (reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a := &arrays{f: f, data: map[string]*array{}}
	info, err := f.Stat()
	if err == nil {
		err = fill(a, info.Size())
	}
	if err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func openNPY(path string, _ []*graph.Value, _ Options) (reader, error) {
	return openArrays(path, func(a *arrays, size int64) error {
		x, err := newArray(a.f, size)
		if err == nil {
			a.add("", x)
		}
		return err
	})
}

func openNPZ(path string, _ []*graph.Value, _ Options) (reader, error) {
	return openArrays(path, func(a *arrays, size int64) error {
		z, err := zip.NewReader(a.f, size)
		if err != nil {
			return fmt.Errorf("is no .npz archive (%w): write it with np.savez", err)
		}
		for _, e := range z.File {
			name, ok := strings.CutSuffix(e.Name, ".npy")
			if !ok || a.data[name] != nil {
				continue
			}
			err := a.unpack(name, e)
			if errors.Is(err, zip.ErrChecksum) {
				err = fmt.Errorf("the archive is damaged (%w): copy or write it again", err)
			}
			if err != nil {
				return fmt.Errorf("array %q: %w", name, err)
			}
		}
		return nil
	})
}

// spoolLimit is the size above which an unpacked array goes to a temporary file.
const spoolLimit = 32 << 20

// unpack makes an array of a member of the archive.
func (a *arrays) unpack(name string, e *zip.File) error {
	if e.Method == zip.Store {
		off, err := e.DataOffset()
		if err != nil {
			return err
		}
		if err := intact(e); err != nil {
			return err
		}
		size := int64(e.CompressedSize64)
		x, err := newArray(io.NewSectionReader(a.f, off, size), size)
		if err == nil {
			a.add(name, x)
		}
		return err
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var head bytes.Buffer
	h, err := readNPYHeader(io.TeeReader(r, &head))
	if err != nil {
		return err
	}
	var src io.ReaderAt
	size := int64(h.Size) + h.bytes()
	body := io.MultiReader(&head, io.LimitReader(r, h.bytes()))
	if size <= spoolLimit {
		var b bytes.Buffer
		if size, err = io.Copy(&b, body); err != nil {
			return err
		}
		src = bytes.NewReader(b.Bytes())
	} else {
		t, err := tempFile()
		if err != nil {
			return err
		}
		a.temps = append(a.temps, t)
		if size, err = io.Copy(t, body); err != nil {
			return err
		}
		src = t
	}
	if _, err := r.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) { // the end is where the checksum is compared
		return err
	}
	x, err := newArray(src, size)
	if err == nil {
		a.add(name, x)
	}
	return err
}

// intact compares a stored member, which is read piece by piece later, with its checksum.
func intact(e *zip.File) error {
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// tempFile makes a temporary file that is gone when it is closed, whatever happens, where the system can do that; elsewhere
// removeIfThere deletes it.
func tempFile() (*os.File, error) {
	f, err := os.CreateTemp("", "obc-*")
	if err != nil {
		return nil, fmt.Errorf("no temporary file: %w (set TMPDIR to a folder with room)", err)
	}
	os.Remove(f.Name())
	return f, nil
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
