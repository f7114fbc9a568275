package calib

import (
	"github.com/obc-onnx/obc/internal/kernel"
)

const (
	// groupPixels is how many products are summed in float32 where a sum is dot products of planes.
	groupPixels = 512
	// leastGathered is how many pixels are gathered, from several images where they are small, before they are multiplied; up to
	// mostGathered, as long as they are no more than gatheredNumbers: thin strips of one image have fewer products than the addition to
	// their sum costs.
	leastGathered   = 512
	mostGathered    = 4096
	gatheredNumbers = 2 << 20
	// fewChannels is up to how many channels of a group sums are dot products of planes; from manyChannels on they are matrix
	// products. Between them unfolding is as fast.
	fewChannels  = 4
	manyChannels = 16
	// mostPixels bounds the memory of an image laid out for sums by offset, in numbers; larger ones are unfolded.
	mostPixels = 16 << 20
)

// shiftGram adds up the Hessian of a convolution of stride 1 by offsets between pixels, see shifts.
type shiftGram struct {
	*shifts
	c       int           // channels of a group
	sums    [][][]float64 // by group, by sum: c x c
	threads int

	// Channels side by side, for the groups of manyChannels and more: images wait until there are enough.
	per     int       // images in a product
	waiting []int     // by group
	begun   []bool    // by group: its sums hold something that counts
	image   []float32 // per images of pixels() rows of c channels, for each group
	masked  []float32
	packed  *kernel.Correlator
}

// shifting tells whether sums by offset are faster than unfolding.
func (u *unfolding) shifting() bool {
	s := u.shifts
	if s == nil || u.channels > fewChannels && u.channels < manyChannels || s.pixels()*u.channels > mostPixels {
		return false
	}
	k := float64(u.k[0] * u.k[1] * u.k[2])
	return s.work() < 0.9*k*(k+1)/2*float64(u.positions())
}

func newShiftGram(u *unfolding, groups, threads int) *shiftGram {
	s := u.shifts
	g := &shiftGram{shifts: s, c: u.channels, threads: threads, sums: make([][][]float64, groups), waiting: make([]int, groups), begun: make([]bool, groups)}
	for i := range g.sums {
		for range s.sums {
			g.sums[i] = append(g.sums[i], kernel.Slab[float64](g.c*g.c))
		}
		if g.c <= fewChannels {
			g.begin(i)
		}
	}
	g.per = max(1, leastGathered/s.pixels(), min(mostGathered, gatheredNumbers/(groups*g.c))/s.pixels())
	return g
}

// begin sets the sums of group i to zero, unless they have begun.
func (g *shiftGram) begin(i int) {
	for _, s := range g.sums[i] {
		if !g.begun[i] {
			clear(s)
		}
	}
	g.begun[i] = true
}

// take adds images of all groups' channels, n x groups x c x h x w.
func (g *shiftGram) take(data []float32) {
	plane, groups := g.h*g.w, len(g.sums)
	if g.c <= fewChannels {
		kernel.Parallel(g.threads, groups, func(lo, hi int) {
			buf := g.newPlanes()
			for i := lo; i < hi; i++ {
				for at := i * g.c * plane; at < len(data); at += groups * g.c * plane {
					g.takePlanes(buf, g.sums[i], data[at:at+g.c*plane])
				}
			}
		})
		return
	}
	size := g.per * g.pixels() * g.c
	if g.image == nil {
		g.image = make([]float32, groups*size)
		if len(g.masks) > 1 {
			g.masked = make([]float32, size)
		}
		g.packed = kernel.NewCorrelator(g.per*g.pixels(), g.c, len(g.masks))
	}
	for ; len(data) > 0; data = data[groups*g.c*plane:] {
		for i := range groups {
			g.place(g.image[i*size:(i+1)*size], g.waiting[i], data[i*g.c*plane:(i+1)*g.c*plane])
			if g.waiting[i]++; g.waiting[i] == g.per {
				g.flush(i)
			}
		}
	}
}

// place lays image n of the channels' planes out: lines first, strips behind the lines.
func (g *shiftGram) place(dst []float32, n int, planes []float32) {
	c, plane := g.c, g.h*g.w
	dst = dst[n*g.pixels()*c:]
	kernel.Parallel(g.threads, g.h, func(lo, hi int) {
		for h := lo; h < hi; h++ {
			kernel.Transpose(dst[h*g.line*c:], c, planes[h*g.w:], plane, c, g.w)
			for _, s := range g.strip {
				copy(dst[(g.stripAt(s)+h)*c:][:c], dst[(h*g.line+s)*c:])
			}
		}
	})
}

// flush multiplies the waiting images of group i.
func (g *shiftGram) flush(i int) {
	n := g.waiting[i]
	if n == 0 {
		return
	}
	size := g.per * g.pixels() * g.c
	x := g.image[i*size : (i+1)*size]
	g.packed.Right(x, g.threads)
	for v := range g.masks {
		g.packed.Left(v, g.mask(x, v), g.threads)
	}
	var sums []kernel.Correlation
	for k, s := range g.shifts.sums {
		c := kernel.Correlation{Sum: g.sums[i][k], Variant: max(s.variant, 0), Upper: s.upper, Set: !g.begun[i]}
		for image := range n {
			at := image * g.pixels()
			g.runs(k, func(left, right, n int) {
				c.Runs = append(c.Runs, kernel.Run{Left: at + left, Right: at + right, N: n})
			})
		}
		sums = append(sums, c)
	}
	g.packed.Add(sums, g.threads)
	g.waiting[i], g.begun[i] = 0, true
}

// mask is x with the columns that variant v does not keep at zero.
func (g *shiftGram) mask(x []float32, v int) []float32 {
	if v == 0 {
		return x
	}
	copy(g.masked, x)
	for at := 0; at < len(x); at += g.pixels() * g.c {
		for h := range g.h {
			line := g.masked[at+h*g.line*g.c:][:g.w*g.c]
			clear(line[:g.masks[v].lo*g.c])
			clear(line[g.masks[v].hi*g.c:])
		}
	}
	return g.masked
}

// planes are the channels of one group, each laid out as place does, in all variants.
type planes [][][]float32

func (g *shiftGram) newPlanes() planes {
	p := make(planes, len(g.masks))
	for v := range p {
		for range g.c {
			p[v] = append(p[v], make([]float32, g.pixels()))
		}
	}
	return p
}

// takePlanes adds one image of one group: each entry of each sum is a dot product of planes.
func (g *shiftGram) takePlanes(p planes, sums [][]float64, data []float32) {
	for c := range g.c {
		for h := range g.h {
			line := data[(c*g.h+h)*g.w:][:g.w]
			for v, m := range g.masks {
				copy(p[v][c][h*g.line+m.lo:], line[m.lo:m.hi])
			}
			for _, s := range g.strip {
				p[0][c][g.stripAt(s)+h] = line[s]
			}
		}
	}
	for k, s := range g.shifts.sums {
		left := p[max(s.variant, 0)]
		g.runs(k, func(l, r, n int) {
			for n > 0 {
				m := min(n, groupPixels)
				for a := range g.c {
					for b := range g.c {
						if a <= b || !s.upper {
							sums[k][a*g.c+b] += float64(kernel.Dot(left[a][l:l+m], p[0][b][r:r+m]))
						}
					}
				}
				l, r, n = l+m, r+m, n-m
			}
		})
	}
}

// drain adds all sums so far to the Hessians h, upper triangles of d columns, and begins anew.
func (g *shiftGram) drain(h [][]float64, d int) {
	g.flushAll()
	kernel.Parallel(g.threads, len(h), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			g.assemble(h[i], d, g.c, g.sums[i], max(1, g.threads/len(h)))
			if g.begun[i] = false; g.c <= fewChannels {
				g.begin(i)
			}
		}
	})
}

// whole sets h to all sums times scale, both triangles, and ends them.
func (g *shiftGram) whole(h [][]float64, d int, scale float64) {
	g.flushAll()
	kernel.Parallel(g.threads, len(h), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			g.assembleWhole(h[i], d, g.c, g.sums[i], scale, max(1, g.threads/len(h)))
		}
	})
	for _, sums := range g.sums {
		for _, s := range sums {
			kernel.ReleaseSlab(s)
		}
	}
	g.sums = nil
}

// flushAll completes the sums.
func (g *shiftGram) flushAll() {
	for i := range g.waiting {
		g.flush(i)
		g.begin(i)
	}
}
