package graph

import "fmt"

// Broadcast is the shape that operands of the given shapes are broadcast to (numpy's rule: aligned at the end, 1 stretches).
// It is nil when the rank of one of them is unknown, and an error when two known sizes do not fit.
func Broadcast(shapes ...Shape) (Shape, error) {
	rank := 0
	for _, s := range shapes {
		if s == nil {
			return nil, nil
		}
		rank = max(rank, len(s))
	}
	out := ShapeOf(make([]int, rank)...)
	for i := range out {
		out[i] = D(1)
		for _, s := range shapes {
			k := i - rank + len(s)
			if k < 0 {
				continue
			}
			d, ok := broadcastDim(out[i], s[k])
			if !ok {
				return nil, fmt.Errorf("shapes %v do not broadcast: %v against %v", shapes, out[i], s[k])
			}
			out[i] = d
		}
	}
	return out, nil
}

func broadcastDim(a, b Dim) (Dim, bool) {
	switch {
	case a.Same(b), b.N == 1:
		return a, true
	case a.N == 1:
		return b, true
	case a.Known() && b.Known():
		return Unknown, false
	case a.Known(): // b is 1 or the same
		return a, true
	case b.Known():
		return b, true
	}
	return Unknown, true
}

// Axis resolves an axis of a tensor of the given rank; negative ones count from the end.
func Axis(axis int64, rank int) (int, error) {
	if axis < -int64(rank) || axis >= int64(rank) {
		return 0, fmt.Errorf("axis %d is outside -%d..%d of a tensor of rank %d", axis, rank, rank-1, rank)
	}
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), nil
}

// Axes resolves a list of axes, which must differ from each other.
func Axes(axes []int64, rank int) ([]int, error) {
	out := make([]int, len(axes))
	seen := make([]bool, rank)
	for i, a := range axes {
		k, err := Axis(a, rank)
		if err != nil {
			return nil, err
		}
		if seen[k] {
			return nil, fmt.Errorf("axis %d is listed twice in %v", a, axes)
		}
		seen[k], out[i] = true, k
	}
	return out, nil
}

// MatMulShape is the shape of MatMul(a, b): one-dimensional operands count as a row and a column, leading dimensions
// broadcast. It is nil when a rank is unknown.
func MatMulShape(a, b Shape) (Shape, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("a factor is a scalar: shapes %v and %v", a, b)
	}
	row, col := len(a) == 1, len(b) == 1
	if row {
		a = Shape{D(1), a[0]}
	}
	if col {
		b = Shape{b[0], D(1)}
	}
	m, k := a[len(a)-2], a[len(a)-1]
	k2, n := b[len(b)-2], b[len(b)-1]
	if k.Known() && k2.Known() && k.N != k2.N {
		return nil, fmt.Errorf("inner sizes differ: %v x %v", a, b)
	}
	out, err := Broadcast(a[:len(a)-2], b[:len(b)-2])
	if err != nil {
		return nil, err
	}
	if !row {
		out = append(out, m)
	}
	if !col {
		out = append(out, n)
	}
	return out, nil
}

// ReshapeShape is the shape that Reshape gives a tensor of shape in for the wanted contents of its second input: 0 copies the
// input's dimension unless allowZero, and one entry that is -1 or not known is what remains of the number of elements.
func ReshapeShape(in Shape, want []Dim, allowZero bool) (Shape, error) {
	out := make(Shape, len(want))
	copied := make([]bool, max(len(in), len(want)))
	open, unknown := -1, 0
	placed := D(1) // product of the entries that are neither copied nor open
	for i, d := range want {
		out[i] = d
		switch {
		case d.N == 0 && !allowZero && in == nil:
			out[i] = Unknown
			unknown++
		case d.N == 0 && !allowZero && i >= len(in):
			return nil, fmt.Errorf("entry %d of the shape copies dimension %d of an input of shape %v", i, i, in)
		case d.N == 0 && !allowZero:
			out[i], copied[i] = in[i], true
		case d == Unknown:
			open = i
			unknown++
		default:
			placed = placed.Mul(d)
		}
	}
	rest := Unknown // product of the input's dimensions that are not copied
	if in != nil {
		rest = D(1)
		for i, d := range in {
			if !copied[i] {
				rest = rest.Mul(d)
			}
		}
	}
	fits := !rest.Known() || !placed.Known() || rest.N == placed.N || unknown > 0 && (placed.N > 0 && rest.N%placed.N == 0 || rest.N == 0)
	if !fits {
		return nil, fmt.Errorf("a tensor of shape %v cannot be given the shape %v: %v elements for %v", in, Shape(want), rest, placed)
	}
	if unknown == 1 && open >= 0 {
		out[open] = rest.Div(placed)
	}
	return out, nil
}
