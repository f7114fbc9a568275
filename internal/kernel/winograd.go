package kernel

import "sync"

// Winograd's minimal filtering F(2x2, 3x3): each 4 x 4 input tile d gives a 2 x 2 output tile
//
//	Y = A^T [(G g G^T) . (B^T d B)] A,
//
// where the products of 16 numbers, summed over the input channels, are 16 matrix products: 16 multiplications for 4 outputs in place of
// 36 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308). B and A hold only 0, 1 and -1, so that the
// rounding error stays that of the direct sum (within a small factor); larger tiles would lose digits.
//
//	B^T = 1  0 -1  0    G = 1    0   0     A^T = 1  1  1  0
//	      0  1  1  0        1/2  1/2 1/2         0  1 -1 -1
//	      0 -1  1  0        1/2 -1/2 1/2
//	      0  1  0 -1        0    0   1

// winograd is a weight OutC x InC x 3 x 3 as 16 matrices OutC x InC, packed.
type winograd [16]*PackedA

// packWinograd transforms w.
func packWinograd(outC, inC int, w []float32) *winograd {
	var u [16][]float32
	for i := range u {
		u[i] = make([]float32, outC*inC)
	}
	for k := range outC * inC {
		var t [4][3]float64 // G g
		for j := range 3 {
			a, b, c := float64(w[9*k+j]), float64(w[9*k+3+j]), float64(w[9*k+6+j])
			t[0][j], t[1][j], t[2][j], t[3][j] = a, (a+b+c)/2, (a-b+c)/2, c
		}
		for i, r := range t {
			for j, v := range [4]float64{r[0], (r[0] + r[1] + r[2]) / 2, (r[0] - r[1] + r[2]) / 2, r[2]} {
				u[4*i+j][k] = float32(v)
			}
		}
	}
	p := new(winograd)
	for i := range p {
		p[i] = PackA(false, outC, inC, u[i], inC)
	}
	return p
}

// winogradFits tells where F(2x2, 3x3) is the faster form: with few channels the transforms cost more than they save.
func winogradFits(s ConvShape) bool {
	return s.KH == 3 && s.KW == 3 && s.StrideH*s.StrideW*s.DilationH*s.DilationW == 1 &&
		s.InC/s.Groups >= 12 && s.OutC/s.Groups >= 12 &&
		s.PadTop >= 0 && s.PadLeft >= 0 && s.PadBottom >= 0 && s.PadRight >= 0
}

// winogradJob is the memory that one goroutine works in.
type winogradJob struct {
	planes
	v, m []float32 // transformed input and products: 16 matrices of channels x ld
	row  []float32 // an output row that is not wanted
}

var winogradPool = sync.Pool{New: func() any { return new(winogradJob) }}

// winogradTiles is how many tiles are multiplied at a time: with up to 128 channels the 16 matrices of inputs and of products stay in
// the second-level cache.
const winogradTiles = 96

// run convolves one group of one image: tile rows [lo, hi) of it.
func (u *winograd) run(s ConvShape, x, y []float32, e *Epilogue, lo, hi int) {
	j := winogradPool.Get().(*winogradJob)
	defer winogradPool.Put(j)
	ic, oc, oh, ow := s.InC/s.Groups, s.OutC/s.Groups, s.OutH(), s.OutW()
	across := (ow + 1) / 2
	step := max(1, winogradTiles/across)
	// The planes hold the input rows of the wanted tile rows only.
	part, top := winogradBand(s, lo, hi)
	j.planes.set(part, ic, 2, 2)
	for c := range ic {
		if part.H > 0 {
			j.load(c, x[(c*s.H+top)*s.W:(c*s.H+top+part.H)*s.W])
		}
	}
	t := tiling32()
	for ty := lo; ty < hi; ty += step {
		rows := min(step, hi-ty)
		ld := roundUp(rows*across, t.nr) + 16
		if ld%64 == 0 {
			ld += 16 // rows must not all fall into one cache set
		}
		v, m := grow(&j.v, 16*ic*ld+64), grow(&j.m, 16*oc*ld+64)
		for c := range ic {
			for r := range rows {
				active.winogradIn(v[c*ld+r*across:], ic*ld, j.buf[c*j.channel()+(ty-lo+r)*j.pitch:], j.pitch, j.phase(), across)
			}
		}
		for i, a := range u {
			p := product[float32]{t: a.t, m: oc, n: rows * across, k: ic, alpha: 1, c: m[i*oc*ld : (i+1)*oc*ld], ldc: ld, packedA: a.data,
				b: dense[float32]{v[i*ic*ld:], ld, false}, loose: true}
			p.region(0, oc, 0, roundUp(rows*across, t.vec))
		}
		for c := range oc {
			var bias float32
			if e.Row != nil {
				bias = e.Row[c]
			}
			for r := range rows {
				i := 2 * (ty + r)
				at := (c*oh + i) * ow
				first, second := y[at:at+ow], grow(&j.row, ow)
				var add0, add1 []float32
				if e.Add != nil {
					add0, add1 = e.Add[at:at+ow], e.Add[at:at+ow]
				}
				if i+1 < oh {
					second = y[at+ow : at+2*ow]
					if e.Add != nil {
						add1 = e.Add[at+ow : at+2*ow]
					}
				}
				active.winogradOut(first, second, m[c*ld+r*across:], oc*ld, add0, add1, bias, e.Lo, e.Hi)
			}
		}
	}
}

// winogradBand is the part of the input that tile rows [lo, hi) read, as a shape, and the number of its first row.
func winogradBand(s ConvShape, lo, hi int) (part ConvShape, top int) {
	from, to := 2*lo-s.PadTop, 2*hi+2-s.PadTop // rows that are read; beyond the input there is padding
	part = s
	top = min(max(from, 0), s.H)
	part.H = max(0, min(to, s.H)-top)
	part.PadTop = min(max(0, -from), to-from)
	part.PadBottom = to - from - part.H - part.PadTop
	if s.OutW()%2 == 1 { // the last tile reads one column more
		part.PadRight++
	}
	return part, top
}

// winogradInGeneric sets dst[(4i+j)*ldd+t] to entry (i, j) of B^T d B for the tiles t < n, where column c of row r of tile t is
// element t of phase (r%2, c%2), row r/2, column c/2.
func winogradInGeneric(dst []float32, ldd int, x []float32, pitch, phase, n int) {
	for t := range n {
		var d, u [4][4]float32
		for r := range d {
			for c := range d[r] {
				d[r][c] = x[(r%2*2+c%2)*phase+r/2*pitch+c/2+t]
			}
		}
		for r, v := range d {
			u[r] = [4]float32{v[0] - v[2], v[1] + v[2], v[2] - v[1], v[1] - v[3]}
		}
		for c := range 4 {
			for r, v := range [4]float32{u[0][c] - u[2][c], u[1][c] + u[2][c], u[2][c] - u[1][c], u[1][c] - u[3][c]} {
				dst[(4*r+c)*ldd+t] = v
			}
		}
	}
}

// winogradOutGeneric writes A^T m A + bias + add, limited to lo..hi, to two rows of equal length; entry (i, j) of tile t's m is
// m[(4i+j)*ldm+t].
func winogradOutGeneric(dst0, dst1, m []float32, ldm int, add0, add1 []float32, bias, lo, hi float32) {
	for x := range dst0 {
		t := x / 2
		var s [2][4]float32
		for j := range 4 {
			a, b, c, d := m[j*ldm+t], m[(4+j)*ldm+t], m[(8+j)*ldm+t], m[(12+j)*ldm+t]
			s[0][j], s[1][j] = a+b+c, b-c-d
		}
		for r, dst := range [2][]float32{dst0, dst1} {
			v := s[r][0] + s[r][1] + s[r][2]
			if x%2 == 1 {
				v = s[r][1] - s[r][2] - s[r][3]
			}
			v += bias
			if add0 != nil {
				v += [2][]float32{add0, add1}[r][x]
			}
			dst[x] = v
		}
	}
	clipGeneric(dst0, dst0, lo, hi)
	clipGeneric(dst1, dst1, lo, hi)
}
