package kernel

import (
	"math"
	"unsafe"
)

// Epilogue is what happens to an element of a product before it is stored for good:
// C[i,j] = min(Hi, max(Lo, C[i,j] + Row[i] + Col[j])). Nil biases are left out; NaN stays NaN. ReLU is Lo = 0, Hi = +Inf.
type Epilogue struct {
	Row, Col []float32 // length m and n, or nil
	Lo, Hi   float32
}

// Bias returns an Epilogue without limits: row and col may be nil.
func Bias(row, col []float32) *Epilogue {
	return &Epilogue{row, col, float32(math.Inf(-1)), float32(math.Inf(1))}
}

// at sets t to the epilogue as seen from the tile with first row i and first column j.
func (e *Epilogue) at(t *tail, i, j int) {
	t.row, t.col, t.lo, t.hi = nil, nil, e.Lo, e.Hi
	if e.Row != nil {
		t.row = &e.Row[i]
	}
	if e.Col != nil {
		t.col = &e.Col[j]
	}
}

// apply32 finishes c, the start of row i of the tile.
func (t *tail) apply32(c []float32, i int) {
	if t.row != nil {
		r := *(*float32)(unsafe.Add(unsafe.Pointer(t.row), 4*i))
		for j := range c {
			c[j] += r
		}
	}
	if t.col != nil {
		for j, v := range unsafe.Slice(t.col, len(c)) {
			c[j] += v
		}
	}
	clipGeneric(c, c, t.lo, t.hi)
}
