package calib

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// FuzzReaders gives the same bytes to the .npy, .npz and CSV readers: whatever they hold, there is a result or an error, no
// panic, and no memory beyond a small multiple of the file.
func FuzzReaders(f *testing.F) {
	for _, name := range []string{"numpy.npz", "object.npy", "record.npy", "version3.npy"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("a,b,label\n1,2,3\n4,5e3,6\n"))
	f.Add([]byte("1;2\n\"3\";nan\n"))
	f.Add(npyFile("{'descr': '<f4', 'fortran_order': True, 'shape': (1048576, 1048576), }\n", "abcd"))
	f.Add(npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 0), }\n", ""))
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	e, _ := w.Create("x.npy")
	e.Write(npyFile("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }\n", "12345678123456781234567812345678"))
	w.Close()
	f.Add(z.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, format := range formats[:3] {
			path := filepath.Join(dir, "x."+format.name)
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
			r, err := format.open(path, nil, Options{})
			if err != nil {
				continue
			}
			for _, c := range r.columns() {
				idx := []int{}
				if len(c.Shape) > 0 && c.Shape[0] > 0 {
					idx = append(idx, 0, c.Shape[0]-1)
				}
				if x, err := r.read(context.Background(), c.Name, idx); err == nil && x.Type != c.Type {
					t.Errorf("%s: column %q is %v, read as %v", format.name, c.Name, c.Type, x.Type)
				}
			}
			r.close()
		}
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(16<<20+4000*len(data)); got > limit {
			t.Errorf("%d bytes taken for a file of %d", got, len(data))
		}
	})
}
