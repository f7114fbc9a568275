package kernel

// MirrorRows is the rows that SumMirrored takes at a time: their transpose fills whole lines of the cache.
const MirrorRows = 8

// SumMirrored writes T = scale * (the sum of parts), m x n with m <= MirrorRows, where each part begins at its first element and has leading dimension lds: T itself to
// rows, and its transpose to columns, both of leading dimension ld. Without parts T is zero. What it writes does not stay in
// the caches: it is meant for symmetric matrices that are far larger.
func SumMirrored(rows, columns []float64, ld int, parts [][]float64, lds, m, n int, scale float64) {
	if m <= 0 || n <= 0 {
		return
	}
	_, _ = rows[(m-1)*ld+n-1], columns[(n-1)*ld+m-1]
	for _, p := range parts {
		_ = p[(m-1)*lds+n-1]
	}
	active.sumMirrored(rows, columns, ld, parts, lds, m, n, scale)
}

func sumMirroredGeneric(rows, columns []float64, ld int, parts [][]float64, lds, m, n int, scale float64) {
	const block = 16 // columns that are in the nearest cache while they are transposed
	for j0 := 0; j0 < n; j0 += block {
		w := min(block, n-j0)
		for i := range m {
			dst := rows[i*ld+j0:][:w]
			clear(dst)
			for _, p := range parts {
				for j, v := range p[i*lds+j0:][:w] {
					dst[j] += v
				}
			}
			for j := range dst {
				dst[j] *= scale
				columns[(j0+j)*ld+i] = dst[j]
			}
		}
	}
}
