package graph

import (
	"fmt"

	"github.com/obc-onnx/obc/onnxio"
)

// LayerKind is the operator of a layer.
type LayerKind int

// The kinds of layers.
const (
	Conv LayerKind = iota
	ConvTranspose
	Gemm
	MatMul
)

// String is the operator's name.
func (k LayerKind) String() string { return [...]string{"Conv", "ConvTranspose", "Gemm", "MatMul"}[k] }

// Layer is a Conv, ConvTranspose, Gemm or MatMul with a constant weight: Groups independent layer problems, each with Rows
// outputs and Cols inputs. Nodes that share a weight are one layer.
//
// The columns of a convolution are ordered (kernel position, input channel), with the kernel positions in the order of the
// file, so that N:M groups and blocks of consecutive columns run along the input channels.
type Layer struct {
	Name   string  // of its first node, made unique
	Nodes  []*Node // in topological order; more than one when they share the weight
	Kind   LayerKind
	Weight *Value
	Bias   *Value // input C of the first node, nil if there is none

	Groups     int
	Rows       int   // output channels of a group
	Cols       int   // ChannelsIn times the number of kernel positions
	ChannelsIn int   // input channels of a group
	Kernel     []int // spatial kernel sizes; empty but for convolutions

	left    bool // the constant is the left operand of the product
	colsOut bool // a stored matrix is (columns, rows) rather than (rows, columns)
}

// String is what messages call it.
func (l *Layer) String() string { return fmt.Sprintf("layer %q (%v)", l.Name, l.Kind) }

// InputIndex is the place of the activation among the node's inputs; the weight takes the other place of 0 and 1.
func (l *Layer) InputIndex() int {
	if l.left {
		return 1
	}
	return 0
}

// Input is the activation that node n of the layer reads.
func (l *Layer) Input(n *Node) *Value { return n.In(l.InputIndex()) }

// WeightShape is the shape of the stored weight.
func (l *Layer) WeightShape() []int {
	s, _ := l.Weight.Shape.Ints()
	return s
}

// ChannelAxis is the axis of the stored weight along which its output channels lie. For a ConvTranspose with groups these are
// the channels of one group, for its groups lie along the input channels.
func (l *Layer) ChannelAxis() int {
	rank := len(l.Weight.Shape)
	switch l.Kind {
	case Conv:
		return 0
	case ConvTranspose:
		return 1
	}
	if l.colsOut || rank < 2 {
		return rank - 1
	}
	return rank - 2
}

// InputAxis is the axis of the stored weight along which its input channels lie.
func (l *Layer) InputAxis() int {
	rank := len(l.Weight.Shape)
	switch l.Kind {
	case Conv:
		return 1
	case ConvTranspose:
		return 0
	}
	if l.colsOut && rank >= 2 {
		return rank - 2
	}
	return rank - 1
}

// Window is how the kernel of a convolution moves at node n of the layer.
func (l *Layer) Window(n *Node) (Window, error) {
	w, err := ReadWindow(n, l.Kernel)
	if err != nil {
		err = fmt.Errorf("%v: %w", n, err)
	}
	return w, err
}

// MACs is the number of multiplications for one sample, summed over the layer's nodes. It needs inferred shapes; a dimension
// that is not known, such as the length of a sequence, counts as 1, and so does the first, the batch.
func (l *Layer) MACs() int64 {
	sum := int64(0)
	for _, n := range l.Nodes {
		sum += l.positions(n) * int64(l.Groups) * int64(l.Rows) * int64(l.Cols)
	}
	return sum
}

// positions is the number of times that node n multiplies the whole weight for one sample.
func (l *Layer) positions(n *Node) int64 {
	v := n.Out(0)
	if l.Kind == ConvTranspose {
		v = n.In(0)
	}
	if v == nil || len(v.Shape) < 2 {
		return 1
	}
	s := v.Shape[1:]
	switch {
	case l.Kind == Conv || l.Kind == ConvTranspose:
		s = s[1:]
	case l.Kind == Gemm:
		return 1
	case l.left: // [..., rows, columns]
		s = append(s[:max(len(s)-2, 0):max(len(s)-2, 0)], s[len(s)-1])
	default:
		s = s[:len(s)-1]
	}
	p := int64(1)
	for _, d := range s {
		if d.N > 1 && p < 1<<50/d.N {
			p *= d.N
		}
	}
	return p
}

// Matrix is the weight as float32, Groups x Rows x Cols in row-major order. Weights of other float types are converted.
func (l *Layer) Matrix() ([]float32, error) {
	t, err := l.Weight.Tensor()
	if err != nil {
		return nil, fmt.Errorf("%v: weight: %w", l, err)
	}
	if t, err = t.ToFloat32(); err != nil {
		return nil, fmt.Errorf("%v: weight: %w", l, err)
	}
	return FromFileLayout(l, t.Float32s()), nil
}

// SetMatrix stores a weight given as Matrix gives it, in the file's layout and element type.
func (l *Layer) SetMatrix(w []float32) error {
	if len(w) != l.Groups*l.Rows*l.Cols {
		return fmt.Errorf("%v: %d weights given, it has %d x %d x %d", l, len(w), l.Groups, l.Rows, l.Cols)
	}
	old, err := l.Weight.Tensor()
	if err != nil {
		return fmt.Errorf("%v: weight: %w", l, err)
	}
	t, err := onnxio.TensorOf(ToFileLayout(l, w), old.Shape...).ConvertTo(old.Type)
	if err != nil {
		return fmt.Errorf("%v: weight: %w", l, err)
	}
	return l.Weight.Graph.SetInit(l.Weight, t)
}

// FromFileLayout reorders the elements of the stored weight (or whatever lies in the same way: codes, masks) to the layout
// of Matrix.
func FromFileLayout[T any](l *Layer, stored []T) []T {
	out := make([]T, len(stored))
	l.eachElement(func(file, matrix int) { out[matrix] = stored[file] })
	return out
}

// ToFileLayout is the inverse of FromFileLayout.
func ToFileLayout[T any](l *Layer, matrix []T) []T {
	out := make([]T, len(matrix))
	l.eachElement(func(file, m int) { out[file] = matrix[m] })
	return out
}

// eachElement calls fn with the position of each weight in the file and in Matrix.
func (l *Layer) eachElement(fn func(file, matrix int)) {
	taps := l.Cols / max(l.ChannelsIn, 1)
	file := 0
	switch {
	case l.Kind == Conv: // (groups rows, channels, kernel...)
		for r := range l.Groups * l.Rows {
			for c := range l.ChannelsIn {
				for k := range taps {
					fn(file, r*l.Cols+k*l.ChannelsIn+c)
					file++
				}
			}
		}
	case l.Kind == ConvTranspose: // (groups channels, rows, kernel...)
		for c := range l.Groups * l.ChannelsIn {
			for r := range l.Rows {
				for k := range taps {
					fn(file, (c/l.ChannelsIn*l.Rows+r)*l.Cols+k*l.ChannelsIn+c%l.ChannelsIn)
					file++
				}
			}
		}
	case l.colsOut:
		for c := range l.Cols {
			for r := range l.Rows {
				fn(file, r*l.Cols+c)
				file++
			}
		}
	default:
		for i := range l.Rows * l.Cols {
			fn(i, i)
		}
	}
}
