package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Dim is one dimension of a shape: a number, a named unknown (such as "batch": equal names are equal sizes), or unknown.
// The zero Dim is the known size 0; use Unknown for "not known".
type Dim struct {
	N   int64  // the size when >= 0, otherwise -1
	Sym string // the name of an unknown size; empty when the size is known or has no name
}

// Unknown is a dimension of which nothing is known.
var Unknown = Dim{N: -1}

// D is the known size n; a negative n gives Unknown.
func D(n int64) Dim { return Dim{N: max(n, -1)} }

// Sym is the unknown size called name.
func Sym(name string) Dim { return Dim{N: -1, Sym: name} }

// Known reports whether the size is a number.
func (d Dim) Known() bool { return d.N >= 0 }

// Same reports whether both dimensions are certainly of one size: the same number or the same name.
func (d Dim) Same(e Dim) bool {
	if d.Known() || e.Known() {
		return d.N == e.N
	}
	return d.Sym != "" && d.Sym == e.Sym
}

// String is the number, the name or "?".
func (d Dim) String() string {
	switch {
	case d.Known():
		return fmt.Sprint(d.N)
	case d.Sym != "":
		return d.Sym
	}
	return "?"
}

// Shape is a tensor's shape. A nil Shape says that not even the rank is known; an empty one is a scalar's.
type Shape []Dim

// ShapeOf is the shape of the given sizes; a negative size stands for Unknown.
func ShapeOf[T int | int64](sizes ...T) Shape {
	s := make(Shape, len(sizes))
	for i, n := range sizes {
		s[i] = D(int64(n))
	}
	return s
}

// UnknownShape is a shape of the given rank with no known dimension.
func UnknownShape(rank int) Shape { return slices.Repeat(Shape{Unknown}, rank) }

// Ranked reports whether the rank is known.
func (s Shape) Ranked() bool { return s != nil }

// Ints gives the sizes when all of them are known.
func (s Shape) Ints() ([]int, bool) {
	if s == nil {
		return nil, false
	}
	out := make([]int, len(s))
	for i, d := range s {
		if !d.Known() {
			return nil, false
		}
		out[i] = int(d.N)
	}
	return out, true
}

// Elements is the number of elements, Unknown when a dimension is.
func (s Shape) Elements() Dim {
	if s == nil {
		return Unknown
	}
	n := D(1)
	for _, d := range s {
		n = n.Mul(d)
	}
	return n
}

// Clone is a copy; nil stays nil.
func (s Shape) Clone() Shape { return slices.Clone(s) }

// Same reports whether both shapes are certainly equal.
func (s Shape) Same(t Shape) bool {
	return s != nil && t != nil && slices.EqualFunc(s, t, Dim.Same)
}

// String looks like "[batch 3 224 224]", or "[...]" when the rank is unknown.
func (s Shape) String() string {
	if s == nil {
		return "[...]"
	}
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
	}
	return "[" + strings.Join(parts, " ") + "]"
}
