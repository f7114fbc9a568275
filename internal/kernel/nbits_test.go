package kernel

import (
	"math"
	"testing"
)

func TestNBits(t *testing.T) {
	everyIntForm(t, func(t *testing.T) {
		r := newRand()
		for _, m := range []int{1, 2, 3, 4, 9} {
			for _, n := range []int{1, 15, 64, 70, 130} {
				for _, k := range []int{1, 16, 50, 128} {
					for _, block := range []int{16, 32} {
						for _, wide := range []bool{false, true} {
							blocks := (k + block - 1) / block
							codes := bytes8(r, n*blocks*block)
							if !wide {
								for i := range codes {
									codes[i] &= 15
								}
							}
							scale, zero, x, bias := random(r, n*blocks), make([]float32, n*blocks), random(r, m*k), random(r, n)
							for i := range zero {
								zero[i] = float32(r.IntN(16))
							}
							w := PackNBits(n, k, block, wide, codes, scale, zero)
							y, z := make([]float32, m*n), make([]float32, m*n)
							w.Floats(m, x, y, Bias(nil, bias), 2)
							w.Ints(m, x, z, Bias(nil, bias), 3)
							for i := range y {
								row, col := i/n, i%n
								f, q, size := float64(bias[col]), float64(bias[col]), 1.0
								for b := range blocks {
									part := x[row*k+b*block : row*k+min(k, (b+1)*block)]
									top := 0.0
									for _, v := range part {
										top = max(top, math.Abs(float64(v)))
									}
									for c, v := range part {
										at := col*blocks + b
										weight := (float64(codes[at*block+c]) - float64(zero[at])) * float64(scale[at])
										f += float64(v) * weight
										q += math.RoundToEven(float64(v*(127/float32(top)))) * top / 127 * weight
										size += math.Abs(float64(v) * float64(codes[at*block+c]) * float64(scale[at]))
									}
								}
								near(t, "floats", i, float64(y[i]), f, 2e-6*size+2e-6)
								near(t, "ints", i, float64(z[i]), q, 2e-6*size+2e-6)
							}
						}
					}
				}
			}
		}
	})
}

// TestNBitsInGo: integer sums are exact and the steps are rounded in one order, so that the forms agree to the bit.
func TestNBitsInGo(t *testing.T) {
	r := newRand()
	const n, k, block = 100, 96, 32
	codes, x := bytes8(r, n*k), random(r, 7*k)
	w := PackNBits(n, k, block, true, codes, random(r, n*k/block), random(r, n*k/block))
	var want []float32
	everyIntForm(t, func(t *testing.T) {
		y := make([]float32, 7*n)
		w.Ints(7, x, y, nil, 2)
		if want == nil {
			want = y
		}
		for i, v := range y {
			near(t, "ints", i, float64(v), float64(want[i]), 0)
		}
	})
}

func BenchmarkNBits(b *testing.B) {
	const n, k = 4096, 4096
	codes, scale := make([]uint8, n*k), make([]float32, n*k/32)
	w := PackNBits(n, k, 32, false, codes, scale, scale)
	x, y := make([]float32, k), make([]float32, n)
	for i := range x {
		x[i] = float32(i)
	}
	plain := PackB(true, k, n, make([]float32, n*k), k)
	b.Run("floats", func(b *testing.B) { fastest(b, 2*n*k, func() { w.Floats(1, x, y, nil, 1) }) })
	b.Run("ints", func(b *testing.B) { fastest(b, 2*n*k, func() { w.Ints(1, x, y, nil, 1) }) })
	b.Run("dequantized", func(b *testing.B) { fastest(b, 2*n*k, func() { SgemmPackedB(false, 1, x, k, plain, y, n, nil, 1) }) })
}

func TestRoundBlockParts(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 31, 32, 100, 511, 512, 520, 1500} {
		codes, x := make([]byte, n), make([]float32, n)
		for i := range codes {
			codes[i] = byte(37*i + 11)
			if n > 600 {
				codes[i] = 0x7f - byte(i/1024) // the lanes are fullest
			}
			x[i] = float32(int8(codes[i])) / 3
		}
		sum, top := int32(0), float32(0)
		for i, v := range codes {
			sum += int32(int8(v))
			top = max(top, x[i], -x[i])
		}
		if got := sumCodes(codes); got != sum {
			t.Errorf("%d codes: sum %d, want %d", n, got, sum)
		}
		if got := magnitude(x); got != top {
			t.Errorf("%d numbers: magnitude %v, want %v", n, got, top)
		}
	}
	if v := magnitude([]float32{1, float32(math.NaN()), float32(math.Inf(-1)), 2, 3}); v == v {
		t.Errorf("magnitude %v of numbers with NaN", v)
	}
}
