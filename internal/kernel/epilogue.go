package kernel

import (
	"math"
	"unsafe"
)

// Epilogue is what happens to an element of a product before it is stored for good:
// C[i,j] = min(Hi, max(Lo, C[i,j] + Row[i] + Col[j] + Add[i,j])), added in this order. What is nil is left out; NaN stays NaN. ReLU is
// Lo = 0, Hi = +Inf. Add is laid out as C and lies elsewhere.
type Epilogue struct {
	Row, Col []float32 // length m and n, or nil
	Add      []float32
	Lo, Hi   float32
	Then     func(row []float32) // called last, on parts of rows; nil: none
}

var negInf, posInf = float32(math.Inf(-1)), float32(math.Inf(1))

// Bias returns an Epilogue without limits: row and col may be nil.
func Bias(row, col []float32) *Epilogue {
	return &Epilogue{Row: row, Col: col, Lo: negInf, Hi: posInf}
}

// at sets t to the epilogue as seen from the tile with first row i and first column j of a C with leading dimension ldc.
func (e *Epilogue) at(t *tail, i, j, ldc int) {
	*t = tail{lo: e.Lo, hi: e.Hi, ld: ldc}
	if e.Row != nil {
		t.row = &e.Row[i]
	}
	if e.Col != nil {
		t.col = &e.Col[j]
	}
	if e.Add != nil {
		t.add = &e.Add[i*ldc+j]
	}
}

// of returns what v, element (i, j), becomes but for Then.
func (e *Epilogue) of(v float32, i, j, ldc int) float32 {
	if e.Row != nil {
		v += e.Row[i]
	}
	if e.Col != nil {
		v += e.Col[j]
	}
	if e.Add != nil {
		v += e.Add[i*ldc+j]
	}
	if v < e.Lo {
		v = e.Lo
	}
	if v > e.Hi {
		v = e.Hi
	}
	return v
}

// then applies what comes last to rows [i, i+rows), columns [j, j+cols) of c.
func (e *Epilogue) then(c []float32, ldc, i, rows, j, cols int) {
	for r := i; r < i+rows; r++ {
		e.Then(c[r*ldc+j : r*ldc+j+cols])
	}
}

// onRow applies e but for Row to y[at:end], part of a row that begins at column j.
func (e *Epilogue) onRow(y []float32, at, end, j int) {
	if e == nil {
		return
	}
	row := y[at:end]
	if e.Col != nil {
		active.add(row, row, e.Col[j:j+len(row)])
	}
	if e.Add != nil {
		active.add(row, row, e.Add[at:end])
	}
	if e.Lo != negInf || e.Hi != posInf {
		active.clip(row, row, e.Lo, e.Hi)
	}
	if e.Then != nil {
		e.Then(row)
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
	if t.add != nil {
		for j, v := range unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(t.add), 4*i*t.ld)), len(c)) {
			c[j] += v
		}
	}
	clipGeneric(c, c, t.lo, t.hi)
}
