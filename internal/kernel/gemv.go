package kernel

// vector computes the product if one side of it is a vector: such products are limited by the memory that the matrix
// comes from, so it is read once, in order. It returns false if nothing was done.
func (g *product[T]) vector(threads int) bool {
	if g.bits || g.packedA != nil || g.packedB != nil || g.image != nil {
		return false
	}
	if g.m == 1 {
		x := g.a.column(!g.a.trans, g.k)
		g.matVec(g.b.data, g.b.ld, !g.b.trans, g.n, x, g.c, 1, threads)
	} else if g.n == 1 {
		x := g.b.column(g.b.trans, g.k)
		g.matVec(g.a.data, g.a.ld, g.a.trans, g.m, x, g.c, g.ldc, threads)
	} else {
		return false
	}
	g.finish()
	return true
}

// column returns the vector that d is: a row of its slice, or a column, copied.
func (d dense[T]) column(row bool, k int) []T {
	if row || d.ld == 1 {
		return d.data[:k]
	}
	x := make([]T, k)
	for i := range x {
		x[i] = d.data[i*d.ld]
	}
	return x
}

// matVec computes y = alpha W x + beta y for n outputs spaced inc apart. With sum, W is a k x n slice whose rows are summed;
// otherwise n x k, whose rows are multiplied by x.
func (g *product[T]) matVec(w []T, ld int, sum bool, n int, x, y []T, inc int, threads int) {
	if n*len(x) < smallProduct {
		threads = 1
	}
	parallelStep(threads, n, 64, func(lo, hi int) {
		part := make([]T, hi-lo)
		if sum {
			for p, v := range x {
				axpyOf(v, w[p*ld+lo:p*ld+hi], part)
			}
		} else {
			for i := range part {
				part[i] = dotOf(w[(lo+i)*ld:(lo+i)*ld+len(x)], x)
			}
		}
		for i, v := range part {
			v *= g.alpha
			if g.beta != 0 {
				v += g.beta * y[(lo+i)*inc]
			}
			y[(lo+i)*inc] = v
		}
	})
}

func axpyOf[T Float](alpha T, x, y []T) {
	if xs, ok := any(x).([]float32); ok {
		Axpy(float32(alpha), xs, any(y).([]float32))
		return
	}
	y = y[:len(x)]
	for i, v := range x {
		y[i] += alpha * v
	}
}

func dotOf[T Float](x, y []T) T {
	if xs, ok := any(x).([]float32); ok {
		return T(Dot(xs, any(y).([]float32)))
	}
	var s T
	for i, v := range x {
		s += v * y[i]
	}
	return s
}
