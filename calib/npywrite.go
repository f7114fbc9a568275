package calib

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/obc-onnx/obc/onnxio"
)

// WriteNPY writes t as a .npy file, version 1.0, little-endian, in C order. The types that NumPy lacks (bfloat16, float8, the
// sub-byte types) are written as float32 or int8; strings as NumPy's fixed-width Unicode.
func WriteNPY(w io.Writer, t *onnxio.Tensor) error {
	if t.Type == onnxio.BFloat16 || t.Type.IsFloat() && t.Type.Bits() <= 8 {
		c, err := t.ConvertTo(onnxio.Float32)
		if err != nil {
			return err
		}
		t = c
	}
	descr, err := npyDescrOf(t)
	if err != nil {
		return err
	}
	var dims strings.Builder
	for i, d := range t.Shape {
		if i > 0 {
			dims.WriteByte(' ')
		}
		fmt.Fprintf(&dims, "%d,", d)
	}
	shape := dims.String()
	if len(t.Shape) > 1 {
		shape = strings.TrimSuffix(shape, ",")
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape)
	pad := 64 - (10+len(text)+1)%64
	text += strings.Repeat(" ", pad%64) + "\n"
	if len(text) > 1<<16-1 {
		return fmt.Errorf("a tensor of %d dimensions is too much for a .npy header", len(t.Shape))
	}
	head := append([]byte(npyMagic+"\x01\x00"), binary.LittleEndian.AppendUint16(nil, uint16(len(text)))...)
	if _, err := w.Write(append(head, text...)); err != nil {
		return err
	}
	if s, ok := t.Data.([]string); ok {
		return writeTexts(w, s, widestText(s))
	}
	return binary.Write(w, binary.LittleEndian, t.Data)
}

// widestText is the number of characters of the longest string, at least 1.
func widestText(list []string) int {
	n := 1
	for _, s := range list {
		n = max(n, utf8.RuneCountInString(s))
	}
	return n
}

// writeTexts writes strings as UCS-4, each filled up with zeros to chars characters.
func writeTexts(w io.Writer, list []string, chars int) error {
	b := make([]byte, 0, 4*chars)
	for _, s := range list {
		b = b[:0]
		for _, r := range s {
			b = binary.LittleEndian.AppendUint32(b, uint32(r))
		}
		for len(b) < 4*chars {
			b = append(b, 0)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func npyDescrOf(t *onnxio.Tensor) (string, error) {
	switch d := t.Data.(type) {
	case []string:
		return fmt.Sprintf("<U%d", widestText(d)), nil
	case []uint8:
		return "|u1", nil
	case []int8:
		return "|i1", nil
	}
	for code, typ := range npyTypes {
		if typ == t.Type {
			if code == "b1" {
				return "|b1", nil
			}
			return "<" + code, nil
		}
	}
	return "", fmt.Errorf("NumPy files cannot hold %v", t.Type)
}

// WriteNPZ writes tensors as an uncompressed .npz archive, as np.savez does, in the order of their names: the same tensors give
// the same bytes.
func WriteNPZ(w io.Writer, tensors map[string]*onnxio.Tensor) error {
	z := zip.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if err := WriteNPY(f, tensors[name]); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return z.Close()
}
