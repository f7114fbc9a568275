package calib

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/obc-onnx/obc/onnxio"
)

// NumPy's .npy format, versions 1 to 3: a magic string, a Python dictionary with element type, order and shape, and the
// elements. Specification: numpy.lib.format. The module has its own reader because the data of a calibration set is hostile
// input like any other file: every size is checked against what the file really holds before memory is taken, and float16,
// Fortran order and partial reads are needed.

const (
	npyMagic     = "\x93NUMPY"
	npyMaxHeader = 1 << 20
	npyMaxChars  = 1 << 20
)

// npyHeader is what precedes the elements of a .npy file.
type npyHeader struct {
	Type    onnxio.DataType
	Big     bool // big-endian elements
	Fortran bool // first index varies fastest
	Shape   []int
	Size    int  // bytes before the first element
	Chars   int  // of an element of a string array
	Wide    bool // such characters are UCS-4, not bytes
}

// word is the size of an element in bytes.
func (h *npyHeader) word() int {
	switch {
	case h.Type != onnxio.String:
		return h.Type.Bits() / 8
	case h.Wide:
		return 4 * h.Chars
	}
	return h.Chars
}

// bytes is the size of the elements.
func (h *npyHeader) bytes() int64 { return int64(elements(h.Shape)) * int64(h.word()) }

var (
	npyDescr   = regexp.MustCompile(`['"]descr['"]\s*:\s*(['"]([^'"]*)['"]|\[)`)
	npyFortran = regexp.MustCompile(`['"]fortran_order['"]\s*:\s*(True|False)`)
	npyText    = regexp.MustCompile(`^([<>|=]?)([USa])(\d+)$`)
	npyShape   = regexp.MustCompile(`['"]shape['"]\s*:\s*\(([^()]*)\)`)
)

// readNPYHeader reads up to the first element.
func readNPYHeader(r io.Reader) (*npyHeader, error) {
	var pre [8]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil || string(pre[:6]) != npyMagic {
		return nil, fmt.Errorf("no NumPy array: the file does not begin with the .npy signature")
	}
	var n, size int
	switch major := pre[6]; major {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("the .npy header is cut off")
		}
		n, size = int(binary.LittleEndian.Uint16(b[:])), 10
	case 2, 3:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("the .npy header is cut off")
		}
		n, size = int(binary.LittleEndian.Uint32(b[:])), 12
	default:
		return nil, fmt.Errorf("version %d of the .npy format is unknown (1 to 3 are read)", major)
	}
	if n > npyMaxHeader {
		return nil, fmt.Errorf("the .npy header claims %d bytes; more than %d is not believed", n, npyMaxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("the .npy header is cut off: %d bytes are announced", n)
	}
	h, err := parseNPYHeader(string(text))
	if err != nil {
		return nil, err
	}
	h.Size = size + n
	return h, nil
}

func parseNPYHeader(text string) (*npyHeader, error) {
	descr, order, shape := npyDescr.FindStringSubmatch(text), npyFortran.FindStringSubmatch(text), npyShape.FindStringSubmatch(text)
	if descr == nil || order == nil || shape == nil {
		return nil, fmt.Errorf("the .npy header %.80q lacks descr, fortran_order or shape", strings.TrimSpace(text))
	}
	if descr[1] == "[" {
		return nil, fmt.Errorf("a structured (record) array cannot be used: save one plain array per input")
	}
	h := &npyHeader{Fortran: order[1] == "True", Shape: []int{}}
	var err error
	if m := npyText.FindStringSubmatch(descr[2]); m != nil {
		h.Type, h.Big, h.Wide = onnxio.String, m[1] == ">", m[2] == "U"
		if h.Chars, err = strconv.Atoi(m[3]); err != nil || h.Chars > npyMaxChars {
			return nil, fmt.Errorf("a string array of %s characters an element is not believed: the most is %d", m[3], npyMaxChars)
		}
	} else if h.Type, h.Big, err = npyType(descr[2]); err != nil {
		return nil, err
	}
	total := max(h.word()/64, 1) // elements of numbers have up to 16 bytes
	for _, f := range strings.Split(shape[1], ",") {
		if f = strings.TrimSuffix(strings.TrimSpace(f), "L"); f == "" {
			continue
		}
		d, err := strconv.Atoi(f)
		if err != nil || d < 0 {
			return nil, fmt.Errorf("the .npy header has a bad dimension %q in shape (%s)", f, shape[1])
		}
		if d > 0 && total > math.MaxInt/64/d {
			return nil, fmt.Errorf("the .npy header has an absurd shape (%s)", shape[1])
		}
		total *= max(d, 1)
		h.Shape = append(h.Shape, d)
	}
	if h.word() == 0 && elements(h.Shape) > 0 {
		return nil, fmt.Errorf("a string array whose elements have no characters: save numbers or text")
	}
	return h, nil
}

var npyTypes = map[string]onnxio.DataType{
	"f2": onnxio.Float16, "f4": onnxio.Float32, "f8": onnxio.Float64,
	"i1": onnxio.Int8, "i2": onnxio.Int16, "i4": onnxio.Int32, "i8": onnxio.Int64,
	"u1": onnxio.Uint8, "u2": onnxio.Uint16, "u4": onnxio.Uint32, "u8": onnxio.Uint64,
	"b1": onnxio.Bool, "c8": onnxio.Complex64, "c16": onnxio.Complex128,
}

func npyType(descr string) (t onnxio.DataType, big bool, err error) {
	code := strings.TrimLeft(descr, "<>|=")
	big = strings.HasPrefix(descr, ">")
	if t, ok := npyTypes[code]; ok {
		return t, big, nil
	}
	switch {
	case strings.HasPrefix(code, "O"):
		err = fmt.Errorf("an object array (pickled Python objects) cannot be read: save a plain array, such as np.stack(list).astype(np.float32), or x.astype(str) for strings")
	case strings.HasPrefix(code, "V"):
		err = fmt.Errorf("element type %q (raw bytes, as np.save writes bfloat16 and float8) cannot be told apart: save it as float32", descr)
	default:
		err = fmt.Errorf("element type %q is not supported: save float32 or int64", descr)
	}
	return 0, false, err
}

// npyElements makes a tensor of the given shape from the raw elements of an array with header h.
func npyElements(h *npyHeader, shape []int, raw []byte) *onnxio.Tensor {
	t := onnxio.NewTensor(h.Type, shape...)
	var order binary.ByteOrder = binary.LittleEndian
	if h.Big {
		order = binary.BigEndian
	}
	switch d := t.Data.(type) {
	case []string:
		word := h.word()
		for i := range d {
			d[i] = npyString(raw[i*word:(i+1)*word], h.Wide, order)
		}
	case []uint8:
		copy(d, raw)
	case []int8:
		for i := range d {
			d[i] = int8(raw[i])
		}
	case []bool:
		for i := range d {
			d[i] = raw[i] != 0
		}
	case []uint16:
		for i := range d {
			d[i] = order.Uint16(raw[2*i:])
		}
	case []float32:
		for i := range d {
			d[i] = math.Float32frombits(order.Uint32(raw[4*i:]))
		}
	case []int64:
		for i := range d {
			d[i] = int64(order.Uint64(raw[8*i:]))
		}
	default: // the rarer types: sizes are right by construction
		binary.Decode(raw, order, t.Data)
	}
	return t
}

// npyString is an element of a string array without the zeros that fill it up.
func npyString(b []byte, wide bool, order binary.ByteOrder) string {
	if !wide {
		return strings.TrimRight(string(b), "\x00")
	}
	var s strings.Builder
	for ; len(b) >= 4; b = b[4:] {
		s.WriteRune(rune(order.Uint32(b)))
	}
	return strings.TrimRight(s.String(), "\x00")
}

// array is one stored array of which single samples (slices along axis 0) can be read.
type array struct {
	h    *npyHeader
	data io.ReaderAt // the elements begin at off
	off  int64
}

// newArray reads the header at the start of r, which holds size bytes, and checks that all elements are there.
func newArray(r io.ReaderAt, size int64) (*array, error) {
	h, err := readNPYHeader(bufio.NewReader(io.NewSectionReader(r, 0, size)))
	if err != nil {
		return nil, err
	}
	if have := size - int64(h.Size); have < h.bytes() {
		return nil, fmt.Errorf("the array is cut off: shape %v of %v needs %d bytes, %d are there", h.Shape, h.Type, h.bytes(), have)
	}
	a := &array{h: h, data: r, off: int64(h.Size)}
	if h.Fortran && len(h.Shape) > 1 {
		return a.transposed()
	}
	return a, nil
}

// maxFortran is the largest array in Fortran order that is brought into C order, in memory.
const maxFortran = 1 << 30

// transposed is the array with its elements in C order.
func (a *array) transposed() (*array, error) {
	if n := a.h.bytes(); n > maxFortran {
		return nil, fmt.Errorf("an array of %d bytes in Fortran order is too big to be reordered: save np.ascontiguousarray(x)", n)
	}
	raw := make([]byte, a.h.bytes())
	if _, err := a.data.ReadAt(raw, a.off); err != nil && err != io.EOF {
		return nil, err
	}
	shape, word := a.h.Shape, a.h.word()
	stride := make([]int, len(shape)) // of the stored order, in elements
	step := 1
	for i, d := range shape {
		stride[i], step = step, step*d
	}
	out := make([]byte, len(raw))
	idx := make([]int, len(shape))
	src := 0
	for dst := 0; dst < len(out); dst += word {
		copy(out[dst:dst+word], raw[src*word:])
		for k := len(shape) - 1; k >= 0; k-- {
			idx[k]++
			src += stride[k]
			if idx[k] < shape[k] {
				break
			}
			src -= idx[k] * stride[k]
			idx[k] = 0
		}
	}
	h := *a.h
	h.Fortran = false
	return &array{h: &h, data: bytes.NewReader(out)}, nil
}

// rows reads the slices idx along axis 0, joined into one tensor.
func (a *array) rows(idx []int) (*onnxio.Tensor, error) {
	shape := append([]int{len(idx)}, a.h.Shape[1:]...)
	size := int64(elements(a.h.Shape[1:])) * int64(a.h.word())
	raw := make([]byte, size*int64(len(idx)))
	for k := 0; k < len(idx); {
		n := 1 // neighbours are read at once
		for k+n < len(idx) && idx[k+n] == idx[k]+n {
			n++
		}
		if err := readFull(a.data, raw[int64(k)*size:int64(k+n)*size], a.off+int64(idx[k])*size); err != nil {
			return nil, err
		}
		k += n
	}
	return npyElements(a.h, shape, raw), nil
}

// whole reads the array.
func (a *array) whole() (*onnxio.Tensor, error) {
	raw := make([]byte, a.h.bytes())
	if err := readFull(a.data, raw, a.off); err != nil {
		return nil, err
	}
	return npyElements(a.h, a.h.Shape, raw), nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	if n, err := r.ReadAt(b, off); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
