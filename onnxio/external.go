package onnxio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/obc-onnx/obc/onnxio/onnxpb"
)

// store holds the external data files of a model and of its clones.
type store struct {
	dir   string // the model's folder
	mu    sync.Mutex
	users int
	files map[string]*dataFile // by location
}

// dataFile is an external file: mapped into memory where the system can, read piece by piece otherwise.
type dataFile struct {
	path   string
	info   os.FileInfo
	mapped []byte
	unmap  func() error
	read   map[span][]byte // without a map: the pieces read so far
	open   func() (*os.File, error)
}

type span struct{ offset, length int64 }

// locationOf is where p's external data lies. A length of -1 means that the file does not say.
func locationOf(p *onnxpb.TensorProto) (location string, s span, err error) {
	s.length = -1
	for _, e := range p.ExternalData {
		switch e.GetKey() {
		case "location":
			location = e.GetValue()
		case "offset":
			s.offset, err = strconv.ParseInt(e.GetValue(), 10, 64)
		case "length":
			s.length, err = strconv.ParseInt(e.GetValue(), 10, 64)
			if err == nil && s.length < 0 {
				err = strconv.ErrRange
			}
		}
		if err == nil && s.offset < 0 {
			err = strconv.ErrRange
		}
		if err != nil {
			return "", s, fmt.Errorf("external data: %s %q is no number of bytes", e.GetKey(), e.GetValue())
		}
	}
	if location == "" {
		return "", s, errors.New("external data without a location")
	}
	return location, s, nil
}

// external is the content of the external data of p, a tensor of size bytes. Treat it as read-only: it may be mapped.
func (m *Model) external(p *onnxpb.TensorProto, size int) ([]byte, error) {
	f, s, err := m.externalFile(p, size)
	if err != nil {
		return nil, err
	}
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	return f.span(s)
}

// externalFile finds the file with the external data of p, a tensor of size bytes, and checks that it is long enough.
func (m *Model) externalFile(p *onnxpb.TensorProto, size int) (*dataFile, span, error) {
	location, s, err := locationOf(p)
	if err != nil {
		return nil, s, err
	}
	if m.files == nil {
		return nil, s, fmt.Errorf("its data is in the file %q, but the model was read from memory: load it from its file", location)
	}
	if s.length >= 0 && s.length != int64(size) {
		return nil, s, fmt.Errorf("external data of %d bytes, but its shape needs %d", s.length, size)
	}
	s.length = int64(size)
	f, err := m.files.file(location)
	if err != nil {
		return nil, s, err
	}
	if have := f.info.Size(); s.offset > have || s.length > have-s.offset {
		return nil, s, fmt.Errorf("external data at bytes %d to %d of %s, which has %d bytes: the file is cut short or belongs to another model",
			s.offset, s.offset+s.length, f.path, have)
	}
	return f, s, nil
}

// file opens the file at location, which must be a regular file in or below the model's folder, reached without links.
func (s *store) file(location string) (*dataFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.files[location]; ok {
		return f, nil
	}
	rel := filepath.FromSlash(location)
	if !filepath.IsLocal(rel) || strings.Contains(location, `\`) {
		return nil, fmt.Errorf("external data in %q: the location may not leave the model's folder", location)
	}
	f, err := openInside(s.dir, rel)
	if err != nil {
		return nil, fmt.Errorf("external data in %q: %w", location, err)
	}
	if s.files == nil {
		s.files = map[string]*dataFile{}
	}
	s.files[location] = f
	return f, nil
}

// openInside opens dir/rel, following no link below dir, and maps it where it can.
func openInside(dir, rel string) (*dataFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for at := range rel {
		if at > 0 && !os.IsPathSeparator(rel[at]) {
			continue
		}
		if err := refuseLink(root, rel[:at]); err != nil {
			return nil, err
		}
	}
	if err := refuseLink(root, rel); err != nil {
		return nil, err
	}
	if info, err := root.Stat(rel); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file") // a named pipe would wait for its writer
	}
	f, err := root.Open(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no such file in %s: copy it beside the model", dir)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := &dataFile{path: filepath.Join(dir, rel), info: info, read: map[span][]byte{}}
	d.open = func() (*os.File, error) { return os.OpenInRoot(dir, rel) }
	if d.mapped, d.unmap, err = mapFile(f, info.Size()); err != nil {
		d.mapped = nil // no maps here: read piece by piece
	}
	return d, nil
}

// refuseLink fails when rel is a symbolic link. What does not exist is for Open to tell.
func refuseLink(root *os.Root, rel string) error {
	if rel == "" {
		return nil
	}
	if info, err := root.Lstat(rel); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return errors.New("is a symbolic link, which external data may not be: replace the link by the file")
	}
	return nil
}

// span is a piece of the file that externalFile has checked to be there.
func (d *dataFile) span(s span) ([]byte, error) {
	if d.mapped != nil || d.info.Size() == 0 {
		return d.mapped[s.offset : s.offset+s.length : s.offset+s.length], nil
	}
	if b, ok := d.read[s]; ok {
		return b, nil
	}
	f, err := d.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, s.length)
	if _, err := f.ReadAt(b, s.offset); err != nil {
		return nil, fmt.Errorf("external data: %w", err)
	}
	d.read[s] = b
	return b, nil
}

// share counts one more model that uses the store.
func (s *store) share() *store {
	if s != nil {
		s.mu.Lock()
		s.users++
		s.mu.Unlock()
	}
	return s
}

// release unmaps the files when the last model lets go.
func (s *store) release() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	var err error
	for _, f := range s.files {
		if f.mapped != nil {
			err = errors.Join(err, f.unmap())
		}
	}
	s.files = nil
	return err
}
