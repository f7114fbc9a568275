package graph

import (
	"math"
	"sort"
	"strconv"
	"strings"
)

// Arithmetic on dimensions. Known sizes give known sizes. A product of names keeps a name in a canonical spelling, so that
// batch*12 computed along two ways is still seen to be one size; whatever cannot be named that simply becomes Unknown.

// Mul is d*e.
func (d Dim) Mul(e Dim) Dim {
	if d.N == 0 || e.N == 0 {
		return D(0)
	}
	a, fa, ok1 := d.factors()
	b, fb, ok2 := e.factors()
	if !ok1 || !ok2 || a > math.MaxInt64/b {
		return Unknown
	}
	return product(a*b, append(fa, fb...))
}

// Div is d/e when e divides d, else Unknown.
func (d Dim) Div(e Dim) Dim {
	if e.N == 0 {
		return Unknown
	}
	a, fa, ok1 := d.factors()
	b, fb, ok2 := e.factors()
	if !ok1 || !ok2 || a%b != 0 {
		return Unknown
	}
	for _, f := range fb {
		i := indexOf(fa, f)
		if i < 0 {
			return Unknown
		}
		fa = append(fa[:i:i], fa[i+1:]...)
	}
	return product(a/b, fa)
}

// Add is d+e.
func (d Dim) Add(e Dim) Dim {
	switch {
	case d.Known() && e.Known() && d.N <= math.MaxInt64-e.N:
		return D(d.N + e.N)
	case d.N == 0:
		return e
	case e.N == 0:
		return d
	}
	return Unknown
}

// factors splits a dimension into a number and names: 12*batch is 12, [batch].
func (d Dim) factors() (n int64, names []string, ok bool) {
	if d.Known() {
		return d.N, nil, true
	}
	if d.Sym == "" {
		return 0, nil, false
	}
	n = 1
	for i, f := range strings.Split(d.Sym, "*") {
		if v, err := strconv.ParseInt(f, 10, 64); i == 0 && err == nil && v > 0 {
			n = v
			continue
		}
		names = append(names, f)
	}
	return n, names, true
}

func product(n int64, names []string) Dim {
	if len(names) == 0 {
		return D(n)
	}
	sort.Strings(names)
	if n != 1 {
		names = append([]string{strconv.FormatInt(n, 10)}, names...)
	}
	return Sym(strings.Join(names, "*"))
}

func indexOf(list []string, s string) int {
	for i, f := range list {
		if f == s {
			return i
		}
	}
	return -1
}
