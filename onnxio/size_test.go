package onnxio

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSizes holds the sizes that are told against those of the files, gaps before aligned tensors included.
func TestSizes(t *testing.T) {
	p, _ := large()
	for name, o := range map[string]SaveOptions{
		"inside": {}, "outside": {External: ExternalAlways}, "few": {External: ExternalAlways, SizeThreshold: 10000}, "never": {External: ExternalNever},
	} {
		path := filepath.Join(t.TempDir(), name+".onnx")
		m := New("mem", p)
		told, err := m.SavedSize(path, o)
		if err != nil {
			t.Fatal(err)
		}
		save(t, m, path, o)
		on := onDisk(t, path)
		if told != on {
			t.Errorf("%s: SavedSize %d, on disk %d", name, told, on)
		}
		back := load(t, path)
		if size, err := back.Size(); size != on {
			t.Errorf("%s: Size %d (%v), on disk %d", name, size, err, on)
		}
		again := filepath.Join(filepath.Dir(path), "again.onnx")
		told, err = back.SavedSize(again, SaveOptions{})
		if save(t, back, again, SaveOptions{}); told != onDisk(t, again) {
			t.Errorf("%s, saved again: SavedSize %d (%v), on disk %d", name, told, err, onDisk(t, again))
		}
	}
}

// onDisk is the size of a model's file and its data file, if it has one.
func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	if data, err := os.Stat(path + ".data"); err == nil {
		size += data.Size()
	}
	return size
}
