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

// winogradShares tells that the threads better share each step than rows of so many tiles: the products of a step take whole vectors, which
// parts fill worse the fewer tiles they have. Three joint steps cost more than one cut, a tenth of the products.
func winogradShares(rows, across, threads int) bool {
	if threads <= 1 || rows*across > winogradTiles(0) {
		return false
	}
	t := tiling32()
	return 10*threads*t.vectors((rows+threads-1)/threads*across) > 11*t.vectors(rows*across)
}

// winogradJob is the memory that one goroutine works in.
type winogradJob struct {
	v, m []float32 // transformed input and products: 16 matrices of channels x ld
	segs []winogradRows
}

// winogradRows are rows of tiles of one image: [from, to), behind at rows of the block before them.
type winogradRows struct{ image, from, to, at int }

var (
	winogradPool = sync.Pool{New: func() any { return new(winogradJob) }}
	planesPool   = sync.Pool{New: func() any { return new(planes) }}
)

// winogradTiles is how many tiles are multiplied at a time: inputs and products of 16 matrices stay in the second-level cache, and the
// weights are read often enough to pay.
func winogradTiles(channels int) int {
	if channels <= 48 {
		return 144
	}
	return 96
}

// run convolves one group of images x to y: rows of tiles [lo, hi), counted through all images, whose groups lie in and out elements
// apart. e is that of the group; add begins at its first element. threads work on each step together.
func (u *winograd) run(s ConvShape, x, y []float32, in, out int, e *Epilogue, lo, hi, threads int) {
	j := winogradPool.Get().(*winogradJob)
	defer winogradPool.Put(j)
	high, across := (s.OutH()+1)/2, (s.OutW()+1)/2
	b := winogradBlock{winogradJob: j, u: u, s: s, x: x, y: y, in: in, out: out, e: e, ic: s.InC / s.Groups, oc: s.OutC / s.Groups, across: across}
	step := max(1, winogradTiles(max(b.ic, b.oc))/across)
	for lo < hi {
		rows := min(step, hi-lo)
		j.segs = j.segs[:0]
		for r := 0; r < rows; {
			image, from := (lo+r)/high, (lo+r)%high
			to := min(high, from+rows-r)
			j.segs = append(j.segs, winogradRows{image, from, to, r})
			r += to - from
		}
		b.run(rows*across, threads)
		lo += rows
	}
}

// winogradBlock is one step of run: the rows of tiles segs.
type winogradBlock struct {
	*winogradJob
	u              *winograd
	s              ConvShape
	x, y           []float32
	in, out        int
	e              *Epilogue
	ic, oc, across int
	ld             int // of the matrices in v and m
	apartV, apartM int // from one matrix to the next
}

// run convolves a block of so many tiles. Channels, and then the matrices, are shared among the threads.
func (b *winogradBlock) run(tiles, threads int) {
	t := tiling32()
	b.ld = roundUp(tiles, t.vec) + 16 // the last vector of a row may reach beyond it
	if b.ld%64 == 0 {
		b.ld += 16
	}
	b.apartV, b.apartM = spreadSets(b.ic*b.ld), spreadSets(b.oc*b.ld)
	v, m := grow(&b.v, 16*b.apartV+64), grow(&b.m, 16*b.apartM+64)
	Parallel(threads, b.ic, func(lo, hi int) {
		for _, g := range b.segs {
			b.input(v, g, lo, hi)
		}
	})
	Parallel(threads, len(b.u), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			a := b.u[i]
			p := product[float32]{t: a.t, m: b.oc, n: tiles, k: b.ic, alpha: 1, c: m[i*b.apartM : i*b.apartM+b.oc*b.ld], ldc: b.ld, packedA: a.data,
				b: dense[float32]{v[i*b.apartV:], b.ld, false}, loose: true}
			p.region(0, b.oc, 0, t.looseCols(tiles))
		}
	})
	Parallel(threads, b.oc, func(lo, hi int) {
		for _, g := range b.segs {
			b.output(m, g, lo, hi)
		}
	})
}

// input transforms channels [lo, hi) of g.
func (b *winogradBlock) input(v []float32, g winogradRows, lo, hi int) {
	part, top := b.s.band(2*g.from, 2*g.to) // the rows that are read
	if b.s.OutW()%2 == 1 {                  // the last tile reads one column more
		part.PadRight++
	}
	p := planesPool.Get().(*planes)
	defer planesPool.Put(p)
	room := p.setSome(part, hi-lo, 2, 2)
	for ; lo < hi; lo += room {
		n := min(room, hi-lo)
		for c := range n {
			p.load(c, b.x[g.image*b.in+((lo+c)*b.s.H+top)*b.s.W:][:part.H*part.W])
		}
		for c := range n {
			active.winogradIn(v[(lo+c)*b.ld+g.at*b.across:], b.apartV, b.across, p.buf[c*p.channel():], p.pitch, p.phase(), b.across, g.to-g.from)
		}
	}
}

// output transforms the products of channels [lo, hi) of g back.
func (b *winogradBlock) output(m []float32, g winogradRows, lo, hi int) {
	oh, ow, e := b.s.OutH(), b.s.OutW(), b.e
	spare := borrow[float32]()
	defer spare.giveBack()
	pair := grow(&spare.tile, 4*ow) // two rows of output, of which one is wanted, and what is added to them
	rows := g.to - g.from
	whole := rows
	if 2*g.to > oh {
		whole--
	}
	for c := lo; c < hi; c++ {
		var bias float32
		if e.Row != nil {
			bias = e.Row[c]
		}
		at := g.image*b.out + (c*oh+2*g.from)*ow
		tiles := m[c*b.ld+g.at*b.across:]
		var add []float32
		if e.Add != nil {
			add = e.Add[at:]
		}
		active.winogradOut(b.y[at:], ow, tiles, b.apartM, b.across, ow, whole, add, bias, e.Lo, e.Hi)
		if whole == rows {
			continue
		}
		last := 2 * whole * ow
		if add != nil {
			copy(pair[2*ow:], add[last:last+ow])
			add = pair[2*ow:]
		}
		active.winogradOut(pair, ow, tiles[whole*b.across:], b.apartM, b.across, ow, 1, add, bias, e.Lo, e.Hi)
		copy(b.y[at+last:at+last+ow], pair)
	}
}

// spreadSets rounds the distance between 16 matrices up so that their elements of one place fall into different sets of the
// first-level cache: five lines apart, modulo 64.
func spreadSets(n int) int {
	lines := (n + 15) / 16
	return 16 * (lines + ((5-lines)%64+64)%64)
}

// winogradInGeneric sets dst[(4i+j)*ldd+r*next+t] to entry (i, j) of B^T d B for the tiles t < n of rows r of tiles, where column c of row k
// of tile t is element t of phase (k%2, c%2), row r+k/2, column c/2.
func winogradInGeneric(dst []float32, ldd, next int, x []float32, pitch, phase, n, rows int) {
	for r := range rows {
		for t := range n {
			winogradTileIn(dst[r*next+t:], ldd, x[r*pitch+t:], pitch, phase)
		}
	}
}

func winogradTileIn(dst []float32, ldd int, x []float32, pitch, phase int) {
	var d, u [4][4]float32
	for r := range d {
		for c := range d[r] {
			d[r][c] = x[(r%2*2+c%2)*phase+r/2*pitch+c/2]
		}
	}
	for r, v := range d {
		u[r] = [4]float32{v[0] - v[2], v[1] + v[2], v[2] - v[1], v[1] - v[3]}
	}
	for c := range 4 {
		for r, v := range [4]float32{u[0][c] - u[2][c], u[1][c] + u[2][c], u[2][c] - u[1][c], u[1][c] - u[3][c]} {
			dst[(4*r+c)*ldd] = v
		}
	}
}

// winogradOutGeneric writes A^T m A + bias + add, limited to lo..hi, to pairs of rows of cols elements, ldd apart as those of add, a pair for
// each of the rows of tiles; entry (i, j) of tile t of row r is m[(4i+j)*ldm+r*next+t].
func winogradOutGeneric(dst []float32, ldd int, m []float32, ldm, next, cols, rows int, add []float32, bias, lo, hi float32) {
	for r := range rows {
		for x := range cols {
			y := winogradTileOut(m[r*next+x/2:], ldm, x%2)
			for k, v := range y {
				at := (2*r+k)*ldd + x
				v += bias
				if add != nil {
					v += add[at]
				}
				dst[at] = v
			}
		}
		for k := range 2 {
			row := dst[(2*r+k)*ldd:][:cols]
			clipGeneric(row, row, lo, hi)
		}
	}
}

// winogradTileOut is one column of the two rows that come of a tile.
func winogradTileOut(m []float32, ldm, column int) (y [2]float32) {
	var s [2][4]float32
	for j := range 4 {
		a, b, c, d := m[j*ldm], m[(4+j)*ldm], m[(8+j)*ldm], m[(12+j)*ldm]
		s[0][j], s[1][j] = a+b+c, b-c-d
	}
	for r, v := range s {
		if y[r] = v[0] + v[1] + v[2]; column == 1 {
			y[r] = v[1] - v[2] - v[3]
		}
	}
	return y
}
